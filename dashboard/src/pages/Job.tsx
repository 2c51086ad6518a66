// One job: what came of it, how it went, what it cost each layer, what was asked, and the files.
import { Tabs } from "@base-ui/react/tabs";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useSearchParams } from "wouter";
import { type Artifact, events, get, isActive, type Job, type JobError, stateNames, unlessGone } from "../api";
import { bytes, duration, short } from "../format";
import { aheadText, outcomeOf, remaining, remainingText, runningStage, seconds } from "../job_text";
import { limitsOf, limitsText } from "../limits";
import { Digest, Failure, Loaded, StateBadge, Time, useNow, useTitle } from "../parts/basics";
import { useCancel, usePause, useRemove, useRetry } from "../parts/calls";
import { Confirm } from "../parts/controls";
import { Files } from "../parts/files";
import { Layers } from "../parts/layers";
import { PlanTable } from "../parts/plan";
import { RecipeTab } from "../parts/recipe_tab";
import { Log } from "../parts/log";
import { DeleteMenu } from "../parts/more";
import { Results } from "../parts/results";
import { useBarred } from "../parts/session";
import { useTail } from "../parts/tail";
import { Timeline } from "../parts/timeline";

export default function JobPage({ id }: { id: string }) {
  const query = useQuery({
    queryKey: ["job", id],
    queryFn: () => get<Job>(`jobs/${id}`),
    refetchInterval: unlessGone<Job>((job) => (job && !isActive(job.state) ? 15000 : 1000)),
  });
  return <Loaded query={query} home="jobs">{(job) => <OneJob job={job} />}</Loaded>;
}

function OneJob({ job }: { job: Job }) {
  useTitle(job.spec.name || job.id);
  const [params, setParams] = useSearchParams();
  const active = isActive(job.state);
  const [first] = useState(job.evaluations.length > 0 && !active ? "results" : "timeline"); // it stays, also at the job's end
  const tab = params.get("tab") ?? first;
  const history = useTail("events", job, (after) => events(job.id, after));
  return (
    <>
      <Head job={job} />
      {job.error && job.state === "FAILED" && <JobFailure job={job} />}
      {job.state === "QUEUED" && (
        <div className="notice" role="status">
          <strong>Waits: {job.waiting_reason}</strong>
          <Turn job={job} />
          {job.error && <p>The attempt before ended with: {job.error.message}</p>}
        </div>
      )}
      <Facts job={job} />
      {job.spec.plan_only && (
        <section className="block">
          <h2>Plan</h2>
          {job.state === "SUCCEEDED" ? <PlanTable job={job} /> : <p className="muted">It is only planned: none of its stages run.</p>}
        </section>
      )}
      <Tabs.Root value={tab} onValueChange={(next) => setParams((old) => (old.set("tab", String(next)), old))}>
        <Tabs.List className="tabs" aria-label="About this job">
          {[
            ["results", "Results"],
            ["timeline", "Timeline"],
            ["log", "Log"],
            ["layers", "Layers"],
            ["recipe", "Recipe"],
            ["files", "Files"],
          ].map(([value, label]) => (
            <Tabs.Tab key={value} value={value} className="tab">
              {label}
            </Tabs.Tab>
          ))}
          <Tabs.Indicator className="tab-mark" renderBeforeHydration={false} />
        </Tabs.List>
        <Tabs.Panel value="results">
          <Results job={job} />
        </Tabs.Panel>
        <Tabs.Panel value="timeline">
          <Loaded query={history}>{(all) => <Timeline job={job} events={all} />}</Loaded>
        </Tabs.Panel>
        <Tabs.Panel value="log">
          <Log job={job} />
        </Tabs.Panel>
        <Tabs.Panel value="layers">
          <Layers job={job} />
        </Tabs.Panel>
        <Tabs.Panel value="recipe">
          <RecipeTab job={job} />
        </Tabs.Panel>
        <Tabs.Panel value="files">
          <JobFiles job={job} />
        </Tabs.Panel>
      </Tabs.Root>
    </>
  );
}

const BUSY = "all workers that fit are busy";

const deviceOf = (job: Job) => job.spec.resources?.device || "cpu";

/** How many go first; of the next one, when the first of those that run on such a device is expected to end. */
function Turn({ job }: { job: Job }) {
  const next = job.ahead === 0 && job.waiting_reason === BUSY;
  const query = useQuery({
    queryKey: ["jobs", "running"],
    queryFn: () => get<{ jobs: Job[] }>("jobs", { states: stateNames("running"), page_size: 200 }),
    enabled: next,
    refetchInterval: 2000,
  });
  if (job.ahead > 0) return <p>{aheadText(job.ahead, 1000)}.</p>;
  if (!next) return null;
  const ends = (query.data?.jobs ?? [])
    .filter((running) => deviceOf(running) === deviceOf(job))
    .map((running) => ({ running, left: remaining(running) }))
    .flatMap(({ running, left }) => (left ? [{ running, ...left }] : []))
    .sort((a, b) => a.seconds - b.seconds);
  return (
    <p>
      It is the next of its project.
      {ends.length > 0 && (
        <>
          {" "}
          Of those that run, <Link href={`/jobs/${ends[0].running.id}`}>{ends[0].running.spec.name || ends[0].running.id}</Link> is expected to end first, in{" "}
          {ends[0].more ? "at least" : "about"} {duration(ends[0].seconds)}.
        </>
      )}
    </p>
  );
}

function Head({ job }: { job: Job }) {
  const cancel = useCancel();
  const retry = useRetry();
  const pause = usePause();
  const remove = useRemove("jobs");
  const barred = useBarred("submitter");
  const running = runningStage(job);
  return (
    <div className="head">
      <div className="head-title">
        <Link href="/jobs" className="crumb">
          Jobs
        </Link>
        <h1 className="clip" title={job.spec.name}>{job.spec.name || job.id}</h1>
        <div className="head-line">
          <span aria-live="polite">
            <StateBadge state={job.state} />
          </span>
          <code className="muted">{job.id}</code>
          {running && (
            <span className="muted">
              {running.index + 1}/{job.stages.length} {running.name} {remainingText(job) && `· ${remainingText(job)}`}
            </span>
          )}
        </div>
      </div>
      {barred ? (
        <p className="muted small">{barred}</p>
      ) : (
        <div className="head-actions">
          {isActive(job.state) && job.state !== "CANCELLING" && (
            <button className="button" disabled={pause.isPending} onClick={() => pause.mutate({ id: job.id, paused: !job.paused })}>
              {job.paused ? "Resume" : "Pause"}
            </button>
          )}
          {isActive(job.state) && (
            <Confirm
              trigger="Cancel"
              title={`Cancel ${job.spec.name || job.id}?`}
              action="Cancel the job"
              disabled={job.state === "CANCELLING" || cancel.isPending}
              onConfirm={() => cancel.mutate(job.id)}
            >
              Finished stages are kept: a retry goes on from there.
            </Confirm>
          )}
          {(job.state === "FAILED" || job.state === "CANCELLED") && (
            <button className="button" disabled={retry.isPending} onClick={() => retry.mutate(job.id)}>
              Retry
            </button>
          )}
          {!isActive(job.state) && (
            <DeleteMenu title={`Delete ${job.spec.name || job.id}?`} action="Delete the job" disabled={remove.isPending} onConfirm={() => remove.mutate(job.id)}>
              Its events and figures go with it. What it made stays among the artifacts.
            </DeleteMenu>
          )}
          <Link className="button primary" href={`/submit?from=${job.id}`}>
            Run again with changes
          </Link>
        </div>
      )}
    </div>
  );
}

/** The engine's last lines without what it said there of the error itself. */
function logBeside(error: JobError): string {
  const said = [error.message, ...error.hint.split("\n")].filter(Boolean);
  return error.last_log
    .split("\n")
    .filter((line) => line.trim() && !said.some((words) => line.includes(words)))
    .join("\n");
}

function JobFailure({ job }: { job: Job }) {
  const error = job.error!;
  const stage = job.stages[error.stage];
  const log = logBeside(error);
  return (
    <section className="notice bad" role="alert" aria-label="Why it failed">
      <strong>
        {stage && `${stage.name}: `}
        {error.field && <code>{error.field} </code>}
        {error.message}
        {error.signal > 0 && ` (killed by signal ${error.signal})`}
      </strong>
      {error.hint && <p>{error.hint}</p>}
      <p className="muted small">{error.reason}</p>
      {log && (
        <details open>
          <summary>The engine's last lines</summary>
          <pre className="code" tabIndex={0}>
            {log}
          </pre>
        </details>
      )}
    </section>
  );
}

/** By its name, which its digest stands for until that is known. */
function ArtifactName({ digest }: { digest: string }) {
  const query = useQuery({ queryKey: ["artifact", digest], queryFn: () => get<Artifact>(`artifacts/${digest}`), staleTime: Infinity, retry: false });
  return (
    <Link href={`/artifacts/${digest}`} title={digest}>
      {query.data?.name || <code>{short(digest)}</code>}
    </Link>
  );
}

function Facts({ job }: { job: Job }) {
  const now = useNow(isActive(job.state));
  const took = seconds(job, now);
  const peak = Math.max(0, ...job.stages.map((stage) => Number(stage.peak_bytes)));
  const outcome = outcomeOf(job);
  const asked = limitsText({ ...limitsOf(job.spec), device: "cpu" });
  return (
    <>
      <dl className="facts">
        {outcome.size && (
          <Fact name="Size">
            <strong>{outcome.size.now}</strong> <span className="muted">{outcome.size.change}</span>
          </Fact>
        )}
        {outcome.quality && (
          <Fact name={outcome.quality.name[0].toUpperCase() + outcome.quality.name.slice(1)}>
            <strong>{outcome.quality.now}</strong> <span className="muted">{outcome.quality.change}</span>
          </Fact>
        )}
        <Fact name="Model">
          <ArtifactName digest={job.spec.model} />
        </Fact>
        {Object.entries(job.spec.data)
          .sort()
          .map(([name, digest]) => (
            <Fact key={name} name={`Data: ${name}`}>
              <ArtifactName digest={digest} />
            </Fact>
          ))}
        {job.sweep && (
          <Fact name="Sweep">
            <Link href={`/sweeps/${job.sweep}?tab=trials`}>{job.sweep}</Link> <span className="muted">trial {job.trial}</span>
          </Fact>
        )}
        <Fact name="Time">{took === null ? "–" : duration(took)}</Fact>
        <Fact name="Peak memory">{peak > 0 ? bytes(peak) : "–"}</Fact>
        <Fact name="Submitted">
          <Time time={job.create_time} />
        </Fact>
      </dl>
      <details className="facts-more">
        <summary>Details</summary>
        <dl className="facts">
          {job.result && (
            <Fact name="Result">
              <Digest digest={job.result} to={`/artifacts/${job.result}`} />
            </Fact>
          )}
          {job.worker && (
            <Fact name="Worker">
              <Link href="/workers">{job.worker}</Link>
              {job.attempt > 1 && <span className="muted"> attempt {job.attempt}</span>}
            </Fact>
          )}
          <Fact name="Seed">{job.spec.seed}</Fact>
          <Fact name="Asked for">
            {job.spec.resources?.device || "cpu"}
            {asked && <span className="muted"> {asked}</span>}
          </Fact>
          {job.spec.project && <Fact name="Project">{job.spec.project}</Fact>}
        </dl>
      </details>
    </>
  );
}

const Fact = ({ name, children }: { name: string; children: React.ReactNode }) => (
  <div>
    <dt>{name}</dt>
    <dd>{children}</dd>
  </div>
);

/** The result's files, and those of each export. */
function JobFiles({ job }: { job: Job }) {
  const exported = job.evaluations.filter((row) => row.suite === "export" && row.artifact !== job.result);
  const all = new Map([[job.result, "Result"], ...exported.map((row) => [row.artifact, `Export: ${row.when.replace(/^export: /, "")}`] as const)]);
  all.delete("");
  if (all.size === 0)
    return (
      <p className="muted">
        {isActive(job.state) ? "Files are there once the job has succeeded." : "This job has made no files."}
      </p>
    );
  return [...all].map(([digest, title]) => <ArtifactFiles key={digest} digest={digest} title={title} />);
}

function ArtifactFiles({ digest, title }: { digest: string; title: string }) {
  const query = useQuery({ queryKey: ["artifact", digest], queryFn: () => get<Artifact>(`artifacts/${digest}`), staleTime: Infinity });
  if (query.error) return <Failure error={query.error} />;
  return <Loaded query={query}>{(artifact) => <Files artifact={artifact} title={title} />}</Loaded>;
}
