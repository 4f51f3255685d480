import * as api from "../api";
import { Chart, type Colour } from "../charts/chart";
import { Sparkline } from "../charts/sparkline";
import type { LimitTotals } from "../contract";
import { count, limitText, usd, withUnit } from "../format";
import { live } from "../live";
import { RangeSwitch, rangeOf, usePoll } from "../parts/controls";
import { FirstRequest, Nothing, Skeleton, Trouble } from "../parts/states";
import { type Column, Table } from "../parts/table";
import { mean, type SeriesSet, sum } from "../series";
import { href } from "../route";
import { PageHead, type PageProps } from "./page";
import { Subjects } from "./subjects";

interface KeyRow {
  name: string;
  requests: number | null;
  input: number | null;
  output: number | null;
  cost: number | null;
}

export function Keys(page: PageProps) {
  const range = rangeOf(page.query);
  const keys = live.series(range, "key");
  const limits = live.series(range, "limit");
  const state = usePoll(api.limits, 3_000);
  const error = keys.error ?? limits.error;
  const retry = () => {
    live.retrySeries(range, "key");
    live.retrySeries(range, "limit");
  };
  return (
    <>
      <PageHead page={page} note="Who uses the gateway, and what their limits decided.">
        <RangeSwitch range={range} />
      </PageHead>
      {error !== null ? (
        <Trouble message={error} retry={retry} />
      ) : keys.set === null || limits.set === null ? (
        <Skeleton rows={6} />
      ) : (
        <>
          <section class="card" aria-labelledby="usage">
            <div class="card-head">
              <h2 id="usage">Usage by key</h2>
            </div>
            <Usage set={keys.set} />
          </section>
          <div class="pair">
            <section class="card" aria-labelledby="near">
              <div class="card-head">
                <h2 id="near">Fullest now</h2>
              </div>
              {state.data !== null ? (
                <Subjects subjects={state.data.subjects.slice(0, 12)} limits={state.data.limits.length} />
              ) : state.error !== null ? (
                <Trouble message={state.error} retry={state.retry} />
              ) : (
                <Skeleton rows={4} />
              )}
            </section>
            <Decided set={limits.set} />
          </div>
          <section class="card" aria-labelledby="rules">
            <div class="card-head">
              <h2 id="rules">Limits</h2>
            </div>
            {state.data === null ? <Skeleton rows={3} /> : <Limits limits={state.data.limits} set={limits.set} />}
          </section>
          <section class="charts" aria-label="By key">
            <ByKey set={keys.set} />
          </section>
        </>
      )}
    </>
  );
}

function Usage({ set }: { set: SeriesSet }) {
  const rows = set.labels().map((name): KeyRow => {
    const of = (series: string) => mean(set.values(series, name));
    return { name, requests: of("requests"), input: of("tokens_input"), output: of("tokens_output"), cost: of("cost_usd") };
  });
  if (rows.length === 0) return <FirstRequest />;
  const columns: Column<KeyRow>[] = [
    {
      name: "Key",
      sort: (row) => row.name,
      cell: (row) => <a href={href("requests", { key: row.name })}>{row.name}</a>,
    },
    { name: "Trend", cell: (row) => <Sparkline values={set.values("requests", row.name)} height={24} /> },
    { name: "Requests", numeric: true, sort: (row) => row.requests, cell: (row) => withUnit(row.requests, "per_s") },
    { name: "Input tokens/s", numeric: true, sort: (row) => row.input, cell: (row) => count(row.input) },
    { name: "Output tokens/s", numeric: true, sort: (row) => row.output, cell: (row) => count(row.output) },
    { name: "Cost/h", numeric: true, sort: (row) => row.cost, cell: (row) => usd(row.cost) },
  ];
  return <Table caption="Usage by key" rows={rows} columns={columns} id={(row) => row.name} order="Requests" />;
}

function Limits({ limits, set }: { limits: readonly LimitTotals[]; set: SeriesSet }) {
  if (limits.length === 0) {
    return (
      <Nothing title="No limit is configured">
        <p>
          Add one to tidegate.yaml, for instance{" "}
          <code>{"limits: {per-key: {per: key, requests: 60, window: 1m, burst: 10}}"}</code>, and name it under{" "}
          <code>default_limits</code>.
        </p>
      </Nothing>
    );
  }
  const columns: Column<LimitTotals>[] = [
    {
      name: "Limit",
      sort: (row) => row.name,
      cell: (row) => (
        <>
          {row.name} {row.mode === "shadow" && <span class="pill">shadow</span>}
        </>
      ),
    },
    { name: "Rule", wide: true, cell: (row) => `${limitText(row)}, each ${row.per}` },
    {
      name: "Blocked trend",
      cell: (row) => <Sparkline values={set.values("blocked", row.name)} height={24} colour="orange" />,
    },
    { name: "Allowed", numeric: true, sort: (row) => row.allowed_total, cell: (row) => count(row.allowed_total) },
    { name: "Near", numeric: true, sort: (row) => row.near_total, cell: (row) => count(row.near_total) },
    { name: "Blocked", numeric: true, sort: (row) => row.blocked_total, cell: (row) => count(row.blocked_total) },
    { name: "Shadow", numeric: true, sort: (row) => row.shadow_total, cell: (row) => count(row.shadow_total) },
  ];
  return <Table caption="Limits" rows={limits} columns={columns} id={(row) => row.name} order="Blocked" />;
}

function Decided({ set }: { set: SeriesSet }) {
  const all = (name: string) => sum(set.labels().map((label) => set.values(name, label)));
  return (
    <Chart
      title="Decisions of all limits, per second"
      unit="per_s"
      times_s={set.times_s}
      height={210}
      lines={[
        { label: "allowed", colour: "blue", values: all("allowed"), filled: true },
        { label: "near", colour: "sky", values: all("near"), dashed: true },
        { label: "blocked", colour: "orange", values: all("blocked"), filled: true },
        { label: "shadow", colour: "grey", values: all("shadow"), dashed: true },
      ]}
      nothing="No limit decided anything in this time."
    />
  );
}

const COLOURS: readonly Colour[] = ["blue", "orange", "green", "purple", "sky", "grey"];

function ByKey({ set }: { set: SeriesSet }) {
  const busiest = set
    .labels()
    .map((name) => ({ name, mean: mean(set.values("requests", name)) ?? 0 }))
    .sort((a, b) => b.mean - a.mean)
    .slice(0, COLOURS.length)
    .map((key) => key.name)
    .sort();
  if (busiest.length === 0) return null;
  const lines = (series: string) =>
    busiest.map((name, i) => ({
      label: name,
      colour: COLOURS[i] ?? "grey",
      values: set.values(series, name),
      dashed: i % 2 === 1,
    }));
  return (
    <>
      <Chart title="Requests per second by key" unit="per_s" times_s={set.times_s} lines={lines("requests")} />
      <Chart title="Cost per hour by key" unit="usd_per_h" times_s={set.times_s} lines={lines("cost_usd")} />
    </>
  );
}
