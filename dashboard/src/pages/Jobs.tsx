// The list of jobs: newest first, filtered by state and name, alive.
import { useWindowVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useLayoutEffect, useRef, useState } from "react";
import { Link, useSearchParams } from "wouter";
import { isActive } from "../api";
import { duration } from "../format";
import type { JobLine, JobList, Shown } from "../job_list";
import { aheadText, progressText, seconds, stageProgress } from "../job_text";
import { Bar, Empty, Loaded, StateBadge, Time, useNow, useTitle } from "../parts/basics";
import { useCancel, useRetry } from "../parts/calls";
import { Check, Confirm, Segments } from "../parts/controls";
import { useJobList } from "../parts/job_list";
import { useBarred } from "../parts/session";

const STATES = [
  { value: "all", label: "All" },
  { value: "queued,running,cancelling", label: "Active" },
  { value: "succeeded", label: "Succeeded" },
  { value: "failed", label: "Failed" },
  { value: "cancelled", label: "Cancelled" },
];

const phone = matchMedia("(max-width: 760px)"); // rows are cards then, with a gap

/** The one line that says where a job stands, or why it doesn't move. */
function Where({ job }: { job: JobLine }) {
  const { running } = job;
  if (job.state === "QUEUED")
    return <span className="muted">{[`Waits: ${job.waiting}`, aheadText(job.ahead, 100)].filter(Boolean).join(" · ")}</span>;
  if (job.state === "FAILED")
    return (
      <span className="bad-text clip" title={job.error}>
        {job.error}
      </span>
    );
  if (job.state === "SUCCEEDED")
    return (
      <span className="muted">
        {job.steps} {job.steps === 1 ? "step" : "steps"}
        {job.cached > 0 ? `, ${job.cached} from the cache` : ""}
      </span>
    );
  if (!running) return <span className="muted">{job.state === "RUNNING" ? "Starts" : ""}</span>;
  return (
    <div className="where">
      <div className="where-line">
        <span>
          {running.index + 1}/{job.steps} {running.name}
        </span>
        <span className="muted">{job.left}</span>
      </div>
      <Bar value={stageProgress(running)} label={`${running.name} of ${job.name || job.id}: ${progressText(running)}`} />
    </div>
  );
}

interface RowProps {
  job: JobLine;
  index: number;
  now: number;
  selected: boolean;
  onSelect: (on: boolean) => void;
  measure: (row: HTMLTableRowElement | null) => void;
}

function Row({ job, index, now, selected, onSelect, measure }: RowProps) {
  const took = seconds(job, now);
  return (
    <tr ref={measure} data-index={index} aria-rowindex={index + 2} data-selected={selected || undefined}>
      <td className="cell-check">
        <Check hidden label={`Select ${job.name || job.id}`} checked={selected} onChange={onSelect} />
      </td>
      <td className="cell-name">
        <Link href={`/jobs/${job.id}`} className="strong clip">
          {job.name || job.id}
        </Link>
        <code className="muted small">{job.id}</code>
      </td>
      <td className="cell-state">
        <StateBadge state={job.state} />
      </td>
      <td className="cell-where">
        <Where job={job} />
      </td>
      <td className="cell-time number">{took === null ? <span className="muted">–</span> : duration(took)}</td>
      <td className="cell-age">
        <Time time={job.create_time} />
      </td>
    </tr>
  );
}

/** In the place of the rows that are not on the screen. */
function Space({ height }: { height: number }) {
  if (height <= 0) return null;
  return (
    <tr className="space" aria-hidden>
      <td colSpan={6} style={{ height }} />
    </tr>
  );
}

type Selection = Record<string, JobLine>;

interface RowsProps {
  list: JobList;
  shown: { current: Shown };
  more: () => void; // asks for what comes next
  selected: Selection;
  onSelect: (job: JobLine, on: boolean) => void;
}

/** The rows on the screen and a few more, of a list as long as it may be. */
function Rows({ list, shown, more, selected, onSelect }: RowsProps) {
  const body = useRef<HTMLTableSectionElement>(null);
  const [margin, setMargin] = useState(0);
  useLayoutEffect(() => setMargin(body.current?.offsetTop ?? 0), []);
  const { lines } = list;
  const rows = useWindowVirtualizer({
    count: lines.length,
    estimateSize: () => 59,
    gap: phone.matches ? 10 : 0,
    overscan: 8,
    scrollMargin: margin,
    getItemKey: (index) => lines[index].id,
  });
  const items = rows.getVirtualItems();
  const first = items.at(0)?.index ?? 0;
  const last = items.at(-1)?.index ?? 0;
  const now = useNow(lines.slice(first, last + 1).some((job) => isActive(job.state)));
  useEffect(() => {
    shown.current = { first, last };
    if (list.next && last + 20 > lines.length) more();
  });
  return (
    <table className="jobs" aria-label="Jobs" aria-rowcount={list.next ? -1 : lines.length + 1}>
      <thead>
        <tr>
          <th>
            <span className="sr">Select</span>
          </th>
          <th>Job</th>
          <th>State</th>
          <th>Progress</th>
          <th className="number">Time</th>
          <th>Submitted</th>
        </tr>
      </thead>
      <tbody ref={body}>
        <Space height={(items.at(0)?.start ?? margin) - margin} />
        {items.map(({ index }) => (
          <Row
            key={lines[index].id}
            job={lines[index]}
            index={index}
            now={now}
            selected={lines[index].id in selected}
            onSelect={(on) => onSelect(lines[index], on)}
            measure={rows.measureElement}
          />
        ))}
        <Space height={rows.getTotalSize() - ((items.at(-1)?.end ?? margin) - margin)} />
      </tbody>
    </table>
  );
}

export function Jobs() {
  useTitle("Jobs");
  const [params, setParams] = useSearchParams();
  const state = params.get("state") ?? "";
  const name = params.get("name") ?? "";
  const [selected, setSelected] = useState<Selection>({});
  const shown = useRef<Shown>({ first: 0, last: 0 });
  const query = useJobList(state, name, shown);
  const cancel = useCancel();
  const retry = useRetry();
  const barred = useBarred("submitter");
  const change = (next: Record<string, string>, replace = false) => {
    shown.current = { first: 0, last: 0 };
    window.scrollTo(0, 0);
    setParams(
      (old) => {
        for (const [key, value] of Object.entries(next)) value ? old.set(key, value) : old.delete(key);
        return old;
      },
      { replace },
    );
  };

  return (
    <>
      <div className="head">
        <h1>Jobs</h1>
        {barred ? (
          <p className="muted small">{barred}</p>
        ) : (
          <Link href="/submit" className="button primary">
            New job
          </Link>
        )}
      </div>
      <div className="tools">
        <Segments
          label="State"
          value={state || "all"}
          options={STATES}
          onChange={(next) => change({ state: next === "all" ? "" : next })}
        />
        <NameFilter name={name} onChange={(next) => change({ name: next }, true)} />
      </div>
      <Loaded query={query} rows={8}>
        {(list) =>
          list.lines.length > 0 ? (
            <Rows
              list={list}
              shown={shown}
              more={() => query.isError || query.refetch({ cancelRefetch: false })}
              selected={selected}
              onSelect={(job, on) =>
                setSelected((old) => {
                  const { [job.id]: _, ...rest } = old;
                  return on ? { ...rest, [job.id]: job } : rest;
                })
              }
            />
          ) : state || name ? (
            <Empty title="No job fits this filter">
              <button className="button" onClick={() => setParams({})}>
                Show all jobs
              </button>
            </Empty>
          ) : (
            <Empty title="No jobs yet">
              <p className="muted">Hand in a model and a recipe; what comes back is smaller, with what it cost.</p>
              <pre className="command">wring submit "gptq(bits=4, group_size=64)" --model DIR --data calibration=TEXT</pre>
            </Empty>
          )
        }
      </Loaded>
      <Chosen
        jobs={Object.values(selected).map((job) => query.data?.lines.find((fresh) => fresh.id === job.id) ?? job)}
        cancel={(id) => cancel.mutate(id)}
        retry={(id) => retry.mutate(id)}
        clear={() => setSelected({})}
        barred={barred}
      />
    </>
  );
}

/** "Cancel NAME", "Cancel 3 jobs". */
const verb = (word: string, jobs: JobLine[]) => `${word} ${jobs.length === 1 ? jobs[0].name || jobs[0].id : `${jobs.length} jobs`}`;

interface ChosenProps {
  jobs: JobLine[];
  cancel: (id: string) => void;
  retry: (id: string) => void;
  clear: () => void;
  barred: string;
}

/** What can be done with the selected jobs. */
function Chosen({ jobs, cancel, retry, clear, barred }: ChosenProps) {
  const cancellable = jobs.filter((job) => isActive(job.state));
  const retriable = jobs.filter((job) => job.state === "FAILED" || job.state === "CANCELLED");
  const each = (some: JobLine[], act: (id: string) => void) => () => {
    for (const job of some) act(job.id);
    clear();
  };
  if (jobs.length === 0) return null;
  return (
    <div className="selection" role="region" aria-label="Selected jobs">
      <span>{jobs.length} selected</span>
      {jobs.length > 1 && (
        <Link className="button primary" href={`/compare?jobs=${jobs.map((job) => job.id).join(",")}`}>
          Compare
        </Link>
      )}
      <Confirm
        trigger="Cancel"
        disabled={cancellable.length === 0 || barred !== ""}
        title={verb("Cancel", cancellable) + "?"}
        action={cancellable.length === 1 ? "Cancel the job" : "Cancel them"}
        onConfirm={each(cancellable, cancel)}
      >
        Finished stages are kept: a retry goes on from there.
      </Confirm>
      <button
        className="button"
        disabled={retriable.length === 0 || barred !== ""}
        title={barred || (retriable.length === 0 ? "Jobs that failed or were cancelled can be retried" : verb("Retry", retriable))}
        onClick={each(retriable, retry)}
      >
        Retry
      </button>
      <button className="button quiet" onClick={clear}>
        Clear
      </button>
    </div>
  );
}

/** Asks for the jobs once typing has paused. */
function NameFilter({ name, onChange }: { name: string; onChange: (name: string) => void }) {
  const [text, setText] = useState(name);
  useEffect(() => setText(name), [name]);
  useEffect(() => {
    if (text === name) return;
    const timer = setTimeout(() => onChange(text), 250);
    return () => clearTimeout(timer);
  });
  return (
    <input
      className="field search"
      type="search"
      placeholder="Filter by name"
      aria-label="Filter by name"
      value={text}
      onChange={(event) => setText(event.target.value)}
    />
  );
}
