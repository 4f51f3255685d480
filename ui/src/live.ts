import { useEffect, useReducer } from "preact/hooks";
import * as api from "./api";
import type { AlertRule, AlertsAnswer, Alert, By, Instance, Range, RequestRow, SampleEvent } from "./contract";
import { Link } from "./link";
import { SeriesSet } from "./series";

const KEPT_REQUESTS = 500;
const REFRESH_24H_MS = 60_000;
/** A reading older than this is no longer called live. */
export const STALE_MS = 5_000;

export type Session = "unknown" | "out" | "in";

interface Loaded {
  set: SeriesSet | null;
  error: string | null;
  loading: boolean;
  used_ms: number;
}

/** Everything the pages show, and the one place that talks to the control port for it. */
export class Live {
  session: Session = "unknown";
  /** Why there is no session, if something went wrong. */
  trouble: string | null = null;
  instance: Instance | null = null;
  alerts: Alert[] = [];
  rules: AlertRule[] | null = null;
  requests: RequestRow[] | null = null;
  link: Link | null = null;
  sampled_ms = 0;
  readonly #series = new Map<string, Loaded>();
  readonly #listeners = new Set<() => void>();
  #timers: number[] = [];
  #opened_ms = 0;
  #due = false;

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Find out whether the cookie of an earlier visit still counts. */
  async begin(): Promise<void> {
    try {
      this.instance = await api.instance();
      this.#enter();
    } catch (error) {
      this.#refused(error);
    }
    this.changed();
  }

  async login(token: string): Promise<void> {
    await api.login(token);
    this.instance = await api.instance();
    this.#enter();
    this.changed();
  }

  async logout(): Promise<void> {
    try {
      await api.logout();
    } finally {
      this.#leave();
    }
  }

  /** Series of a range and grouping; asks for them at the first use. */
  series(range: Range, by: By): Loaded {
    const name = `${range} ${by}`;
    let loaded = this.#series.get(name);
    if (loaded === undefined) {
      loaded = { set: null, error: null, loading: false, used_ms: 0 };
      this.#series.set(name, loaded);
    }
    loaded.used_ms = Date.now();
    if (loaded.set === null && loaded.error === null && !loaded.loading) void this.#load(range, by, loaded);
    return loaded;
  }

  retrySeries(range: Range, by: By): void {
    this.#series.delete(`${range} ${by}`);
    this.changed();
  }

  get stale(): boolean {
    // A stream that opened and never brought a reading is stale too.
    const heard_ms = Math.max(this.sampled_ms, this.#opened_ms);
    return this.link?.state === "live" && Date.now() - heard_ms > STALE_MS;
  }

  /** Tell all readers, at most once a frame. */
  changed(): void {
    if (this.#due) return;
    this.#due = true;
    const tell = () => {
      this.#due = false;
      for (const listener of this.#listeners) listener();
    };
    // A hidden page gets no frames: what it shows is drawn when it is seen again.
    requestAnimationFrame(tell);
  }

  async refreshInstance(): Promise<void> {
    await this.#attempt(async () => {
      this.instance = await api.instance();
    });
  }

  async refreshAlerts(): Promise<void> {
    await this.#attempt(async () => this.#setAlerts(await api.alerts()));
  }

  #enter(): void {
    this.session = "in";
    this.trouble = null;
    this.link?.end();
    this.link = new Link("/api/live", {
      opened: () => this.#opened(),
      event: (kind, data) => this.#event(kind, data),
      changed: () => this.changed(),
      authorized: () => this.#authorized(),
    });
    this.#timers.push(window.setInterval(() => this.#refresh24h(), REFRESH_24H_MS));
    this.#timers.push(window.setInterval(() => this.stale && this.changed(), 1_000));
  }

  #leave(): void {
    this.session = "out";
    this.link?.end();
    this.link = null;
    for (const timer of this.#timers) clearInterval(timer);
    this.#timers = [];
    this.#series.clear();
    this.instance = null;
    this.alerts = [];
    this.rules = null;
    this.requests = null;
    this.sampled_ms = 0;
    this.changed();
  }

  #refused(error: unknown): void {
    if (error instanceof api.Unauthorized) {
      this.#leave();
    } else {
      this.trouble = error instanceof Error ? error.message : String(error);
    }
  }

  async #attempt(task: () => Promise<void>): Promise<boolean> {
    try {
      await task();
      return true;
    } catch (error) {
      if (error instanceof api.Unauthorized) this.#leave();
      return !(error instanceof api.Unauthorized);
    } finally {
      this.changed();
    }
  }

  #authorized(): Promise<boolean> {
    return this.#attempt(async () => {
      this.instance = await api.instance();
    });
  }

  /** What was missed while there was no stream is asked for again. */
  #opened(): void {
    this.#opened_ms = Date.now();
    for (const [name, loaded] of this.#series) {
      const [range, by] = name.split(" ") as [Range, By];
      if (!loaded.loading) void this.#load(range, by, loaded);
    }
    void this.refreshInstance();
    void this.refreshAlerts();
    void this.#attempt(async () => {
      this.requests = merge(await api.requests(), this.requests ?? []);
    });
  }

  #event(kind: string, data: unknown): void {
    if (kind === "sample") {
      const sample = data as SampleEvent;
      this.sampled_ms = Date.now();
      for (const [name, loaded] of this.#series) {
        const [range, by] = name.split(" ");
        if (range === "15m" && by !== undefined) loaded.set?.append(sample, by);
      }
    } else if (kind === "requests") {
      const rows = (data as { requests: RequestRow[] }).requests;
      this.requests = merge(rows, this.requests ?? []);
    } else if (kind === "instance") {
      this.instance = data as Instance;
    } else if (kind === "alerts") {
      this.#setAlerts(data as Partial<AlertsAnswer>);
      if (!(data as Partial<AlertsAnswer>).rules) void this.refreshAlerts();
    }
    this.changed();
  }

  #setAlerts(answer: Partial<AlertsAnswer>): void {
    if (answer.alerts) this.alerts = answer.alerts;
    if (answer.rules) this.rules = answer.rules;
  }

  async #load(range: Range, by: By, loaded: Loaded): Promise<void> {
    loaded.loading = true;
    try {
      loaded.set = new SeriesSet(await api.series(range, by));
      loaded.error = null;
    } catch (error) {
      if (error instanceof api.Unauthorized) this.#leave();
      else if (loaded.set === null) loaded.error = (error as Error).message;
    }
    loaded.loading = false;
    this.changed();
  }

  #refresh24h(): void {
    for (const [name, loaded] of this.#series) {
      const [range, by] = name.split(" ") as [Range, By];
      const read = Date.now() - loaded.used_ms < 2 * REFRESH_24H_MS;
      if (range === "24h" && read && !loaded.loading) void this.#load(range, by, loaded);
    }
  }
}

/** New rows before known ones, newest first, each once; the oldest fall off. */
export function merge(fresh: readonly RequestRow[], known: readonly RequestRow[]): RequestRow[] {
  const seen = new Set<string>();
  const all: RequestRow[] = [];
  for (const row of [...fresh, ...known]) {
    if (seen.has(row.request_id)) continue;
    seen.add(row.request_id);
    all.push(row);
  }
  all.sort((a, b) => b.time_ms - a.time_ms);
  return all.slice(0, KEPT_REQUESTS);
}

export const live = new Live();

/** The model; the component is drawn again whenever it changes. */
export function useLive(): Live {
  const [, redraw] = useReducer<number, void>((drawn) => drawn + 1, 0);
  useEffect(() => live.subscribe(redraw as () => void), []);
  return live;
}
