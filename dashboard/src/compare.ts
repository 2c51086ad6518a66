// Of jobs side by side: the Pareto front, what tells them apart, where their names have room, and tables as CSV.

export const MOST_COMPARED = 24;
export const FULL = `At most ${MOST_COMPARED} jobs are compared`;

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

/** How many pairs of them differ by more than the standard error of the difference; what has no error tells no pair apart. */
export function pairsApart(rows: Measured[]): number {
  const apart = (a: Measured, b: Measured) => Math.abs(a.value - b.value) > Math.hypot(a.stderr ?? Infinity, b.stderr ?? Infinity);
  return rows.reduce((sum, row, i) => sum + rows.slice(0, i).filter((other) => apart(row, other)).length, 0);
}

export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** The box, as far up (-1) or down (1) as it takes to lie on no other. */
export function freeOf(others: Box[], box: Box, way: 1 | -1): Box {
  const hit = others.find((o) => o.x < box.x + box.width && box.x < o.x + o.width && o.y < box.y + box.height && box.y < o.y + o.height);
  return hit ? freeOf(others, { ...box, y: way < 0 ? hit.y - box.height : hit.y + hit.height }, way) : box;
}

/** RFC 4180. A text that a spreadsheet would run as a formula gets an apostrophe before it; numbers stay. */
export function csv(rows: string[][]): string {
  const cell = (text: string) => {
    const safe = /^[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return rows.map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}
