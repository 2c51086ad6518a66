// The files of an artifact, to download.
import { type Artifact, fileUrl, type Manifest } from "../api";
import { bytes } from "../format";
import { Digest, Table } from "./basics";

export const manifestOf = (artifact: Artifact): Manifest => JSON.parse(artifact.manifest_json);

export function Files({ artifact }: { artifact: Artifact }) {
  const manifest = manifestOf(artifact);
  return (
    <section className="block">
      <h2>
        {artifact.name || "Files"} <span className="muted">{bytes(artifact.total_bytes)}</span>
      </h2>
      <p className="muted small">
        <Digest digest={artifact.digest} to={`/artifacts/${artifact.digest}`} /> · the whole folder:{" "}
        <code>wring get {artifact.digest.slice(0, 12)} --out DIR</code>
      </p>
      <Table label="Files">
        <thead>
          <tr>
            <th>File</th>
            <th className="number">Size</th>
            <th>SHA-256</th>
            <th>
              <span className="sr">Download</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {manifest.files.map((file) => (
            <tr key={file.path}>
              <td className="wrap">{file.path}</td>
              <td className="number">{bytes(file.size)}</td>
              <td>
                {file.chunks.length === 1 ? (
                  <Digest digest={file.chunks[0].sha256} />
                ) : (
                  <span className="muted">{file.chunks.length} chunks</span>
                )}
              </td>
              <td className="number">
                <a href={fileUrl(artifact.digest, file.path)} download aria-label={`Download ${file.path}`}>
                  Download
                </a>
              </td>
            </tr>
          ))}
        </tbody>
      </Table>
    </section>
  );
}
