import { useEffect } from "preact/hooks";
import type { Alert, AlertRule } from "../contract";
import { ago, count, duration } from "../format";
import { live } from "../live";
import { Skeleton } from "../parts/states";
import { type Column, Table } from "../parts/table";
import { PageHead, type PageProps } from "./page";

const ASK_MS = 15_000;
const STATES: Record<AlertRule["state"], string> = {
  firing: "firing",
  pending: "pending",
  ok: "ok",
  no_data: "no data",
};
const URGENCY: readonly AlertRule["state"][] = ["firing", "pending", "no_data", "ok"];

export function Alerts(page: PageProps) {
  useEffect(() => {
    const timer = setInterval(() => !document.hidden && void live.refreshAlerts(), ASK_MS);
    return () => clearInterval(timer);
  }, []);
  const firing = live.alerts.filter((alert) => alert.state === "firing");
  const pending = live.alerts.filter((alert) => alert.state === "pending");
  return (
    <>
      <PageHead page={page} note="The rules of deploy/prometheus, read from this instance's own figures." />
      {live.rules === null ? (
        <Skeleton rows={6} />
      ) : (
        <>
          <section class="card" aria-labelledby="firing">
            <div class="card-head">
              <h2 id="firing">Firing</h2>
            </div>
            {firing.length === 0 ? <p class="calm">No alert is firing.</p> : <AlertList alerts={firing} />}
          </section>
          {pending.length > 0 && (
            <section class="card" aria-labelledby="pending">
              <div class="card-head">
                <h2 id="pending">Pending</h2>
              </div>
              <AlertList alerts={pending} />
            </section>
          )}
          <section class="card" aria-labelledby="rules">
            <div class="card-head">
              <h2 id="rules">All rules</h2>
            </div>
            <Rules rules={live.rules} />
          </section>
        </>
      )}
    </>
  );
}

export function AlertList({ alerts, brief = false }: { alerts: readonly Alert[]; brief?: boolean }) {
  return (
    <ul class="alerts">
      {alerts.map((alert) => (
        <li key={`${alert.name} ${JSON.stringify(alert.labels)}`} class={alert.severity}>
          <p>
            <span class={`pill ${alert.severity}`}>{alert.severity}</span> <b>{alert.name}</b>{" "}
            <span class="muted since">{ago(alert.since_ms, Date.now())}</span>
          </p>
          <p class="summary">{alert.summary}</p>
          {!brief && (
            <>
              {alert.description && alert.description !== alert.summary && <p class="muted">{alert.description}</p>}
              <p class="muted">
                {Object.entries(alert.labels).map(([name, value]) => (
                  <span key={name} class="label">
                    {name} <b>{value}</b>
                  </span>
                ))}
                {alert.value !== null && (
                  <span class="label">
                    value <b>{count(alert.value)}</b>
                  </span>
                )}
                {alert.runbook && (
                  <span class="label">
                    runbook <code>{alert.runbook}</code>
                  </span>
                )}
              </p>
            </>
          )}
        </li>
      ))}
    </ul>
  );
}

function Rules({ rules }: { rules: readonly AlertRule[] }) {
  const columns: Column<AlertRule>[] = [
    { name: "Rule", sort: (row) => row.name, cell: (row) => row.name },
    {
      name: "State",
      sort: (row) => URGENCY.indexOf(row.state),
      cell: (row) => <span class={`pill state-${row.state}`}>{STATES[row.state] ?? row.state}</span>,
    },
    { name: "Severity", sort: (row) => row.severity, cell: (row) => row.severity },
    {
      name: "For",
      numeric: true,
      sort: (row) => row.for_s,
      cell: (row) => (row.for_s === 0 ? "at once" : duration(row.for_s)),
    },
    { name: "What it tells", wide: true, cell: (row) => row.summary },
  ];
  return <Table caption="All rules" rows={rules} columns={columns} id={(row) => row.name} order="State" ascending />;
}
