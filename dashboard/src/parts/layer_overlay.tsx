// What several jobs did to the same layers: a line a job over the blocks, one kind of layer at a time.
import { useMemo, useState } from "react";
import { useSearchParams } from "wouter";
import type { Job } from "../api";
import { figure } from "../format";
import { layerReports, type LayerReport, place } from "../layers";
import { Table } from "./basics";
import { Chart, type Colors } from "./chart";
import { Choice, Segments } from "./controls";
import { blockLine, METRICS, overBlocks } from "./layers";

/** Of the last stage that told most: what it did to each layer. */
function reportOf(job: Job): LayerReport[] {
  const all = job.stages.map(layerReports);
  const most = Math.max(0, ...all.map((report) => report.length));
  return all.findLast((report) => report.length === most) ?? [];
}

export function LayerOverlay({ jobs, name }: { jobs: Job[]; name: Map<string, string> }) {
  const [params, setParams] = useSearchParams();
  const reports = useMemo(
    () =>
      jobs.flatMap((job) => {
        const layers = reportOf(job).filter((layer) => place(layer.layer).block >= 0);
        return layers.length > 0 ? [{ job, layers }] : [];
      }),
    [jobs],
  );
  const metric = METRICS.find((m) => m.value === params.get("metric"))?.value ?? "error";
  const kinds = useMemo(
    () => [...new Set(reports.flatMap(({ layers }) => layers.map((layer) => place(layer.layer).kind)))].sort(),
    [reports],
  );
  const kind = kinds.find((k) => k === params.get("kind")) ?? kinds[0];
  const lines = useMemo(
    () =>
      reports.map(({ job, layers }) => ({
        name: name.get(job.id)!,
        points: layers
          .filter((layer) => place(layer.layer).kind === kind && layer[metric] !== undefined)
          .map((layer): [number, number] => [place(layer.layer).block, layer[metric]!]),
      })),
    [reports, name, metric, kind],
  );
  const option = useMemo(() => {
    const series = lines.map((line) => blockLine(line.name, line.points));
    const values = series.flatMap(({ data }) => data.map(([, value]) => value));
    return (c: Colors) => ({
      ...overBlocks(c, metric, values, "scroll"),
      grid: { left: 64, right: 16, top: 40, bottom: 44 },
      tooltip: {
        trigger: "item",
        formatter: (item: { seriesName: string; data: [number, number] }) =>
          `${item.seriesName}\nblock ${item.data[0]}, ${kind}\n${metric} ${figure(item.data[1])}`,
      },
      series,
    });
  }, [lines, metric, kind]);
  if (reports.length < 2) return null;
  const change = (key: string, value: string) => setParams((old) => (old.set(key, value), old), { replace: true });
  return (
    <section className="block">
      <h2>Layers</h2>
      <div className="tools">
        <Choice
          label="Kind of layer"
          value={kind}
          options={kinds.map((value) => ({ value, label: value }))}
          onChange={(next) => change("kind", next)}
        />
        <Segments label="Metric" value={metric} options={METRICS} onChange={(next) => change("metric", next)} />
      </div>
      <Chart label={`${metric} of ${kind} by block in ${reports.length} jobs`} option={option} height={320} name="wring-layers" />
      <Figures lines={lines} />
    </section>
  );
}

/** What the chart shows, as a table that is made when it is opened. */
function Figures({ lines }: { lines: { name: string; points: [number, number][] }[] }) {
  const [open, setOpen] = useState(false);
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>These figures as a table</summary>
      {open && <FigureTable lines={lines} />}
    </details>
  );
}

function FigureTable({ lines }: { lines: { name: string; points: [number, number][] }[] }) {
  const values = lines.map(({ points }) => new Map(points));
  const blocks = [...new Set(values.flatMap((map) => [...map.keys()]))].sort((a, b) => a - b);
  return (
    <Table label="Figures by block">
      <thead>
        <tr>
          <th className="number">Block</th>
          {lines.map((line, i) => (
            <th key={i} className="number">
              {line.name}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {blocks.map((block) => (
          <tr key={block}>
            <td className="number">{block}</td>
            {values.map((map, i) => (
              <td key={i} className="number">
                {map.has(block) ? figure(map.get(block)!) : <span className="muted">–</span>}
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </Table>
  );
}
