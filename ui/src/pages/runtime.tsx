import { useEffect } from "preact/hooks";
import { Chart } from "../charts/chart";
import { Sparkline } from "../charts/sparkline";
import type { Instance, Range, Worker } from "../contract";
import { bytes, duration, percent, withUnit } from "../format";
import { live } from "../live";
import { RangeSwitch, rangeOf } from "../parts/controls";
import { Skeleton, Trouble } from "../parts/states";
import { type Column, Table } from "../parts/table";
import { recent, type SeriesSet } from "../series";
import { PageHead, type PageProps } from "./page";

const ASK_MS = 10_000;

export function Runtime(page: PageProps) {
  const range = rangeOf(page.query);
  const total = live.series(range, "total");
  const workers = live.series("15m", "worker");
  const error = total.error ?? workers.error;
  useEffect(() => {
    const timer = setInterval(() => !document.hidden && void live.refreshInstance(), ASK_MS);
    return () => clearInterval(timer);
  }, []);
  const retry = () => {
    live.retrySeries(range, "total");
    live.retrySeries("15m", "worker");
  };
  return (
    <>
      <PageHead page={page} note="The processes of this instance.">
        <RangeSwitch range={range} />
      </PageHead>
      {error !== null ? (
        <Trouble message={error} retry={retry} />
      ) : total.set === null || workers.set === null || live.instance === null ? (
        <Skeleton rows={6} />
      ) : (
        <Content instance={live.instance} set={total.set} workers={workers.set} range={range} />
      )}
    </>
  );
}

interface ContentProps {
  instance: Instance;
  set: SeriesSet;
  workers: SeriesSet;
  range: Range;
}

function Content({ instance, set, workers, range }: ContentProps) {
  const restarts = instance.workers.reduce((sum, worker) => sum + worker.restarts, 0);
  return (
    <>
      <section class="card facts" aria-label="Instance">
        <dl>
          <Fact name="State" text={instance.ready ? "ready" : "not ready"} />
          <Fact name="Address" text={instance.address} />
          <Fact name="Up" text={duration((Date.now() - instance.started_ms) / 1000)} />
          <Fact name="Configuration" text={`generation ${instance.generation}`} />
          <Fact name="Worker restarts" text={String(restarts)} />
          <Fact name="Ledger lag" text={duration(recent(set.values("ledger_lag_s"), 2))} />
        </dl>
      </section>
      <section class="card" aria-labelledby="workers">
        <div class="card-head">
          <h2 id="workers">Workers</h2>
        </div>
        <Workers workers={instance.workers} set={workers} />
      </section>
      <section class="charts" aria-label={range === "15m" ? "Last 15 minutes" : "Last 24 hours"}>
        <ProcessCharts set={set} />
      </section>
    </>
  );
}

function Fact({ name, text }: { name: string; text: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{text}</dd>
    </div>
  );
}

function Workers({ workers, set }: { workers: readonly Worker[]; set: SeriesSet }) {
  // The stream knows newer numbers than the list of workers.
  const now = (name: string, worker: Worker, other: number | null) =>
    recent(set.values(name, String(worker.worker)), 3) ?? other;
  const cpu = (worker: Worker) => now("cpu_ratio", worker, worker.cpu_ratio);
  const memory = (worker: Worker) => now("memory_bytes", worker, worker.memory_bytes);
  const lag = (worker: Worker) => now("loop_lag_s", worker, worker.loop_lag_s);
  const connections = (worker: Worker) => now("connections", worker, worker.connections);
  const columns: Column<Worker>[] = [
    { name: "Worker", sort: (row) => row.worker, cell: (row) => `${row.worker}` },
    {
      name: "State",
      sort: (row) => row.state,
      cell: (row) => <span class={`pill ${row.state === "ready" ? "good" : "warn"}`}>{row.state}</span>,
    },
    {
      name: "CPU trend",
      cell: (row) => <Sparkline values={set.values("cpu_ratio", String(row.worker))} height={24} />,
    },
    { name: "CPU", numeric: true, sort: cpu, cell: (row) => percent(cpu(row)) },
    { name: "Memory", numeric: true, sort: memory, cell: (row) => bytes(memory(row)) },
    { name: "Loop lag", numeric: true, sort: lag, cell: (row) => duration(lag(row)) },
    {
      name: "Connections",
      numeric: true,
      sort: connections,
      cell: (row) => withUnit(rounded(connections(row)), "count"),
    },
    { name: "In flight", numeric: true, sort: (row) => row.in_flight, cell: (row) => row.in_flight },
    { name: "Restarts", numeric: true, sort: (row) => row.restarts, cell: (row) => row.restarts },
  ];
  return <Table caption="Workers" rows={workers} columns={columns} id={(row) => String(row.worker)} order="Worker" ascending />;
}

function rounded(value: number | null): number | null {
  return value === null ? null : Math.round(value);
}

function ProcessCharts({ set }: { set: SeriesSet }) {
  const times_s = set.times_s;
  const of = (name: string) => set.values(name);
  return (
    <>
      <Chart
        title="CPU cores in use"
        unit="cores"
        times_s={times_s}
        lines={[{ label: "all processes", colour: "blue", values: of("cpu_cores"), filled: true }]}
      />
      <Chart
        title="Memory"
        unit="bytes"
        times_s={times_s}
        lines={[{ label: "resident", colour: "green", values: of("memory_bytes"), filled: true }]}
      />
      <Chart
        title="Time added by the gateway"
        unit="s"
        times_s={times_s}
        lines={[
          { label: "p95", colour: "purple", values: of("overhead_p95_s"), dashed: true },
          { label: "p50", colour: "blue", values: of("overhead_p50_s") },
        ]}
        nothing="No request was answered in this time."
      />
      <Chart
        title="Event loop and ledger lag"
        unit="s"
        times_s={times_s}
        lines={[
          { label: "loop", colour: "blue", values: of("loop_lag_s") },
          { label: "ledger", colour: "orange", values: of("ledger_lag_s"), dashed: true },
        ]}
      />
      <Chart
        title="Descriptors, threads, upstream connections"
        unit="count"
        times_s={times_s}
        lines={[
          { label: "descriptors", colour: "blue", values: of("open_fds") },
          { label: "threads", colour: "grey", values: of("threads"), dashed: true },
          { label: "upstream", colour: "green", values: of("upstream_connections") },
        ]}
      />
      <Chart
        title="Refused keys and clients that left, per second"
        unit="per_s"
        times_s={times_s}
        lines={[
          { label: "refused keys", colour: "red", values: of("auth_failures") },
          { label: "clients left", colour: "grey", values: of("disconnects"), dashed: true },
        ]}
      />
    </>
  );
}
