// The trials by two objectives with the Pareto front through them; by one objective, how the best of it came down.
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useCallback, useMemo } from "react";
import { Link, useLocation, useSearchParams } from "wouter";
import { type Front, type Objective, post, type Sweep, type Trial } from "../api";
import { axisEnd, bytes, formatOf, goalName, parseBytes } from "../format";
import { bestSoFar, valueOf } from "../sweep";
import { Empty } from "./basics";
import { axis, BEHIND, Chart, type Colors } from "./chart";
import { Choice } from "./controls";
import { CompareLink } from "./picked";

const name = goalName;
const format = (objective: Objective) => formatOf(objective.metric);
const key = (objective: Objective) => `${objective.suite} ${objective.metric}`;

/** `picked`: the numbers of the trials that are looked at; others stand behind them. */
export function SweepFront({ sweep, trials, front, picked }: { sweep: Sweep; trials: Trial[]; front: Front; picked?: Set<string> }) {
  const [params, setParams] = useSearchParams();
  const [, go] = useLocation();
  const open = useCallback(
    (data: unknown) => {
      const job = (data as { value?: unknown[] } | undefined)?.value?.[3];
      if (typeof job === "string" && job) go(`/jobs/${job}`);
    },
    [go],
  );
  const objectives = sweep.objectives;
  const pick = (at: string, fallback: number) => objectives.find((o) => key(o) === params.get(at)) ?? objectives[fallback];
  const x = pick("x", 1);
  const y = pick("y", 0);
  const measured = useMemo(() => trials.filter((trial) => trial.metrics.length > 0), [trials]);
  if (measured.length === 0)
    return (
      <Empty title="No trial has ended yet">
        <p className="muted">The front grows here as they do.</p>
      </Empty>
    );
  return (
    <>
      <div className="tools">
        {objectives.length > 2 &&
          (["x", "y"] as const).map((at) => (
            <Choice
              key={at}
              label={at === "x" ? "Across" : "Upwards"}
              value={key(at === "x" ? x : y)}
              options={objectives.map((o) => ({ value: key(o), label: name(o) }))}
              onChange={(next) => setParams((old) => (old.set(at, next), old), { replace: true })}
            />
          ))}
        <span className="muted small">
          {front.any_feasible
            ? `${front.trials.length} of ${measured.length} trials are on the front: no other is better in every objective.`
            : `No trial holds all constraints yet${front.nearest ? `; trial ${front.nearest.number} comes nearest` : ""}.`}
        </span>
        {front.any_feasible && <CompareLink jobs={front.trials.map((trial) => trial.job_id).filter(Boolean)}>Compare the front</CompareLink>}
      </div>
      <Best sweep={sweep} ended={measured.length} />
      {x ? (
        <TwoObjectives trials={measured} front={front} picked={picked} x={x} y={y} onClick={open} />
      ) : (
        <OneObjective trials={measured} front={front} picked={picked} objective={y} onClick={open} />
      )}
    </>
  );
}

/** The best trial by the first objective among those of a size, as the server finds it. */
function Best({ sweep, ended }: { sweep: Sweep; ended: number }) {
  const [params, setParams] = useSearchParams();
  const size = sweep.objectives.find((objective) => objective.metric.endsWith("_bytes"));
  const text = params.get("most") ?? "";
  const maximum = parseBytes(text);
  const query = useQuery({
    queryKey: ["best", sweep.id, maximum, ended],
    queryFn: () =>
      post<Front>(`sweeps/${sweep.id}/front`, { constraints: [{ metric: size!.metric, suite: size!.suite, maximum }] }),
    enabled: size !== undefined && maximum !== undefined,
    placeholderData: keepPreviousData,
  });
  if (!size || sweep.objectives[0] === size) return null;
  const best = query.data?.trials[0];
  const value = best && valueOf(best, sweep.objectives[0]);
  return (
    <div className="tools">
      <label htmlFor="most">Best at no more than</label>
      <input
        id="most"
        className="field most"
        placeholder="60 MB"
        value={text}
        aria-invalid={(text !== "" && maximum === undefined) || undefined}
        onChange={(event) => setParams((old) => (old.set("most", event.target.value), old), { replace: true })}
      />
      <span role="status">
        {maximum === undefined || !query.data ? (
          <span className="muted small">{text && maximum === undefined ? "A size: 60 MB, 1.5 GB." : `of ${name(size).toLowerCase()}`}</span>
        ) : best ? (
          <>
            <Link href={`/jobs/${best.job_id}`}>trial {best.number}</Link>: {name(sweep.objectives[0])}{" "}
            {value === undefined ? "–" : format(sweep.objectives[0])(value)}, {bytes(valueOf(best, size) ?? 0)}
          </>
        ) : (
          <span className="muted">none is so small{query.data.nearest ? `; trial ${query.data.nearest.number} comes nearest` : ""}</span>
        )}
      </span>
    </div>
  );
}

interface ChartProps {
  trials: Trial[];
  front: Front;
  picked?: Set<string>;
  onClick: (data: unknown) => void;
}

const label = (trial: Trial) => `trial ${trial.number}${trial.feasible ? "" : ", violates a constraint"}`;

function points(c: Colors, rows: { row: unknown[]; trial: Trial }[], front: Front, picked?: Set<string>) {
  const best = new Set(front.trials.map((trial) => trial.number));
  return rows.map(({ row, trial }) => ({
    value: row,
    symbol: trial.feasible ? "circle" : "emptyCircle",
    symbolSize: best.has(trial.number) ? 13 : 9,
    itemStyle: { opacity: !picked || picked.has(trial.number) ? 1 : BEHIND, color: best.has(trial.number) ? c.accent : c.muted },
  }));
}

function TwoObjectives({ trials, front, picked, x, y, onClick }: ChartProps & { x: Objective; y: Objective }) {
  const option = useMemo(() => {
    const row = (trial: Trial) => [valueOf(trial, x), valueOf(trial, y), label(trial), trial.job_id];
    const rows = trials.map((trial) => ({ row: row(trial), trial })).filter(({ row }) => row[0] !== undefined && row[1] !== undefined);
    const line = front.trials.map(row).sort((a, b) => Number(a[0]) - Number(b[0]));
    return (c: Colors) => ({
      grid: { left: 72, right: 24, top: 24, bottom: 48 },
      xAxis: axis(c, name(x), {
        type: "value",
        scale: true,
        boundaryGap: ["8%", "8%"],
        ...axisEnd(x.metric),
        axisLabel: { color: c.muted, hideOverlap: true, formatter: format(x) },
      }),
      yAxis: axis(c, name(y), {
        type: "value",
        scale: true,
        boundaryGap: ["0%", "12%"],
        nameGap: 52,
        ...axisEnd(y.metric),
        axisLabel: { color: c.muted, hideOverlap: true, formatter: format(y) },
      }),
      tooltip: {
        trigger: "item",
        formatter: ({ value }: { value: [number, number, string] }) =>
          `${value[2]}\n${name(x)} ${format(x)(value[0])}\n${name(y)} ${format(y)(value[1])}`,
      },
      series: [
        {
          type: "line",
          data: line,
          symbol: "none",
          silent: true,
          lineStyle: { color: c.accent, width: 1.5, type: "dashed" },
          z: 1,
        },
        { type: "scatter", data: points(c, rows, front, picked) },
      ],
    });
  }, [trials, front, picked, x, y]);
  return (
    <Chart label={`${name(y)} against ${name(x)} of ${trials.length} trials, with the front`} option={option} height={360} name="wring-front" onClick={onClick} />
  );
}

function OneObjective({ trials, front, picked, objective, onClick }: ChartProps & { objective: Objective }) {
  const option = useMemo(() => {
    const rows = trials
      .map((trial) => ({ row: [Number(trial.number), valueOf(trial, objective), label(trial), trial.job_id], trial }))
      .filter(({ row }) => row[1] !== undefined);
    return (c: Colors) => ({
      grid: { left: 72, right: 24, top: 24, bottom: 48 },
      xAxis: axis(c, "Trial", { type: "value", minInterval: 1 }),
      yAxis: axis(c, name(objective), {
        type: "value",
        scale: true,
        nameGap: 52,
        ...axisEnd(objective.metric),
        axisLabel: { color: c.muted, hideOverlap: true, formatter: format(objective) },
      }),
      tooltip: {
        trigger: "item",
        formatter: ({ value }: { value: [number, number, string] }) => `${value[2]}\n${name(objective)} ${format(objective)(value[1])}`,
      },
      series: [
        {
          type: "line",
          step: "end",
          data: bestSoFar(trials, objective),
          symbol: "none",
          silent: true,
          lineStyle: { color: c.accent, width: 1.5 },
        },
        { type: "scatter", data: points(c, rows, front, picked) },
      ],
    });
  }, [trials, front, picked, objective]);
  return <Chart label={`${name(objective)} by trial, and the best so far`} option={option} height={360} name="wring-front" onClick={onClick} />;
}
