// Apache ECharts by module, on a canvas (the policy of this page allows no inline styles), in our colours.
import { BarChart, GraphChart, LineChart, ParallelChart, ScatterChart, TreemapChart } from "echarts/charts";
import { AriaComponent, GridComponent, LegendComponent, MarkPointComponent, ParallelComponent, TooltipComponent } from "echarts/components";
import { type ECharts, type EChartsCoreOption, init, use } from "echarts/core";
import { LabelLayout } from "echarts/features";
import { CanvasRenderer } from "echarts/renderers";
import { useEffect, useRef } from "react";
import { save } from "../save";
import { color, useShownTheme } from "../theme";

use([
  ScatterChart,
  LineChart,
  BarChart,
  TreemapChart,
  GraphChart,
  ParallelChart,
  GridComponent,
  ParallelComponent,
  TooltipComponent,
  LegendComponent,
  MarkPointComponent,
  AriaComponent,
  LabelLayout,
  CanvasRenderer,
]);

export interface Colors {
  text: string;
  muted: string;
  line: string;
  back: string;
  surface: string;
  accent: string;
  bad: string;
  weak: string; // of the accent, for what is worse
  series: string[];
}

function colors(): Colors {
  return {
    text: color("text"),
    muted: color("muted"),
    line: color("line"),
    back: color("back"),
    surface: color("surface"),
    accent: color("accent"),
    bad: color("bad"),
    weak: color("weak"),
    series: [1, 2, 3, 4, 5, 6, 7, 8].map((i) => color(`series-${i}`)),
  };
}

/** An axis in our manner. */
export function axis(c: Colors, name: string, more: Record<string, unknown> = {}) {
  return {
    name,
    nameLocation: "middle",
    nameGap: 30,
    nameTextStyle: { color: c.muted },
    axisLabel: { color: c.muted, hideOverlap: true },
    axisLine: { lineStyle: { color: c.line } },
    axisTick: { show: false },
    splitLine: { lineStyle: { color: c.line, type: "dashed" } },
    ...more,
  };
}

export const BEHIND = 0.15; // opacity of what was not picked

/** Ranges that were drawn along axes of parallel coordinates, by the axis' id. */
export type Areas = Record<string, [number, number][]>;

function drawAreas(chart: ECharts, areas: Areas) {
  const all = Object.entries(areas);
  for (const [parallelAxisId, intervals] of all) chart.dispatchAction({ type: "axisAreaSelect", parallelAxisId, intervals }, { silent: true });
  if (all.length > 0) chart.setOption({}); // an axis draws no area of its own action
}

/** `option` is made anew when what it draws changes; the canvas stays, with what is under the pointer and the drawn areas. `label` says in
 * words what the chart shows; the figures stand in a table beside it. With `name` it can be downloaded as NAME.png. */
export function Chart({
  label,
  option,
  height = 320,
  name,
  onClick,
  areas,
  onAreas,
}: {
  label: string;
  option: (c: Colors) => EChartsCoreOption;
  height?: number;
  name?: string;
  onClick?: (data: unknown) => void;
  areas?: Areas;
  onAreas?: (areas: Areas) => void;
}) {
  const place = useRef<HTMLDivElement>(null);
  const shown = useRef<ECharts>(null);
  const drawn = useRef<Areas>({});
  const tell = useRef({ onClick, onAreas });
  const theme = useShownTheme();
  useEffect(() => {
    tell.current = { onClick, onAreas };
  });
  useEffect(() => {
    const chart = init(place.current!, null, { renderer: "canvas" });
    shown.current = chart;
    chart.on("click", ({ data }) => tell.current.onClick?.(data));
    chart.on("axisareaselected", (event) => {
      const { parallelAxisId, intervals } = event as unknown as { parallelAxisId: string; intervals: [number, number][] };
      drawn.current = { ...drawn.current, [parallelAxisId]: intervals };
      tell.current.onAreas?.(drawn.current);
    });
    const observer = new ResizeObserver(() => chart.resize());
    observer.observe(place.current!);
    return () => {
      observer.disconnect();
      chart.dispose();
    };
  }, []);
  useEffect(() => {
    const c = colors();
    const made = option(c);
    const moves = matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 250;
    shown.current!.setOption(
      {
        animationDuration: moves,
        animationDurationUpdate: moves,
        textStyle: { fontFamily: getComputedStyle(document.body).fontFamily, color: c.text },
        color: c.series,
        ...made,
        // Drawn on the canvas: no markup is made of names, and none needs a style attribute.
        tooltip: {
          renderMode: "richText",
          confine: true,
          backgroundColor: c.surface,
          borderColor: c.line,
          textStyle: { color: c.text, fontSize: 12 },
          ...(made.tooltip as object),
        },
      },
      true,
    );
    drawAreas(shown.current!, drawn.current);
  }, [option, theme]);
  useEffect(() => {
    if (!areas || areas === drawn.current) return;
    drawAreas(shown.current!, { ...Object.fromEntries(Object.keys(drawn.current).map((id) => [id, []])), ...areas });
    drawn.current = areas;
  }, [areas]);
  const picture = () => shown.current!.getDataURL({ type: "png", pixelRatio: 2, backgroundColor: color("back") });
  return (
    <div className="chart-box">
      <div ref={place} className="chart" style={{ height }} role="img" aria-label={label} />
      {name && (
        <button className="button quiet chart-save" onClick={() => save(`${name}.png`, picture())}>
          PNG
        </button>
      )}
    </div>
  );
}
