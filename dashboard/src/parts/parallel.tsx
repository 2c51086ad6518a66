// Parallel coordinates: a line a run, over its parameters and its figures; an area drawn on an axis picks lines.
import { useMemo } from "react";
import { useSearchParams } from "wouter";
import { figure, formatOf, isShare, metricName, shortName } from "../format";
import type { Sweep, Trial } from "../api";
import { between } from "../colors";
import { dimensionNames, valueOf } from "../sweep";
import { AxisPicks, type PickAxis } from "./axis_picks";
import { Empty, useNarrow } from "./basics";
import { type Areas, Chart, type Colors } from "./chart";
import { Check } from "./controls";

export type Cell = string | number | undefined;
export interface Axis {
  id: string;
  name: string; // as long as there is room for
  title?: string; // in full
  figure?: { lowerIsBetter: boolean; format: (value: number) => string; most?: number }; // absent: a parameter
}

export const axisOf = (metric: string, lowerIsBetter: boolean) => ({ lowerIsBetter, format: formatOf(metric), most: isShare(metric) ? 1 : undefined });

const FEW = 12; // values of a parameter that are written out

export interface Row {
  id: string;
  name: string;
  cells: Cell[];
}

/** A parameter of few values has a mark for each, in their order; all else is a scale, for figures with the better end up. */
function scaleOf(axis: Axis, values: Cell[]): { type: string; data?: string[]; axisLabel?: object } & Record<string, unknown> {
  const different = [...new Set(values.map((value) => value ?? "–"))];
  const numbers = different.every((value) => typeof value === "number");
  if (!axis.figure && (!numbers || different.length <= FEW))
    return { type: "category", data: different.sort((a, b) => (numbers ? Number(a) - Number(b) : String(a).localeCompare(String(b)))).map(String) };
  const down = axis.figure?.lowerIsBetter ?? false;
  return { type: "value", scale: true, max: axis.figure?.most, inverse: down, nameLocation: down ? "start" : "end", axisLabel: { formatter: axis.figure?.format ?? figure } };
}

/** How good each value is among them, from 0 to 1, by its rank: one far off takes no colour from the others. */
export function ranks(values: Cell[], lowerIsBetter: boolean): (number | undefined)[] {
  const sorted = [...new Set(values.filter((value) => typeof value === "number"))].sort((a, b) => (lowerIsBetter ? b - a : a - b));
  return values.map((value) => (typeof value === "number" ? (sorted.length > 1 ? sorted.indexOf(value) / (sorted.length - 1) : 1) : undefined));
}

const cellsOf = (rows: Row[], axis: number) => rows.map((row) => row.cells[axis]);

/** The ids of the rows whose lines go through an area of each axis that has any; undefined: no axis has one. */
export function pickedOf(axes: Axis[], rows: Row[], areas: Areas): Set<string> | undefined {
  const tests = axes.flatMap((axis, i) => {
    const ranges = areas[axis.id] ?? [];
    if (ranges.length === 0) return [];
    const { data } = scaleOf(axis, cellsOf(rows, i));
    const place = (value: Cell) => (data ? data.indexOf(String(value ?? "–")) : Number(value));
    return [(row: Row) => ranges.some(([a, b]) => place(row.cells[i]) >= Math.min(a, b) && place(row.cells[i]) <= Math.max(a, b))];
  });
  return tests.length > 0 ? new Set(rows.filter((row) => tests.every((holds) => holds(row))).map(({ id }) => id)) : undefined;
}

const tells = (values: Cell[]) => new Set(values.map(String)).size > 1;

/** What can be picked of each axis that is drawn. */
function picksOf(axes: Axis[], rows: Row[]): PickAxis[] {
  return axes.map(({ title, ...axis }, i) => {
    const values = cellsOf(rows, i);
    const numbers = values.filter((value) => typeof value === "number");
    return { id: axis.id, name: title ?? axis.name, marks: scaleOf(axis, values).data, from: Math.min(...numbers), to: Math.max(...numbers) };
  });
}

const FEW_AXES = 9; // that are drawn where nobody has chosen others
const NARROW_AXES = 4; // for which a phone has room

/** The lines over the axes that are drawn. */
export interface Lines {
  all: Axis[]; // that can be drawn
  axes: Axis[];
  rows: Row[]; // their cells are of `axes`
  color: number; // the axis whose figure colours the lines; -1: none does
  full: boolean; // there is no room for another axis
}

/** Axes on which all lines are alike say nothing and are left out; of the others those are drawn that the address says, or `first` and what has no gaps. */
export function useLines(axes: Axis[], rows: Row[], first: string[], color?: string): Lines {
  const [params] = useSearchParams();
  const wanted = params.get("axes");
  const most = useNarrow() ? NARROW_AXES : Infinity;
  return useMemo(() => {
    const all = axes.flatMap((axis, i) => {
      const values = cellsOf(rows, i);
      return tells(values) ? [{ axis, i, place: first.includes(axis.id) ? -1 : Number(values.includes(undefined)) }] : [];
    });
    const few = all.toSorted((a, b) => a.place - b.place).slice(0, FEW_AXES);
    const chosen = (wanted === null ? few : all.filter(({ axis }) => wanted.split(",").includes(axis.id))).slice(0, most);
    const shown = all.filter((one) => chosen.includes(one));
    return {
      all: all.map(({ axis }) => axis),
      axes: shown.map(({ axis }) => axis),
      rows: rows.map((row) => ({ ...row, cells: shown.map(({ i }) => row.cells[i]) })),
      color: shown.findIndex(({ axis }) => axis.id === color),
      full: shown.length >= most,
    };
  }, [axes, rows, first, color, wanted, most]);
}

/** Which axes are drawn; on a phone, where they are few, in sight. */
function AxisChoice({ all, axes, full }: Lines) {
  const [, setParams] = useSearchParams();
  const toggle = (axis: Axis, on: boolean) => {
    const next = all.filter((one) => (one === axis ? on : axes.includes(one))).map(({ id }) => id);
    setParams((old) => (old.set("axes", next.join(",")), old), { replace: true });
  };
  const short = full && all.length > axes.length;
  return (
    <details open={short}>
      <summary>
        {axes.length} of {all.length} axes{short && ", as many as there is room for"}
      </summary>
      <div className="choices">
        {all.map((axis) => (
          <Check
            key={axis.id}
            label={axis.title ?? axis.name}
            checked={axes.includes(axis)}
            disabled={full && !axes.includes(axis)}
            onChange={(on) => toggle(axis, on)}
          />
        ))}
      </div>
    </details>
  );
}

export function Parallel({ lines, label, areas, onAreas }: { lines: Lines; label: string; areas: Areas; onAreas: (areas: Areas) => void }) {
  const { axes, rows, color } = lines;
  const option = useMemo(() => {
    const good = color < 0 ? [] : ranks(cellsOf(rows, color), axes[color].figure?.lowerIsBetter ?? false);
    const told = axes.map((axis, i) => ({ axis, values: cellsOf(rows, i) }));
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
        return { dim, id: axis.id, name: axis.name, ...scale, z: 3, axisLabel: { color: c.muted, backgroundColor: c.back, padding: [1, 3], hideOverlap: true, ...scale.axisLabel } }; // over the lines
      }),
      tooltip: { trigger: "item", formatter: (item: { name: string }) => item.name },
      series: [
        {
          type: "parallel",
          smooth: 0.15,
          lineStyle: { width: 1.5, opacity: 1 },
          data: rows.map((row, i) => ({
            name: row.name,
            value: told.map(({ axis, values }) => (scaleOf(axis, values).type === "category" ? String(values[i] ?? "–") : (values[i] ?? "-"))),
            lineStyle: good[i] === undefined ? { color: c.series[color < 0 ? i % (c.series.length - 1) : 7] } : { color: between(c.series[7], c.accent, good[i]!), width: 1.5 + good[i]! },
          })),
          emphasis: { lineStyle: { width: 3, opacity: 1 } },
        },
      ],
    });
  }, [axes, rows, color]);
  const picks = useMemo(() => picksOf(axes, rows), [axes, rows]);
  return (
    <>
      <AxisChoice {...lines} />
      {axes.length > 1 ? (
        <Chart label={label} option={option} height={380} name="wring-parallel" areas={areas} onAreas={onAreas} />
      ) : (
        <p className="muted">Choose two axes or more.</p>
      )}
      <AxisPicks axes={picks} areas={areas} onAreas={onAreas} />
    </>
  );
}

/** A sweep's trials that were measured, over its dimensions, objectives and constraints. */
export function useTrialLines(sweep: Sweep, trials: Trial[]) {
  const figures = useMemo(
    () => [
      ...sweep.constraints.map((c) => ({ ...c, maximise: c.maximum === undefined })),
      ...sweep.objectives,
    ].filter((a, i, all) => all.findLastIndex((b) => b.metric === a.metric && b.suite === a.suite) === i),
    [sweep.constraints, sweep.objectives],
  );
  const axes = useMemo(
    (): Axis[] => [
      ...dimensionNames(sweep.dimensions).map((name, i) => ({ id: sweep.dimensions[i], name })),
      ...figures.map((f) => ({ id: `${f.suite} ${f.metric}`, name: shortName(f.metric), title: metricName(f.metric), figure: axisOf(f.metric, !f.maximise) })),
    ],
    [sweep.dimensions, figures],
  );
  const rows = useMemo(
    () =>
      trials
        .filter((trial) => trial.metrics.length > 0)
        .map((trial) => ({
          id: trial.number,
          name: `trial ${trial.number}`,
          cells: [...trial.values_json.map((text) => cell(JSON.parse(text))), ...figures.map((f) => valueOf(trial, f))],
        })),
    [trials, figures],
  );
  const objectives = useMemo(() => sweep.objectives.map((f) => `${f.suite} ${f.metric}`), [sweep.objectives]);
  return useLines(axes, rows, objectives, objectives.at(0));
}

export function TrialParallel({ lines, areas, onAreas }: { lines: Lines; areas: Areas; onAreas: (areas: Areas) => void }) {
  const { axes, rows, color } = lines;
  if (rows.length < 2) return <Empty title="Two trials must have ended for lines to compare" />;
  return (
    <>
      <p className="muted small">
        A line a trial; figures better upwards. {color >= 0 && `The stronger its colour, the better its ${axes[color].title}.`} Drag along an axis to pick
        lines.
      </p>
      <Parallel lines={lines} label={`Parameters and figures of ${rows.length} trials`} areas={areas} onAreas={onAreas} />
    </>
  );
}

/** Of a JSON value: numbers stay, all else is its text. */
export function cell(value: unknown): Cell {
  return typeof value === "number" || typeof value === "string" ? value : JSON.stringify(value);
}
