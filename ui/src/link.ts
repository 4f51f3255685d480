/** The event stream of the control port, opened again with growing pauses when it breaks. */

export type LinkState = "connecting" | "live" | "waiting";

export interface LinkHandlers {
  /** Called after each opening: what happened in between was missed. */
  opened(): void;
  event(kind: string, data: unknown): void;
  changed(): void;
  /** Ask whether the session still counts; the link ends when it does not. */
  authorized(): Promise<boolean>;
}

export const EVENTS = ["sample", "requests", "alerts", "instance"] as const;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 20_000;

/** Pause before the nth attempt in a row (0 is the first), spread so that tabs do not march. */
export function pause_ms(failures: number, random: number = Math.random()): number {
  const whole = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** failures);
  return whole * (0.5 + random / 2);
}

export class Link {
  state: LinkState = "connecting";
  /** When the next attempt is due, Unix ms; 0 while there is none. */
  retry_ms = 0;
  #failures = 0;
  #source: EventSource | null = null;
  #timer = 0;
  #ended = false;

  constructor(
    private readonly address: string,
    private readonly handlers: LinkHandlers,
  ) {
    this.#open();
    addEventListener("online", this.retry);
    document.addEventListener("visibilitychange", this.#seen);
  }

  end(): void {
    this.#ended = true;
    clearTimeout(this.#timer);
    this.#source?.close();
    removeEventListener("online", this.retry);
    document.removeEventListener("visibilitychange", this.#seen);
  }

  /** Do not wait for the pause to end. */
  retry = (): void => {
    if (this.state !== "waiting" || this.#ended) return;
    clearTimeout(this.#timer);
    this.#open();
  };

  #seen = (): void => {
    if (document.visibilityState === "visible") this.retry();
  };

  #open(): void {
    this.state = "connecting";
    this.retry_ms = 0;
    const source = new EventSource(this.address);
    this.#source = source;
    source.onopen = () => {
      this.state = "live";
      this.#failures = 0;
      this.handlers.opened();
      this.handlers.changed();
    };
    for (const kind of EVENTS) {
      source.addEventListener(kind, (event) => this.handlers.event(kind, JSON.parse(event.data)));
    }
    source.onerror = () => void this.#broken(source);
    this.handlers.changed();
  }

  async #broken(source: EventSource): Promise<void> {
    source.close();
    if (this.#ended || source !== this.#source) return;
    this.#source = null;
    this.state = "waiting";
    const wait = pause_ms(this.#failures);
    this.#failures += 1;
    this.retry_ms = Date.now() + wait;
    this.#timer = window.setTimeout(() => this.#open(), wait);
    this.handlers.changed();
    if (!(await this.handlers.authorized())) this.end();
  }
}
