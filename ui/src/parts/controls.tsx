import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import * as api from "../api";
import type { Range } from "../contract";
import { live } from "../live";
import { amend } from "../route";

interface Choice<T extends string> {
  value: T;
  label: string;
  face?: ComponentChildren;
}

/** A few exclusive choices in a row: real radio buttons, so arrow keys work. */
export function Segments<T extends string>(props: {
  name: string;
  label: string;
  value: T;
  choices: readonly Choice<T>[];
  onChoose: (value: T) => void;
}) {
  return (
    <fieldset class="segments">
      <legend class="sr">{props.label}</legend>
      {props.choices.map((choice) => (
        <label key={choice.value} title={choice.face ? choice.label : undefined}>
          <input
            type="radio"
            name={props.name}
            value={choice.value}
            checked={choice.value === props.value}
            aria-label={choice.label}
            onChange={() => props.onChoose(choice.value)}
          />
          <span>{choice.face ?? choice.label}</span>
        </label>
      ))}
    </fieldset>
  );
}

export function rangeOf(query: URLSearchParams): Range {
  return query.get("range") === "24h" ? "24h" : "15m";
}

export function RangeSwitch({ range }: { range: Range }) {
  return (
    <Segments
      name="range"
      label="Time shown"
      value={range}
      choices={[
        { value: "15m", label: "15 min" },
        { value: "24h", label: "24 h" },
      ]}
      onChoose={(value) => amend({ range: value === "15m" ? null : value })}
    />
  );
}

/** Ask now and every few seconds, while the page is seen; errors keep the last answer. */
export function usePoll<T>(ask: () => Promise<T>, every_ms: number) {
  const [data, setData] = useState<T | null>(null);
  const [error, setError] = useState<string | null>(null);
  const [round, setRound] = useState(0);
  useEffect(() => {
    let ended = false;
    const once = async () => {
      if (document.hidden) return;
      try {
        const answer = await ask();
        if (ended) return;
        setData(answer);
        setError(null);
      } catch (problem) {
        if (ended) return;
        if (problem instanceof api.Unauthorized) void live.begin();
        else setError((problem as Error).message);
      }
    };
    void once();
    const timer = setInterval(once, every_ms);
    return () => {
      ended = true;
      clearInterval(timer);
    };
  }, [round]);
  return { data, error, retry: () => setRound(round + 1) };
}

export function Meter({ ratio, label, title }: { ratio: number; label: string; title: string }) {
  const level = ratio >= 0.95 ? "full" : ratio >= 0.8 ? "near" : "fine";
  return (
    <div
      class={`meter ${level}`}
      role="meter"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.round(Math.min(1, ratio) * 100)}
      title={title}
    >
      <span style={{ width: `${Math.min(100, ratio * 100)}%` }} />
    </div>
  );
}
