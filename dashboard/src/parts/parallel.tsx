// Parallel coordinates: a line a run, over its parameters and its figures; an area drawn on an axis picks lines.
import { useMemo } from "react";
import { figure, formatOf } from "../format";
import type { Sweep, Trial } from "../api";
import { dimensionNames, valueOf } from "../sweep";
import { Empty } from "./basics";
import { Chart, type Colors } from "./chart";
import { metricName } from "./results";

export type Cell = string | number | undefined;
export interface Axis {
  name: string;
  figure?: { lowerIsBetter: boolean; format: (value: number) => string }; // absent: a parameter
}

const FEW = 12; // values of a parameter that are written out

/** A parameter of few values has a mark for each, in their order; all else is a scale, for figures with the better end up. */
function scaleOf(axis: Axis, values: Cell[]) {
  const different = [...new Set(values.map((value) => value ?? "–"))];
  const numbers = different.every((value) => typeof value === "number");
  if (!numbers || (!axis.figure && different.length <= FEW))
    return { type: "category", data: different.sort((a, b) => (numbers ? Number(a) - Number(b) : String(a).localeCompare(String(b)))).map(String) };
  const down = axis.figure?.lowerIsBetter ?? false;
  return { type: "value", scale: true, inverse: down, nameLocation: down ? "start" : "end", axisLabel: { formatter: axis.figure?.format ?? figure } };
}

/** Axes on which all lines are alike say nothing and are left out. */
export function Parallel({ axes, rows, label }: { axes: Axis[]; rows: { name: string; cells: Cell[] }[]; label: string }) {
  const option = useMemo(() => {
    const told = axes
      .map((axis, i) => ({ axis, values: rows.map((row) => row.cells[i]) }))
      .filter(({ values }) => new Set(values.map(String)).size > 1);
    return (c: Colors) => ({
      parallel: {
        left: 64,
        right: 80,
        top: 48,
        bottom: 24,
        parallelAxisDefault: {
          nameTextStyle: { color: c.muted },
          axisLine: { lineStyle: { color: c.line } },
          axisTick: { show: false },
          areaSelectStyle: { color: c.accent, borderColor: c.accent, opacity: 0.25 },
        },
      },
      parallelAxis: told.map(({ axis, values }, dim) => {
        const scale = scaleOf(axis, values);
        return { dim, name: axis.name, ...scale, z: 3, axisLabel: { color: c.muted, textBorderColor: c.back, textBorderWidth: 3, ...scale.axisLabel } }; // over the lines
      }),
      tooltip: { trigger: "item", formatter: (item: { name: string }) => item.name },
      series: [
        {
          type: "parallel",
          smooth: 0.15,
          lineStyle: { width: 1.5, opacity: 0.75 },
          data: rows.map((row, i) => ({
            name: row.name,
            value: told.map(({ axis, values }) => (scaleOf(axis, values).type === "category" ? String(values[i] ?? "–") : (values[i] ?? "-"))),
            lineStyle: { color: c.series[i % (c.series.length - 1)] },
          })),
          emphasis: { lineStyle: { width: 3, opacity: 1 } },
        },
      ],
    });
  }, [axes, rows]);
  return <Chart label={label} option={option} height={380} name="wring-parallel" />;
}

/** A sweep's trials that were measured, over its dimensions, objectives and constraints. */
export function TrialParallel({ sweep, trials }: { sweep: Sweep; trials: Trial[] }) {
  const figures = useMemo(
    () => [
      ...sweep.constraints.map((c) => ({ ...c, maximise: c.maximum === undefined })),
      ...sweep.objectives,
    ].filter((a, i, all) => all.findLastIndex((b) => b.metric === a.metric && b.suite === a.suite) === i),
    [sweep],
  );
  const axes = useMemo(
    (): Axis[] => [
      ...dimensionNames(sweep.dimensions).map((name) => ({ name })),
      ...figures.map((f) => ({ name: metricName(f.metric), figure: { lowerIsBetter: !f.maximise, format: formatOf(f.metric) } })),
    ],
    [sweep, figures],
  );
  const rows = useMemo(
    () =>
      trials
        .filter((trial) => trial.metrics.length > 0)
        .map((trial) => ({
          name: `trial ${trial.number}`,
          cells: [...trial.values_json.map((text) => cell(JSON.parse(text))), ...figures.map((f) => valueOf(trial, f))],
        })),
    [trials, figures],
  );
  if (rows.length < 2) return <Empty title="Two trials must have ended for lines to compare" />;
  return (
    <>
      <p className="muted small">A line a trial; figures better upwards. Drag along an axis to pick lines.</p>
      <Parallel axes={axes} rows={rows} label={`Parameters and figures of ${rows.length} trials`} />
    </>
  );
}

/** Of a JSON value: numbers stay, all else is its text. */
export function cell(value: unknown): Cell {
  return typeof value === "number" || typeof value === "string" ? value : JSON.stringify(value);
}
