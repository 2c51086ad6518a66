// What the store holds: models, data sets and what jobs made.
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { Link, useSearchParams } from "wouter";
import { type Artifact, get } from "../api";
import { bytes, short } from "../format";
import { Empty, Loaded, Table, Time, useTitle } from "../parts/basics";
import { NameFilter, Segments } from "../parts/controls";

const KINDS = [
  { value: "all", label: "All" },
  { value: "model", label: "Models" },
  { value: "dataset", label: "Data sets" },
];

export default function Artifacts() {
  useTitle("Artifacts");
  const [params, setParams] = useSearchParams();
  const kind = params.get("kind") ?? "";
  const name = params.get("name") ?? "";
  const token = params.get("page") ?? "";
  const filter = { ...(kind && { kind }), ...(name && { name }) };
  const query = useQuery({
    queryKey: ["artifacts", kind, name, token],
    queryFn: () => get<{ artifacts: Artifact[]; next_page_token: string }>("artifacts", { kind, name_contains: name, page_token: token, page_size: 50 }),
    placeholderData: keepPreviousData,
    refetchInterval: 5000,
  });
  return (
    <>
      <div className="head">
        <h1>Artifacts</h1>
      </div>
      <div className="tools">
        <Segments
          label="Kind"
          value={kind || "all"}
          options={KINDS}
          onChange={(next) => setParams({ ...(next !== "all" && { kind: next }), ...(name && { name }) })}
        />
        <NameFilter name={name} onChange={(next) => setParams({ ...(kind && { kind }), ...(next && { name: next }) }, { replace: true })} />
      </div>
      <Loaded query={query}>
        {(page) =>
          page.artifacts.length === 0 && name ? (
            <Empty title="No artifact fits this filter">
              <button className="button" onClick={() => setParams({})}>
                Show all artifacts
              </button>
            </Empty>
          ) : page.artifacts.length === 0 ? (
            <Empty title="Nothing here yet">
              <p className="muted">Hand in a model folder, a GGUF file or a text:</p>
              <pre className="command">wring put PATH --name NAME</pre>
            </Empty>
          ) : (
            <>
              <Table label="Artifacts">
                <thead>
                  <tr>
                    <th>Name</th>
                    <th>Kind</th>
                    <th className="number">Size</th>
                    <th className="number">Files</th>
                    <th>Made by</th>
                    <th>Added</th>
                  </tr>
                </thead>
                <tbody>
                  {page.artifacts.map((artifact) => (
                    <tr key={artifact.digest}>
                      <td>
                        <Link href={`/artifacts/${artifact.digest}`} className="strong">
                          {artifact.name || short(artifact.digest)}
                        </Link>{" "}
                        <code className="muted small">{short(artifact.digest)}</code>
                      </td>
                      <td>
                        {artifact.kind}
                        {artifact.format && <span className="muted"> {artifact.format}</span>}
                      </td>
                      <td className="number">{bytes(artifact.total_bytes)}</td>
                      <td className="number">{artifact.file_count}</td>
                      <td>
                        {artifact.created_by_job ? (
                          <Link href={`/jobs/${artifact.created_by_job}`}>
                            <code>{artifact.created_by_job}</code>
                          </Link>
                        ) : (
                          <span className="muted">handed in</span>
                        )}
                      </td>
                      <td>
                        <Time time={artifact.create_time} />
                      </td>
                    </tr>
                  ))}
                </tbody>
              </Table>
              <nav className="pages" aria-label="Pages">
                {token && (
                  <button className="button" onClick={() => setParams(filter)}>
                    Newest
                  </button>
                )}
                {page.next_page_token && (
                  <button className="button" onClick={() => setParams({ ...filter, page: page.next_page_token })}>
                    Older
                  </button>
                )}
              </nav>
            </>
          )
        }
      </Loaded>
    </>
  );
}
