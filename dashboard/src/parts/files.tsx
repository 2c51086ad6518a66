// The files of an artifact, to download.
import { type Artifact, fileUrl, type Manifest } from "../api";
import { bytes } from "../format";
import { Digest, Table } from "./basics";
import { Copy } from "./copy";

export const manifestOf = (artifact: Artifact): Manifest => JSON.parse(artifact.manifest_json);

/** `title`: what the files are; absent: the artifact's name. */
export function Files({ artifact, title }: { artifact: Artifact; title?: string }) {
  const command = `wring get ${artifact.digest.slice(0, 12)} --out DIR`;
  const manifest = manifestOf(artifact);
  return (
    <section className="block">
      <h2>
        {title ?? (artifact.name || "Files")} <span className="muted">{bytes(artifact.total_bytes)}</span>
      </h2>
      <p className="muted small">
        <Digest digest={artifact.digest} to={`/artifacts/${artifact.digest}`} /> <Copy text={artifact.digest} what="the digest" /> · the whole folder:{" "}
        <code>{command}</code> <Copy text={command} what="the command" />
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
                  <>
                    <Digest digest={file.chunks[0].sha256} /> <Copy text={file.chunks[0].sha256} what={`the digest of ${file.path}`} />
                  </>
                ) : (
                  <>
                    <span className="muted">one for each of {file.chunks.length} chunks</span>{" "}
                    <Copy text={() => file.chunks.map((chunk) => chunk.sha256).join("\n")} what={`the digests of ${file.path}`} />
                  </>
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
