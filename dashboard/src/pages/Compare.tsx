// Jobs side by side: size against quality with the Pareto front, and every figure with the best in its row.
import { useQueries, useQuery } from "@tanstack/react-query";
import { useCallback, useMemo } from "react";
import { Link, useLocation, useSearchParams } from "wouter";
import { get, isActive, type Job, type NormalForm, post, stateNames, type Value } from "../api";
import { csv, front, type Point } from "../compare";
import { bytes, direction, figure, formatOf } from "../format";
import { Empty, Failure, Loading, StateBadge, Table, useTitle } from "../parts/basics";
import { axis, Chart, type Colors } from "../parts/chart";
import { type Axis, cell, Parallel } from "../parts/parallel";
import { Check, Choice } from "../parts/controls";
import { LayerOverlay } from "../parts/layer_overlay";
import { Figure, lines, metricName } from "../parts/results";
import { saveText } from "../save";

export default function Compare() {
  useTitle("Compare");
  const [params] = useSearchParams();
  const ids = (params.get("jobs") ?? "").split(",").filter(Boolean);
  const queries = useQueries({
    queries: ids.map((id) => ({
      queryKey: ["job", id],
      queryFn: () => get<Job>(`jobs/${id}`),
      refetchInterval: (q: { state: { data?: Job } }) => (q.state.data && isActive(q.state.data.state) ? 2000 : (false as const)),
    })),
  });
  const failed = queries.find((query) => query.error);
  const jobs = queries.flatMap((query) => (query.data ? [query.data] : []));
  return (
    <>
      <div className="head">
        <h1>Compare</h1>
      </div>
      {failed && <Failure error={failed.error} />}
      {ids.length < 2 ? (
        <Choose chosen={ids} />
      ) : jobs.length < queries.length && !failed ? (
        <Loading />
      ) : (
        jobs.length > 0 && <Comparison jobs={jobs} />
      )}
    </>
  );
}

/** What may be compared, where the address names no jobs. */
function Choose({ chosen }: { chosen: string[] }) {
  const [, setParams] = useSearchParams();
  const [params] = useSearchParams();
  const picked = new Set((params.get("pick") ?? chosen.join(",")).split(",").filter(Boolean));
  const [, go] = useLocation();
  const query = useQuery({
    queryKey: ["jobs", "succeeded", "", ""],
    queryFn: () => get<{ jobs: Job[] }>("jobs", { states: stateNames("succeeded"), page_size: 50 }),
  });
  if (query.error) return <Failure error={query.error} retry={() => query.refetch()} />;
  if (!query.data) return <Loading />;
  if (query.data.jobs.length === 0)
    return (
      <Empty title="No job has succeeded yet">
        <p className="muted">Two finished jobs can be compared here.</p>
      </Empty>
    );
  return (
    <>
      <p className="muted">Choose two or more finished jobs.</p>
      <ul className="choose">
        {query.data.jobs.map((job) => (
          <li key={job.id}>
            <Check
              label={`${job.spec.name || job.id} (${job.id})`}
              checked={picked.has(job.id)}
              onChange={(on) => {
                on ? picked.add(job.id) : picked.delete(job.id);
                setParams({ pick: [...picked].join(",") }, { replace: true });
              }}
            />
          </li>
        ))}
      </ul>
      <button className="button primary" disabled={picked.size < 2} onClick={() => go(`/compare?jobs=${[...picked].join(",")}`)}>
        Compare {picked.size > 1 ? picked.size : ""}
      </button>
    </>
  );
}

/** "name" for one job of that name, "name (id)" where there are more. */
function names(jobs: Job[]): Map<string, string> {
  const count = new Map<string, number>();
  for (const job of jobs) count.set(job.spec.name, (count.get(job.spec.name) ?? 0) + 1);
  return new Map(
    jobs.map((job) => [
      job.id,
      (count.get(job.spec.name) ?? 0) > 1 || !job.spec.name ? `${job.spec.name} ${job.id.slice(0, 5)}`.trim() : job.spec.name,
    ]),
  );
}

const after = (job: Job, metric: string) => job.evaluations.find((row) => row.metric === metric && row.when === "after");

function Comparison({ jobs }: { jobs: Job[] }) {
  const [params, setParams] = useSearchParams();
  const name = useMemo(() => names(jobs), [jobs]);
  const qualities = useMemo(() => {
    const all = new Set(
      jobs.flatMap((job) =>
        job.evaluations
          .filter((row) => row.when === "after" && row.suite !== "size" && !row.text && direction(row.metric) !== 0)
          .map((row) => row.metric),
      ),
    );
    return [...all];
  }, [jobs]);
  const quality = qualities.find((metric) => metric === params.get("quality")) ?? qualities[0];
  const points = useMemo(
    () =>
      jobs.flatMap((job): Point[] => {
        const size = after(job, "weight_bytes"); // files beside the weights differ by a few bytes, which say nothing
        const value = quality === undefined ? undefined : after(job, quality);
        return size && value ? [{ id: job.id, name: name.get(job.id)!, size: size.value, quality: value.value }] : [];
      }),
    [jobs, quality, name],
  );
  return (
    <>
      {points.length > 1 ? (
        <>
          <div className="tools">
            <Choice
              label="Quality"
              value={quality ?? ""}
              options={qualities.map((metric) => ({ value: metric, label: metricName(metric) }))}
              onChange={(next) => setParams((old) => (old.set("quality", next), old), { replace: true })}
            />
            <span className="muted small">
              {direction(quality!) < 0 ? "Lower is better" : "Higher is better"}; the line joins what no other beats in both.
            </span>
          </div>
          <Scatter points={points} quality={quality!} />
        </>
      ) : (
        <p className="muted">A chart of size against quality needs two jobs whose recipes measure `size` and one quality in common.</p>
      )}
      <Lines jobs={jobs} name={name} quality={quality} />
      <LayerOverlay jobs={jobs} name={name} />
      <MetricTable jobs={jobs} name={name} />
    </>
  );
}

function Scatter({ points, quality }: { points: Point[]; quality: string }) {
  const [, go] = useLocation();
  const open = useCallback((data: unknown) => Array.isArray(data) && typeof data[3] === "string" && go(`/jobs/${data[3]}`), [go]);
  const option = useMemo(() => {
    const best = front(points, direction(quality));
    const row = (p: Point) => [p.size, p.quality, p.name, p.id];
    return (c: Colors) => ({
      grid: { left: 72, right: 24, top: 24, bottom: 48 },
      xAxis: axis(c, "Bytes of weights", {
        type: "value",
        scale: true,
        boundaryGap: ["8%", "8%"],
        axisLabel: { color: c.muted, hideOverlap: true, formatter: (v: number) => bytes(v) },
      }),
      yAxis: axis(c, metricName(quality), {
        type: "value",
        scale: true,
        boundaryGap: ["8%", "12%"],
        nameGap: 52,
        axisLabel: { color: c.muted, formatter: (v: number) => figure(v) },
      }),
      tooltip: {
        trigger: "item",
        formatter: (item: { data: [number, number, string] }) =>
          `${item.data[2]}\n${bytes(item.data[0])}\n${metricName(quality)} ${figure(item.data[1])}`,
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
          data: points.map((p) => ({ value: row(p), itemStyle: { opacity: 1, color: best.includes(p) ? c.accent : c.muted } })),
          label: {
            show: true,
            position: "top",
            color: c.text,
            fontSize: 11,
            textBorderColor: c.back,
            textBorderWidth: 3,
            formatter: (item: { value: unknown[] }) => String(item.value[2]),
          },
          labelLayout: { hideOverlap: true },
        },
      ],
    });
  }, [points, quality]);
  const click = useCallback((data: unknown) => open((data as { value?: unknown }).value), [open]);
  return (
    <Chart
      label={`${metricName(quality)} against bytes of weights of ${points.length} jobs`}
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

function useParameters(jobs: Job[]): Params[] {
  const queries = useQueries({
    queries: jobs.map((job) => ({
      queryKey: ["normal", job.recipe_digest],
      queryFn: async () =>
        JSON.parse(
          (await post<{ normal_form_json: string }>("recipes/validate", { recipe: job.spec.recipe })).normal_form_json,
        ) as NormalForm,
      staleTime: Infinity,
    })),
  });
  return queries.map((query) => (query.data ? parameters(query.data) : new Map()));
}

/** Parameters that all have and that differ, the size and the quality that was chosen, as parallel coordinates. */
function Lines({ jobs, name, quality }: { jobs: Job[]; name: Map<string, string>; quality?: string }) {
  const params = useParameters(jobs);
  const keys = [...new Set(params.flatMap((map) => [...map.keys()]))].filter((key) => params.every((map) => map.has(key)));
  const metrics = ["weight_bytes", quality].filter((metric) => metric !== undefined && jobs.every((job) => after(job, metric))) as string[];
  const axes: Axis[] = [
    ...keys.map((key) => ({ name: key })),
    ...metrics.map((metric) => ({ name: metricName(metric), figure: { lowerIsBetter: direction(metric) < 0, format: formatOf(metric) } })),
  ];
  const rows = jobs.map((job, i) => ({
    name: name.get(job.id)!,
    cells: [...keys.map((key) => cell(params[i].get(key))), ...metrics.map((metric) => after(job, metric)?.value)],
  }));
  if (keys.length === 0 || metrics.length === 0) return null;
  return (
    <section className="block">
      <h2>Parameters and figures</h2>
      <p className="muted small">A line a job; figures better upwards. Drag along an axis to pick lines.</p>
      <Parallel axes={axes} rows={rows} label={`Parameters and figures of ${jobs.length} jobs`} />
    </section>
  );
}

function MetricTable({ jobs, name }: { jobs: Job[]; name: Map<string, string> }) {
  const params = useParameters(jobs);
  const metrics = new Map(jobs.flatMap((job) => lines(job.evaluations).map((line) => [line.metric, line] as const)));
  const keys = [...new Set(params.flatMap((map) => [...map.keys()]))].filter(
    (key) => new Set(params.map((map) => String(map.get(key) ?? ""))).size > 1,
  );
  const best = (metric: string) => {
    const values = jobs.map((job) => after(job, metric)?.value).filter((v) => v !== undefined);
    if (values.length < 2 || direction(metric) === 0) return undefined;
    return direction(metric) < 0 ? Math.min(...values) : Math.max(...values);
  };
  const download = () => {
    const rows = [
      ["metric", ...jobs.map((job) => `${name.get(job.id)} (${job.id})`)],
      ...keys.map((key) => [key, ...params.map((map) => String(map.get(key) ?? ""))]),
      ...[...metrics.keys()].map((metric) => [metric, ...jobs.map((job) => String(after(job, metric)?.value ?? ""))]),
    ];
    saveText("wring-compare.csv", "text/csv", csv(rows));
  };
  return (
    <section className="block">
      <div className="head">
        <h2>Figures</h2>
        <button className="button" onClick={download}>
          Download CSV
        </button>
      </div>
      <Table label="Comparison" className="compare">
        <thead>
          <tr>
            <th>Metric</th>
            {jobs.map((job) => (
              <th key={job.id} className="number">
                <Link href={`/jobs/${job.id}`}>{name.get(job.id)}</Link>
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
          {[...metrics.keys()].map((metric) => (
            <tr key={metric}>
              <td>{metricName(metric)}</td>
              {jobs.map((job) => {
                const row = after(job, metric);
                const isBest = row !== undefined && row.value === best(metric);
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
              <th colSpan={jobs.length + 1} scope="rowgroup" className="muted">
                Parameters that differ
              </th>
            </tr>
          )}
          {keys.map((key) => (
            <tr key={key}>
              <td>{key}</td>
              {params.map((map, i) => (
                <td key={i} className="number">
                  {map.has(key) ? String(map.get(key)) : <span className="muted">–</span>}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </Table>
    </section>
  );
}
