// One artifact: where it came from, what its layers weigh, who measured it, its files.
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useCallback, useMemo, useState } from "react";
import { Link, useLocation, useSearchParams } from "wouter";
import { type Artifact, get, type Job, post, remove } from "../api";
import { between, inkOn } from "../colors";
import { bytes, figure, short } from "../format";
import { ggufName, lastReports, type LayerReport, layerReports } from "../layers";
import { licence, type LicenceWords, measurements } from "../lineage";
import { type ModelLayer, modelOf } from "../model_layers";
import { Failure, Loaded, Loading, Table, Time, useTitle } from "../parts/basics";
import { axis, Chart, type Colors } from "../parts/chart";
import { Choice, SearchField, Segments } from "../parts/controls";
import { Files } from "../parts/files";
import { LineageBlock } from "../parts/lineage";
import { DeleteMenu } from "../parts/more";
import { ranks } from "../parts/parallel";
import { CompareLink } from "../parts/picked";
import { useBarred } from "../parts/session";
import { tellFailure } from "../parts/toast";
import { type Spread, weightSpread } from "../weights";

const FEW_LINKS = 24; // that are shown until somebody asks for more
const MORE_LINKS = 96;

export default function ArtifactPage({ digest }: { digest: string }) {
  const query = useQuery({ queryKey: ["artifact", digest], queryFn: () => get<Artifact>(`artifacts/${digest}`), staleTime: Infinity });
  return <Loaded query={query} home="artifacts">{(artifact) => <OneArtifact artifact={artifact} />}</Loaded>;
}

function OneArtifact({ artifact }: { artifact: Artifact }) {
  useTitle(artifact.name || short(artifact.digest));
  return (
    <>
      <div className="head">
        <div className="head-title">
          <Link href="/artifacts" className="crumb">
            Artifacts
          </Link>
          <h1 className="clip" title={artifact.name}>{artifact.name || short(artifact.digest)}</h1>
        </div>
        {artifact.kind !== "model" ? (
          <div className="head-actions">
            <Keeping artifact={artifact} />
          </div>
        ) : (
          <div className="head-actions">
            <Keeping artifact={artifact} />
            {artifact.created_by_job && (
              <Link className="button" href={`/submit?from=${artifact.created_by_job}`}>
                Run again with changes
              </Link>
            )}
            <Link className="button primary" href={`/try?model=${artifact.digest}`}>
              Try it
            </Link>
          </div>
        )}
      </div>
      <dl className="facts">
        <div>
          <dt>Kind</dt>
          <dd>{artifact.kind}</dd>
        </div>
        <div>
          <dt>Size</dt>
          <dd>{bytes(artifact.total_bytes)}</dd>
        </div>
        <div>
          <dt>Added</dt>
          <dd>
            <Time time={artifact.create_time} />
          </dd>
        </div>
        <div>
          <dt>Kept</dt>
          <dd>{artifact.pinned ? "pinned" : artifact.expire_time ? <>until <Time time={artifact.expire_time} /></> : "until it is deleted"}</dd>
        </div>
        <Licence artifact={artifact} />
        <div className="fact-wide">
          <dt>SHA-256</dt>
          <dd>
            <code className="wrap">{artifact.digest}</code>
          </dd>
        </div>
      </dl>
      <LineageBlock artifact={artifact} />
      {artifact.kind === "model" && <ModelLayers artifact={artifact} />}
      <Files artifact={artifact} />
      <UsedBy artifact={artifact} />
    </>
  );
}

/** A pinned one cannot be deleted. */
function Keeping({ artifact }: { artifact: Artifact }) {
  const barred = useBarred("submitter");
  const client = useQueryClient();
  const [, go] = useLocation();
  const path = `artifacts/${artifact.digest}`;
  const pin = useMutation({
    mutationFn: () => post<Artifact>(`${path}/retention`, { pinned: !artifact.pinned }),
    onSuccess: () => client.invalidateQueries({ queryKey: ["artifact", artifact.digest] }),
    onError: tellFailure,
  });
  const discard = useMutation({
    mutationFn: () => remove(path),
    onSuccess: () => {
      go("/artifacts");
      return client.invalidateQueries({ queryKey: ["artifacts"] });
    },
    onError: tellFailure,
  });
  if (barred) return <p className="muted small">{barred}</p>;
  return (
    <>
      <button className="button" disabled={pin.isPending} onClick={() => pin.mutate()}>
        {artifact.pinned ? "Unpin" : "Pin"}
      </button>
      <DeleteMenu
        title={`Delete ${artifact.name || short(artifact.digest)}?`}
        action="Delete the artifact"
        disabled={artifact.pinned || discard.isPending}
        onConfirm={() => discard.mutate()}
      >
        It leaves every list; what no other artifact shares is deleted from the disk a day later. Jobs that named it cannot be retried.
      </DeleteMenu>
    </>
  );
}

function Licence({ artifact }: { artifact: Artifact }) {
  const query = useQuery({ queryKey: ["licence", artifact.digest], queryFn: () => licence(artifact), staleTime: Infinity, retry: false });
  if (artifact.kind !== "model") return null;
  return (
    <div>
      <dt>Licence</dt>
      <dd>{query.data ? <LicenceText {...query.data} /> : <span className="muted">{query.isPending ? "…" : "it does not say"}</span>}</dd>
    </div>
  );
}

/** An id of "other" says nothing beside a name. A file may name any address: only one of the web's is followed. */
function LicenceText({ id, name, link }: LicenceWords) {
  const text = name ? (id && id !== "other" && id !== name ? `${name} (${id})` : name) : id || link;
  if (!/^https?:\/\//i.test(link)) return text;
  return (
    <a href={link} target="_blank" rel="noopener noreferrer">
      {text}
    </a>
  );
}

const useMeasurements = (digest: string) => useQuery({ queryKey: ["measured", digest], queryFn: () => measurements(digest), staleTime: 10_000 });

/** What the stages of the job that made it said of each layer, under both of its names: of each the last one. */
function useReports(job: string): Map<string, LayerReport> {
  const query = useQuery({ queryKey: ["job", job], queryFn: () => get<Job>(`jobs/${job}`), enabled: job !== "", staleTime: 60_000, retry: false });
  return useMemo(
    () =>
      new Map(
        [...lastReports((query.data?.stages ?? []).flatMap(layerReports)).values()].flatMap((report) => [report.layer, ggufName(report.layer)].map((name) => [name, report])),
      ),
    [query.data],
  );
}

function ModelLayers({ artifact }: { artifact: Artifact }) {
  const [params, setParams] = useSearchParams();
  const choose = useCallback(
    (name: string) => setParams((old) => (name ? old.set("layer", name) : old.delete("layer"), old)),
    [setParams],
  );
  const reports = useReports(artifact.created_by_job);
  const query = useQuery({ queryKey: ["model", artifact.digest], queryFn: () => modelOf(artifact), staleTime: Infinity, retry: false });
  if (query.error) return <Failure error={query.error} />;
  if (query.data === undefined) return <Loading rows={4} />;
  if (query.data === null)
    return (
      <section className="block">
        <h2>Layers</h2>
        <p className="muted">It holds no safetensors, GGUF or ONNX file.</p>
      </section>
    );
  const layers = query.data;
  const chosen = layers.find((layer) => layer.name === params.get("layer"));
  return (
    <section className="block">
      <h2>
        Layers <span className="muted">{layers.length}</span>
      </h2>
      <Treemap layers={layers} reports={reports} onChoose={choose} />
      {chosen && <OneLayer digest={artifact.digest} layer={chosen} report={reports.get(chosen.name)} close={() => choose("")} />}
      <LayerList layers={layers} reports={reports} onChoose={choose} />
    </section>
  );
}

/** "packed-int 4 bits", of its codes; else of all that is stored, "dense 32 bits", "masked 9 bits": what a rectangle's colour stands for. */
const storage = ({ rep, bits, attributes }: ModelLayer) => {
  if (typeof attributes.type === "string") return attributes.type;
  const said = Number(attributes.bits ?? bits);
  return rep + (said ? ` ${figure(Math.round(said * 10) / 10)} bits` : "");
};

const bytesOf = (layers: ModelLayer[]) => layers.reduce((sum, layer) => sum + layer.bytes, 0);

/** What stands outside of blocks first. */
const byBlock = ([a]: [string, unknown], [b]: [string, unknown]) =>
  Number(a.startsWith("block")) - Number(b.startsWith("block")) || a.localeCompare(b, "en", { numeric: true });

/** Whether its name fits its rectangle, roughly: the chart is about 1,100 by 340 pixels. */
const fits = (layer: ModelLayer, total: number) => 0.62 * Math.sqrt((layer.bytes / total) * 1100 * 340) > nameIn(layer).length * 6.5 + 8;
const nameIn = (layer: ModelLayer) => (layer.group.startsWith("block") ? layer.kind.split(".").at(-1)! : layer.kind);
/** In a block: "self_attn" of "self_attn.q_proj". */
const moduleOf = (layer: ModelLayer) => layer.kind.split(".").slice(0, -1).join(".") || layer.kind;

/** By what it is a part of: the model's blocks, or one block's modules. */
function grouped(layers: ModelLayer[], groupOf: (layer: ModelLayer) => string): Map<string, ModelLayer[]> {
  const groups = new Map<string, ModelLayer[]>();
  for (const layer of layers) {
    const name = groupOf(layer);
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name)!.push(layer);
  }
  return groups;
}

const ALL = "all parts";

/** What the layers' colours may tell. */
const PAINTS = [
  { value: "storage", label: "Storage" },
  { value: "bits", label: "Bits" },
  { value: "error", label: "Error" },
];

function Treemap({ layers, reports, onChoose }: LayerListProps) {
  const [params, setParams] = useSearchParams();
  const valueOf = {
    storage: () => undefined,
    bits: (layer: ModelLayer) => layer.bits ?? undefined,
    error: (layer: ModelLayer) => reports.get(layer.name)?.error,
  };
  const told = PAINTS.filter(({ value }) => value === "storage" || new Set(layers.map(valueOf[value as "bits"])).size > 1);
  // One colour all over says nothing: the error comes first where it is known.
  const first = told.some(({ value }) => value === "error") ? "error" : "storage";
  const paint = (told.find(({ value }) => value === params.get("paint"))?.value ?? first) as keyof typeof valueOf;
  const values = useMemo(() => layers.map(valueOf[paint]), [layers, reports, paint]);
  const parts = useMemo(() => new Map([...grouped(layers, (layer) => layer.group)].sort(byBlock)), [layers]);
  const whole = parts.get(params.get("part") ?? "") === undefined;
  const part = whole ? "" : params.get("part")!;
  const shown = whole ? layers : parts.get(part)!;
  const look = useCallback(
    (next: string) => setParams((old) => (next ? old.set("part", next) : old.delete("part"), old), { replace: true }),
    [setParams],
  );
  const click = useCallback(
    (data: unknown) => {
      const { layer, part: clicked } = (data ?? {}) as { layer?: ModelLayer; part?: string };
      if (layer) onChoose(layer.name);
      else if (clicked) look(clicked);
      else onChoose("");
    },
    [onChoose, look],
  );
  const option = useMemo(() => {
    const kinds = [...new Set(layers.map(storage))];
    const total = bytesOf(layers);
    const room = bytesOf(shown);
    const strength = new Map(ranks(values, false).map((rank, i) => [layers[i], rank]));
    const looks = (c: Colors, layer: ModelLayer) => {
      const rank = strength.get(layer);
      const ground =
        paint === "storage" ? c.series[kinds.indexOf(storage(layer)) % c.series.length] : rank === undefined ? c.line : between(c.weak, c.accent, rank);
      return { itemStyle: { color: ground }, label: { color: inkOn(ground) } };
    };
    return (c: Colors) => ({
      tooltip: {
        formatter: (item: { name: string; value: number; data: { layer?: ModelLayer } }) =>
          [
            item.data.layer?.name ?? item.name,
            `${bytes(item.value)}, ${((item.value / total) * 100).toFixed(1)} %`,
            item.data.layer && storage(item.data.layer),
            item.data.layer && reports.has(item.data.layer.name) && `error ${figureOf(reports.get(item.data.layer.name)?.error)}`,
          ]
            .filter(Boolean)
            .join("\n"),
      },
      series: [
        {
          type: "treemap",
          roam: false,
          nodeClick: false,
          breadcrumb: { show: false },
          left: 0,
          sort: false, // blocks in their order
          right: 0,
          top: 0,
          bottom: 0,
          label: { fontSize: 11, overflow: "truncate" },
          upperLabel: { show: true, height: 18, color: c.muted, fontSize: 11, backgroundColor: "transparent" },
          itemStyle: { borderColor: c.surface, borderWidth: 1, gapWidth: 1 },
          levels: [
            { itemStyle: { borderWidth: 0, gapWidth: 3 }, upperLabel: { show: false } },
            { itemStyle: { borderColor: c.line, gapWidth: 1 } },
          ],
          data: [...(whole ? parts : grouped(shown, moduleOf))].map(([name, group]) => ({
            name,
            part: whole ? name : undefined,
            children: group.map((layer) => {
              const { itemStyle, label } = looks(c, layer);
              return { name: nameIn(layer), value: layer.bytes, layer, itemStyle, label: { ...label, show: fits(layer, room) } };
            }),
          })),
        },
      ],
    });
  }, [layers, reports, values, paint, shown, whole, parts]);
  const kinds = [...new Set(layers.map(storage))];
  const numbers = values.filter((value) => value !== undefined);
  return (
    <>
      <div className="tools">
        {parts.size > 1 && (
          <Choice
            label="Part of the model"
            value={part || ALL}
            options={[{ value: ALL, label: "All parts" }, ...[...parts.keys()].map((name) => ({ value: name, label: name }))]}
            onChange={(next) => look(next === ALL ? "" : next)}
          />
        )}
        {told.length > 1 && (
          <Segments
            label="Colours"
            value={paint}
            options={told}
            onChange={(next) => setParams((old) => (old.set("paint", next), old), { replace: true })}
          />
        )}
        {paint !== "storage" && (
          <span className="scale muted small">
            {figure(Math.min(...numbers))} <span className="scale-colours" aria-hidden /> {figure(Math.max(...numbers))}, by rank
          </span>
        )}
      </div>
      <ul className="legend" aria-label="Storage">
        {[...grouped(shown, storage)].map(([kind, group]) => (
          <li key={kind}>
            {paint === "storage" && <span className="swatch" data-series={(kinds.indexOf(kind) % 8) + 1} aria-hidden />} {kind}{" "}
            <span className="muted">{bytes(bytesOf(group))}</span>
          </li>
        ))}
      </ul>
      <Chart label={`Bytes of ${shown.length} layers${whole ? "" : ` in ${part}`}`} option={option} height={340} onClick={click} />
    </>
  );
}

/** How its weights are spread, and what it lost. */
function OneLayer({ digest, layer, report, close }: { digest: string; layer: ModelLayer; report?: LayerReport; close: () => void }) {
  const query = useQuery({
    queryKey: ["weights", digest, layer.name],
    queryFn: () => weightSpread(digest, layer),
    staleTime: Infinity,
    retry: false,
  });
  const spread = query.data;
  const told = Object.entries(layer.attributes).filter(([, value]) => typeof value !== "object"); // a sum's parts are
  return (
    <section className="card layer" aria-label={`Layer ${layer.name}`}>
      <div className="head">
        <h3 className="wrap">{layer.name}</h3>
        <button className="button quiet" onClick={close}>
          Close
        </button>
      </div>
      <dl className="facts">
        <LayerFact name="Storage">{storage(layer)}</LayerFact>
        {layer.shape.length > 0 && <LayerFact name="Shape">{layer.shape.join(" × ")}</LayerFact>}
        {told.length > 0 && <LayerFact name="Stored with">{told.map(([name, value]) => `${name} ${value}`).join(", ")}</LayerFact>}
        <LayerFact name="Bytes">{bytes(layer.bytes)}</LayerFact>
        {report?.error !== undefined && <LayerFact name="Error">{figure(report.error)}</LayerFact>}
        {report?.sparsity !== undefined && <LayerFact name="Sparsity">{(report.sparsity * 100).toFixed(1)} %</LayerFact>}
        {spread && spread.odd < spread.read && (
          <>
            <LayerFact name="Mean">{figure(spread.mean)}</LayerFact>
            <LayerFact name="Standard deviation">{figure(spread.deviation)}</LayerFact>
            <LayerFact name="Zeros">{(spread.zeros * 100).toFixed(1)} %</LayerFact>
          </>
        )}
      </dl>
      <Tensors layer={layer} />
      {query.error ? (
        <Failure error={query.error} />
      ) : query.isPending ? (
        <Loading rows={3} />
      ) : !spread ? (
        <p className="muted">Weights that are stored as {layer.rep} are not decoded in the page.</p>
      ) : spread.odd === spread.read ? (
        <p className="bad-text">None of its weights that were read is a finite number.</p>
      ) : (
        <Histogram spread={spread} name={layer.name} />
      )}
    </section>
  );
}

/** What the file holds of it. */
function Tensors({ layer }: { layer: ModelLayer }) {
  return (
    <Table label="Tensors">
      <thead>
        <tr>
          <th>Tensor</th>
          <th>Type</th>
          <th>Shape</th>
          <th className="number">Bytes</th>
        </tr>
      </thead>
      <tbody>
        {layer.tensors.map((tensor) => (
          <tr key={tensor.name}>
            <td>{tensor.name}</td>
            <td>{tensor.dtype}</td>
            <td>{tensor.shape.join(" × ") || "one number"}</td>
            <td className="number">{bytes(tensor.bytes)}</td>
          </tr>
        ))}
      </tbody>
    </Table>
  );
}

const LayerFact = ({ name, children }: { name: string; children: React.ReactNode }) => (
  <div>
    <dt>{name}</dt>
    <dd>{children}</dd>
  </div>
);

const COMPACT = new Intl.NumberFormat("en", { notation: "compact" }); // 120K

function Histogram({ spread, name }: { spread: Spread; name: string }) {
  const option = useMemo(
    () => (c: Colors) => ({
      grid: { left: 64, right: 16, top: 12, bottom: 44 },
      // The bars are categories; what is written under them is a scale of its own, with round marks.
      xAxis: [
        { type: "category", data: spread.counts.map((_, i) => figure(spread.from + (i + 0.5) * spread.step)), show: false },
        axis(c, "Weight", {
          type: "value",
          position: "bottom",
          min: spread.from,
          max: spread.from + spread.counts.length * spread.step,
          axisLabel: { color: c.muted, hideOverlap: true, showMinLabel: false, showMaxLabel: false, formatter: (v: number) => figure(Number(v.toPrecision(3))) },
          splitLine: { show: false },
        }),
      ],
      yAxis: axis(c, "", { type: "value", splitNumber: 3, axisLabel: { color: c.muted, formatter: (v: number) => COMPACT.format(v) } }),
      tooltip: {
        trigger: "item",
        formatter: (item: { name: string; value: number }) => `about ${item.name}\n${figure(item.value)} weights`,
      },
      series: [{ type: "bar", data: spread.counts, barCategoryGap: "8%", itemStyle: { color: c.series[0] } }],
    }),
    [spread],
  );
  return (
    <>
      <Chart label={`How the weights of ${name} are spread`} option={option} height={220} />
      <p className="muted small">
        {spread.read < spread.all && `Of the first ${figure(spread.read)} of ${figure(spread.all)} weights. `}
        {!spread.drawn && "Zeros are in no bar. "}
        {spread.odd > 0 && <span className="bad-text">{figure(spread.odd)} weights are no finite numbers, and are left out.</span>}
      </p>
    </>
  );
}

interface LayerListProps {
  layers: ModelLayer[];
  reports: Map<string, LayerReport>;
  onChoose: (name: string) => void;
}

function LayerList(props: LayerListProps) {
  const [open, setOpen] = useState(false);
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>All layers as a table</summary>
      {open && <LayerRows {...props} />}
    </details>
  );
}

function LayerRows({ layers, reports, onChoose }: LayerListProps) {
  const [search, setSearch] = useState("");
  const sorted = useMemo(() => layers.toSorted((a, b) => b.bytes - a.bytes), [layers]);
  const all = Math.max(1, bytesOf(layers));
  const shown = sorted.filter((layer) => layer.name.toLowerCase().includes(search.toLowerCase()));
  return (
    <>
      <div className="tools">
        <SearchField label="Search the layers" text={search} onChange={setSearch} />
        {search && (
          <span className="muted small" role="status">
            {shown.length} of {layers.length} layers, {bytes(bytesOf(shown))}
          </span>
        )}
      </div>
      <div className="scroll tall" tabIndex={0} role="region" aria-label="Layers">
        <table className="plain" aria-label="Layers">
          <thead>
            <tr>
              <th>Layer</th>
              <th>Storage</th>
              <th className="number">Shape</th>
              <th className="number">Bits</th>
              {reports.size > 0 && <th className="number">Error</th>}
              <th className="number">Bytes</th>
              <th className="number">Share</th>
            </tr>
          </thead>
          <tbody>
            {shown.map((layer) => (
              <tr key={layer.name}>
                <td>
                  <button className="link" onClick={() => onChoose(layer.name)}>
                    {layer.name}
                  </button>
                </td>
                <td>{storage(layer)}</td>
                <td className="number muted">{layer.shape.join(" × ") || "–"}</td>
                <td className="number">{figureOf(layer.bits)}</td>
                {reports.size > 0 && <td className="number">{figureOf(reports.get(layer.name)?.error)}</td>}
                <td className="number">{bytes(layer.bytes)}</td>
                <td className="number">{((layer.bytes / all) * 100).toFixed(1)} %</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}

const figureOf = (value?: number | null) => (value === undefined || value === null ? "–" : figure(value));

/** Jobs that measured it: as what they began with, or as what they made. */
function UsedBy({ artifact }: { artifact: Artifact }) {
  const rows = useMeasurements(artifact.digest).data ?? [];
  const began = new Set(rows.filter((row) => row.when === "before").map((row) => row.job_id));
  const made = new Set(rows.filter((row) => row.when !== "before").map((row) => row.job_id));
  return (
    <>
      <JobLinks title="Measured first in" jobs={[...began]} />
      <JobLinks title="Measured in" jobs={[...made].filter((job) => !began.has(job))} />
    </>
  );
}

function JobLinks({ title, jobs }: { title: string; jobs: string[] }) {
  const [most, setMost] = useState(FEW_LINKS);
  if (jobs.length === 0) return null;
  return (
    <section className="block">
      <h2>
        {title} <span className="muted">{jobs.length}</span>
      </h2>
      <ul className="inline">
        {jobs.slice(0, most).map((job) => (
          <li key={job}>
            <JobLink id={job} />
          </li>
        ))}
        {jobs.length > most && (
          <li>
            <button className="link" onClick={() => setMost(most + MORE_LINKS)}>
              {(jobs.length - most).toLocaleString("en")} more
            </button>
          </li>
        )}
      </ul>
      <CompareLink jobs={jobs}>Compare them</CompareLink>
    </section>
  );
}

function JobLink({ id }: { id: string }) {
  const query = useQuery({ queryKey: ["job", id], queryFn: () => get<Job>(`jobs/${id}`), staleTime: 60_000, retry: false });
  return <Link href={`/jobs/${id}`}>{query.data?.spec.name || id}</Link>;
}
