import type { Value } from "../contract";
import { highest, lowest, shrink } from "../series";
import type { Colour } from "./chart";

const WIDTH = 120;

interface SparklineProps {
  values: readonly Value[];
  colour?: Colour;
  height?: number;
  /** Let the lowest value, not zero, be the bottom: for shares that stay near 100 %. */
  fromLowest?: boolean;
}

/** The course of a value without axes; it decorates a number that is written beside it. */
export function Sparkline({ values, colour = "blue", height = 32, fromLowest = false }: SparklineProps) {
  const points = shrink(values, 90);
  const top = highest(points) ?? 0;
  // A share that never falls lies on top, not at the bottom.
  const bottom = fromLowest ? Math.min(lowest(points) ?? 0, top - 0.01) : 0;
  const span = top - bottom || 1;
  const x = (i: number) => ((i / Math.max(1, points.length - 1)) * WIDTH).toFixed(1);
  const y = (value: number) => (height - 2 - ((value - bottom) / span) * (height - 4)).toFixed(1);
  let line = "";
  let area = "";
  let first = -1;
  const close = (last: number) => {
    if (first >= 0) area += `L${x(last)} ${height}L${x(first)} ${height}Z`;
    first = -1;
  };
  points.forEach((value, i) => {
    if (value === null) {
      close(i - 1);
      return;
    }
    const step = `${first < 0 ? "M" : "L"}${x(i)} ${y(value)}`;
    // A move alone draws nothing: a line of no length makes a reading without neighbours a dot.
    line += first < 0 ? `${step}h0` : step;
    if (first < 0) first = i;
    area += step;
  });
  close(points.length - 1);
  return (
    <svg
      class={`spark ${colour}`}
      viewBox={`0 0 ${WIDTH} ${height}`}
      preserveAspectRatio="none"
      aria-hidden="true"
      focusable="false"
    >
      <path class="area" d={area} />
      <path class="line" d={line} />
    </svg>
  );
}
