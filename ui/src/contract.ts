/** What the control port answers: see `GET /api/openapi.json`. Times in ms are Unix times. */

export interface Worker {
  worker: number;
  state: string;
  connections: number;
  in_flight: number;
  cpu_ratio: number | null;
  memory_bytes: number | null;
  loop_lag_s: number | null;
  restarts: number;
}

export interface LimitRule {
  name: string;
  per: string;
  requests: number | null;
  window_s: number | null;
  burst: number | null;
  mode: string;
}

export interface Instance {
  name: string;
  version: string;
  started_ms: number;
  uptime_s: number;
  generation: number;
  address: string;
  ready: boolean;
  workers: Worker[];
  providers: string[];
  models: string[];
  limits: LimitRule[];
  keys: string[];
}

export type Range = "15m" | "24h";
export type By = "total" | "provider" | "model" | "key" | "limit" | "worker";

/** A reading that was not taken is null. */
export type Value = number | null;

export interface Series {
  name: string;
  unit: string;
  labels: Record<string, string>;
  values: Value[];
}

export interface SeriesAnswer {
  range: Range;
  step_s: number;
  start_ms: number;
  count: number;
  series: Series[];
}

export interface SampleEvent {
  time_ms: number;
  series: { name: string; by: By; labels: Record<string, string>; value: Value }[];
}

export interface Attempt {
  provider: string;
  model: string;
  outcome: string;
  /** 0 when there was no answer. */
  status: number | null;
  duration_s: number | null;
}

export interface RequestRow {
  request_id: string;
  time_ms: number;
  endpoint: string;
  status: number;
  outcome: string;
  stream: boolean;
  key: string | null;
  team: string | null;
  model: string | null;
  duration_s: number | null;
  ttft_s: number | null;
  input_tokens: number | null;
  output_tokens: number | null;
  cost_usd: number | null;
  limit: string | null;
  attempts: Attempt[];
}

export interface LimitTotals extends LimitRule {
  allowed_total: number;
  blocked_total: number;
  near_total: number;
  shadow_total: number;
}

export interface Subject {
  limit: string;
  per: string;
  subject: string;
  used_ratio: number;
  remaining: number | null;
  full_in_s: number | null;
}

export interface LimitsAnswer {
  limits: LimitTotals[];
  subjects: Subject[];
}

export interface Alert {
  name: string;
  severity: "critical" | "warning" | "info";
  state: "firing" | "pending";
  since_ms: number;
  summary: string;
  description: string;
  runbook: string | null;
  labels: Record<string, string>;
  value: number | null;
}

export interface AlertRule {
  name: string;
  severity: string;
  for_s: number;
  summary: string;
  state: "firing" | "pending" | "ok" | "no_data";
}

export interface AlertsAnswer {
  alerts: Alert[];
  rules: AlertRule[];
}
