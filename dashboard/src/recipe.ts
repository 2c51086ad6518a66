// A recipe in the form, and as the YAML that the server reads. The other way goes through the server's normal form.
import type { MethodSpec, NormalForm, Value } from "./api";

export interface Step {
  key: string; // of the form's row; not part of the recipe
  name: string; // method, suite or format
  params: Record<string, Value>; // what differs from the default
  targets?: string[];
  ignore?: string[];
  when?: string[];
}
export interface Draft {
  name: string;
  stages: Step[];
  evaluations: Step[];
  exports: Step[];
}

let counter = 0;
export const newStep = (name: string): Step => ({ key: `step-${++counter}`, name, params: {} });

export const emptyDraft: Draft = { name: "", stages: [], evaluations: [], exports: [] };

export const same = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b);

const WORD = /^[A-Za-z][\w-]*$/;

/** Levels as the server reads them, too: "gptq(bits=3) | rtn". One that says more than such a call can stays as it is, and so do all. */
function callsOf(levels: Value, specs: MethodSpec[]): Value {
  if (!Array.isArray(levels)) return levels;
  const calls = (levels as unknown as NormalForm["stages"]).map(({ method, params, targets, ignore }) => {
    const defaults = specs.find((s) => s.name === method)?.parameters ?? [];
    const changed = Object.entries(params).filter(([name, value]) => !same(defaults.find((p) => p.name === name)?.default, value));
    const plain = changed.every(([, value]) => typeof value === "number" || typeof value === "boolean" || WORD.test(String(value)));
    if (!plain || !same(targets, ["Linear"]) || !same(ignore, ["lm_head"])) return undefined;
    return changed.length > 0 ? `${method}(${changed.map(([name, value]) => `${name}=${value}`).join(", ")})` : method;
  });
  return calls.includes(undefined) ? levels : calls.join(" | ");
}

/** Only what is not a default, so that the YAML says what was chosen. Keys of rows that stay are kept: a field keeps its focus. */
export function draftOf(form: NormalForm, specs: MethodSpec[], before: Draft): Draft {
  const parameter = (method: string, name: string) => specs.find((s) => s.name === method)?.parameters.find((p) => p.name === name);
  const step = (name: string, params: Record<string, Value>, old: Step | undefined): Step => ({
    key: old && old.name === name ? old.key : newStep(name).key,
    name,
    params: Object.fromEntries(
      Object.entries(params)
        .map(([key, value]) => [key, parameter(name, key)?.type === "stages" ? callsOf(value, specs) : value] as const)
        .filter(([key, value]) => !same(parameter(name, key)?.default, value)),
    ),
  });
  return {
    name: form.name,
    stages: form.stages.map((s, i) => ({
      ...step(s.method, s.params, before.stages[i]),
      targets: same(s.targets, ["Linear"]) ? undefined : s.targets,
      ignore: same(s.ignore, ["lm_head"]) ? undefined : s.ignore,
    })),
    evaluations: form.evaluations.map((e, i) => ({
      ...step(e.suite, e.params, before.evaluations[i]),
      when: same(e.when, ["before", "after"]) ? undefined : e.when,
    })),
    exports: (form.exports ?? []).map((e, i) => step(e.format, e.params, before.exports[i])),
  };
}

// Flow style of YAML is JSON; short words need no quotes.
const scalar = (value: Value) =>
  typeof value === "string" && WORD.test(value) && !/^(true|false|null|yes|no|on|off|y|n)$/i.test(value)
    ? value
    : JSON.stringify(value);
const flow = (value: object) =>
  Array.isArray(value)
    ? `[${value.map(scalar).join(", ")}]`
    : `{${Object.entries(value)
        .map(([key, one]) => `${key}: ${scalar(one)}`)
        .join(", ")}}`;

/** The step as the recipe has it; `word` is what its name stands behind. */
export function item(word: string, { name, params, targets, ignore, when }: Step): [string, Value][] {
  const all: Record<string, Value | undefined> = { [word]: name, params: Object.keys(params).length > 0 ? params : undefined, targets, ignore, when };
  return Object.entries(all).flatMap(([key, value]) => (value === undefined ? [] : [[key, value]]));
}

const lines = (word: string, step: Step) =>
  item(word, step).map(([key, value], i) => `${i === 0 ? "  - " : "    "}${key}: ${value instanceof Object ? flow(value) : scalar(value)}`);

export function yamlOf(draft: Draft): string {
  const out: string[] = [];
  if (draft.name) out.push(`name: ${JSON.stringify(draft.name)}`);
  if (draft.stages.length > 0) out.push("stages:", ...draft.stages.flatMap((s) => lines("method", s)));
  if (draft.evaluations.length > 0) out.push("evaluations:", ...draft.evaluations.flatMap((e) => lines("suite", e)));
  if (draft.exports.length > 0) out.push("exports:", ...draft.exports.flatMap((e) => lines("format", e)));
  return out.join("\n") + (out.length > 0 ? "\n" : "");
}
