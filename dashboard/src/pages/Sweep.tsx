// One sweep: where its strategy stands, the front as it grows, every trial, and what is done about it.
import { Tabs } from "@base-ui/react/tabs";
import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { Link, useSearchParams } from "wouter";
import { type Front, get, goesOn, type Savings, type Sweep, type Trial, unlessGone } from "../api";
import { bytes, duration, figure, goalName } from "../format";
import { Bar, Empty, Loaded, StateBadge, Time, useTitle } from "../parts/basics";
import { useRemove, useSweepCall } from "../parts/calls";
import { Code } from "../parts/code";
import { Choice, Confirm } from "../parts/controls";
import { DeleteMenu } from "../parts/more";
import { useBarred } from "../parts/session";
import { SweepFront } from "../parts/sweep_front";
import { pickedOf, TrialParallel, useTrialLines } from "../parts/parallel";
import { Picked, useAreas } from "../parts/picked";
import { Trials } from "../parts/trials";
import { useTrials } from "../parts/trial_pages";
import { ended, endWords, progress, rungs } from "../sweep";

const NONE: Trial[] = [];

export default function SweepPage({ id }: { id: string }) {
  const query = useQuery({
    queryKey: ["sweep", id],
    queryFn: () => get<Sweep>(`sweeps/${id}`),
    refetchInterval: unlessGone<Sweep>((sweep) => (sweep && !goesOn(sweep.state) ? 15000 : 2000)),
  });
  return <Loaded query={query} home="sweeps">{(sweep) => <OneSweep sweep={sweep} />}</Loaded>;
}

function OneSweep({ sweep }: { sweep: Sweep }) {
  useTitle(sweep.spec.name || sweep.id);
  const [params, setParams] = useSearchParams();
  const tab = params.get("tab") ?? "front";
  const refetchInterval = goesOn(sweep.state) ? 2000 : false;
  // The tag changes with the end of the sweep, so that its last figures are fetched too.
  const key = [sweep.id, goesOn(sweep.state)];
  const trials = useTrials(sweep, refetchInterval);
  const front = useQuery({
    queryKey: ["front", ...key],
    queryFn: () => get<Front>(`sweeps/${sweep.id}/front`),
    refetchInterval,
    placeholderData: (old) => old,
    enabled: sweep.objectives.length > 0,
  });
  const all = trials.data ?? NONE;
  const lines = useTrialLines(sweep, all);
  const [areas, setAreas] = useAreas();
  const numbers = useMemo(() => pickedOf(lines.axes, lines.rows, areas), [lines.axes, lines.rows, areas]);
  const picked = useMemo(() => (numbers ? all.filter((trial) => numbers.has(trial.number)) : all), [all, numbers]);
  const best = new Set(front.data?.trials.map((trial) => trial.number));
  const note = numbers && (
    <Picked count={picked.length} all={lines.rows.length} what="trials" clear={() => setAreas({})} jobs={picked.map((trial) => trial.job_id).filter(Boolean)} />
  );
  return (
    <>
      <Head sweep={sweep} />
      {sweep.waiting_reason && goesOn(sweep.state) && (
        <div className="notice" role="status">
          <strong>Waits: {sweep.waiting_reason}</strong>
        </div>
      )}
      <Facts sweep={sweep} trials={all} />
      <Tabs.Root value={tab} onValueChange={(next) => setParams((old) => (old.set("tab", String(next)), old))}>
        <Tabs.List className="tabs" aria-label="About this sweep">
          {[
            ["front", "Front"],
            ["trials", "Trials"],
            ["parameters", "Parameters"],
            ["space", "Space"],
          ].map(([value, label]) => (
            <Tabs.Tab key={value} value={value} className="tab">
              {label}
            </Tabs.Tab>
          ))}
          <Tabs.Indicator className="tab-mark" renderBeforeHydration={false} />
        </Tabs.List>
        <Tabs.Panel value="front">
          {sweep.objectives.length === 0 ? (
            <Empty title="This sweep has no objectives">
              <p className="muted">Its trials are in the table; `objectives` in its YAML say what a front is made of.</p>
            </Empty>
          ) : (
            <Loaded query={front}>
              {(data) => (
                <>
                  {note}
                  <SweepFront sweep={sweep} trials={all} front={data} picked={numbers} />
                </>
              )}
            </Loaded>
          )}
        </Tabs.Panel>
        <Tabs.Panel value="trials">
          <Loaded query={trials}>
            {() => (
              <>
                {note}
                <Trials sweep={sweep} trials={picked} best={best} />
              </>
            )}
          </Loaded>
        </Tabs.Panel>
        <Tabs.Panel value="parameters">
          <Loaded query={trials}>
            {() => (
              <>
                <TrialParallel lines={lines} areas={areas} onAreas={setAreas} />
                {note}
                {picked.length > 0 && numbers && <Trials sweep={sweep} trials={picked} best={best} />}
              </>
            )}
          </Loaded>
        </Tabs.Panel>
        <Tabs.Panel value="space">
          <Code label="Sweep" text={sweep.spec.sweep} />
        </Tabs.Panel>
      </Tabs.Root>
    </>
  );
}

function Head({ sweep }: { sweep: Sweep }) {
  const pause = useSweepCall("pause");
  const resume = useSweepCall("resume");
  const stop = useSweepCall("stop");
  const cancel = useSweepCall("cancel");
  const remove = useRemove("sweeps");
  const barred = useBarred("submitter");
  const name = sweep.spec.name || sweep.id;
  const busy = pause.isPending || resume.isPending || stop.isPending || cancel.isPending;
  const makesTrials = sweep.state === "RUNNING" || sweep.state === "PAUSED";
  return (
    <div className="head">
      <div className="head-title">
        <Link href="/sweeps" className="crumb">
          Sweeps
        </Link>
        <h1 className="clip" title={name}>{name}</h1>
        <div className="head-line" aria-live="polite">
          <StateBadge state={sweep.state} />
          <code className="muted">{sweep.id}</code>
          <Link href={`/jobs?sweep=${sweep.id}`}>Its jobs</Link>
          {sweep.end_reason && <span className="muted">{endWords(sweep)}</span>}
        </div>
      </div>
      {barred ? (
        <p className="muted small">{barred}</p>
      ) : (
        <div className="head-actions">
          <Extend sweep={sweep} />
          {sweep.state === "RUNNING" && (
            <button className="button" disabled={busy} onClick={() => pause.mutate({ id: sweep.id })}>
              Pause
            </button>
          )}
          {sweep.state === "PAUSED" && (
            <button className="button primary" disabled={busy} onClick={() => resume.mutate({ id: sweep.id })}>
              Resume
            </button>
          )}
          {makesTrials && (
            <Confirm trigger="Stop" title={`Stop ${name}?`} action="Stop the sweep" disabled={busy} onConfirm={() => stop.mutate({ id: sweep.id })}>
              It makes no more trials; those that run go on. Extending it goes on from there.
            </Confirm>
          )}
          {goesOn(sweep.state) && (
            <Confirm
              trigger="Cancel"
              title={`Cancel ${name}?`}
              action="Cancel the sweep"
              disabled={busy || sweep.state === "CANCELLING"}
              onConfirm={() => cancel.mutate({ id: sweep.id })}
            >
              Trials that run are cancelled, and it cannot go on. What has ended stays.
            </Confirm>
          )}
          {!goesOn(sweep.state) && (
            <DeleteMenu title={`Delete ${name}?`} action="Delete the sweep" disabled={remove.isPending} onConfirm={() => remove.mutate(sweep.id)}>
              What its trials have told goes with it. Their jobs, and what these made, stay.
            </DeleteMenu>
          )}
        </div>
      )}
    </div>
  );
}

// What a sweep may be bounded by, and how much more of it the form asks for.
const BOUNDS = [
  { value: "trials", label: "trials", start: "8", form: /^[1-9]\d{0,5}$/, more: (n: number) => ({ trials: n }) },
  { value: "seconds", label: "minutes", start: "60", form: /^(?=.*[1-9])\d{1,7}(\.\d+)?$/, more: (n: number) => ({ seconds: n * 60 }) },
  { value: "bytes", label: "GB", start: "1", form: /^(?=.*[1-9])\d{1,7}(\.\d+)?$/, more: (n: number) => ({ bytes: String(Math.round(n * 1e9)) }) },
] as const;

/** More for a sweep of what ends it, or did. */
function Extend({ sweep }: { sweep: Sweep }) {
  const [typed, setTyped] = useState<string>();
  const [chosen, choose] = useState<string>();
  const extend = useSweepCall("extend");
  const bounds = BOUNDS.filter(({ value }) => Number(sweep.bounds?.[value] ?? 0) > 0);
  const reached = /^bounds\.(\w+) is reached$/.exec(sweep.end_reason)?.[1];
  const bound = bounds.find(({ value }) => value === (chosen ?? reached)) ?? bounds[0];
  if (!bound || sweep.exhausted || ["CANCELLED", "CANCELLING"].includes(sweep.state)) return null;
  const text = typed ?? bound.start;
  const valid = bound.form.test(text);
  return (
    <form
      className="extend"
      onSubmit={(event) => {
        event.preventDefault();
        if (valid) extend.mutate({ id: sweep.id, more: bound.more(Number(text)) });
      }}
    >
      <input
        className="field"
        inputMode="decimal"
        aria-label={`More ${bound.label}`}
        aria-invalid={!valid || undefined}
        value={text}
        onChange={(event) => setTyped(event.target.value)}
      />
      {bounds.length > 1 ? (
        <Choice
          label="Of what more"
          value={bound.value}
          options={bounds.map(({ value, label }) => ({ value, label }))}
          onChange={(next) => {
            choose(next);
            setTyped(undefined);
          }}
        />
      ) : (
        <span className="muted small">{bound.label}</span>
      )}
      <button className="button" disabled={!valid || extend.isPending}>
        Extend
      </button>
    </form>
  );
}

function Facts({ sweep, trials }: { sweep: Sweep; trials: Trial[] }) {
  const levels = rungs(trials);
  const expected = Number(sweep.expected_trials);
  const counts = (["running", "queued", "failed", "cancelled"] as const).filter((state) => Number(sweep[state]) > 0);
  return (
    <dl className="facts">
      <div>
        <dt>Trials</dt>
        <dd>
          {ended(sweep)}
          {expected > 0 ? ` of ${expected}` : ` ended of ${sweep.trials}`}
          {counts.length > 0 && <span className="muted"> ({counts.map((state) => `${sweep[state]} ${state}`).join(", ")})</span>}
          {goesOn(sweep.state) && <Bar value={progress(sweep)} label="Trials that have ended" />}
        </dd>
      </div>
      <div>
        <dt>Strategy</dt>
        <dd>
          {sweep.strategy}, {sweep.parallel} at a time
          {sweep.exhausted && <span className="muted">, nothing more to try</span>}
          {sweep.strategy_state && <p className="muted small">{sweep.strategy_state}</p>}
        </dd>
      </div>
      {levels.length > 0 && (
        <div>
          <dt>Fidelities</dt>
          <dd>{levels.map((rung) => `${rung.fidelity}: ${rung.ended} of ${rung.trials}`).join(" · ")}</dd>
        </div>
      )}
      {sweep.constraints.length > 0 && (
        <div>
          <dt>Constraints</dt>
          <dd>
            {sweep.constraints
              .map((c) => {
                const bound = (value: number) => (c.of_input ? `${figure(value * 100)} % of the input's` : figure(value));
                const parts = [c.minimum !== undefined && `≥ ${bound(c.minimum)}`, c.maximum !== undefined && `≤ ${bound(c.maximum)}`];
                return `${goalName(c)} ${parts.filter(Boolean).join(", ")}`;
              })
              .join(" · ")}
          </dd>
        </div>
      )}
      <Saved sweep={sweep} />
      <div>
        <dt>Results</dt>
        <dd>{bytes(sweep.bytes)}</dd>
      </div>
      <div>
        <dt>Submitted</dt>
        <dd>
          <Time time={sweep.create_time} />
        </dd>
      </div>
    </dl>
  );
}

/** What the stage cache spared the trials, by the steps of their jobs. */
function Saved({ sweep }: { sweep: Sweep }) {
  const query = useQuery({
    queryKey: ["savings", sweep.id, goesOn(sweep.state)],
    queryFn: () => get<Savings>(`sweeps/${sweep.id}/savings`),
    refetchInterval: goesOn(sweep.state) ? 5000 : false,
    placeholderData: (old) => old,
  });
  if (!query.data || query.data.stages === "0") return null;
  const { stages, cached, bytes: size, seconds } = query.data;
  return (
    <div>
      <dt>Stage cache</dt>
      <dd>
        {cached} of {stages} steps, {bytes(size)}
        {seconds >= 1 && `, ${duration(seconds)} saved`}
      </dd>
    </div>
  );
}
