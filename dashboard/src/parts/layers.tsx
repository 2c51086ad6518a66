// What a stage did to each layer: a line a kind of layer over the blocks, and the layers that lost most.
import { Fragment, useMemo, useState } from "react";
import { useSearchParams } from "wouter";
import { isActive, type Job } from "../api";
import { figure } from "../format";
import { ALL_LAYERS, layerReports, type LayerReport, logAxis, type Metric, METRICS, metricsOf, placed } from "../layers";
import { Empty, Table, useNarrow } from "./basics";
import { axis, Chart, type Colors } from "./chart";
import { Choice, Segments } from "./controls";

const SHOWN = 12; // layers, until somebody asks for all

/** What charts of layers have in common: blocks, or the layers of a net without any, along, the metric upwards, by its logarithm where all errors are above 0. */
export function overBlocks(c: Colors, metric: Metric, values: number[], along: "Block" | "Layer", legend: "plain" | "scroll") {
  const log = metric === "error" || metric === "change" ? logAxis(values) : undefined;
  return {
    legend: { type: legend, top: 0, left: 0, itemGap: 26, textStyle: { color: c.muted }, itemWidth: 14, itemHeight: 8, icon: "roundRect" },
    xAxis: axis(c, along, { type: "value", minInterval: 1, min: "dataMin", max: "dataMax", splitLine: { show: false } }),
    yAxis: axis(c, "", {
      type: log ? "log" : "value",
      scale: true,
      min: log?.min,
      max: log?.max,
      axisTick: { show: false, customValues: log?.marks },
      axisLabel: { color: c.muted, formatter: (v: number) => figure(v), customValues: log?.marks },
    }),
  };
}

/** A line over the blocks: [block, value, ...what its tooltip needs]. */
export function blockLine(name: string, data: [number, number, ...string[]][]) {
  return {
    name,
    type: "line",
    data: data.toSorted((a, b) => a[0] - b[0]),
    symbol: "circle",
    symbolSize: 5,
    lineStyle: { width: 1.5, opacity: 0.7 },
    emphasis: { focus: "series", lineStyle: { width: 3, opacity: 1 } },
    blur: { lineStyle: { opacity: 0.15 }, itemStyle: { opacity: 0.15 } },
  };
}

export function Layers({ job }: { job: Job }) {
  const [params, setParams] = useSearchParams();
  const stages = job.stages.filter((stage) => layerReports(stage).length > 0);
  const most = Math.max(...stages.map((s) => layerReports(s).length));
  const stage = stages.find((s) => String(s.index) === params.get("stage")) ?? stages.findLast((s) => layerReports(s).length === most);
  const report = useMemo(() => (stage ? layerReports(stage) : []), [stage]);
  const metrics = metricsOf(report);
  const metric = (metrics.find((m) => m.value === params.get("metric")) ?? metrics.at(0))?.value ?? "error";
  const change = (key: string, value: string) => setParams((old) => (old.set(key, value), old), { replace: true });
  if (!stage)
    return (
      <Empty title={isActive(job.state) ? "No layers reported yet" : "No layers reported"}>
        <p className="muted">
          {job.stages.some((s) => s.state === "cached")
            ? "Its stages came from the cache, and the job that ran them is no longer there."
            : isActive(job.state)
              ? "Each stage tells what it did to every layer when it ends."
              : "No stage that ended tells of single layers."}
        </p>
      </Empty>
    );
  return (
    <>
      <div className="tools">
        <Choice
          label="Stage"
          value={String(stage.index)}
          options={stages.map((s) => ({ value: String(s.index), label: `${s.index + 1} ${s.name}` }))}
          onChange={(next) => change("stage", next)}
        />
        {metrics.length > 1 && <Segments label="Metric" value={metric} options={metrics} onChange={(next) => change("metric", next)} />}
      </div>
      {metrics.length > 0 && <LayerChart report={report} metric={metric} />}
      <LayerTable report={report} metric={metric} />
    </>
  );
}

function LayerChart({ report, metric }: { report: LayerReport[]; metric: Metric }) {
  const narrow = useNarrow();
  const option = useMemo(() => {
    const kinds = new Map<string, [number, number, string][]>();
    for (const { report: layer, kind, at } of placed(report)) {
      const value = layer[metric];
      if (value === undefined) continue;
      if (!kinds.has(kind)) kinds.set(kind, []);
      kinds.get(kind)!.push([at, value, layer.layer]);
    }
    const points = [...kinds.values()].flat();
    const last = Math.max(...points.map(([block]) => block));
    const worst = points.reduce((a, b) => (b[1] > a[1] ? b : a), [0, -Infinity, ""] as [number, number, string]);
    return (c: Colors) => ({
      ...overBlocks(c, metric, points.map(([, value]) => value), kinds.has(ALL_LAYERS) ? "Layer" : "Block", narrow ? "scroll" : "plain"),
      grid: { left: 64, right: 16, top: 56, bottom: 44 },
      tooltip: {
        trigger: "item",
        formatter: (item: { data: [number, number, string] }) => `${item.data[2]}\n${metric} ${figure(item.data[1])}`,
      },
      series: [...kinds].map(([kind, data]) => ({
        ...blockLine(kind, data),
        ...(data.includes(worst) && metric === "error" && { markPoint: mark(c, worst, worst[0] > last / 2 ? "left" : "right") }),
      })),
    });
  }, [report, metric, narrow]);
  return <Chart label={`${metric} of each layer, in their order`} option={option} height={360} />;
}

/** The layer that lost most, by its name, which stands where there is room. */
const mark = (c: Colors, [block, value, layer]: [number, number, string], position: "left" | "right") => ({
  symbol: "circle",
  symbolSize: 14,
  silent: true,
  itemStyle: { color: "transparent", borderColor: c.bad, borderWidth: 2 },
  label: { show: true, position, distance: 8, color: c.text, textBorderColor: c.back, textBorderWidth: 3, fontSize: 11, formatter: layer },
  data: [{ coord: [block, value] }],
});

const shown = (metric: Metric, value?: number) => (value === undefined ? "–" : metric === "sparsity" ? `${(value * 100).toFixed(1)} %` : figure(value));

function LayerTable({ report, metric }: { report: LayerReport[]; metric: Metric }) {
  const [whole, setWhole] = useState(false);
  const sorted = report.toSorted((a, b) => (b[metric] ?? 0) - (a[metric] ?? 0));
  const top = Math.max(...report.map((layer) => layer[metric] ?? 0), 1e-300);
  const metrics = metricsOf(report);
  const rows = whole ? sorted : sorted.slice(0, SHOWN);
  return (
    <section className="block">
      <h2>
        {METRICS.find(({ value }) => value === metric)!.most}{" "}
        <span className="muted">
          {rows.length} of {sorted.length}
        </span>
      </h2>
      <Table label="Layers">
        <thead>
          <tr>
            <th>Layer</th>
            <th className="number">Shape</th>
            {metrics.map(({ value, label }) => (
              <th key={value} className="number" colSpan={value === metric ? 2 : 1}>
                {label}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((layer) => (
            <tr key={layer.layer}>
              <td>{layer.layer}</td>
              <td className="number muted">{layer.shape?.join(" × ")}</td>
              {metrics.map(({ value }) => (
                <Fragment key={value}>
                  {value === metric && (
                    <td className="meter-cell" aria-hidden>
                      <div className="meter" style={{ width: `${((layer[metric] ?? 0) / top) * 100}%` }} />
                    </td>
                  )}
                  <td className="number">{shown(value, layer[value])}</td>
                </Fragment>
              ))}
            </tr>
          ))}
        </tbody>
      </Table>
      {sorted.length > SHOWN && (
        <button className="link" aria-expanded={whole} onClick={() => setWhole(!whole)}>
          {whole ? `The first ${SHOWN}` : `Show all ${sorted.length}`}
        </button>
      )}
    </section>
  );
}
