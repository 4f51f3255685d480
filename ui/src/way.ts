import type { Attempt, RequestRow } from "./contract";

export type Verdict = "good" | "bad" | "skipped";

export interface Step {
  title: string;
  text: string;
  verdict: Verdict;
  /** Place on the time line of the request, seconds; absent where nothing was timed. */
  start_s?: number;
  duration_s?: number;
}

const OUTCOMES: Record<string, string> = {
  ok: "whole answer",
  http_429: "refused, over the provider's limit",
  http_4xx: "refused by the provider",
  http_5xx: "failed at the provider",
  timeout: "no answer in time",
  connect: "could not be reached",
  protocol: "not valid HTTP",
  cut: "cut before its end",
  error_event: "error inside the stream",
  cancelled: "stopped, nobody waits for it",
  client_gone: "the client left",
};

/** An outcome in words; one this page does not know is shown as it is. */
export function words(outcome: string): string {
  return OUTCOMES[outcome] ?? outcome.replaceAll("_", " ");
}

export function succeeded(row: RequestRow): boolean {
  return row.status < 400 && row.outcome === "ok";
}

/** The way of a request through the gateway, as far as it came. */
export function wayOf(row: RequestRow): Step[] {
  const steps: Step[] = [keyStep(row)];
  if (row.key !== null || row.attempts.length > 0) steps.push(limitStep(row));
  let start_s = 0;
  row.attempts.forEach((attempt, i) => {
    steps.push(attemptStep(attempt, i + 1, start_s));
    start_s += attempt.duration_s ?? 0;
  });
  const answer: Step = {
    title: row.status ? `Answer ${row.status}` : "No answer",
    text: succeeded(row) ? (row.stream ? "stream, whole" : "whole") : words(row.outcome),
    verdict: succeeded(row) ? "good" : "bad",
  };
  if (row.duration_s !== null) Object.assign(answer, { start_s: 0, duration_s: row.duration_s });
  steps.push(answer);
  return steps;
}

function keyStep(row: RequestRow): Step {
  if (row.key !== null) {
    return { title: "Key", text: row.team ? `${row.key}, team ${row.team}` : row.key, verdict: "good" };
  }
  if (row.status === 401) return { title: "Key", text: words(row.outcome), verdict: "bad" };
  return { title: "Key", text: "none needed or not looked at", verdict: "skipped" };
}

function limitStep(row: RequestRow): Step {
  if (row.limit !== null) return { title: "Limits", text: `blocked by ${row.limit}`, verdict: "bad" };
  if (row.attempts.length > 0 || row.status < 400) return { title: "Limits", text: "passed", verdict: "good" };
  return { title: "Limits", text: "nothing was blocked", verdict: "skipped" };
}

function attemptStep(attempt: Attempt, number: number, start_s: number): Step {
  const status = attempt.status ? `, status ${attempt.status}` : "";
  const step: Step = {
    title: `Attempt ${number}: ${attempt.provider}`,
    text: `${attempt.model}: ${words(attempt.outcome)}${attempt.outcome === "ok" ? "" : status}`,
    verdict: attempt.outcome === "ok" ? "good" : "bad",
  };
  if (attempt.duration_s !== null) Object.assign(step, { start_s, duration_s: attempt.duration_s });
  return step;
}
