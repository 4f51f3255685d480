// The control port's contract over invented traffic: `npm run mock`, then `npm run dev`.
// It serves the built files too, under the same policy as the gateway: http://127.0.0.1:8101
// Token: tga_mock. MOCK_EMPTY=1 plays an instance that has seen no request.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import * as traffic from "./traffic.mjs";

const PORT = Number(process.env.MOCK_PORT ?? 8101);
const EMPTY = process.env.MOCK_EMPTY === "1";
const FILES = fileURLToPath(new URL("../../src/tidegate/control/ui/", import.meta.url));
const TYPES = { html: "text/html; charset=utf-8", js: "text/javascript", css: "text/css", svg: "image/svg+xml", txt: "text/plain" };
const started_s = Date.now() / 1000 - 93_000;
const now_s = () => Date.now() / 1000;
const recent = [];
if (!EMPTY) for (let i = 120; i > 0; i -= 1) recent.unshift(traffic.request(Date.now() - i * 400));

function json(response, status, body, headers = {}) {
  response.writeHead(status, { "content-type": "application/json", "cache-control": "no-store", ...headers });
  response.end(body === undefined ? undefined : JSON.stringify(body));
}

async function file(path, response) {
  const name = path === "/" ? "index.html" : path.slice(1);
  try {
    if (name.includes("..")) throw new Error("outside");
    const body = await readFile(FILES + name);
    response.writeHead(200, {
      "content-type": TYPES[name.split(".").pop()] ?? "application/octet-stream",
      "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
      "x-content-type-options": "nosniff",
      "cache-control": name === "index.html" ? "no-store" : "public, max-age=31536000, immutable",
    });
    response.end(body);
  } catch {
    json(response, 404, { error: { code: "not_found", message: "No such page." } });
  }
}

function without(answer) {
  return EMPTY ? { ...answer, series: [] } : answer;
}

function stream(response) {
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
  const send = (event, data) => response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
  const timer = setInterval(() => {
    const t = Math.floor(now_s());
    const rows = EMPTY ? [] : traffic.readings(t);
    send("sample", { time_ms: t * 1000, series: rows.map(([name, by, labels, value]) => ({ name, by, labels, value })) });
    if (EMPTY) return;
    const requests = [traffic.request(Date.now()), traffic.request(Date.now() - 300)];
    recent.unshift(...requests);
    recent.length = Math.min(recent.length, 500);
    send("requests", { requests });
  }, 1000);
  response.on("close", () => clearInterval(timer));
}

async function login(request, response) {
  let body = "";
  for await (const part of request) body += part;
  if (JSON.parse(body).token !== "tga_mock") {
    return json(response, 401, { error: { code: "invalid_token", message: "This is not the admin token." } });
  }
  return json(response, 204, undefined, { "set-cookie": "tidegate_session=mock; HttpOnly; SameSite=Strict; Path=/" });
}

createServer(async (request, response) => {
  const url = new URL(request.url, "http://127.0.0.1");
  const query = url.searchParams;
  if (!url.pathname.startsWith("/api/")) return file(url.pathname, response);
  if (url.pathname === "/api/session" && request.method === "POST") return login(request, response);
  if (!(request.headers.cookie ?? "").includes("tidegate_session=mock")) {
    return json(response, 401, { error: { code: "unauthorized", message: "Sign in first." } });
  }
  switch (url.pathname) {
    case "/api/session":
      if (request.method === "DELETE") return json(response, 204, undefined, { "set-cookie": "tidegate_session=; Max-Age=0; Path=/" });
      return json(response, 200, { expires_ms: Date.now() + 43_200_000 });
    case "/api/instance":
      return json(response, 200, traffic.instance(now_s(), started_s, "http://127.0.0.1:8000"));
    case "/api/series":
      return json(response, 200, without(traffic.series(query.get("range"), query.get("by"), now_s())));
    case "/api/requests":
      return json(response, 200, { requests: recent.slice(0, 200) });
    case "/api/limits":
      return json(response, 200, EMPTY ? { limits: [], subjects: [] } : traffic.limits(now_s()));
    case "/api/alerts":
      return json(response, 200, EMPTY ? { ...traffic.alerts(now_s()), alerts: [] } : traffic.alerts(now_s()));
    case "/api/live":
      return stream(response);
    default:
      return json(response, 404, { error: { code: "not_found", message: "No such path." } });
  }
}).listen(PORT, "127.0.0.1", () => console.log(`mock control port on http://127.0.0.1:${PORT}`));
