// Sizes, times and figures as people read them.

const UNITS = ["B", "kB", "MB", "GB", "TB"];

export function bytes(value: number | string): string {
  let n = Number(value);
  let unit = 0;
  while (n >= 999.95 && unit < UNITS.length - 1) {
    n /= 1000;
    ++unit;
  }
  return `${unit === 0 ? n : n.toFixed(1)} ${UNITS[unit]}`;
}

/** "60 MB", "1.5gb", "512MiB", "2000": bytes; undefined: it is no size. */
export function parseBytes(text: string): number | undefined {
  const match = /^\s*(\d+(?:\.\d+)?)\s*(?:([kmgt])(i?))?b?\s*$/i.exec(text);
  return match ? Number(match[1]) * (match[3] ? 1024 : 1000) ** " kmgt".indexOf(match[2]?.toLowerCase() ?? " ") : undefined;
}

/** < 0.1 s, 0.3 s, 0:07, 1:02:05 */
export function duration(seconds: number): string {
  if (seconds > 0 && seconds < 0.05) return "< 0.1 s";
  if (seconds > 0 && seconds < 0.95) return `${seconds.toFixed(1)} s`;
  const s = Math.max(0, Math.round(seconds));
  const two = (n: number) => String(n).padStart(2, "0");
  return s >= 3600 ? `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}` : `${Math.floor(s / 60)}:${two(s % 60)}`;
}

/** "3 min ago", "in 2 d". */
export function ago(time: string, now: number): string {
  const s = Math.round((now - Date.parse(time)) / 1000);
  const size = Math.abs(s);
  if (size < 5) return "just now";
  const [length, unit] = size < 60 ? [1, "s"] : size < 3600 ? [60, "min"] : size < 86400 ? [3600, "h"] : [86400, "d"];
  const much = `${Math.floor(size / length)} ${unit}`;
  return s > 0 ? `${much} ago` : `in ${much}`;
}

const EXACT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
const CLOCK = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
export const exact = (time: string) => EXACT.format(new Date(time));
export const clock = (time: string) => CLOCK.format(new Date(time));

/** Four significant digits, without an exponent where it can be. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  if (Number.isInteger(value) && Math.abs(value) < 1e4) return String(value);
  const size = Math.abs(value);
  if (size >= 1e4) return value.toLocaleString("en", { maximumFractionDigits: 0 }).replaceAll(",", "\u202f");
  return size !== 0 && size < 1e-3 ? Number(value.toPrecision(3)).toExponential() : String(Number(value.toPrecision(4)));
}

/** Shares of right answers: "top1", "arc_easy_accuracy_norm". */
const isAccuracy = (metric: string) => metric === "top1" || /(^|_)accuracy(_norm)?(_change)?$/.test(metric);

/** A value of an evaluation with its unit. */
export function measured(value: number, unit: string, metric: string): string {
  if (unit === "bytes") return bytes(value);
  if (unit === "s") return value < 1 ? `${figure(value * 1000)} ms` : `${figure(value)} s`;
  if (metric.includes("share") || metric.includes("agreement") || metric.includes("overlap") || isAccuracy(metric))
    return `${(value * 100).toFixed(2)} %`;
  return unit && !["bits", "tokens"].includes(unit)
    ? `${figure(value)} ${unit.replace("tokens/s", "tok/s").replace("nats/token", "nats")}`
    : figure(value);
}

/** Metrics that end at 1, which their axes need not pass. */
export const isShare = (metric: string) => /cosine|agreement|overlap/.test(metric) || (isAccuracy(metric) && !metric.endsWith("_change"));

/** What its axis must not pass. */
export const axisEnd = (metric: string) => (isShare(metric) ? { max: (range: { max: number }) => (range.max <= 1 ? 1 : null) } : {});

/** How an axis of this metric writes its values. */
export const formatOf = (metric: string) => (metric.endsWith("_bytes") ? bytes : figure);

/** "−41 %", "+2.8 %": from a value to another. */
export function changeText(from: number, to: number): string {
  const share = Math.abs(to / from - 1) * 100;
  return `${to < from ? "−" : "+"}${share < 0.095 ? share.toFixed(2) : share < 10 ? share.toFixed(1) : Math.round(share)} %`;
}

/** A standard error: two digits say all that it knows. In the unit of its value. */
export function spread(error: number, unit: string, metric: string): string {
  const rounded = Number(error.toPrecision(2));
  return measured(rounded, unit, metric).replace(/ (nats|tok\/s|ms|s|%)$/, "");
}

/** The digest's beginning, enough to tell it by and for every call of the API. */
export const short = (digest: string) => digest.slice(0, 12);

/** 1 where more is better, -1 where less is, 0 where that is not known. */
export function direction(metric: string): number {
  if (/^(perplexity|nll|kl_|cross_entropy|weight_bytes|artifact_bytes|bits_per_weight|share_of|forward_seconds|peak|macs$|activation_bytes$|parameters$)/.test(metric)) return -1;
  if (/^(top1_agreement|decode_speed|cosine|neighbour_overlap)/.test(metric) || isAccuracy(metric)) return 1;
  return 0;
}

const WORDS: Record<string, string> = {
  perplexity: "Perplexity",
  nll: "Negative log likelihood",
  kl_mean: "KL divergence, mean",
  kl_p99: "KL divergence, 99th percentile",
  kl_max: "KL divergence, worst",
  top1_agreement: "Top-1 agreement",
  weight_bytes: "Bytes of weights",
  artifact_bytes: "Bytes on disk",
  bits_per_weight: "Bits per weight",
  parameters: "Parameters",
  macs: "Multiply-adds",
  activation_bytes: "Memory of values",
  top1: "Accuracy",
  cross_entropy: "Cross entropy",
  share_of_bf16: "Share of bf16",
  forward_seconds: "Forward pass",
  decode_speed: "Decoding",
  cosine_mean: "Cosine to dense, mean",
  cosine_min: "Cosine to dense, worst",
  neighbour_overlap: "Neighbour overlap",
};
export const metricName = (metric: string) => WORDS[metric] ?? metric.replaceAll("_", " ");
/** Where a recipe has several evaluations of one suite, they are `suite[0]`, `suite[1]`. */
export const goalName = ({ suite, metric }: { suite: string; metric: string }) =>
  suite.endsWith("]") ? `${metricName(metric)}, ${suite}` : metricName(metric);

const SHORT_WORDS: Record<string, string> = {
  nll: "NLL",
  kl_mean: "KL",
  kl_p99: "KL, 99 %",
  kl_max: "worst KL",
  top1_agreement: "agreement",
  weight_bytes: "weights",
  artifact_bytes: "on disk",
  bits_per_weight: "bits",
  cosine_mean: "cosine",
  cosine_min: "worst cosine",
  neighbour_overlap: "overlap",
};
/** Where there is no room for its name. */
export const shortName = (metric: string) => SHORT_WORDS[metric] ?? metricName(metric).replace(/^[A-Z](?![A-Z])/, (first) => first.toLowerCase());
