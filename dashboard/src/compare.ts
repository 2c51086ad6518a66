// The Pareto front of jobs, and tables as CSV.

export interface Point {
  id: string;
  name: string;
  size: number;
  quality: number;
}

/** The points that no other is both as small and as good as, by rising size. `sign`: 1 where more quality is better, -1 where less. */
export function front(points: Point[], sign: number): Point[] {
  const sorted = points.toSorted((a, b) => a.size - b.size || sign * (b.quality - a.quality));
  let best = -Infinity;
  return sorted.filter((point) => {
    const better = sign * point.quality > best;
    if (better) best = sign * point.quality;
    return better;
  });
}

interface Measured {
  value: number;
  stderr?: number;
}

/** Those that no other is better than by more than the standard error of the difference of two samples; none where that are all. */
export function bestOf<T extends Measured>(rows: T[], sign: number): T[] {
  const best = Math.max(...rows.map((row) => sign * row.value));
  const error = Math.max(...rows.map((row) => (sign * row.value === best ? (row.stderr ?? 0) : 0)));
  const alike = rows.filter((row) => !(best - sign * row.value > Math.hypot(error, row.stderr ?? 0)));
  return alike.length < rows.length ? alike : [];
}

/** RFC 4180. A text that a spreadsheet would run as a formula gets an apostrophe before it; numbers stay. */
export function csv(rows: string[][]): string {
  const cell = (text: string) => {
    const safe = /^[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return rows.map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}
