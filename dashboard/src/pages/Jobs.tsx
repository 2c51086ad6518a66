// The list of jobs: newest first, filtered by state and name, alive.
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { Link, useSearchParams } from "wouter";
import { get, isActive, type Job } from "../api";
import { duration } from "../format";
import { progressText, remainingText, runningStage, seconds, stageProgress } from "../job_text";
import { Bar, Empty, Loaded, StateBadge, Time, useNow, useTitle } from "../parts/basics";
import { useCancel } from "../parts/calls";
import { Check, Confirm, Segments } from "../parts/controls";

const STATES = [
  { value: "all", label: "All" },
  { value: "queued,running,cancelling", label: "Active" },
  { value: "succeeded", label: "Succeeded" },
  { value: "failed", label: "Failed" },
  { value: "cancelled", label: "Cancelled" },
];

interface Page {
  jobs: Job[];
  next_page_token: string;
}

/** The one line that says where a job stands, or why it doesn't move. */
function Where({ job }: { job: Job }) {
  const running = runningStage(job);
  if (job.state === "QUEUED") return <span className="muted">Waits: {job.waiting_reason}</span>;
  if (job.state === "FAILED")
    return (
      <span className="bad-text clip" title={job.error?.message}>
        {job.error?.message}
      </span>
    );
  if (job.state === "SUCCEEDED")
    return (
      <span className="muted">
        {job.stages.length} {job.stages.length === 1 ? "step" : "steps"}
        {job.stages.some((s) => s.state === "cached") ? `, ${job.stages.filter((s) => s.state === "cached").length} from the cache` : ""}
      </span>
    );
  if (!running) return <span className="muted">{job.state === "RUNNING" ? "Starts" : ""}</span>;
  return (
    <div className="where">
      <div className="where-line">
        <span>
          {running.index + 1}/{job.stages.length} {running.name}
        </span>
        <span className="muted">{remainingText(job)}</span>
      </div>
      <Bar value={stageProgress(running)} label={`${running.name} of ${job.spec.name || job.id}: ${progressText(running)}`} />
    </div>
  );
}

function Row({ job, now, selected, onSelect }: { job: Job; now: number; selected: boolean; onSelect: (on: boolean) => void }) {
  const took = seconds(job, now);
  return (
    <tr data-selected={selected || undefined}>
      <td className="cell-check">
        <Check hidden label={`Select ${job.spec.name || job.id}`} checked={selected} onChange={onSelect} />
      </td>
      <td className="cell-name">
        <Link href={`/jobs/${job.id}`} className="strong clip">
          {job.spec.name || job.id}
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

export function Jobs() {
  useTitle("Jobs");
  const [params, setParams] = useSearchParams();
  const state = params.get("state") ?? "";
  const name = params.get("name") ?? "";
  const token = params.get("page") ?? "";
  const [selected, setSelected] = useState<Record<string, Job>>({});
  const query = useQuery({
    queryKey: ["jobs", state, name, token],
    queryFn: () => get<Page>("jobs", { state, name_contains: name, page_token: token, page_size: 50 }),
    placeholderData: keepPreviousData,
    refetchInterval: (q) => (q.state.data?.jobs.some((job) => isActive(job.state)) ? 1500 : 3000),
  });
  const now = useNow(query.data?.jobs.some((job) => isActive(job.state)) ?? false);
  const cancel = useCancel();
  const change = (next: Record<string, string>, replace = false) =>
    setParams(
      (old) => {
        for (const [key, value] of Object.entries(next)) value ? old.set(key, value) : old.delete(key);
        return old;
      },
      { replace },
    );
  const chosen = Object.values(selected).map((job) => query.data?.jobs.find((fresh) => fresh.id === job.id) ?? job);
  const cancellable = chosen.filter((job) => isActive(job.state));

  return (
    <>
      <div className="head">
        <h1>Jobs</h1>
        <Link href="/submit" className="button primary">
          New job
        </Link>
      </div>
      <div className="tools">
        <Segments
          label="State"
          value={state || "all"}
          options={STATES}
          onChange={(next) => change({ state: next === "all" ? "" : next, page: "" })}
        />
        <NameFilter name={name} onChange={(next) => change({ name: next, page: "" }, true)} />
      </div>
      <Loaded query={query} rows={8}>
        {(page) =>
          page.jobs.length === 0 ? (
            state || name || token ? (
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
          ) : (
            <>
              <table className="jobs" aria-label="Jobs">
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
                <tbody>
                  {page.jobs.map((job) => (
                    <Row
                      key={job.id}
                      job={job}
                      now={now}
                      selected={job.id in selected}
                      onSelect={(on) =>
                        setSelected((old) => {
                          const { [job.id]: _, ...rest } = old;
                          return on ? { ...rest, [job.id]: job } : rest;
                        })
                      }
                    />
                  ))}
                </tbody>
              </table>
              <nav className="pages" aria-label="Pages">
                {token && (
                  <button className="button" onClick={() => change({ page: "" })}>
                    Newest
                  </button>
                )}
                {page.next_page_token && (
                  <button className="button" onClick={() => change({ page: page.next_page_token })}>
                    Older
                  </button>
                )}
              </nav>
            </>
          )
        }
      </Loaded>
      {chosen.length > 0 && (
        <div className="selection" role="region" aria-label="Selected jobs">
          <span>{chosen.length} selected</span>
          {chosen.length > 1 && (
            <Link className="button primary" href={`/compare?jobs=${chosen.map((job) => job.id).join(",")}`}>
              Compare
            </Link>
          )}
          <Confirm
            trigger="Cancel"
            disabled={cancellable.length === 0}
            title={
              cancellable.length === 1 ? `Cancel ${cancellable[0].spec.name || cancellable[0].id}?` : `Cancel ${cancellable.length} jobs?`
            }
            action={cancellable.length === 1 ? "Cancel the job" : "Cancel them"}
            onConfirm={() => {
              for (const job of cancellable) cancel.mutate(job.id);
              setSelected({});
            }}
          >
            Finished stages are kept: a retry goes on from there.
          </Confirm>
          <button className="button quiet" onClick={() => setSelected({})}>
            Clear
          </button>
        </div>
      )}
    </>
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
