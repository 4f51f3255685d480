import * as api from "../api";
import { Chart, type Colour } from "../charts/chart";
import { Sparkline } from "../charts/sparkline";
import type { Range, Value } from "../contract";
import { type Unit, withUnit } from "../format";
import { live } from "../live";
import { RangeSwitch, rangeOf, usePoll } from "../parts/controls";
import { FirstRequest, Skeleton, Trouble } from "../parts/states";
import { highest, lowest, mean, recent, type SeriesSet } from "../series";
import { href } from "../route";
import { AlertList } from "./alerts";
import { PageHead, type PageProps } from "./page";
import { Subjects } from "./subjects";

interface Tile {
  label: string;
  series: string;
  unit: Unit;
  colour: Colour;
  /** The figure is the mean of this many newest seconds. */
  over: number;
  beside: "peak" | "lowest" | "mean";
}

const TILES: readonly Tile[] = [
  { label: "Requests", series: "requests", unit: "per_s", colour: "blue", over: 5, beside: "peak" },
  { label: "Success rate", series: "success_ratio", unit: "ratio", colour: "green", over: 15, beside: "lowest" },
  { label: "Blocked", series: "blocked", unit: "per_s", colour: "orange", over: 5, beside: "peak" },
  { label: "In flight", series: "in_flight", unit: "count", colour: "sky", over: 1, beside: "peak" },
  { label: "Latency p95", series: "latency_p95_s", unit: "s", colour: "purple", over: 5, beside: "peak" },
  { label: "First token p95", series: "ttft_p95_s", unit: "s", colour: "purple", over: 5, beside: "peak" },
  { label: "Output tokens", series: "tokens_output", unit: "tokens_per_s", colour: "blue", over: 5, beside: "peak" },
  { label: "Cost", series: "cost_usd", unit: "usd_per_h", colour: "green", over: 60, beside: "mean" },
];

export function Overview(page: PageProps) {
  const range = rangeOf(page.query);
  const now = live.series("15m", "total");
  const shown = live.series(range, "total");
  return (
    <>
      <PageHead page={page}>
        <RangeSwitch range={range} />
      </PageHead>
      {shown.error !== null ? (
        <Trouble message={shown.error} retry={() => live.retrySeries(range, "total")} />
      ) : shown.set === null || now.set === null ? (
        <Skeleton rows={6} />
      ) : (
        <Content now={now.set} set={shown.set} range={range} />
      )}
    </>
  );
}

function Content({ now, set, range }: { now: SeriesSet; set: SeriesSet; range: Range }) {
  const quiet = !(highest(set.values("requests")) || live.requests?.length);
  return (
    <>
      {quiet && (
        <section class="card" aria-label="First request">
          <FirstRequest />
        </section>
      )}
      <section class="tiles" aria-label="Now">
        {TILES.map((tile) => (
          <StatTile key={tile.label} tile={tile} now={now} set={set} range={range} />
        ))}
      </section>
      <div class="pair">
        <FiringNow />
        <NearALimit />
      </div>
      <section class="charts" aria-label={range === "15m" ? "Last 15 minutes" : "Last 24 hours"}>
        <OverviewCharts set={set} />
      </section>
    </>
  );
}

function StatTile({ tile, now, set, range }: { tile: Tile; now: SeriesSet; set: SeriesSet; range: Range }) {
  const values = set.values(tile.series);
  const figure = recent(now.values(tile.series), tile.over) ?? recent(now.values(tile.series), 2);
  const beside: Record<Tile["beside"], Value> = {
    peak: highest(values),
    lowest: lowest(values),
    mean: mean(values),
  };
  const span = range === "15m" ? "15 min" : "24 h";
  return (
    <div class="card tile" title={tile.over > 1 ? `Mean of the last ${tile.over} seconds` : undefined}>
      <h2>{tile.label}</h2>
      <p class="figure">{withUnit(figure, tile.unit)}</p>
      <p class="beside">
        {beside[tile.beside] === null ? (
          "no reading"
        ) : (
          <>
            {tile.beside} {withUnit(beside[tile.beside], tile.unit)} <span class="span">in {span}</span>
          </>
        )}
      </p>
      <Sparkline values={values} colour={tile.colour} fromLowest={tile.unit === "ratio"} />
    </div>
  );
}

function FiringNow() {
  const firing = live.alerts.filter((alert) => alert.state === "firing");
  return (
    <section class="card" aria-labelledby="firing">
      <div class="card-head">
        <h2 id="firing">Firing now</h2>
        <a href={href("alerts")}>All alerts</a>
      </div>
      {live.rules === null ? (
        <Skeleton rows={2} />
      ) : firing.length === 0 ? (
        <p class="calm">No alert is firing.</p>
      ) : (
        <AlertList alerts={firing} brief />
      )}
    </section>
  );
}

function NearALimit() {
  const { data, error, retry } = usePoll(api.limits, 3_000);
  return (
    <section class="card" aria-labelledby="near">
      <div class="card-head">
        <h2 id="near">Near a limit</h2>
        <a href={href("keys")}>Keys &amp; limits</a>
      </div>
      {data !== null ? (
        <Subjects subjects={data.subjects.slice(0, 4)} limits={data.limits.length} />
      ) : error !== null ? (
        <Trouble message={error} retry={retry} />
      ) : (
        <Skeleton rows={2} />
      )}
    </section>
  );
}

function OverviewCharts({ set }: { set: SeriesSet }) {
  const times_s = set.times_s;
  const of = (name: string) => set.values(name);
  return (
    <>
      <Chart
        title="Allowed and blocked, per second"
        unit="per_s"
        times_s={times_s}
        lines={[
          { label: "allowed", colour: "blue", values: of("allowed"), filled: true },
          { label: "blocked", colour: "orange", values: of("blocked"), filled: true, dashed: true },
        ]}
      />
      <Chart
        title="Latency"
        unit="s"
        times_s={times_s}
        lines={[
          { label: "p95", colour: "purple", values: of("latency_p95_s"), dashed: true },
          { label: "p50", colour: "blue", values: of("latency_p50_s") },
        ]}
        nothing="No request was answered in this time."
      />
      <Chart
        title="Time to first token"
        unit="s"
        times_s={times_s}
        lines={[
          { label: "p95", colour: "purple", values: of("ttft_p95_s"), dashed: true },
          { label: "p50", colour: "blue", values: of("ttft_p50_s") },
        ]}
        nothing="No stream was answered in this time."
      />
      <Chart
        title="Tokens per second"
        unit="tokens_per_s"
        times_s={times_s}
        lines={[
          { label: "input", colour: "sky", values: of("tokens_input"), dashed: true },
          { label: "output", colour: "blue", values: of("tokens_output") },
        ]}
      />
      <Chart
        title="Cost per hour"
        unit="usd_per_h"
        times_s={times_s}
        lines={[{ label: "cost", colour: "green", values: of("cost_usd"), filled: true }]}
      />
      <Chart
        title="Errors and rescues, per second"
        unit="per_s"
        times_s={times_s}
        lines={[
          { label: "client errors", colour: "red", values: of("errors") },
          { label: "upstream errors", colour: "orange", values: of("upstream_errors"), dashed: true },
          { label: "retries", colour: "sky", values: of("retries") },
          { label: "fallbacks", colour: "grey", values: of("fallbacks"), dashed: true },
        ]}
      />
    </>
  );
}
