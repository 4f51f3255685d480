import type { SampleEvent, SeriesAnswer, Value } from "./contract";

/** Points that are given even if the first of them were not measured. */
export const LEAST_POINTS = 120;

/**
 * The series of one range and one grouping, oldest first, all on the same seconds.
 *
 * What lies before the first reading of all is left out: an instance that has just started
 * shows its first minutes over the whole width, not squeezed against the edge.
 */
export class SeriesSet {
  readonly step_s: number;
  readonly #times_s: number[];
  /** Index of the first reading of any series. */
  #first: number;
  readonly #values = new Map<string, Value[]>();
  readonly #labels = new Set<string>();

  constructor(answer: SeriesAnswer) {
    this.step_s = answer.step_s;
    const start_s = Math.round(answer.start_ms / 1000);
    this.#times_s = Array.from({ length: answer.count }, (_, i) => start_s + i * answer.step_s);
    this.#first = answer.count;
    for (const series of answer.series) {
      this.#store(series.name, series.labels, series.values.slice());
      const first = series.values.findIndex((value) => value !== null);
      if (first >= 0) this.#first = Math.min(this.#first, first);
    }
  }

  /** Unix seconds of each point. */
  get times_s(): number[] {
    return this.#times_s.slice(this.#start());
  }

  /** Values of a series; all null for one that was never seen. */
  values(name: string, label = ""): Value[] {
    return (this.#values.get(key(name, label)) ?? this.#empty()).slice(this.#start());
  }

  /** What the grouping found: provider names, key names, worker numbers; "" for the total. */
  labels(): string[] {
    return [...this.#labels].sort(byName);
  }

  /** Add one second of readings. What the event does not mention was not measured. */
  append(event: SampleEvent, by: string): void {
    const time_s = Math.round(event.time_ms / 1000);
    const times_s = this.#times_s;
    const last_s = times_s.at(-1);
    if (last_s === undefined) return;
    let steps = Math.round((time_s - last_s) / this.step_s);
    if (steps < 0) return;
    steps = Math.min(steps, times_s.length);
    this.#first = Math.max(0, Math.min(this.#first, times_s.length - 1) - steps);
    for (let i = 0; i < steps; i += 1) {
      times_s.shift();
      times_s.push(time_s - (steps - 1 - i) * this.step_s);
    }
    for (const values of this.#values.values()) {
      for (let i = 0; i < steps; i += 1) {
        values.shift();
        values.push(null);
      }
    }
    for (const sample of event.series) {
      if (sample.by !== by) continue;
      const label = labelOf(sample.labels);
      let values = this.#values.get(key(sample.name, label));
      if (values === undefined) {
        values = this.#empty();
        this.#store(sample.name, sample.labels, values);
      }
      values[values.length - 1] = sample.value;
    }
  }

  #store(name: string, labels: Record<string, string>, values: Value[]): void {
    const label = labelOf(labels);
    this.#labels.add(label);
    this.#values.set(key(name, label), values);
  }

  #start(): number {
    return Math.max(0, Math.min(this.#first, this.#times_s.length - LEAST_POINTS));
  }

  #empty(): Value[] {
    return new Array<Value>(this.#times_s.length).fill(null);
  }
}

function key(name: string, label: string): string {
  return `${name}\u0000${label}`;
}

function labelOf(labels: Record<string, string>): string {
  return Object.values(labels)[0] ?? "";
}

function byName(a: string, b: string): number {
  return a.localeCompare(b, "en", { numeric: true });
}

/** Mean of the last `points` readings, or null if none was taken. */
export function recent(values: readonly Value[], points: number): Value {
  return mean(values.slice(-points));
}

export function mean(values: readonly Value[]): Value {
  let sum = 0;
  let taken = 0;
  for (const value of values) {
    if (value === null) continue;
    sum += value;
    taken += 1;
  }
  return taken === 0 ? null : sum / taken;
}

export function highest(values: readonly Value[]): Value {
  let found: Value = null;
  for (const value of values) if (value !== null && (found === null || value > found)) found = value;
  return found;
}

export function lowest(values: readonly Value[]): Value {
  let found: Value = null;
  for (const value of values) if (value !== null && (found === null || value < found)) found = value;
  return found;
}

/** Means of equal parts, newest part last; for drawings that are narrower than the series. */
export function shrink(values: readonly Value[], parts: number): Value[] {
  if (values.length <= parts) return values.slice();
  const size = values.length / parts;
  return Array.from({ length: parts }, (_, i) =>
    mean(values.slice(Math.floor(i * size), Math.floor((i + 1) * size))),
  );
}

/** Point by point sum; null only where every series is null. */
export function sum(all: readonly (readonly Value[])[]): Value[] {
  const length = all[0]?.length ?? 0;
  return Array.from({ length }, (_, i) => {
    let total: Value = null;
    for (const values of all) {
      const value = values[i] ?? null;
      if (value !== null) total = (total ?? 0) + value;
    }
    return total;
  });
}
