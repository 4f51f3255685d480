// Invented traffic with ups, downs and failures, for work on the pages without a gateway.

const PROVIDERS = ["acme", "local-vllm", "openai"];
const MODELS = ["fast", "smart", "embed-small"];
const KEYS = ["ci", "support-bot", "search", "notebook-ana", "batch-nightly"];
const TEAMS = { ci: "build", "support-bot": "care", search: "product", "notebook-ana": null, "batch-nightly": "data" };
const LIMITS = [
  { name: "per-key", per: "key", requests: 600, window_s: 60, burst: 60, mode: "enforce" },
  { name: "everybody", per: "global", requests: 40, window_s: 1, burst: 80, mode: "enforce" },
  { name: "guests", per: "ip", requests: 5, window_s: 1, burst: 5, mode: "shadow" },
];

const wave = (t, period, phase = 0) => Math.sin((t / period) * 2 * Math.PI + phase);
const noise = (t, seed) => {
  const x = Math.sin(t * 12.9898 + seed * 78.233) * 43758.5453;
  return x - Math.floor(x);
};
const at = (t, seed) => noise(Math.floor(t), seed) - 0.5;

function total(t) {
  const requests = Math.max(0, 24 + 8 * wave(t, 420) + 4 * wave(t, 97, 1) + 6 * at(t, 1));
  const blocked = Math.max(0, requests * 0.12 * (wave(t, 300, 2) + 0.3) + at(t, 2));
  const trouble = Math.max(0, wave(t, 700, 4) - 0.8) * 6;
  const errors = Math.max(0, 0.1 + trouble + 0.4 * at(t, 3));
  const p50 = 0.42 + 0.08 * wave(t, 260) + 0.05 * at(t, 4) + trouble * 0.1;
  return {
    requests, blocked, allowed: requests - blocked, errors,
    success_ratio: 1 - errors / Math.max(1, requests - blocked),
    in_flight: Math.round(requests * p50 * 1.3),
    latency_p50_s: p50, latency_p95_s: p50 * 3.1 + 0.3 * at(t, 5),
    ttft_p50_s: p50 * 0.4, ttft_p95_s: p50 * 1.1 + 0.1 * at(t, 6),
    overhead_p50_s: 0.00009 + 0.00001 * at(t, 7), overhead_p95_s: 0.00034 + 0.0001 * at(t, 8),
    tokens_input: requests * 310, tokens_output: requests * 118 + 200 * at(t, 9),
    cost_usd: requests * 0.42,
    upstream_errors: errors * 1.8, retries: errors * 1.2, fallbacks: errors * 0.5,
    disconnects: Math.max(0, 0.2 + 0.4 * at(t, 10)), auth_failures: Math.max(0, at(t, 11) - 0.3),
    cpu_cores: requests * 0.0042 + 0.01, memory_bytes: 118e6 + 3e6 * wave(t, 800),
    open_fds: 62 + Math.round(8 * at(t, 12)), threads: 7, loop_lag_s: 0.0004 + 0.0004 * noise(t, 13),
    ledger_lag_s: 0.09 + 0.08 * noise(t, 14), upstream_connections: Math.round(9 + 4 * at(t, 15)),
  };
}

const UNITS = {
  cost_usd: "usd_per_h", success_ratio: "ratio", cpu_ratio: "ratio", cpu_cores: "cores",
  in_flight: "count", open_fds: "count", threads: "count", connections: "count", upstream_connections: "count",
  memory_bytes: "bytes",
};
export const unit = (name) => UNITS[name] ?? (name.endsWith("_s") ? "s" : "per_s");

/** Readings of one second: [name, by, labels, value]. */
export function readings(t) {
  const all = total(t);
  const rows = Object.entries(all).map(([name, value]) => [name, "total", {}, value]);
  const shares = { provider: [0.5, 0.32, 0.18], model: [0.62, 0.28, 0.1], key: [0.38, 0.27, 0.18, 0.11, 0.06] };
  for (const [by, names] of Object.entries({ provider: PROVIDERS, model: MODELS, key: KEYS })) {
    names.forEach((label, i) => {
      const share = shares[by][i] * (1 + 0.2 * wave(t, 200 + 60 * i, i));
      const labels = { [by]: label };
      const add = (name, value) => rows.push([name, by, labels, value]);
      add("requests", all.allowed * share);
      add("tokens_output", all.tokens_output * share);
      add("cost_usd", label === "local-vllm" ? 0 : all.cost_usd * share);
      if (by === "key") return add("tokens_input", all.tokens_input * share);
      add("errors", all.errors * (i === 0 ? 0.9 : 0.05));
      add("latency_p50_s", all.latency_p50_s * (0.7 + 0.5 * i));
      add("latency_p95_s", all.latency_p95_s * (0.7 + 0.4 * i));
      add("ttft_p95_s", label === "embed-small" ? null : all.ttft_p95_s * (0.8 + 0.3 * i));
    });
  }
  LIMITS.forEach((limit, i) => {
    const labels = { limit: limit.name };
    rows.push(["allowed", "limit", labels, all.allowed]);
    rows.push(["blocked", "limit", labels, limit.mode === "shadow" ? 0 : all.blocked * [0.7, 0.3][i]]);
    rows.push(["near", "limit", labels, all.blocked * 0.4]);
    rows.push(["shadow", "limit", labels, limit.mode === "shadow" ? all.blocked * 0.2 : 0]);
  });
  for (const worker of [0, 1]) {
    const labels = { worker: String(worker) };
    rows.push(["cpu_ratio", "worker", labels, all.cpu_cores * (worker ? 0.48 : 0.42)]);
    rows.push(["memory_bytes", "worker", labels, 36e6 + worker * 1.2e6]);
    rows.push(["loop_lag_s", "worker", labels, all.loop_lag_s * (1 + worker)]);
    rows.push(["connections", "worker", labels, Math.round(14 + 4 * wave(t, 60, worker))]);
  }
  return rows;
}

export function series(range, by, now_s) {
  const step_s = range === "24h" ? 60 : 1;
  const count = range === "24h" ? 1440 : 900;
  const end = Math.floor(now_s / step_s) * step_s;
  const start = end - (count - 1) * step_s;
  const found = new Map();
  for (let i = 0; i < count; i += 1) {
    const t = start + i * step_s;
    // The instance was down for a while.
    const down = range === "24h" ? i > 400 && i < 425 : i > 130 && i < 170;
    for (const [name, group, labels, value] of readings(t)) {
      if (group !== by) continue;
      const key = `${name} ${JSON.stringify(labels)}`;
      if (!found.has(key)) found.set(key, { name, unit: unit(name), labels, values: [] });
      found.get(key).values.push(down ? null : value);
    }
  }
  return { range, step_s, start_ms: start * 1000, count, series: [...found.values()] };
}

let made = 0;
const pick = (list) => list[Math.floor(Math.random() ** 1.4 * list.length)];

export function request(time_ms) {
  made += 1;
  const key = pick(KEYS);
  const model = pick(MODELS);
  const stream = model !== "embed-small" && Math.random() < 0.6;
  const attempt = (provider, outcome, status, duration_s) => ({ provider, model: { acme: "acme-large", "local-vllm": "qwen3-8b", openai: "gpt-4o" }[provider], outcome, status, duration_s });
  const took = 0.2 + Math.random() * Math.random() * 3;
  const row = {
    request_id: `req-${made.toString(16).padStart(6, "0")}${Math.random().toString(16).slice(2, 14)}`, time_ms,
    endpoint: model === "embed-small" ? "embeddings" : "chat_completions", status: 200, outcome: "ok", stream, key,
    team: TEAMS[key], model, duration_s: took + 0.0004, ttft_s: stream ? took * 0.3 : null,
    input_tokens: Math.round(80 + Math.random() * 900), output_tokens: Math.round(20 + Math.random() * 400),
    cost_usd: Math.random() * 0.006, limit: null, attempts: [attempt(pick(PROVIDERS), "ok", 200, took)],
  };
  const fate = Math.random();
  const refused = { attempts: [], duration_s: 0.0003, ttft_s: null, input_tokens: null, output_tokens: null, cost_usd: null };
  if (fate < 0.1) Object.assign(row, refused, { status: 429, outcome: "rate_limit_exceeded", limit: "per-key", stream: false });
  else if (fate < 0.13) Object.assign(row, refused, { status: 401, outcome: "invalid_api_key", key: null, team: null, model: null, stream: false });
  else if (fate < 0.15) Object.assign(row, refused, { status: 404, outcome: "model_not_found", model: null, stream: false });
  else if (fate < 0.22) {
    row.attempts = [attempt("acme", "http_5xx", 503, 0.31), attempt("acme", "timeout", null, 0.9), attempt("openai", "ok", 200, took)];
    row.duration_s = took + 1.26;
    if (stream) row.ttft_s = 1.26 + took * 0.3;
  } else if (fate < 0.25) {
    row.attempts = [attempt("acme", "timeout", null, 2), attempt("openai", "connect", null, 0.2)];
    Object.assign(row, { status: 504, outcome: "upstream_timeout", duration_s: 2.3, ttft_s: null, output_tokens: null, cost_usd: null });
  }
  return row;
}

export function instance(now_s, started_s, address) {
  const all = total(now_s);
  const worker = (n) => ({ worker: n, state: "ready", connections: 14, in_flight: Math.round(all.in_flight / 2), cpu_ratio: 0.1, memory_bytes: 36e6, loop_lag_s: 0.0005, restarts: n });
  return {
    name: "gateway-1", version: "0.1.0", started_ms: started_s * 1000, uptime_s: now_s - started_s, generation: 3, address,
    ready: true, workers: [worker(0), worker(1)], providers: PROVIDERS, models: MODELS, limits: LIMITS, keys: KEYS,
  };
}

export function limits(now_s) {
  const all = total(now_s);
  const subject = (limit, per, name, used_ratio, size) => ({ limit, per, subject: name, used_ratio, remaining: Math.round(size * (1 - used_ratio)), full_in_s: used_ratio * 6 });
  return {
    limits: LIMITS.map((limit, i) => ({ ...limit, allowed_total: 128400 - i, blocked_total: [5210, 388, 0][i], near_total: 2100 - 700 * i, shadow_total: i === 2 ? 913 : 0 })),
    subjects: [
      subject("per-key", "key", "ci", Math.min(1, 0.9 + all.blocked / 30), 60),
      subject("per-key", "key", "support-bot", 0.83, 60),
      subject("everybody", "global", "global", all.requests / 45, 80),
      subject("per-key", "key", "search", 0.31, 60),
      subject("per-key", "key", "notebook-ana", 0.07, 60),
    ].sort((a, b) => b.used_ratio - a.used_ratio),
  };
}

const RULES = [
  ["HighRateLimitBlocking", "warning", 300, "More than ten requests a second are blocked."],
  ["TidegateProviderDown", "critical", 120, "Most attempts at a provider fail."],
  ["TidegateAvailabilityBurn", "critical", 60, "The error budget of a month burns in two days."],
  ["TidegateFirstTokenSlow", "warning", 300, "Streams wait long for their first token."],
  ["TidegateLedgerLag", "warning", 300, "The ledger is behind by more than 30 seconds."],
  ["TidegateWorkerCrashLoop", "critical", 0, "Workers restart again and again."],
  ["TidegateLoopLag", "warning", 300, "An event loop answers late."],
  ["TidegateSeriesDropped", "info", 0, "Series are folded into `other`."],
  ["TidegateModelUnpriced", "info", 600, "Requests run for a model without a price."],
];

export function alerts(now_s) {
  const alert = (name, severity, state, age_s, summary, description, labels, value) => ({ name, severity, state, since_ms: Math.floor(now_s / 60) * 60_000 - age_s * 1000, summary, description, runbook: `docs/runbooks/${name}.md`, labels, value });
  const list = [
    alert("TidegateProviderDown", "critical", "firing", 260, "Provider acme fails 31% of attempts.", "Its attempts fail for longer than two minutes; models with a fallback go on working.", { provider: "acme" }, 0.31),
    alert("HighRateLimitBlocking", "warning", "pending", 90, "More than ten requests a second are blocked.", "", {}, 11.4),
  ];
  const state = Object.fromEntries(list.map((one) => [one.name, one.state]));
  return {
    alerts: list,
    rules: RULES.map(([name, severity, for_s, summary], i) => ({ name, severity, for_s, summary, state: state[name] ?? (i === 8 ? "no_data" : "ok") })),
  };
}
