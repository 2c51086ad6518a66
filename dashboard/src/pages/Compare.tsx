// Jobs side by side: size against quality with the Pareto front, and every figure with the best in its row.
import { keepPreviousData, useQueries, useQuery, useQueryClient, type UseQueryResult } from "@tanstack/react-query";
import { useCallback, useMemo, useState } from "react";
import { Link, useLocation, useSearchParams } from "wouter";
import { get, isActive, isGone, type Job, type NormalForm, normalForm, stateNames, unlessGone, type Value } from "../api";
import { bestOf, type Box, csv, freeOf, front, FULL, MOST_COMPARED, pairsApart, type Point } from "../compare";
import { axisEnd, bytes, direction, formatOf, metricName, shortName } from "../format";
import { methodsOf, TRIED } from "../job_text";
import { Empty, Failure, Loading, StateBadge, Table, Time, useTitle } from "../parts/basics";
import { type Areas, axis, BEHIND, Chart, type Colors } from "../parts/chart";
import { type Axis, axisOf, cell, type Lines, Parallel, pickedOf, type Row, useLines } from "../parts/parallel";
import { Picked, useAreas } from "../parts/picked";
import { Check, Choice, SearchField } from "../parts/controls";
import { LayerOverlay } from "../parts/layer_overlay";
import { OutcomeFigure, useRests, WithOutcome } from "../parts/outcome";
import { Figure, lines } from "../parts/results";
import { JobChoice, useSettled } from "../parts/search_choice";
import { saveText } from "../save";

/** Without what changes from poll to poll and is not compared: charts are made anew when their jobs change. */
const comparedOf = (job: Job): Job => ({
  ...job,
  etag: "",
  ahead: 0,
  waiting_reason: "",
  stages: job.stages.map((stage) => ({ ...stage, progress: undefined })),
});

const together = (queries: UseQueryResult<Job>[]) => ({
  jobs: queries.flatMap(({ data, error }) => (data && !isGone(error) ? [data] : [])),
  gone: queries.flatMap(({ error }, i) => (isGone(error) ? [i] : [])),
  error: queries.find(({ error }) => error && !isGone(error))?.error,
});

const asked = (id: string) => ({ queryKey: ["job", id], queryFn: () => get<Job>(`jobs/${id}`) });

export default function Compare() {
  useTitle("Compare");
  const client = useQueryClient();
  const [params, setParams] = useSearchParams();
  const ids = [...new Set((params.get("jobs") ?? "").split(",").filter(Boolean))];
  const change = (next: string[]) => setParams((old) => (next.length > 0 ? old.set("jobs", next.join(",")) : old.delete("jobs"), old));
  const add = (id: string) => client.prefetchQuery(asked(id)).then(() => change([...ids, id])); // what is shown stays until it is there
  const { jobs, gone, error } = useQueries({
    queries: ids.map((id) => ({
      ...asked(id),
      select: comparedOf,
      refetchInterval: unlessGone<Job>((job) => (job && isActive(job.state) ? 2000 : false)),
    })),
    combine: together,
  });
  const lost = gone.map((i) => ids[i]);
  const found = ids.filter((id) => !lost.includes(id));
  return (
    <>
      <div className="head">
        <h1>Compare</h1>
        {ids.length > 1 && <Add ids={ids} add={add} />}
      </div>
      {error && <Failure error={error} />}
      {lost.length > 0 && (
        <div className="notice warn" role="status">
          There is no job <code className="wrap">{lost.join(", ")}</code>, or not any more.{" "}
          <button className="link" onClick={() => change(found)}>
            {lost.length === 1 ? "Leave it out" : "Leave them out"}
          </button>
        </div>
      )}
      {ids.length < 2 ? (
        <Choose chosen={found} />
      ) : jobs.length < found.length && !error ? (
        <Loading />
      ) : (
        jobs.length > 0 && <Comparison jobs={jobs} leaveOut={(id) => change(ids.filter((one) => one !== id))} />
      )}
    </>
  );
}

/** Another finished job beside these, as long as there may be more. */
function Add({ ids, add }: { ids: string[]; add: (id: string) => void }) {
  return (
    <div className="head-actions">
      {ids.length < MOST_COMPARED ? (
        <JobChoice label="Add job" placeholder="Add job" states="succeeded" except={ids} value="" onChange={add} />
      ) : (
        <>
          <span id="full" className="muted small">
            {FULL}
          </span>
          <button className="button" disabled aria-describedby="full">
            Add job
          </button>
        </>
      )}
    </div>
  );
}

/** What may be compared, where the address names no jobs. */
function Choose({ chosen }: { chosen: string[] }) {
  const [params, setParams] = useSearchParams();
  const picked = (params.get("pick") ?? chosen.join(",")).split(",").filter(Boolean);
  const [text, setText] = useState("");
  const name = useSettled(text);
  const [, go] = useLocation();
  const query = useQuery({
    queryKey: ["jobs", "to compare", name],
    queryFn: () => get<{ jobs: Job[]; next_page_token: string }>("jobs", { states: stateNames("succeeded"), name_contains: name, page_size: 50 }),
    placeholderData: keepPreviousData,
  });
  if (query.error) return <Failure error={query.error} retry={() => query.refetch()} />;
  if (!query.data) return <Loading />;
  const jobs = query.data.jobs.filter((job) => job.spec.name !== TRIED);
  if (query.data.jobs.length === 0 && !text && !name)
    return (
      <Empty title="No job has succeeded yet">
        <p className="muted">Two finished jobs can be compared here.</p>
      </Empty>
    );
  const pick = (next: string[]) => setParams({ pick: next.join(",") }, { replace: true });
  return (
    <>
      <p className="muted">Choose two or more finished jobs; those that were chosen stay so while you search for others.</p>
      <div className="tools">
        <SearchField label="Search by name" text={text} onChange={setText} />
      </div>
      {jobs.length === 0 ? (
        <p className="muted">None of them has “{name}” in its name.</p>
      ) : (
        <ul className="choose">
          {jobs.map((job) => (
            <li key={job.id}>
              <Check
                label={`${job.spec.name || job.id} (${job.id})`}
                checked={picked.includes(job.id)}
                onChange={(on) => pick(on ? [...picked, job.id] : picked.filter((id) => id !== job.id))}
              />
              <ChosenBy job={job} />
            </li>
          ))}
        </ul>
      )}
      {query.data.next_page_token && <p className="muted small">The newest {query.data.jobs.length}; a part of its name finds any other.</p>}
      <div className="selection" role="region" aria-label="Chosen jobs">
        <span role="status">
          {picked.length} chosen{picked.length > MOST_COMPARED && <span className="muted small">. {FULL}</span>}
        </span>
        <button className="button primary" disabled={picked.length < 2 || picked.length > MOST_COMPARED} onClick={() => go(`/compare?jobs=${picked.join(",")}`)}>
          Compare {picked.length > 1 ? picked.length : ""}
        </button>
        {picked.length > 0 && (
          <button className="button quiet" onClick={() => pick([])}>
            Clear
          </button>
        )}
      </div>
    </>
  );
}

/** By what a job is chosen: what was done, and what came of it. */
function ChosenBy({ job }: { job: Job }) {
  const rests = useRests(job.id);
  return (
    <WithOutcome id={job.id} asks={rests && job.stages.some((stage) => stage.name.startsWith("evaluate: "))}>
      {({ size, quality }) => (
        <>
          <span className="choose-method clip muted">{methodsOf(job)}</span>
          <span className="number">
            <OutcomeFigure outcome={size} />
          </span>
          <span className="number">
            <OutcomeFigure outcome={quality} named />
          </span>
          <span className="muted small">
            <Time time={job.create_time} />
          </span>
        </>
      )}
    </WithOutcome>
  );
}

/** "name" for one job of that name, "name (id)" where there are more. */
function names(jobs: Job[]): Map<string, string> {
  const count = new Map<string, number>();
  for (const job of jobs) count.set(job.spec.name, (count.get(job.spec.name) ?? 0) + 1);
  return new Map(
    jobs.map((job) => [
      job.id,
      (count.get(job.spec.name) ?? 0) > 1 || !job.spec.name ? `${job.spec.name} ${job.id.slice(0, 7)}`.trim() : job.spec.name,
    ]),
  );
}

/** A metric of a suite: two suites may call theirs alike. */
interface Measure {
  suite: string;
  metric: string;
  name: string; // with the suite where another has that metric too
}

const keyOf = (m: { suite: string; metric: string }) => `${m.suite} ${m.metric}`;

/** All that the jobs' recipes have measured, in the order of their suites. */
function measuresOf(jobs: Job[]): Measure[] {
  const all = new Map(jobs.flatMap((job) => lines(job.evaluations)).map((line) => [keyOf(line), line]));
  const suites = [...new Set([...all.values()].map((line) => line.suite))];
  const sorted = [...all.values()].sort((a, b) => suites.indexOf(a.suite) - suites.indexOf(b.suite));
  return sorted.map(({ suite, metric }) => {
    const several = sorted.some((line) => line.metric === metric && line.suite !== suite);
    return { suite, metric, name: metricName(metric) + (several ? `, ${suite}` : "") };
  });
}

const rowOf = (job: Job, m: { suite: string; metric: string }, when: string) =>
  job.evaluations.find((row) => row.suite === m.suite && row.metric === m.metric && row.when === when);
const after = (job: Job, m: { suite: string; metric: string }) => rowOf(job, m, "after");
/** Of what was handed in. */
const before = (job: Job, m: { suite: string; metric: string }) => rowOf(job, m, "before")?.value ?? after(job, m)?.baseline_value;

const MOST_NAMED = 8; // points of which each has its name; of more only those that there is room for
const FAR = 2; // times the largest of the jobs' sizes

const SIZE = { suite: "size", metric: "weight_bytes" }; // files beside the weights differ by a few bytes, which say nothing

function Comparison({ jobs, leaveOut }: { jobs: Job[]; leaveOut: (id: string) => void }) {
  const [params, setParams] = useSearchParams();
  const name = useMemo(() => names(jobs), [jobs]);
  const measures = useMemo(() => measuresOf(jobs), [jobs]);
  const qualities = useMemo(
    () => measures.filter((m) => m.suite !== "size" && direction(m.metric) !== 0 && jobs.some((job) => after(job, m))),
    [jobs, measures],
  );
  const telling = useMemo(() => {
    const apart = qualities.map((m) => pairsApart(jobs.flatMap((job) => after(job, m) ?? [])));
    return qualities.at(apart.indexOf(Math.max(...apart)));
  }, [jobs, qualities]);
  const quality = qualities.find((m) => keyOf(m) === params.get("quality")) ?? telling;
  const [points, far] = useMemo((): [Point[], Point[]] => {
    if (!quality) return [[], []];
    const dense = new Map<string, Point>();
    const made = jobs.flatMap((job): Point[] => {
      const [size, value] = [after(job, SIZE), after(job, quality)];
      const [was, worth] = [before(job, SIZE), before(job, quality)];
      if (was !== undefined && worth !== undefined) dense.set(job.spec.model, { id: "", name: "handed in", size: was, quality: worth });
      return size && value ? [{ id: job.id, name: name.get(job.id)!, size: size.value, quality: value.value }] : [];
    });
    if (made.length < 2) return [[], []];
    // What is much larger would press all others together: it is told in words.
    const most = FAR * Math.max(...made.map((point) => point.size));
    const given = [...dense.values()];
    return [[...made, ...given.filter((point) => point.size <= most)], given.filter((point) => point.size > most)];
  }, [jobs, quality, name]);
  const [areas, setAreas] = useAreas();
  const lines = useJobLines(jobs, name, measures, quality);
  const picked = useMemo(() => pickedOf(lines.axes, lines.rows, areas), [lines.axes, lines.rows, areas]);
  return (
    <>
      <MetricTable jobs={jobs} name={name} measures={measures} picked={picked} showAll={() => setAreas({})} leaveOut={leaveOut} />
      {quality && points.length > 0 ? (
        <section className="block">
          <h2>Size and quality</h2>
          <div className="tools">
            <Choice
              label="Quality"
              value={keyOf(quality)}
              options={qualities.map((m) => ({ value: keyOf(m), label: m.name }))}
              onChange={(next) => setParams((old) => (old.set("quality", next), old), { replace: true })}
            />
            <ul className="legend" aria-label="Marks">
              <li>
                <span className="swatch round" data-series="1" aria-hidden /> on the front: no other is smaller and as good
              </li>
              <li>
                <span className="swatch round" data-series="8" aria-hidden /> another is better in both
              </li>
              {points.some((p) => !p.id) && (
                <li>
                  <span className="swatch diamond" aria-hidden /> what was handed in
                </li>
              )}
              {far.map((point) => (
                <li key={point.size}>
                  handed in: {bytes(point.size)}, {formatOf(quality.metric)(point.quality)}
                </li>
              ))}
            </ul>
          </div>
          <Scatter points={points} quality={quality} picked={picked} />
        </section>
      ) : (
        <p className="muted">A chart of size against quality needs two jobs whose recipes measure `size` and one quality in common.</p>
      )}
      <JobParallel lines={lines} areas={areas} onAreas={setAreas} />
      <LayerOverlay jobs={jobs} name={name} />
    </>
  );
}

const LABEL = 15; // pixels from one name to the next

interface Label {
  dataIndex: number;
  rect: Box; // of the point
  labelRect: Box;
}

/** For ECharts, which asks of one point after the other, the highest first: each name above its point, and above what is there already. */
function stacked() {
  let taken: Box[] = [];
  return ({ dataIndex, rect, labelRect }: Label) => {
    if (dataIndex === 0) taken = [];
    const label = { ...labelRect, height: LABEL };
    const above = freeOf(taken, label, -1);
    const at = above.y >= 0 ? above : freeOf(taken, { ...label, y: rect.y + rect.height }, 1);
    taken.push(at, rect);
    return { x: at.x + at.width / 2, y: at.y + at.height / 2, align: "center", verticalAlign: "middle" };
  };
}

function Scatter({ points, quality, picked }: { points: Point[]; quality: Measure; picked?: Set<string> }) {
  const [, go] = useLocation();
  const open = useCallback((data: unknown) => Array.isArray(data) && typeof data[3] === "string" && data[3] && go(`/jobs/${data[3]}`), [go]);
  const option = useMemo(() => {
    const best = front(points.filter((p) => p.id), direction(quality.metric));
    const row = (p: Point) => [p.size, p.quality, p.name, p.id];
    const show = formatOf(quality.metric);
    return (c: Colors) => ({
      grid: { left: 72, right: 24, top: 24, bottom: 48 },
      xAxis: axis(c, "Bytes of weights", {
        type: "value",
        scale: true,
        boundaryGap: ["8%", "8%"],
        axisLabel: { color: c.muted, hideOverlap: true, formatter: (v: number) => bytes(v) },
      }),
      yAxis: axis(c, quality.name, {
        type: "value",
        scale: true,
        boundaryGap: ["8%", "12%"],
        nameGap: 52,
        ...axisEnd(quality.metric),
        axisLabel: { color: c.muted, hideOverlap: true, formatter: show },
      }),
      tooltip: {
        trigger: "item",
        formatter: (item: { value: [number, number, string] }) =>
          `${item.value[2]}\n${bytes(item.value[0])}\n${quality.name} ${show(item.value[1])}`,
      },
      series: [
        {
          type: "line",
          data: best.map(row),
          symbol: "none",
          silent: true,
          lineStyle: { color: c.accent, width: 1.5, type: "dashed" },
          z: 1,
        },
        {
          type: "scatter",
          symbolSize: 13,
          data: points.toSorted((a, b) => b.quality - a.quality).map((p) => {
            const opacity = !picked || picked.has(p.id) ? 1 : BEHIND;
            return {
              value: row(p),
              symbol: p.id ? "circle" : "diamond",
              label: { opacity },
              itemStyle: p.id ? { opacity, color: best.includes(p) ? c.series[0] : c.series[7] } : { opacity, color: c.back, borderColor: c.text, borderWidth: 2 },
            };
          }),
          label: {
            show: true,
            position: "top",
            distance: 8,
            color: c.text,
            fontSize: 11,
            textBorderColor: c.back,
            textBorderWidth: 3,
            formatter: (item: { value: unknown[] }) => String(item.value[2]),
          },
          labelLayout: points.length > MOST_NAMED ? { hideOverlap: true } : stacked(),
        },
      ],
    });
  }, [points, quality, picked]);
  const click = useCallback((data: unknown) => open((data as { value?: unknown }).value), [open]);
  return (
    <Chart
      label={`${quality.name} against bytes of weights of ${points.filter((p) => p.id).length} jobs`}
      option={option}
      height={340}
      name="wring-compare"
      onClick={click}
    />
  );
}

type Params = Map<string, Value>;

/** Every parameter of a recipe by its path, from the server's normal form. */
function parameters(form: NormalForm): Params {
  const all: Params = new Map();
  form.stages.forEach((stage, i) => {
    all.set(`stage ${i + 1}`, stage.method);
    for (const [key, value] of Object.entries(stage.params)) all.set(`${i + 1} ${key}`, value);
    all.set(`${i + 1} targets`, stage.targets.join(", "));
  });
  return all;
}

/** "gptq · bits" of "1 bits"; "stage 1 · bits" where the jobs' first stages are of several methods. */
function labelOf(key: string, all: Params[]): string {
  const match = /^(\d+) (.+)$/.exec(key);
  if (!match) return key;
  const [, stage, parameter] = match;
  const methods = [...new Set(all.flatMap((map) => map.get(`stage ${stage}`) ?? []))];
  if (methods.length !== 1) return `stage ${stage} · ${parameter}`;
  const twice = all.some((map) => [...map].filter(([name, method]) => name.startsWith("stage ") && method === methods[0]).length > 1);
  return `${methods[0]}${twice ? `, stage ${stage}` : ""} · ${parameter}`;
}

/** "bits" of "1 bits"; "bits, 1" where another stage has that, too. */
const lastOf = (key: string, all: string[]) => {
  const last = key.replace(/^\d+ /, "");
  return last !== key && all.some((other) => other !== key && other.replace(/^\d+ /, "") === last) ? `${last}, ${key.split(" ")[0]}` : last;
};

function useParameters(jobs: Job[]): Params[] {
  return useQueries({
    queries: jobs.map((job) => ({
      queryKey: ["normal", job.recipe_digest],
      queryFn: () => normalForm(job.spec.recipe),
      staleTime: Infinity,
    })),
    combine: parametersOf,
  });
}

const parametersOf = (queries: { data?: NormalForm }[]): Params[] => queries.map((query) => (query.data ? parameters(query.data) : new Map()));

/** Parameters that differ, and the figures that have a better end, as parallel coordinates. What a job lacks is a gap, or "–". */
function useJobLines(jobs: Job[], name: Map<string, string>, measures: Measure[], quality?: Measure): Lines {
  const parameters = useParameters(jobs);
  const [axes, rows] = useMemo((): [Axis[], Row[]] => {
    const keys = [...new Set(parameters.flatMap((map) => [...map.keys()]))];
    const figures = measures.filter((m) => direction(m.metric) !== 0);
    return [
      [
        ...keys.map((key) => ({ id: key, name: lastOf(key, keys), title: labelOf(key, parameters) })),
        ...figures.map((m) => ({ id: keyOf(m), name: m.name.replace(metricName(m.metric), shortName(m.metric)), title: m.name, figure: axisOf(m.metric, direction(m.metric) < 0) })),
      ],
      jobs.map((job, i) => ({
        id: job.id,
        name: name.get(job.id)!,
        cells: [...keys.map((key) => cell(parameters[i].get(key))), ...figures.map((m) => after(job, m)?.value)],
      })),
    ];
  }, [jobs, name, parameters, measures]);
  const color = quality && keyOf(quality);
  const first = useMemo(() => [keyOf(SIZE), color ?? ""], [color]);
  return useLines(axes, rows, first, color);
}

function JobParallel({ lines, areas, onAreas }: { lines: Lines; areas: Areas; onAreas: (areas: Areas) => void }) {
  const { all, axes, rows, color } = lines;
  if (all.length < 2) return null;
  return (
    <section className="block">
      <h2>Parameters and figures</h2>
      <p className="muted small">
        A line a job; figures better upwards.{color >= 0 && ` The stronger its colour, the better its ${axes[color].title}.`} Drag along an axis to pick lines.
      </p>
      <Parallel lines={lines} label={`Parameters and figures of ${rows.length} jobs`} areas={areas} onAreas={onAreas} />
    </section>
  );
}

/** A parameter's value; empty: the job has none of it. */
const text = (map: Params, key: string) => (map.has(key) ? String(cell(map.get(key))) : "");

interface MetricTableProps {
  jobs: Job[];
  name: Map<string, string>;
  measures: Measure[];
  picked?: Set<string>; // of the jobs, those that have a column
  showAll: () => void;
  leaveOut: (id: string) => void;
}

function MetricTable({ jobs, name, measures, picked, showAll, leaveOut }: MetricTableProps) {
  const params = useParameters(jobs);
  const [whole, setWhole] = useState(false);
  const [over, setOver] = useState(-1); // the column under the pointer
  const keys = [...new Set(params.flatMap((map) => [...map.keys()]))].filter((key) => new Set(params.map((map) => text(map, key))).size > 1);
  const chosen = (key: string) => key.startsWith("stage ") || new Set(params.filter((map) => map.has(key)).map((map) => text(map, key))).size > 1;
  const shown = whole ? keys : keys.filter(chosen);
  const columns = jobs.map((job, i) => ({ job, map: params[i] })).filter(({ job }) => !picked || picked.has(job.id));
  const best = new Set(measures.flatMap((m) => bestOf(columns.flatMap(({ job }) => after(job, m) ?? []), direction(m.metric))));
  const download = () => {
    const head = (job: Job) => `${name.get(job.id)} (${job.id})`;
    const number = (value?: number) => String(value ?? "");
    const rows = [
      ["metric", "suite", "unit", ...jobs.flatMap((job) => [head(job), `standard error, ${head(job)}`, `before, ${head(job)}`])],
      ...keys.map((key) => [labelOf(key, params), "", "", ...params.flatMap((map) => [text(map, key), "", ""])]),
      ...measures.map((m) => [
        m.metric,
        m.suite,
        jobs.map((job) => after(job, m)?.unit).find(Boolean) ?? "",
        ...jobs.flatMap((job) => [number(after(job, m)?.value), number(after(job, m)?.stderr), number(before(job, m))]),
      ]),
    ];
    saveText("wring-compare.csv", "text/csv", csv(rows));
  };
  return (
    <section onMouseOver={(event) => setOver((event.target as Element).closest<HTMLTableCellElement>("td, th")?.cellIndex ?? -1)} onMouseLeave={() => setOver(-1)}>
      <div className="head">
        <h2>Figures</h2>
        <div className="head-actions">
          {picked && <Picked count={columns.length} all={jobs.length} what="jobs" clear={showAll} />}
          <button className="button" onClick={download}>
            Download CSV
          </button>
        </div>
      </div>
      <Table label="Comparison" className="compare">
        <colgroup>
          <col />
          {columns.map(({ job }, i) => (
            <col key={job.id} data-over={over === i + 1 || undefined} />
          ))}
        </colgroup>
        <thead>
          <tr>
            <th>Metric</th>
            {columns.map(({ job }) => (
              <th key={job.id} className="number">
                <Link href={`/jobs/${job.id}`}>{name.get(job.id)}</Link>
                <button className="button quiet drop" aria-label={`Leave out ${name.get(job.id)}`} title="Leave out" onClick={() => leaveOut(job.id)}>
                  ×
                </button>
                {job.state !== "SUCCEEDED" && (
                  <div>
                    <StateBadge state={job.state} />
                  </div>
                )}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {measures.map((m, i) => (
            <tr key={keyOf(m)} data-group={i > 0 && measures[i - 1].suite !== m.suite ? "" : undefined}>
              <td>
                {metricName(m.metric)} {measures[i - 1]?.suite !== m.suite && <span className="tag">{m.suite}</span>}
              </td>
              {columns.map(({ job }) => {
                const row = after(job, m);
                const isBest = row !== undefined && best.has(row);
                return (
                  <td key={job.id} className={`number${isBest ? " best" : ""}`}>
                    <Figure row={row} />
                    {isBest && <span className="sr"> best</span>}
                  </td>
                );
              })}
            </tr>
          ))}
          {keys.length > 0 && (
            <tr data-group="">
              <th colSpan={columns.length + 1} scope="rowgroup" className="muted">
                Parameters that differ
              </th>
            </tr>
          )}
          {shown.map((key) => (
            <tr key={key}>
              <td>{labelOf(key, params)}</td>
              {columns.map(({ job, map }) => (
                <td key={job.id} className="number">
                  {map.has(key) ? text(map, key) : <span className="muted">–</span>}
                </td>
              ))}
            </tr>
          ))}
          {keys.some((key) => !chosen(key)) && (
            <tr>
              <td colSpan={columns.length + 1}>
                <button className="link" aria-expanded={whole} onClick={() => setWhole(!whole)}>
                  {whole ? "Fewer parameters" : `${keys.length - shown.length} more, which some have and all alike`}
                </button>
              </td>
            </tr>
          )}
        </tbody>
      </Table>
      {best.size > 0 && <p className="muted small">Marked: the best of a row, and what no more than a standard error of the difference parts from it.</p>}
    </section>
  );
}
