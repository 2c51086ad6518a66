// What several jobs did to the same layers: a line a job over the blocks, one kind of layer at a time.
import { useMemo, useState } from "react";
import { useSearchParams } from "wouter";
import type { Job } from "../api";
import { figure } from "../format";
import { ALL_LAYERS, layerReports, type LayerReport, metricsOf, placed } from "../layers";
import { Table } from "./basics";
import { Chart, type Colors } from "./chart";
import { Choice, Segments } from "./controls";
import { blockLine, overBlocks } from "./layers";

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
        const layers = placed(reportOf(job));
        return layers.length > 0 ? [{ job, layers }] : [];
      }),
    [jobs],
  );
  const metrics = metricsOf(reports.flatMap(({ layers }) => layers.map(({ report }) => report)));
  const metric = (metrics.find((m) => m.value === params.get("metric")) ?? metrics.at(0))?.value ?? "error";
  const kinds = useMemo(() => [...new Set(reports.flatMap(({ layers }) => layers.map((layer) => layer.kind)))].sort(), [reports]);
  const kind = kinds.find((k) => k === params.get("kind")) ?? kinds[0];
  const lines = useMemo(
    () =>
      reports.map(({ job, layers }) => ({
        name: name.get(job.id)!,
        points: layers
          .filter((layer) => layer.kind === kind && layer.report[metric] !== undefined)
          .map(({ at, report }): [number, number] => [at, report[metric]!]),
      })),
    [reports, name, metric, kind],
  );
  const option = useMemo(() => {
    const series = lines.map((line) => blockLine(line.name, line.points));
    const values = series.flatMap(({ data }) => data.map(([, value]) => value));
    return (c: Colors) => ({
      ...overBlocks(c, metric, values, kind === ALL_LAYERS ? "Layer" : "Block", "scroll"),
      grid: { left: 64, right: 16, top: 40, bottom: 44 },
      tooltip: {
        trigger: "item",
        formatter: (item: { seriesName: string; data: [number, number] }) =>
          `${item.seriesName}\n${kind === ALL_LAYERS ? "layer" : "block"} ${item.data[0]}, ${kind}\n${metric} ${figure(item.data[1])}`,
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
        <Segments label="Metric" value={metric} options={metrics} onChange={(next) => change("metric", next)} />
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
