// Every trial of a sweep: its parameters, its figures, its job. Sorted and paged by TanStack Table.
import {
  type ColumnDef,
  flexRender,
  functionalUpdate,
  getCoreRowModel,
  getPaginationRowModel,
  getSortedRowModel,
  type SortingState,
  useReactTable,
} from "@tanstack/react-table";
import { useMemo } from "react";
import { Link, useSearchParams } from "wouter";
import type { Sweep, Trial } from "../api";
import { duration, goalName, measured } from "../format";
import { dimensionNames, valueOf } from "../sweep";
import { Empty, StateBadge, Table } from "./basics";

const PAGE = 50;

function value(text: string | undefined): string | number {
  if (text === undefined) return "";
  const parsed: unknown = JSON.parse(text);
  return typeof parsed === "number" || typeof parsed === "string" ? parsed : text;
}

function columns(sweep: Sweep, best: Set<string>): ColumnDef<Trial>[] {
  const figures = [...sweep.objectives, ...sweep.constraints].filter(
    (a, i, all) => all.findIndex((b) => b.metric === a.metric && b.suite === a.suite) === i,
  );
  return [
    {
      id: "number",
      header: "Trial",
      accessorFn: (trial) => Number(trial.number),
      cell: ({ row: { original: trial } }) => (
        <>
          {trial.job_id ? (
            <Link href={`/jobs/${trial.job_id}`} className="strong">
              {trial.number}
            </Link>
          ) : (
            trial.number
          )}
          {best.has(trial.number) && <span className="tag">front</span>}
        </>
      ),
    },
    {
      id: "state",
      header: "State",
      accessorFn: (trial) => trial.state,
      cell: ({ row: { original: trial } }) => (
        <>
          <StateBadge state={trial.state} />
          {trial.state === "SUCCEEDED" && !trial.feasible && <span className="muted small"> violates a constraint</span>}
          {trial.error && trial.state === "FAILED" && (
            <div className="trial-why clip small bad-text" title={trial.error.message}>
              {trial.error.message}
            </div>
          )}
        </>
      ),
    },
    ...dimensionNames(sweep.dimensions).map((name, i): ColumnDef<Trial> => ({
      id: sweep.dimensions[i],
      header: name,
      meta: { number: true },
      accessorFn: (trial) => value(trial.values_json[i]),
    })),
    ...figures.map((figure): ColumnDef<Trial> => ({
      id: `${figure.suite} ${figure.metric}`,
      header: goalName(figure),
      meta: { number: true },
      sortUndefined: "last",
      accessorFn: (trial) => valueOf(trial, figure),
      cell: ({ row: { original: trial } }) => {
        const found = trial.metrics.find((m) => m.metric === figure.metric && (!figure.suite || m.suite === figure.suite));
        return found ? measured(found.value, found.unit, found.metric) : <span className="muted">–</span>;
      },
    })),
    {
      id: "seconds",
      header: "Time",
      meta: { number: true },
      accessorFn: (trial) => trial.seconds,
      cell: ({ row: { original: trial } }) => (trial.seconds > 0 ? duration(trial.seconds) : <span className="muted">–</span>),
    },
  ];
}

const NEWEST = "-number";

/** In the address: a column's id, with a minus before it where the largest come first; "none": as they were made. */
const sortingOf = (text: string): SortingState => (text === "none" ? [] : [{ id: text.replace(/^-/, ""), desc: text.startsWith("-") }]);
const textOf = ([first]: SortingState) => (first ? `${first.desc ? "-" : ""}${first.id}` : "none");

const ARIA = { asc: "ascending", desc: "descending" } as const;

export function Trials({ sweep, trials, best }: { sweep: Sweep; trials: Trial[]; best: Set<string> }) {
  const [params, setParams] = useSearchParams();
  const sorting = sortingOf(params.get("sort") ?? NEWEST);
  const pages = Math.max(1, Math.ceil(trials.length / PAGE));
  const page = Math.min(pages, Math.max(1, Math.floor(Number(params.get("page"))) || 1));
  const set = (key: string, value: string) => setParams((old) => (old.set(key, value), old), { replace: true });
  const front = [...best].join();
  const made = useMemo(
    () => columns(sweep, new Set(front.split(","))),
    [sweep.id, front], // what a column is made of changes neither with the trials nor with the counts
  );
  const table = useReactTable({
    data: trials,
    columns: made,
    state: { sorting, pagination: { pageIndex: page - 1, pageSize: PAGE } },
    onSortingChange: (change) => set("sort", textOf(functionalUpdate(change, sorting))),
    getCoreRowModel: getCoreRowModel(),
    getSortedRowModel: getSortedRowModel(),
    getPaginationRowModel: getPaginationRowModel(),
    autoResetPageIndex: false,
    getRowId: (trial) => trial.number,
  });
  if (trials.length === 0) return <Empty title="No trial has been made yet" />;
  const isNumber = (meta: unknown) => ((meta as { number?: boolean })?.number ? "number" : undefined);
  return (
    <>
      <Table label="Trials">
        <thead>
          <tr>
            {table.getFlatHeaders().map((header) => {
              const sorted = header.column.getIsSorted();
              return (
                <th key={header.id} className={isNumber(header.column.columnDef.meta)} aria-sort={sorted ? ARIA[sorted] : undefined}>
                  <button className="sort" onClick={header.column.getToggleSortingHandler()}>
                    {flexRender(header.column.columnDef.header, header.getContext())}
                    <span aria-hidden>{sorted === "asc" ? " ↑" : sorted === "desc" ? " ↓" : ""}</span>
                  </button>
                </th>
              );
            })}
          </tr>
        </thead>
        <tbody>
          {table.getRowModel().rows.map((row) => (
            <tr key={row.id}>
              {row.getVisibleCells().map((cell) => (
                <td key={cell.id} className={isNumber(cell.column.columnDef.meta)}>
                  {flexRender(cell.column.columnDef.cell, cell.getContext())}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </Table>
      {table.getPageCount() > 1 && (
        <nav className="pages" aria-label="Pages">
          <span className="muted small">
            Page {table.getState().pagination.pageIndex + 1} of {table.getPageCount()}
          </span>
          <button className="button" disabled={!table.getCanPreviousPage()} onClick={() => set("page", String(page - 1))}>
            Back
          </button>
          <button className="button" disabled={!table.getCanNextPage()} onClick={() => set("page", String(page + 1))}>
            Next
          </button>
        </nav>
      )}
    </>
  );
}
