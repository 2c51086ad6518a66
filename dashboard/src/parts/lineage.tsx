// The lineage of an artifact: drawn as a graph, and as a table with links.
import { useQuery } from "@tanstack/react-query";
import { useCallback, useLayoutEffect, useMemo, useRef } from "react";
import { Link, useLocation } from "wouter";
import type { Artifact } from "../api";
import { bytes, short } from "../format";
import { methodsOf } from "../job_text";
import { type Cell, cellsOf, type Lineage, type LineageEdge, type LineageNode, lineageOf, moreText } from "../lineage";
import { Failure, Loading, Table } from "./basics";
import { Chart, type Colors } from "./chart";

const CARD = [158, 42]; // pixels: five columns are as wide as the page
const PADDING = [12, 5];
const MARGIN = [2, 8]; // around all of them
const STEP = [208, 60]; // from card to card
const FEW = 6; // rows of a table that is open from the start
const MOST_JOBS = 3; // that are named, of those that made the same artifact

export function LineageBlock({ artifact }: { artifact: Artifact }) {
  const query = useQuery({ queryKey: ["lineage", artifact.digest], queryFn: () => lineageOf(artifact), staleTime: 60_000, retry: false });
  if (query.error) return <Failure error={query.error} retry={() => query.refetch()} />;
  if (!query.data) return <Loading rows={2} />;
  const { nodes, cut } = query.data;
  return (
    <section className="block">
      <h2>Lineage</h2>
      {nodes.length > 1 || nodes[0].more ? (
        <>
          <Graph lineage={query.data} root={artifact.digest} />
          <details open={nodes.length <= FEW}>
            <summary>Lineage as a table</summary>
            <Rows lineage={query.data} root={artifact.digest} />
          </details>
          {cut && <p className="muted small">More went into these; the pages of the first ones show it.</p>}
        </>
      ) : (
        <p className="muted">
          {artifact.created_by_job ? "Made by a job that was deleted." : "Handed in."} {artifact.kind === "model" && "Nothing has been made of it."}
        </p>
      )}
      {artifact.kind === "model" && (
        <p className="small">
          <Link href={`/jobs?model=${artifact.digest}`}>All jobs that were given it</Link>
        </p>
      )}
    </section>
  );
}

const nameOf = ({ artifact, digest }: LineageNode) => (artifact ? artifact.name || short(digest) : "deleted");
const jobName = ({ jobs: [job] }: LineageEdge) => methodsOf(job) || job.spec.name || job.id;
const moreLink = (node: LineageNode) => `/jobs?model=${node.digest}&state=succeeded`;

/** How it came to be, in a few words. */
function origin(node: LineageNode, { edges }: Lineage): string {
  const maker = edges.find(({ to }) => to === node.digest);
  if (maker) return jobName(maker);
  const data = [...new Set(edges.filter(({ from, data: name }) => from === node.digest && name).map((edge) => edge.data))];
  return data.join(", ") || (node.artifact?.created_by_job ? "made here" : node.artifact ? "handed in" : short(node.digest));
}

/** As words of a label, where braces hold those of a style. */
const plain = (text: string) => text.replace(/[{}]/g, "");

interface LineageProps {
  lineage: Lineage;
  root: string; // digest of the artifact that it is about
}

/** A card, a point of its own on its left and on its right, between which the arrows run, and below what else was made of it. */
function cardAt(c: Colors, node: LineageNode, [x, y]: number[], { lineage, root }: LineageProps) {
  const own = node.digest === root;
  const small = [origin(node, lineage), node.artifact && bytes(node.artifact.total_bytes)].filter(Boolean).join(" · ");
  const to = node.artifact && !own ? `/artifacts/${node.digest}` : undefined;
  const point = (name: string, at: number[], more = {}) => ({ id: `${name} ${node.digest}`, value: at, symbolSize: 0, label: { show: false }, ...more });
  const [right, bottom] = [x + CARD[0] / 2, y + CARD[1] / 2];
  const rest = node.more && {
    label: { position: "left", formatter: `{more|${moreText(node.more)} →}`, offset: [0, 9] },
    to: moreLink(node),
    told: `${moreText(node.more)} made of ${nameOf(node)}`,
  };
  return [
    {
      id: node.digest,
      value: [x, y],
      symbolSize: CARD,
      itemStyle: { color: "transparent" },
      label: {
        formatter: `{${own ? "own" : "name"}|${plain(nameOf(node))}}\n{small|${plain(small)}}`,
        padding: [PADDING[1], PADDING[0]],
        width: CARD[0] - 2 * PADDING[0],
        height: CARD[1] - 2 * PADDING[1],
        overflow: "truncate",
        backgroundColor: c.surface,
        borderColor: own ? c.accent : c.line,
        borderWidth: own ? 2 : 1,
        borderType: node.artifact ? "solid" : "dashed",
        borderRadius: 8,
      },
      cursor: to ? "pointer" : "default",
      to,
      told: `${nameOf(node)}\n${small}`,
    },
    point("left of", [x - CARD[0] / 2, y]),
    point("right of", [right, y]),
    ...(rest ? [point("more of", [right, bottom], rest)] : []),
  ];
}

/** `cells` on a canvas of `width` by `height` pixels, which are its axes' units. */
function drawing({ lineage, root }: LineageProps, cells: Cell[], width: number, height: number) {
  const place = ({ column, row }: Cell) => [MARGIN[0] + CARD[0] / 2 + column * STEP[0], height / 2 + row * STEP[1]];
  const told = (edge: LineageEdge) => [edge.data || "model", jobName(edge), ...edge.jobs.slice(0, MOST_JOBS).map((job) => job.spec.name)].join("\n");
  return (c: Colors) => ({
    grid: { left: 0, right: 0, top: 0, bottom: 0, outerBoundsMode: "none" },
    xAxis: { type: "value", min: 0, max: width, show: false },
    yAxis: { type: "value", min: 0, max: height, inverse: true, show: false },
    tooltip: { formatter: ({ data }: { data: { told?: string } }) => data.told ?? "" },
    series: [
      {
        type: "graph",
        coordinateSystem: "cartesian2d",
        symbol: "rect",
        emphasis: { scale: false },
        edgeSymbol: ["none", "arrow"],
        edgeSymbolSize: 7,
        lineStyle: { color: c.muted, opacity: 0.7, width: 1.5 },
        label: {
          show: true,
          position: "inside",
          rich: {
            name: { align: "left", color: c.text, fontSize: 12.5, lineHeight: 17 },
            own: { align: "left", color: c.text, fontSize: 12.5, lineHeight: 17, fontWeight: 600 },
            small: { align: "left", color: c.muted, fontSize: 11, lineHeight: 15 },
            more: { color: c.accent, fontSize: 11 },
          },
        },
        data: cells.flatMap((cell) => cardAt(c, cell.node, place(cell), { lineage, root })),
        links: lineage.edges.map((edge) => ({
          source: `right of ${edge.from}`,
          target: `left of ${edge.to}`,
          lineStyle: edge.data ? { type: "dashed" } : {},
          to: `/jobs/${edge.jobs[0].id}`,
          told: told(edge),
        })),
      },
    ],
  });
}

function Graph({ lineage, root }: LineageProps) {
  const [, go] = useLocation();
  const click = useCallback(
    (data: unknown) => {
      const { to } = (data ?? {}) as { to?: string };
      if (to) go(to);
    },
    [go],
  );
  const cells = useMemo(() => cellsOf(lineage), [lineage]);
  const width = Math.max(...cells.map(({ column }) => column)) * STEP[0] + CARD[0] + 2 * MARGIN[0];
  const height = (Math.max(...cells.map(({ row }) => row)) * 2 + 1) * STEP[1] + 2 * MARGIN[1];
  const option = useMemo(() => drawing({ lineage, root }, cells, width, height), [lineage, root, cells, width, height]);
  const jobs = new Set(lineage.edges.flatMap((edge) => edge.jobs.map((job) => job.id)));
  const place = useRef<HTMLDivElement>(null);
  const own = cells.find(({ node }) => node.digest === root)!.column * STEP[0] + CARD[0] / 2;
  useLayoutEffect(() => {
    place.current!.scrollLeft = own - place.current!.clientWidth / 2; // where not all fits
  }, [own]);
  return (
    <div ref={place} className="lineage" tabIndex={0} role="region" aria-label="Lineage as a graph">
      <div style={{ width }}>
        <Chart label={`${lineage.nodes.length} artifacts, made one from another by ${jobs.size === 1 ? "one job" : `${jobs.size} jobs`}`} option={option} height={height} onClick={click} />
      </div>
    </div>
  );
}

function Rows({ lineage, root }: LineageProps) {
  const nodes = new Map(lineage.nodes.map((node) => [node.digest, node]));
  const artifact = (node: LineageNode) =>
    node.artifact ? (
      <Link href={`/artifacts/${node.digest}`}>{nameOf(node)}</Link>
    ) : (
      <span className="muted">{lineage.edges.some(({ from, data }) => from === node.digest && data) ? "data that was deleted" : "a model that was deleted"}</span>
    );
  return (
    <Table label="Lineage">
      <thead>
        <tr>
          <th>Artifact</th>
          <th>Made by</th>
          <th>From</th>
          <th className="number">Size</th>
        </tr>
      </thead>
      <tbody>
        {lineage.nodes.map((node) => {
          const inputs = lineage.edges.filter(({ to }) => to === node.digest);
          const jobs = [...new Map(inputs.flatMap((edge) => edge.jobs.map((job) => [job.id, job]))).values()];
          return (
            <tr key={node.digest} aria-current={node.digest === root ? "true" : undefined}>
              <td>{node.digest === root ? <strong>{nameOf(node)}</strong> : artifact(node)}</td>
              <td>
                {jobs.slice(0, MOST_JOBS).map((job, i) => (
                  <span key={job.id}>
                    {i > 0 && ", "}
                    <Link href={`/jobs/${job.id}`}>{i > 0 && methodsOf(job) === methodsOf(jobs[0]) ? job.id : methodsOf(job) || job.spec.name || job.id}</Link>
                  </span>
                ))}
                {jobs.length > MOST_JOBS && <span className="muted"> and {jobs.length - MOST_JOBS} more</span>}
                {jobs.length === 0 && node.artifact && <span className="muted">{node.artifact.created_by_job ? "a job that is not known" : "handed in"}</span>}
              </td>
              <td>
                {inputs.map(({ from, data }, i) => (
                  <span key={from + data}>
                    {i > 0 && ", "}
                    {data && <span className="muted">{data} </span>}
                    {artifact(nodes.get(from)!)}
                  </span>
                ))}
              </td>
              <td className="number">{node.artifact && bytes(node.artifact.total_bytes)}</td>
            </tr>
          );
        })}
        {lineage.nodes
          .filter((node) => node.more)
          .map((node) => (
            <tr key={`more of ${node.digest}`}>
              <td colSpan={4}>
                <Link href={moreLink(node)}>{moreText(node.more!)}</Link> made of {artifact(node)}
              </td>
            </tr>
          ))}
      </tbody>
    </Table>
  );
}
