import type { AlertsAnswer, By, Instance, LimitsAnswer, Range, RequestRow, SeriesAnswer } from "./contract";

export class Unauthorized extends Error {}

export class Failed extends Error {
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message);
  }
}

const DEADLINE_MS = 15_000;

async function call(path: string, init: RequestInit = {}): Promise<Response> {
  let answer: Response;
  try {
    answer = await fetch(path, {
      credentials: "same-origin",
      cache: "no-store",
      signal: AbortSignal.timeout(DEADLINE_MS),
      ...init,
    });
  } catch {
    throw new Failed("The gateway does not answer.", 0);
  }
  if (answer.ok) return answer;
  const said = await message(answer);
  if (answer.status === 401) throw new Unauthorized(said);
  throw new Failed(said, answer.status);
}

async function message(answer: Response): Promise<string> {
  try {
    const body = (await answer.json()) as { error?: { message?: string } };
    if (body.error?.message) return body.error.message;
  } catch {
    // Not JSON: the status says enough.
  }
  return `The gateway answered with status ${answer.status}.`;
}

async function get<T>(path: string): Promise<T> {
  const answer = await call(path);
  return (await answer.json()) as T;
}

/** Exchange the admin token for a cookie that scripts cannot read. */
export async function login(token: string): Promise<void> {
  await call("/api/session", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ token }),
  });
}

export async function logout(): Promise<void> {
  await call("/api/session", { method: "DELETE" });
}

export const instance = () => get<Instance>("/api/instance");
export const alerts = () => get<AlertsAnswer>("/api/alerts");
export const limits = () => get<LimitsAnswer>("/api/limits");
export const series = (range: Range, by: By) => get<SeriesAnswer>(`/api/series?range=${range}&by=${by}`);
export const requests = async () =>
  (await get<{ requests: RequestRow[] }>("/api/requests?limit=200")).requests;
