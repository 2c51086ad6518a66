// The list of jobs: newest first, filtered by state, project and name, alive.
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useWindowVirtualizer } from "@tanstack/react-virtual";
import { memo, useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "react";
import { Link, useSearchParams } from "wouter";
import { type Artifact, get, isActive, Problem } from "../api";
import { FULL, MOST_COMPARED } from "../compare";
import { duration, short } from "../format";
import type { JobLine, JobList, Shown } from "../job_list";
import { aheadText, progressText, seconds, stageProgress, TRIED } from "../job_text";
import { Bar, Empty, Loaded, StateBadge, stateText, Time, useNow, useTitle } from "../parts/basics";
import { useBulk } from "../parts/calls";
import { Check, Choice, Confirm, NameFilter, Segments } from "../parts/controls";
import { useProjects } from "../parts/inputs";
import { NO_TRIALS, useJobList } from "../parts/job_list";
import { OutcomeFigure, useRests, WithOutcome } from "../parts/outcome";
import { NewLink, useBarred } from "../parts/session";

const STATES = [
  { value: "all", label: "All" },
  { value: "queued,running,cancelling", label: "Active" },
  { value: "succeeded", label: "Succeeded" },
  { value: "failed", label: "Failed" },
  { value: "cancelled", label: "Cancelled" },
];

const MOST_SELECTED = 1000; // rows, by one click, also one with shift
const BLOCK = 10; // rows that come and go together: where each is counted by itself, each page of a long list has 100,000 heights added anew
const SOON = 150; // milliseconds between two moves of a list that is not read, but passed
const ALL_PROJECTS = "*"; // no project's name

const phone = matchMedia("(max-width: 760px)"); // rows are cards then, with a gap

/** How many steps came from the cache. */
function Cached({ job }: { job: JobLine }) {
  if (job.cached === 0) return null;
  const text = `${job.cached} of ${job.steps} steps from the cache`;
  return (
    <span className="cached muted small" title={text}>
      <svg width="11" height="12" viewBox="0 0 11 12" fill="none" stroke="currentColor" strokeWidth="1.2" aria-hidden>
        <ellipse cx="5.5" cy="2.6" rx="4.5" ry="1.9" />
        <path d="M1 2.6v6.8c0 1 2 1.9 4.5 1.9S10 10.4 10 9.4V2.6M1 6c0 1 2 1.9 4.5 1.9S10 7 10 6" />
      </svg>
      <span aria-hidden>{job.cached}</span>
      <span className="sr">{text}</span>
    </span>
  );
}

/** What was done, and what came of it: size and quality in columns of their own. */
function Outcome({ job, rests }: { job: JobLine; rests: boolean }) {
  return (
    <WithOutcome id={job.id} asks={rests && job.measured}>
      {({ size, quality }) => (
        <>
          <td role="cell" className="cell-where">
            <span className="clip" title={job.methods}>
              {job.methods || <span className="muted">{job.name === TRIED ? "sampled" : "evaluated"}</span>}
              <Cached job={job} />
            </span>
          </td>
          <td role="cell" className="cell-size number">
            <OutcomeFigure outcome={size} />
          </td>
          <td role="cell" className="cell-quality number">
            <OutcomeFigure outcome={quality} named />
          </td>
        </>
      )}
    </WithOutcome>
  );
}

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
  projects: boolean;
  selected: boolean;
  onSelect: (index: number, on: boolean, range: boolean) => void;
}

// As cards on a phone rows are no table to the browser: the roles say that they are one.
const FullRow = memo(function FullRow({ job, index, now, projects, selected, rests, onSelect }: RowProps & { rests: boolean }) {
  const took = seconds(job, now);
  const range = useRef(false);
  return (
    <tr role="row" aria-rowindex={index + 2} data-selected={selected || undefined}>
      <td
        role="cell"
        className="cell-check"
        onMouseDown={(event) => event.shiftKey && event.preventDefault()} // it selects rows, not their words
        onPointerDownCapture={(event) => (range.current = event.shiftKey)}
        onKeyDownCapture={(event) => (range.current = event.shiftKey)}
      >
        <Check hidden label={`Select ${job.name || job.id}`} checked={selected} onChange={(on) => onSelect(index, on, range.current)} />
      </td>
      <td role="cell" className="cell-name">
        <Link href={`/jobs/${job.id}`} className={job.name === TRIED ? "muted clip" : "strong clip"}>
          {job.name || job.id}
        </Link>
        <span className="clip muted small">
          {projects && <span className="project-beside">{job.project} · </span>}
          <code>{job.id}</code> {rests ? <Model digest={job.model} /> : <KnownModel digest={job.model} />}
        </span>
      </td>
      <td role="cell" className="cell-state">
        <StateBadge state={job.state} />
      </td>
      {job.state === "SUCCEEDED" ? (
        <Outcome job={job} rests={rests} />
      ) : (
        <td role="cell" className="cell-where" colSpan={3}>
          <Where job={job} />
        </td>
      )}
      {projects && (
        <td role="cell" className="cell-project clip" title={job.project}>
          {job.project}
        </td>
      )}
      <td role="cell" className="cell-time number">
        {took === null ? <span className="muted">–</span> : duration(took)}
      </td>
      <td role="cell" className="cell-age">
        <Time time={job.create_time} />
      </td>
    </tr>
  );
});

/** Of a row that flies past: what the eye catches, as high as the full row. */
function FlyingRow({ job, index, projects }: Pick<RowProps, "job" | "index" | "projects">) {
  return (
    <tr role="row" aria-rowindex={index + 2}>
      <td role="cell" />
      <td role="cell" className="cell-name">
        <span className="strong clip">{job.name || job.id}</span>
        <span className="clip muted small">
          <code>{job.id}</code>
        </span>
      </td>
      <td role="cell" className="muted" colSpan={4}>
        {stateText(job.state)}
      </td>
      {projects && <td role="cell" className="cell-project" />}
      <td role="cell" colSpan={2} />
    </tr>
  );
}

/** `flies`: whether it came where whole screens of rows pass by. It is drawn in full where it rests, and stays so. */
const Row = memo(function Row({ flies, ...row }: RowProps & { flies: boolean }) {
  const [plain] = useState(flies && !row.selected);
  const rests = useRests(row.job.id);
  return plain && !rests ? <FlyingRow job={row.job} index={row.index} projects={row.projects} /> : <FullRow {...row} rests={rests} />;
});

const nameKey = (digest: string) => ["artifact's name", digest];

/** Of a row that passes by: as far as it is known. */
function KnownModel({ digest }: { digest: string }) {
  const name = useQueryClient().getQueryData<string>(nameKey(digest));
  return name ? <>· {name}</> : null;
}

/** Few models have many jobs: each is asked for once, and has no name once it was deleted. */
function useModelName(digest: string): string {
  const query = useQuery({
    queryKey: nameKey(digest),
    queryFn: () =>
      get<Artifact>(`artifacts/${digest}`).then(
        ({ name }) => name,
        (error) => {
          if (error instanceof Problem && error.status === 404) return "";
          throw error;
        },
      ),
    staleTime: Infinity,
  });
  return query.data ?? "";
}

function Model({ digest }: { digest: string }) {
  const name = useModelName(digest);
  return name ? <>· {name}</> : null;
}

/** A model, whose jobs alone are listed, with what lists all again. */
function ModelFilter({ digest, clear }: { digest: string; clear: () => void }) {
  const name = useModelName(digest);
  return (
    <span className="tag filter">
      of{" "}
      <Link href={`/artifacts/${digest}`} className="clip">
        {name || short(digest)}
      </Link>
      <button className="button quiet" aria-label={`Jobs of any model, not of ${name || short(digest)} alone`} onClick={clear}>
        ×
      </button>
    </span>
  );
}

/** A sweep, whose trials alone are listed, with what lists all again. */
function SweepFilter({ id, clear }: { id: string; clear: () => void }) {
  return (
    <span className="tag filter">
      trials of{" "}
      <Link href={`/sweeps/${id}`} className="clip">
        {id}
      </Link>
      <button className="button quiet" aria-label={`Jobs of any sweep or none, not of ${id} alone`} onClick={clear}>
        ×
      </button>
    </span>
  );
}

/** In the place of the rows that are not on the screen. */
function Space({ height }: { height: number }) {
  if (height <= 0) return null;
  return (
    <tbody role="presentation" className="space" aria-hidden>
      <tr>
        <td style={{ height }} />
      </tr>
    </tbody>
  );
}

/** Whether the list moves by whole blocks, one soon after the other, when `first` becomes its first row. */
function useFlies(first: number): boolean {
  const last = useRef({ first, time: 0, flies: false });
  if (first !== last.current.first) {
    const time = performance.now();
    const { first: before, time: moved } = last.current;
    last.current = { first, time, flies: Math.abs(first - before) >= BLOCK && time - moved < SOON && !phone.matches };
  }
  return last.current.flies;
}

type Selection = Record<string, JobLine>;

interface RowsProps {
  list: JobList;
  shown: { current: Shown };
  more: () => void; // asks for what comes next
  projects: boolean; // whether to say whose each is
  selected: Selection;
  onSelect: (jobs: JobLine[], on: boolean) => void;
}

/** The rows on the screen and a few more, of a list as long as it may be. */
function Rows({ list, shown, more, projects, selected, onSelect }: RowsProps) {
  const clicked = useRef("");
  const head = useRef<HTMLTableSectionElement>(null);
  const [margin, setMargin] = useState(0);
  useLayoutEffect(() => setMargin((head.current?.offsetTop ?? 0) + (head.current?.offsetHeight ?? 0)), []);
  const { lines } = list;
  const blocks = useWindowVirtualizer({
    count: Math.ceil(lines.length / BLOCK),
    estimateSize: (block) => Math.min(BLOCK, lines.length - block * BLOCK) * 59,
    gap: phone.matches ? 10 : 0,
    overscan: 1,
    scrollMargin: margin,
  });
  const items = blocks.getVirtualItems();
  const first = (items.at(0)?.index ?? 0) * BLOCK;
  const last = Math.min(lines.length, ((items.at(-1)?.index ?? 0) + 1) * BLOCK) - 1;
  const flies = useFlies(first);
  const now = useNow(lines.slice(first, last + 1).some((job) => isActive(job.state)));
  useEffect(() => {
    shown.current = { first, last };
    if (list.next && last + 20 > lines.length) more();
  });
  /** With shift: all from the row that was clicked before; of more than may be selected those next to this one. */
  const select = (index: number, on: boolean, range: boolean) => {
    const from = range ? lines.findIndex((line) => line.id === clicked.current) : -1;
    clicked.current = lines[index].id;
    const some = from < 0 ? [lines[index]] : from < index ? lines.slice(from, index + 1).slice(-MOST_SELECTED) : lines.slice(index, from + 1).slice(0, MOST_SELECTED);
    onSelect(some, on);
  };
  const latest = useRef(select);
  latest.current = select;
  const selectRow = useCallback((index: number, on: boolean, range: boolean) => latest.current(index, on, range), []);
  const all = lines.slice(0, MOST_SELECTED);
  const count = all.filter((line) => line.id in selected).length;
  return (
    <table role="table" className="jobs" aria-label="Jobs" data-projects={projects || undefined} aria-rowcount={list.next ? -1 : lines.length + 1}>
      <thead role="rowgroup" ref={head}>
        <tr role="row">
          <th role="columnheader" className="cell-check">
            <Check
              hidden
              label={lines.length > all.length || list.next ? `Select the newest ${all.length}` : "Select all"}
              checked={count === all.length}
              some={count > 0}
              onChange={(on) => onSelect(all, on)}
            />
          </th>
          <th role="columnheader">Job</th>
          <th role="columnheader">State</th>
          <th role="columnheader">Progress</th>
          <th role="columnheader" className="number">
            Size
          </th>
          <th role="columnheader" className="number">
            Quality
          </th>
          {projects && (
            <th role="columnheader" className="cell-project">
              Project
            </th>
          )}
          <th role="columnheader" className="number">
            Time
          </th>
          <th role="columnheader">Submitted</th>
        </tr>
      </thead>
      <Space height={(items.at(0)?.start ?? margin) - margin} />
      {items.map(({ index: block }) => (
        <tbody role="rowgroup" key={block} data-index={block} ref={blocks.measureElement}>
          {lines.slice(block * BLOCK, (block + 1) * BLOCK).map((job, i) => (
            <Row
              key={job.id}
              job={job}
              index={block * BLOCK + i}
              now={isActive(job.state) ? now : 0}
              projects={projects}
              selected={job.id in selected}
              flies={flies}
              onSelect={selectRow}
            />
          ))}
        </tbody>
      ))}
      <Space height={blocks.getTotalSize() - ((items.at(-1)?.end ?? margin) - margin)} />
    </table>
  );
}

/** Of a caller who sees all projects: those whose jobs are listed, and those that have something to do. */
function useProjectNames(listed: string[], chosen: string): string[] {
  const names = useProjects();
  if (!names) return [];
  return [...new Set([...names, ...listed, chosen])].filter(Boolean).sort();
}

export function Jobs() {
  useTitle("Jobs");
  const [params, setParams] = useSearchParams();
  const state = STATES.find(({ value }) => value === params.get("state") && value !== "all")?.value ?? "";
  const name = params.get("name") ?? "";
  const project = params.get("project") ?? "";
  const model = params.get("model") ?? "";
  const sweep = params.get("sweep") ?? "";
  const filter = [state, name, project, model, sweep].join(" ");
  const [selection, setSelection] = useState<{ filter: string; jobs: Selection }>({ filter, jobs: {} });
  const selected = selection.filter === filter ? selection.jobs : {}; // what another filter hides is not to be acted on
  const shown = useRef<Shown>({ first: 0, last: 0 });
  const query = useJobList({ state, name, project, model, sweep }, shown);
  const act = useBulk();
  const projects = useProjectNames(query.data?.projects ?? [], project);
  const any = Object.keys(selected).length > 0;
  const fresh = useMemo(() => new Map(any ? query.data?.lines.map((line) => [line.id, line]) : []), [any, query.data]);
  const barred = useBarred("submitter");
  const change = (next: Record<string, string>, replace = false) => {
    setSelection({ filter: "", jobs: {} });
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
        <NewLink href="/submit">New job</NewLink>
      </div>
      <div className="tools">
        <Segments
          label="State"
          value={state || "all"}
          options={STATES}
          onChange={(next) => change({ state: next === "all" ? "" : next })}
        />
        {projects.length > 1 && (
          <Choice
            label="Project"
            value={project || ALL_PROJECTS}
            options={[{ value: ALL_PROJECTS, label: "All projects" }, ...projects.map((value) => ({ value, label: value }))]}
            onChange={(next) => change({ project: next === ALL_PROJECTS ? "" : next })}
          />
        )}
        <NameFilter name={name} onChange={(next) => change({ name: next }, true)} />
        {model && <ModelFilter digest={model} clear={() => change({ model: "" })} />}
        {sweep && sweep !== NO_TRIALS ? (
          <SweepFilter id={sweep} clear={() => change({ sweep: "" })} />
        ) : (
          <Segments
            label="Trials of sweeps"
            value={sweep || "all"}
            options={[
              { value: "all", label: "With trials" },
              { value: NO_TRIALS, label: "Without" },
            ]}
            onChange={(next) => change({ sweep: next === NO_TRIALS ? NO_TRIALS : "" })}
          />
        )}
      </div>
      <Loaded query={query} rows={8}>
        {(list) =>
          list.lines.length > 0 ? (
            <Rows
              list={list}
              shown={shown}
              more={() => query.isError || query.refetch({ cancelRefetch: false })}
              projects={projects.length > 1}
              selected={selected}
              onSelect={(jobs, on) => {
                const next = { ...selected };
                for (const job of jobs)
                  if (on) next[job.id] = job;
                  else delete next[job.id];
                setSelection({ filter, jobs: next });
              }}
            />
          ) : state || name || project || model || sweep ? (
            <Empty title="No job fits this filter">
              {/^[a-z0-9]{12}$/.test(name) && (
                <Link href={`/jobs/${name}`} className="button primary">
                  Open the job with this id
                </Link>
              )}
              <button className="button" onClick={() => setParams({})}>
                Show all jobs
              </button>
            </Empty>
          ) : (
            <Empty title="No jobs yet">
              {barred ? (
                <p className="muted">Those that others submit are listed here.</p>
              ) : (
                <>
                  <p className="muted">Hand in a model and a recipe; what comes back is smaller, with what it cost.</p>
                  <pre className="command">wring submit "gptq(bits=4, group_size=64)" --model DIR --data calibration=TEXT</pre>
                </>
              )}
            </Empty>
          )
        }
      </Loaded>
      <Chosen
        jobs={Object.values(selected).map((job) => fresh.get(job.id) ?? job)}
        act={(verb, jobs) => act.mutate({ verb, jobs })}
        clear={() => setSelection({ filter, jobs: {} })}
        barred={barred}
      />
    </>
  );
}

/** "Cancel NAME", "Cancel 3 jobs". */
const verb = (word: string, jobs: JobLine[]) => `${word} ${jobs.length === 1 ? jobs[0].name || jobs[0].id : `${jobs.length} jobs`}`;

interface ChosenProps {
  jobs: JobLine[];
  act: (verb: "cancel" | "retry", jobs: JobLine[]) => void;
  clear: () => void;
  barred: string;
}

/** What can be done with the selected jobs. */
function Chosen({ jobs, act, clear, barred }: ChosenProps) {
  const cancellable = jobs.filter((job) => isActive(job.state));
  const retriable = jobs.filter((job) => job.state === "FAILED" || job.state === "CANCELLED");
  const all = (verb: "cancel" | "retry", some: JobLine[]) => () => {
    act(verb, some);
    clear();
  };
  if (jobs.length === 0) return null;
  return (
    <div className="selection" role="region" aria-label="Selected jobs">
      <span role="status">
        {jobs.length.toLocaleString("en")} selected{jobs.length > MOST_COMPARED && <span className="muted small">. {FULL}</span>}
      </span>
      {jobs.length > MOST_COMPARED ? (
        <button className="button primary" disabled title={FULL}>
          Compare
        </button>
      ) : (
        jobs.length > 1 && (
          <Link className="button primary" href={`/compare?jobs=${jobs.map((job) => job.id).join(",")}`}>
            Compare
          </Link>
        )
      )}
      <Confirm
        trigger="Cancel"
        disabled={cancellable.length === 0 || barred !== ""}
        title={verb("Cancel", cancellable) + "?"}
        action={cancellable.length === 1 ? "Cancel the job" : "Cancel them"}
        keep={cancellable.length === 1 ? "Keep it" : "Keep them"}
        onConfirm={all("cancel", cancellable)}
      >
        Finished stages are kept: a retry goes on from there.
      </Confirm>
      <button
        className="button"
        disabled={retriable.length === 0 || barred !== ""}
        title={barred || (retriable.length === 0 ? "Jobs that failed or were cancelled can be retried" : verb("Retry", retriable))}
        onClick={all("retry", retriable)}
      >
        Retry
      </button>
      <button className="button quiet" onClick={clear}>
        Clear
      </button>
    </div>
  );
}
