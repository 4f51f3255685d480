import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import type { Value } from "../contract";
import { axis, clock, minutes, NONE, type Unit, withUnit } from "../format";
import { highest } from "../series";
import { onColours } from "../theme";

export type Colour = "blue" | "orange" | "red" | "green" | "purple" | "sky" | "grey";

export interface Line {
  label: string;
  colour: Colour;
  values: readonly Value[];
  /** Drawn broken, so that two lines differ by more than colour. */
  dashed?: boolean;
  filled?: boolean;
}

interface ChartProps {
  title: string;
  unit: Unit;
  times_s: readonly number[];
  lines: readonly Line[];
  /** Shown instead of the drawing when nothing was measured. */
  nothing?: string;
  height?: number;
}

const SHARED_CURSOR = "tidegate";
/** Steps of an axis in bytes, so that its labels are whole KiB and MiB. */
const POWERS_OF_TWO = Array.from({ length: 48 }, (_, i) => 2 ** i);

/** Lines over time. All charts of a page share one cursor, and show its values in their legends. */
export function Chart({ title, unit, times_s, lines, nothing, height = 168 }: ChartProps) {
  const place = useRef<HTMLDivElement>(null);
  const legend = useRef<HTMLUListElement>(null);
  const tip = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const latest = useRef({ lines, unit, times_s });
  latest.current = { lines, unit, times_s };
  const shape = lines.map((line) => `${line.label} ${line.colour}`).join("|");
  const empty = highest(lines.flatMap((line) => highest(line.values))) === null;

  useEffect(() => {
    const root = place.current;
    if (root === null || empty) return;
    const build = () => {
      plot.current?.destroy();
      plot.current = draw(root, latest.current, () => write(legend.current, tip.current, plot.current, latest.current));
    };
    build();
    const resized = new ResizeObserver(() => {
      if (root.clientWidth > 0) plot.current?.setSize({ width: root.clientWidth, height: root.clientHeight });
    });
    resized.observe(root);
    const forget = onColours(build);
    return () => {
      forget();
      resized.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [shape, unit, empty]);

  useEffect(() => {
    plot.current?.setData(columns(latest.current) as uPlot.AlignedData);
    write(legend.current, tip.current, plot.current, latest.current);
  });

  const move = (event: KeyboardEvent) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: 30, PageDown: -30 }[event.key];
    const u = plot.current;
    if (u === null || (step === undefined && event.key !== "Escape")) return;
    event.preventDefault();
    if (step === undefined) {
      u.setCursor({ left: -10, top: -10 });
      return;
    }
    const last = times_s.length - 1;
    const from = u.cursor.idx ?? last;
    const index = Math.max(0, Math.min(last, from + step));
    u.setCursor({ left: u.valToPos(times_s[index] ?? 0, "x"), top: 10 });
  };

  return (
    <figure class="card chart" aria-label={title}>
      <figcaption>
        <h3>{title}</h3>
        <ul class="legend" ref={legend}>
          {lines.map((line) => (
            <li key={line.label}>
              <span class={`swatch ${line.colour}${line.dashed ? " dashed" : ""}`} aria-hidden="true" />
              {line.label} <b class="value" />
            </li>
          ))}
        </ul>
      </figcaption>
      {empty ? (
        <p class="nothing" style={{ minHeight: `${height}px` }}>
          {nothing ?? "Nothing measured in this time."}
        </p>
      ) : (
        <div
          class="plot"
          ref={place}
          tabIndex={0}
          role="group"
          aria-label={`${title}: ${spoken(lines, unit)}. Arrow keys read single points.`}
          style={{ minHeight: `${height}px` }}
          onKeyDown={move}
          onBlur={() => plot.current?.setCursor({ left: -10, top: -10 })}
        />
      )}
      <div class="tip" ref={tip} role="status" hidden />
    </figure>
  );
}

function spoken(lines: readonly Line[], unit: Unit): string {
  return lines
    .map((line) => `${line.label} now ${withUnit(line.values.at(-1), unit)}, highest ${withUnit(highest(line.values), unit)}`)
    .join("; ");
}

interface Shown {
  lines: readonly Line[];
  unit: Unit;
  times_s: readonly number[];
}

function columns({ lines, times_s }: Shown): (readonly Value[])[] {
  return [times_s, ...lines.map((line) => line.values)];
}

function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function draw(root: HTMLElement, shown: Shown, moved: () => void): uPlot {
  const text = colour("muted");
  const grid = { stroke: colour("grid"), width: 1 };
  const font = `11px ${getComputedStyle(root).fontFamily}`;
  const options: uPlot.Options = {
    width: root.clientWidth,
    height: root.clientHeight,
    legend: { show: false },
    padding: [8, 6, 0, 0],
    cursor: {
      sync: { key: SHARED_CURSOR, scales: ["x", null], setSeries: false },
      drag: { x: false, y: false, setScale: false },
      y: false,
      points: { size: 7, width: 0 },
    },
    scales: {
      x: { time: true },
      y: { range: (_u, low, high) => bounds(shown.unit, low, high) },
    },
    axes: [
      {
        stroke: text,
        font,
        grid: { show: false },
        ticks: { show: false },
        size: 26,
        space: 64,
        values: (_u, splits) => {
          const close = splits.length > 1 && (splits[1] ?? 0) - (splits[0] ?? 0) < 60;
          return splits.map((time_s) => (close ? clock : minutes)(time_s * 1000));
        },
      },
      {
        stroke: text,
        font,
        grid,
        ticks: { show: false },
        size: 54,
        gap: 6,
        space: 34,
        ...(shown.unit === "bytes" ? { incrs: POWERS_OF_TWO } : {}),
        values: (_u, splits) => splits.map((value) => axis(value, shown.unit)),
      },
    ],
    series: [
      {},
      ...shown.lines.map((line): uPlot.Series => {
        const stroke = colour(line.colour);
        return {
          label: line.label,
          stroke,
          width: 1.4,
          spanGaps: false,
          ...(line.dashed ? { dash: [5, 4] } : {}),
          ...(line.filled ? { fill: `${stroke}22` } : {}),
          points: { show: () => false, size: 4, fill: stroke, filter: alone },
        };
      }),
    ],
    hooks: { setCursor: [moved] },
  };
  const u = new uPlot(options, columns(shown) as uPlot.AlignedData, root);
  // Screen readers get the words of the group; the canvas itself says nothing.
  u.root.setAttribute("aria-hidden", "true");
  return u;
}

/** From zero up, with air above; a share never reaches over 100 %. */
function bounds(unit: Unit, low: number | null, high: number | null): [number, number] {
  if (high === null || low === null) return [0, 1];
  if (unit === "ratio") return [Math.min(low * 0.98, 0.9), 1];
  return [0, high > 0 ? high * 1.12 : 1];
}

/** Indices of readings without a neighbour: no line shows them, so a dot does. */
function alone(u: uPlot, series: number): number[] | null {
  const values = u.data[series] as Value[];
  const found: number[] = [];
  for (let i = 0; i < values.length; i += 1) {
    if (values[i] != null && values[i - 1] == null && values[i + 1] == null) found.push(i);
  }
  return found.length > 0 ? found : null;
}

/** Values at the cursor, or the last ones, into the legend; and into the tooltip where the pointer is. */
function write(legend: HTMLElement | null, tip: HTMLElement | null, u: uPlot | null, shown: Shown): void {
  if (legend === null || tip === null) return;
  const index = u?.cursor.idx ?? null;
  const texts = shown.lines.map((line) =>
    withUnit(index === null ? latestOf(line.values) : line.values[index], shown.unit),
  );
  legend.querySelectorAll(".value").forEach((element, i) => {
    const text = texts[i] ?? NONE;
    if (element.textContent !== text) element.textContent = text;
  });
  const here = u !== null && index !== null && (u.over.matches(":hover") || u.root.parentElement === document.activeElement);
  tip.hidden = !here;
  if (!here || u === null || index === null) return;
  const rows = shown.lines.map((line, i) => row(line, texts[i] ?? NONE));
  const time = document.createElement("time");
  time.textContent = clock((shown.times_s[index] ?? 0) * 1000);
  tip.replaceChildren(time, ...rows);
  const left = u.over.offsetLeft + (u.cursor.left ?? 0);
  const flip = left > u.root.clientWidth / 2;
  const x = flip ? left - tip.offsetWidth - 12 : left + 12;
  tip.style.transform = `translate(${Math.max(0, Math.round(x))}px, 0)`;
}

function latestOf(values: readonly Value[]): Value {
  // The newest second may not have been counted yet.
  return values.at(-1) ?? values.at(-2) ?? null;
}

function row(line: Line, text: string): HTMLElement {
  const element = document.createElement("div");
  const swatch = document.createElement("span");
  swatch.className = `swatch ${line.colour}${line.dashed ? " dashed" : ""}`;
  const value = document.createElement("b");
  value.textContent = text;
  element.append(swatch, ` ${line.label} `, value);
  return element;
}
