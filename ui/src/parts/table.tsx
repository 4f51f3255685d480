import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";

export interface Column<T> {
  name: string;
  /** Numbers stand right and sort with the largest first. */
  numeric?: boolean;
  /** Long text: takes the whole width of a card. */
  wide?: boolean;
  sort?: (row: T) => number | string | null;
  cell: (row: T) => ComponentChildren;
}

interface TableProps<T> {
  caption: string;
  rows: readonly T[];
  columns: readonly Column<T>[];
  id: (row: T) => string;
  /** Column that orders the rows at first, and whether its least stand first. */
  order?: string;
  ascending?: boolean;
  chosen?: string | null;
}

/** A table whose headings sort; on a narrow screen each row becomes a card. */
export function Table<T>({ caption, rows, columns, id, order, ascending = false, chosen }: TableProps<T>) {
  const [sorted, setSorted] = useState({ name: order ?? null, ascending });
  const by = columns.find((column) => column.name === sorted.name);
  const shown = by?.sort ? rows.slice().sort((a, b) => compare(by.sort?.(a), by.sort?.(b), sorted.ascending)) : rows;
  const choose = (column: Column<T>) =>
    setSorted(
      sorted.name === column.name
        ? { name: column.name, ascending: !sorted.ascending }
        : { name: column.name, ascending: !column.numeric },
    );
  return (
    <div class="scroll">
      <table class="cards">
        <caption class="sr">{caption}</caption>
        <thead>
          <tr>
            {columns.map((column) => {
              const current = column.name === sorted.name;
              const direction = current ? (sorted.ascending ? "ascending" : "descending") : undefined;
              return (
                <th key={column.name} scope="col" class={column.numeric ? "number" : undefined} aria-sort={direction}>
                  {column.sort ? (
                    <button type="button" class="sort" onClick={() => choose(column)}>
                      {column.name}
                      <span aria-hidden="true">{current ? (sorted.ascending ? " ↑" : " ↓") : ""}</span>
                    </button>
                  ) : (
                    column.name
                  )}
                </th>
              );
            })}
          </tr>
        </thead>
        <tbody>
          {shown.map((row) => (
            <tr key={id(row)} class={id(row) === chosen ? "chosen" : undefined}>
              {columns.map((column, i) =>
                i === 0 ? (
                  <th key={column.name} scope="row">
                    {column.cell(row)}
                  </th>
                ) : (
                  <td key={column.name} data-label={column.name} class={column.numeric ? "number" : column.wide ? "wide" : undefined}>
                    {column.cell(row)}
                  </td>
                ),
              )}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

type Sortable = number | string | null | undefined;

/** What was not measured stands last, whichever way. */
function compare(a: Sortable, b: Sortable, ascending: boolean): number {
  if (a == null || b == null) return a == b ? 0 : a == null ? 1 : -1;
  const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
  return ascending ? order : -order;
}
