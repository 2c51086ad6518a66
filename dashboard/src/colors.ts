// Arithmetic on colours as the browser computes them: "rgb(r, g, b)".
const channels = (rgb: string) => rgb.match(/[\d.]+/g)!.slice(0, 3).map(Number);

/** From `weak` to `strong`, both as "rgb(r, g, b)": 0 to 1. */
export function between(weak: string, strong: string, share: number): string {
  const [a, b] = [channels(weak), channels(strong)];
  return `rgb(${[0, 1, 2].map((i) => Math.round(a[i] * (1 - share) + b[i] * share)).join(", ")})`;
}

/** Relative luminance (WCAG 2.2). */
function luminance(rgb: string): number {
  const [r, g, b] = channels(rgb).map((value) => (value <= 10.31475 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** Black or white, whichever is read better on this ground: their contrast is at least 4.5:1. */
export const inkOn = (ground: string) => (luminance(ground) > 0.179 ? "rgb(0, 0, 0)" : "rgb(255, 255, 255)");
