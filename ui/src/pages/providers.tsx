import { Chart } from "../charts/chart";
import { Sparkline } from "../charts/sparkline";
import { count, duration, percent, usd, withUnit } from "../format";
import { live } from "../live";
import { RangeSwitch, rangeOf, Segments } from "../parts/controls";
import { FirstRequest, Skeleton, Trouble } from "../parts/states";
import { type Column, Table } from "../parts/table";
import { amend } from "../route";
import { mean, type SeriesSet } from "../series";
import { PageHead, type PageProps } from "./page";

interface Row {
  name: string;
  requests: number | null;
  errors: number | null;
  latency_p50_s: number | null;
  latency_p95_s: number | null;
  ttft_p95_s: number | null;
  tokens: number | null;
  cost: number | null;
}

export function Providers(page: PageProps) {
  const range = rangeOf(page.query);
  const by = page.query.get("by") === "model" ? "model" : "provider";
  const loaded = live.series(range, by);
  return (
    <>
      <PageHead page={page} note={`Attempts by ${by}; figures are means of the time shown.`}>
        <Segments
          name="by"
          label="Group by"
          value={by}
          choices={[
            { value: "provider", label: "By provider" },
            { value: "model", label: "By model" },
          ]}
          onChoose={(value) => amend({ by: value === "provider" ? null : value, name: null })}
        />
        <RangeSwitch range={range} />
      </PageHead>
      {loaded.error !== null ? (
        <Trouble message={loaded.error} retry={() => live.retrySeries(range, by)} />
      ) : loaded.set === null ? (
        <Skeleton rows={6} />
      ) : loaded.set.labels().length === 0 ? (
        <section class="card">
          <FirstRequest />
        </section>
      ) : (
        <Content set={loaded.set} by={by} chosen={page.query.get("name")} />
      )}
    </>
  );
}

function Content({ set, by, chosen }: { set: SeriesSet; by: "provider" | "model"; chosen: string | null }) {
  const names = set.labels();
  const rows = names.map((name) => summary(set, name));
  const busiest = rows.reduce((best, row) => ((row.requests ?? 0) > (best.requests ?? 0) ? row : best));
  const name = chosen !== null && names.includes(chosen) ? chosen : busiest.name;
  return (
    <>
      <section class="card" aria-label={`Every ${by}`}>
        <Table
          caption={`Every ${by}`}
          rows={rows}
          columns={columns(set, by)}
          id={(row) => row.name}
          order="Requests"
          chosen={name}
        />
      </section>
      <section aria-labelledby="chosen">
        <h2 id="chosen" class="section">
          {name}
        </h2>
        <div class="charts">
          <ChosenCharts set={set} name={name} />
        </div>
      </section>
    </>
  );
}

function summary(set: SeriesSet, name: string): Row {
  const of = (series: string) => mean(set.values(series, name));
  return {
    name,
    requests: of("requests"),
    errors: of("errors"),
    latency_p50_s: of("latency_p50_s"),
    latency_p95_s: of("latency_p95_s"),
    ttft_p95_s: of("ttft_p95_s"),
    tokens: of("tokens_output"),
    cost: of("cost_usd"),
  };
}

function errorShare(row: Row): number | null {
  return row.requests ? (row.errors ?? 0) / row.requests : null;
}

function columns(set: SeriesSet, by: string): Column<Row>[] {
  return [
    {
      name: by === "provider" ? "Provider" : "Model",
      sort: (row) => row.name,
      cell: (row) => (
        <button type="button" class="pick" onClick={() => amend({ name: row.name })}>
          {row.name}
        </button>
      ),
    },
    {
      name: "Trend",
      cell: (row) => <Sparkline values={set.values("requests", row.name)} height={24} />,
    },
    { name: "Requests", numeric: true, sort: (row) => row.requests, cell: (row) => withUnit(row.requests, "per_s") },
    {
      name: "Errors",
      numeric: true,
      sort: errorShare,
      cell: (row) => <span class={(errorShare(row) ?? 0) >= 0.05 ? "bad" : undefined}>{percent(errorShare(row))}</span>,
    },
    { name: "p50", numeric: true, sort: (row) => row.latency_p50_s, cell: (row) => duration(row.latency_p50_s) },
    { name: "p95", numeric: true, sort: (row) => row.latency_p95_s, cell: (row) => duration(row.latency_p95_s) },
    { name: "First token p95", numeric: true, sort: (row) => row.ttft_p95_s, cell: (row) => duration(row.ttft_p95_s) },
    { name: "Tokens/s", numeric: true, sort: (row) => row.tokens, cell: (row) => count(row.tokens) },
    { name: "Cost/h", numeric: true, sort: (row) => row.cost, cell: (row) => usd(row.cost) },
  ];
}

function ChosenCharts({ set, name }: { set: SeriesSet; name: string }) {
  const of = (series: string) => set.values(series, name);
  return (
    <>
      <Chart
        title="Requests per second"
        unit="per_s"
        times_s={set.times_s}
        lines={[
          { label: "requests", colour: "blue", values: of("requests"), filled: true },
          { label: "errors", colour: "red", values: of("errors"), dashed: true },
        ]}
      />
      <Chart
        title="Latency"
        unit="s"
        times_s={set.times_s}
        lines={[
          { label: "p95", colour: "purple", values: of("latency_p95_s"), dashed: true },
          { label: "p50", colour: "blue", values: of("latency_p50_s") },
          { label: "first token p95", colour: "green", values: of("ttft_p95_s") },
        ]}
      />
      <Chart
        title="Output tokens per second"
        unit="tokens_per_s"
        times_s={set.times_s}
        lines={[{ label: "output", colour: "blue", values: of("tokens_output"), filled: true }]}
      />
      <Chart
        title="Cost per hour"
        unit="usd_per_h"
        times_s={set.times_s}
        lines={[{ label: "cost", colour: "green", values: of("cost_usd"), filled: true }]}
      />
    </>
  );
}
