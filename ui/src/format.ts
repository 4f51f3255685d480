/** Numbers for people: one rule a unit, "–" for what was not measured. */

export const NONE = "–";

export type Unit = "per_s" | "tokens_per_s" | "usd_per_h" | "usd" | "ratio" | "s" | "bytes" | "count" | "cores";

type Maybe = number | null | undefined;

function known(value: Maybe): value is number {
  return value !== null && value !== undefined && Number.isFinite(value);
}

/** Keep about three digits: 0.25, 7.1, 42, 980, 1.2 k, 3.4 M. */
export function count(value: Maybe): string {
  if (!known(value)) return NONE;
  const size = Math.abs(value);
  if (size >= 999_500_000) return `${digits(value / 1e9)} G`;
  if (size >= 999_500) return `${digits(value / 1e6)} M`;
  if (size >= 9_999.5) return `${digits(value / 1e3)} k`;
  if (size >= 999.5) return Math.round(value).toLocaleString("en-US");
  return digits(value);
}

function digits(value: number): string {
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 99.95 || (Number.isInteger(value) && size >= 1)) return String(Math.round(value));
  if (size >= 9.995) return trimmed(value.toFixed(1));
  if (size >= 0.01) return trimmed(value.toFixed(2));
  return value.toPrecision(1);
}

function trimmed(text: string): string {
  return text.includes(".") ? text.replace(/0+$/, "").replace(/\.$/, "") : text;
}

/** Seconds as µs, ms, s, min, h or d. */
export function duration(seconds: Maybe): string {
  if (!known(seconds)) return NONE;
  const size = Math.abs(seconds);
  if (size === 0) return "0 s";
  if (size < 0.000_999_5) return `${digits(seconds * 1e6)} µs`;
  if (size < 0.999_5) return `${digits(seconds * 1e3)} ms`;
  if (size < 119.5) return `${digits(seconds)} s`;
  if (size < 7_200) return `${Math.round(seconds / 60)} min`;
  if (size < 172_800) return `${trimmed((seconds / 3600).toFixed(1))} h`;
  return `${trimmed((seconds / 86_400).toFixed(1))} d`;
}

export function bytes(value: Maybe): string {
  if (!known(value)) return NONE;
  const steps = ["B", "KiB", "MiB", "GiB", "TiB"];
  let scaled = value;
  let step = 0;
  while (Math.abs(scaled) >= 1023.5 && step < steps.length - 1) {
    scaled /= 1024;
    step += 1;
  }
  return `${digits(scaled)} ${steps[step]}`;
}

/** Dollars; small amounts keep two digits that mean something. */
export function usd(value: Maybe): string {
  if (!known(value)) return NONE;
  const size = Math.abs(value);
  if (size === 0) return "$0";
  if (size < 0.000_001) return "<$0.000001";
  if (size < 0.0995) {
    const places = 1 - Math.floor(Math.log10(size));
    return `$${value.toFixed(places)}`;
  }
  if (size < 9_999.5) {
    return `$${value.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 })}`;
  }
  return `$${count(value)}`;
}

/** A share; 99.99 % is never shown as 100 %, nor 0.001 % as 0 %. */
export function percent(ratio: Maybe): string {
  if (!known(ratio)) return NONE;
  if (ratio === 0) return "0%";
  if (ratio > 0 && ratio < 0.0001) return "<0.01%";
  if (ratio < 1 && ratio >= 0.9) return `${trimmed((Math.floor(ratio * 10_000) / 100).toFixed(2))}%`;
  if (ratio < 0.1) return `${trimmed((ratio * 100).toFixed(2))}%`;
  return `${trimmed((ratio * 100).toFixed(1))}%`;
}

/** A value with the sign of its unit. */
export function withUnit(value: Maybe, unit: Unit): string {
  if (!known(value)) return NONE;
  switch (unit) {
    case "per_s":
      return `${count(value)}/s`;
    case "tokens_per_s":
      return `${count(value)}/s`;
    case "usd_per_h":
      return `${usd(value)}/h`;
    case "usd":
      return usd(value);
    case "ratio":
      return percent(value);
    case "s":
      return duration(value);
    case "bytes":
      return bytes(value);
    case "cores":
      return digits(value);
    case "count":
      return count(value);
  }
}

/** A bare number for an axis, where the unit already stands in the title. */
export function axis(value: number, unit: Unit): string {
  if (unit === "per_s" || unit === "tokens_per_s") {
    return value >= 1000 && value < 10_000 ? `${value / 1000} k` : count(value);
  }
  if (unit === "usd_per_h") return Number.isInteger(value) ? `$${count(value)}` : usd(value);
  return withUnit(value, unit);
}

function pad(value: number): string {
  return String(value).padStart(2, "0");
}

/** Local time of day, 21:04:09. */
export function clock(time_ms: number): string {
  const date = new Date(time_ms);
  return `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
}

/** Local time of day without seconds, 21:04. */
export function minutes(time_ms: number): string {
  return clock(time_ms).slice(0, 5);
}

export function ago(time_ms: number, now_ms: number): string {
  const seconds = Math.max(0, Math.round((now_ms - time_ms) / 1000));
  return seconds < 1 ? "just now" : `${duration(seconds)} ago`;
}

export function plural(number: number, one: string, many = `${one}s`): string {
  return `${number.toLocaleString("en-US")} ${number === 1 ? one : many}`;
}

/** "60 requests per minute, burst 10": a limit in words. */
export function limitText(limit: {
  requests: number | null;
  window_s: number | null;
  burst: number | null;
}): string {
  if (limit.requests === null || limit.window_s === null) return `${count(limit.burst)} at once`;
  const named: Record<number, string> = { 1: "second", 60: "minute", 3600: "hour", 86400: "day" };
  const window = named[limit.window_s] ?? duration(limit.window_s);
  const burst = limit.burst !== null && limit.burst !== limit.requests ? `, burst ${count(limit.burst)}` : "";
  return `${count(limit.requests)} per ${window}${burst}`;
}
