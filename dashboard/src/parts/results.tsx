// What was measured: before beside after, with standard errors and what changed.
import type { Evaluation, Job } from "../api";
import { changeText, direction, measured, metricName, spread } from "../format";
import { Empty, Table } from "./basics";

interface Line {
  suite: string;
  metric: string;
  rows: Record<string, Evaluation>; // by when
}

/** One line a metric; texts and exports apart. */
export function lines(evaluations: Evaluation[]): Line[] {
  const all = new Map<string, Line>();
  for (const row of evaluations) {
    if (row.suite === "export" || row.text) continue;
    const key = `${row.suite} ${row.metric}`;
    if (!all.has(key)) all.set(key, { suite: row.suite, metric: row.metric, rows: {} });
    all.get(key)!.rows[row.when] = row;
  }
  const suites = [...new Set([...all.values()].map((line) => line.suite))];
  return [...all.values()].sort((a, b) => suites.indexOf(a.suite) - suites.indexOf(b.suite));
}

export function Figure({ row }: { row?: Evaluation }) {
  if (!row) return <span className="muted">–</span>;
  return (
    <span title={`${row.value}${row.stderr === undefined ? "" : ` ± ${row.stderr}`} ${row.unit}, n = ${row.n}`}>
      {measured(row.value, row.unit, row.metric)}
      {row.stderr !== undefined && <span className="muted"> ± {spread(row.stderr, row.unit, row.metric)}</span>}
    </span>
  );
}

/** Ratio of after to before: good or bad news where the metric says which way is better and it is no accident of the sample. */
function Change({ before, after }: { before?: Evaluation; after?: Evaluation }) {
  const base = before?.value ?? after?.baseline_value;
  if (!after || base === undefined || base === 0 || after.value === base) return <span className="muted">–</span>;
  const share = after.value / base - 1;
  const paired = after.change_stderr;
  const error = paired ?? Math.hypot(before?.stderr ?? 0, after.stderr ?? 0);
  const noise = Math.abs(after.value - base) <= error;
  const better = noise ? 0 : direction(after.metric) * share;
  return (
    <span
      className={better > 0 ? "good-text" : better < 0 ? "bad-text" : "muted"}
      title={noise ? "Within one standard error of the difference" : undefined}
    >
      {changeText(base, after.value)}
      {paired !== undefined && <span className="muted"> ± {Number(((100 * paired) / Math.abs(base)).toPrecision(2))} %</span>}
    </span>
  );
}

export function Results({ job }: { job: Job }) {
  const table = lines(job.evaluations);
  const texts = job.evaluations.filter((row) => row.text);
  if (job.evaluations.length === 0)
    return (
      <Empty title="Nothing measured yet">
        <p className="muted">
          {job.state === "SUCCEEDED" ? "The recipe names no evaluations." : "Figures appear as each evaluation of the recipe ends."}
        </p>
      </Empty>
    );
  const between = [...new Set(table.flatMap((line) => Object.keys(line.rows)))].filter((when) => when !== "before" && when !== "after");
  return (
    <>
      <Table label="Before and after">
        <thead>
          <tr>
            <th>Metric</th>
            <th className="number">Result</th>
            <th className="number">Change</th>
            <th className="number">Handed in</th>
            {between.map((when) => (
              <th key={when} className="number">
                {/^\d+$/.test(when) ? `After step ${Number(when) + 1}` : when.replace(/^export: /, "Export: ")}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {table.map((line, i) => (
            <tr key={line.suite + line.metric} data-group={i > 0 && table[i - 1].suite !== line.suite ? "" : undefined}>
              <td>
                {metricName(line.metric)} {table[i - 1]?.suite !== line.suite && <span className="tag">{line.suite}</span>}
              </td>
              <td className="number strong">
                <Figure row={line.rows.after} />
              </td>
              <td className="number">
                <Change before={line.rows.before} after={line.rows.after} />
              </td>
              <td className="number">
                <Figure row={line.rows.before} />
              </td>
              {between.map((when) => (
                <td key={when} className="number">
                  <Figure row={line.rows[when]} />
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </Table>
      <p className="muted small">
        ± is one standard error, of a change that of the differences window by window; a change within it is grey.{" "}
        {[...new Set(job.evaluations.map((row) => row.hardware).filter(Boolean))].map((hardware) => `Measured on ${hardware}. `)}
      </p>
      {texts.length > 0 && (
        <section className="block">
          <h2>Samples</h2>
          <div className="pair">
            {texts.map((row) => (
              <figure key={row.when}>
                <figcaption>{row.when === "before" ? "Handed in" : row.when === "after" ? "Result" : row.when}</figcaption>
                <blockquote>{row.text}</blockquote>
              </figure>
            ))}
          </div>
        </section>
      )}
    </>
  );
}
