import { expect, test } from "vitest";
import type { RequestRow } from "./contract";
import { pause_ms } from "./link";
import { merge } from "./live";
import { href, parse } from "./route";
import { wayOf } from "./way";

function request(changes: Partial<RequestRow> = {}): RequestRow {
  return {
    request_id: "r1", time_ms: 1, endpoint: "chat_completions", status: 200, outcome: "ok", stream: false,
    key: "ci", team: null, model: "fast", duration_s: 1, ttft_s: null, input_tokens: 1, output_tokens: 1,
    cost_usd: 0, limit: null, attempts: [{ provider: "acme", model: "m", outcome: "ok", status: 200, duration_s: 1 }],
    ...changes,
  };
}

test("attempts follow each other on the time line", () => {
  const failed = { provider: "acme", model: "m", outcome: "timeout", status: null, duration_s: 2 };
  const good = { provider: "spare", model: "m", outcome: "ok", status: 200, duration_s: 1 };
  const steps = wayOf(request({ attempts: [failed, good], duration_s: 3.1 }));
  expect(steps.map((step) => [step.verdict, step.start_s])).toEqual([
    ["good", undefined], ["good", undefined], ["bad", 0], ["good", 2], ["good", 0],
  ]);
});

test("a refused key is where the way ends", () => {
  const steps = wayOf(request({ key: null, status: 401, outcome: "invalid_api_key", attempts: [] }));
  expect(steps.map((step) => step.verdict)).toEqual(["bad", "bad"]);
});

test("a block names its limit, and no attempt follows", () => {
  const steps = wayOf(request({ status: 429, outcome: "rate_limit_exceeded", limit: "per-key", attempts: [] }));
  expect(steps.map((step) => step.text)).toEqual(["ci", "blocked by per-key", "rate limit exceeded"]);
});

test("rows are kept once, newest first, and not without end", () => {
  const old = request({ request_id: "old", time_ms: 1 });
  const fresh = request({ request_id: "new", time_ms: 2 });
  expect(merge([fresh, old], [old]).map((row) => row.request_id)).toEqual(["new", "old"]);
  const many = Array.from({ length: 900 }, (_, i) => request({ request_id: `${i}`, time_ms: i }));
  expect(merge(many, []).length).toBe(500);
});

test("pauses before a new connection grow, and stay under 20 seconds", () => {
  const longest = Array.from({ length: 12 }, (_, failures) => pause_ms(failures, 1));
  expect(longest.slice(0, 4)).toEqual([500, 1000, 2000, 4000]);
  expect(Math.max(...longest)).toBe(20_000);
  expect(pause_ms(3, 0)).toBe(2000);
});

test("an address is read back as it was written", () => {
  const address = href("requests", { status: "5xx", key: "a b&c", model: null });
  const route = parse(address);
  expect(route.page).toBe("requests");
  expect([...route.query]).toEqual([["status", "5xx"], ["key", "a b&c"]]);
  expect(parse("").page).toBe("overview");
});
