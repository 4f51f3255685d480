import { useRef, useState } from "preact/hooks";
import type { RequestRow } from "../contract";
import { clock, count, duration, plural, usd } from "../format";
import { live } from "../live";
import { ChevronIcon } from "../parts/icons";
import { FirstRequest, Nothing, Skeleton } from "../parts/states";
import { amend } from "../route";
import { succeeded } from "../way";
import { PageHead, type PageProps } from "./page";
import { Way } from "./request_way";

const SHOWN = 100;

/** Groups of statuses, as an operator asks for them. */
const STATUSES: Record<string, (row: RequestRow) => boolean> = {
  ok: succeeded,
  failed: (row) => !succeeded(row),
  "4xx": (row) => row.status >= 400 && row.status < 500,
  "429": (row) => row.status === 429,
  "5xx": (row) => row.status >= 500,
};

export function Requests(page: PageProps) {
  const [frozen, freeze] = useState<RequestRow[] | null>(null);
  const [open, setOpen] = useState<ReadonlySet<string>>(new Set());
  const all = live.requests;
  const rows = frozen ?? all ?? [];
  const waiting = frozen === null || all === null ? 0 : countNew(all, frozen);
  const filter = {
    status: page.query.get("status") ?? "",
    outcome: page.query.get("outcome") ?? "",
    key: page.query.get("key") ?? "",
    model: page.query.get("model") ?? "",
  };
  const found = rows.filter(
    (row) =>
      (STATUSES[filter.status]?.(row) ?? true) &&
      (filter.outcome === "" || row.outcome === filter.outcome) &&
      (filter.key === "" || row.key === filter.key) &&
      (filter.model === "" || row.model === filter.model),
  );
  const filtered = Object.values(filter).some(Boolean);
  const toggle = (id: string) => {
    const next = new Set(open);
    if (!next.delete(id)) next.add(id);
    setOpen(next);
  };

  return (
    <>
      <PageHead page={page} note="The last 500, in memory only, collected while somebody looks. Never prompts or answers.">
        <button
          type="button"
          class="pause"
          aria-pressed={frozen !== null}
          onClick={() => freeze(frozen === null ? (all ?? []) : null)}
        >
          {frozen === null ? "Pause" : "Resume"}
        </button>
      </PageHead>
      <form class="filters" aria-label="Filters" onSubmit={(event) => event.preventDefault()}>
        <Select name="status" label="Status" value={filter.status} options={Object.keys(STATUSES)} />
        <Select name="outcome" label="Outcome" value={filter.outcome} options={distinct(rows, (row) => row.outcome)} />
        <Select name="key" label="Key" value={filter.key} options={distinct(rows, (row) => row.key)} />
        <Select name="model" label="Model" value={filter.model} options={distinct(rows, (row) => row.model)} />
        {filtered && (
          <button
            type="button"
            class="quiet"
            onClick={() => amend({ status: null, outcome: null, key: null, model: null })}
          >
            Clear filters
          </button>
        )}
        <p class="muted shown" role="status">
          {frozen !== null
            ? `Paused, ${plural(waiting, "new request")}`
            : filtered
              ? `${found.length} of ${plural(rows.length, "request")}`
              : ""}
        </p>
      </form>
      <section class="card" aria-label="Recent requests">
        {all === null ? (
          <Skeleton rows={8} />
        ) : rows.length === 0 ? (
          <FirstRequest />
        ) : found.length === 0 ? (
          <Nothing title="No recent request matches the filters" />
        ) : (
          <RequestTable rows={found.slice(0, SHOWN)} open={open} toggle={toggle} />
        )}
      </section>
      {found.length > SHOWN && <p class="muted">The newest {SHOWN} are shown; filters reach further back.</p>}
    </>
  );
}

function countNew(all: readonly RequestRow[], frozen: readonly RequestRow[]): number {
  const known = new Set(frozen.map((row) => row.request_id));
  return all.reduce((fresh, row) => fresh + (known.has(row.request_id) ? 0 : 1), 0);
}

function distinct(rows: readonly RequestRow[], of: (row: RequestRow) => string | null): string[] {
  const found = new Set<string>();
  for (const row of rows) {
    const value = of(row);
    if (value) found.add(value);
  }
  return [...found].sort();
}

function Select(props: { name: string; label: string; value: string; options: readonly string[] }) {
  // A filter of the address stays choosable, even if no recent row has its value.
  const options = props.value && !props.options.includes(props.value) ? [...props.options, props.value] : props.options;
  return (
    <label class="select">
      <span>{props.label}</span>
      <select value={props.value} onChange={(event) => amend({ [props.name]: event.currentTarget.value })}>
        <option value="">any</option>
        {options.map((option) => (
          <option key={option} value={option}>
            {option}
          </option>
        ))}
      </select>
    </label>
  );
}

const HEADINGS: readonly (readonly [string, boolean])[] = [
  ["Time", false],
  ["Status", false],
  ["Key", false],
  ["Model", false],
  ["Provider", false],
  ["Duration", true],
  ["First token", true],
  ["Tokens", true],
  ["Cost", true],
];

interface RequestTableProps {
  rows: readonly RequestRow[];
  open: ReadonlySet<string>;
  toggle: (id: string) => void;
}

function RequestTable({ rows, open, toggle }: RequestTableProps) {
  return (
    <div class="scroll">
      <table class="cards requests">
        <caption class="sr">Recent requests, newest first</caption>
        <thead>
          <tr>
            {HEADINGS.map(([name, numeric]) => (
              <th key={name} scope="col" class={numeric ? "number" : undefined}>
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <Row key={row.request_id} row={row} open={open.has(row.request_id)} toggle={toggle} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Row({ row, open, toggle }: { row: RequestRow; open: boolean; toggle: (id: string) => void }) {
  const button = useRef<HTMLButtonElement>(null);
  const detail = `way-${row.request_id}`;
  const clicked = (event: MouseEvent) => {
    // A click that ends a selection of text is not meant for the row.
    if (getSelection()?.toString()) return;
    if (!(event.target as Element).closest("button")) toggle(row.request_id);
  };
  const last = row.attempts.at(-1);
  const more = row.attempts.length - 1;
  return (
    <>
      <tr class={open ? "row open" : "row"} onClick={clicked}>
        <th scope="row">
          <button
            type="button"
            class="expand"
            ref={button}
            aria-expanded={open}
            aria-controls={open ? detail : undefined}
            aria-label={`Way of the request at ${clock(row.time_ms)}, status ${row.status}`}
            onClick={() => toggle(row.request_id)}
          >
            <ChevronIcon />
          </button>
          <time>{clock(row.time_ms)}</time>
        </th>
        <td data-label="Status">
          <Status row={row} />
        </td>
        <td data-label="Key">{row.key ?? <span class="muted">none</span>}</td>
        <td data-label="Model">{row.model ?? "–"}</td>
        <td data-label="Provider">
          {last ? last.provider : "–"}
          {more > 0 && (
            <span class="muted" title={plural(row.attempts.length, "attempt")}>
              {" "}
              +{more}
            </span>
          )}
        </td>
        <td data-label="Duration" class="number">
          {duration(row.duration_s)}
        </td>
        <td data-label="First token" class="number">
          {duration(row.ttft_s)}
        </td>
        <td data-label="Tokens" class="number">
          {row.input_tokens === null && row.output_tokens === null
            ? "–"
            : `${count(row.input_tokens)} → ${count(row.output_tokens)}`}
        </td>
        <td data-label="Cost" class="number">
          {usd(row.cost_usd)}
        </td>
      </tr>
      {open && (
        <tr class="detail" id={detail}>
          <td colSpan={HEADINGS.length}>
            <Way row={row} />
          </td>
        </tr>
      )}
    </>
  );
}

function Status({ row }: { row: RequestRow }) {
  const kind = succeeded(row) ? "good" : row.status === 429 ? "warn" : "bad";
  return (
    <span class="status">
      <span class={`pill ${kind}`}>{row.status || "none"}</span>
      {row.outcome !== "ok" && <span class="muted outcome">{row.outcome.replaceAll("_", " ")}</span>}
    </span>
  );
}
