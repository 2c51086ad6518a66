// One stage or evaluation as a form: a line, which opens to a field for each parameter of its spec, with type, range, unit and help.
import { Collapsible } from "@base-ui/react/collapsible";
import { useId, useState } from "react";
import type { MethodSpec, Parameter, Problem, Value } from "../api";
import { same, type Step } from "../recipe";
import { Caret, Check, Choice, Segments } from "./controls";

export function StepForm({
  step,
  number,
  stage,
  before,
  spec,
  problem,
  path,
  began,
  onChange,
  onRemove,
  onUp,
}: {
  step: Step;
  number: number;
  stage: boolean;
  before: string[]; // names of the steps that stand before it
  spec?: MethodSpec;
  problem?: Problem;
  path: string;
  began: boolean; // whether it is open at first
  onChange: (step: Step) => void;
  onRemove: () => void;
  onUp?: () => void;
}) {
  const [all, setAll] = useState(false);
  const [open, setOpen] = useState(began);
  const parameters = spec?.parameters ?? [];
  const wrong = parameters.find((p) => problem?.field === `${path}.params.${p.name}`);
  // The spec names the parameters that matter most first; the rest is a click away, or open where one is set or wrong.
  const shown = all ? parameters : parameters.filter((p, i) => i < 3 || p.name in step.params || p === wrong);
  const set = (name: string, value: Value | undefined) => {
    const { [name]: _, ...rest } = step.params;
    const isDefault = value === undefined || same(value, parameters.find((p) => p.name === name)?.default);
    onChange({ ...step, params: isDefault ? rest : { ...rest, [name]: value } });
  };
  return (
    <Collapsible.Root render={<section aria-label={`${number} ${step.name}`} />} className="step" open={open || problem !== undefined} onOpenChange={setOpen}>
      <header className="step-head">
        <h3>
          <Collapsible.Trigger className="step-line">
            <Caret />
            <span className="muted">{number}</span> {step.name} <span className="muted step-told">{told(step)}</span>
          </Collapsible.Trigger>
        </h3>
        <div className="step-moves">
          {onUp && (
            <button type="button" className="button quiet" onClick={onUp} aria-label={`Move ${step.name} up`}>
              ↑
            </button>
          )}
          <button type="button" className="button quiet" onClick={onRemove} aria-label={`Remove ${step.name}`}>
            Remove
          </button>
        </div>
      </header>
      <Collapsible.Panel className="step-panel">
        {spec && <p className="muted small">{spec.summary}</p>}
        {problem && !wrong && (
          <p className="bad-text small" role="alert">
            {problem.message} {problem.hint}
          </p>
        )}
        <div className="grid">
          {shown.map((parameter) => (
            <ParameterField
              key={parameter.name}
              parameter={parameter.type === "stage" ? { ...parameter, choices: referencesAmong(before) } : parameter}
              value={step.params[parameter.name] ?? parameter.default}
              error={parameter === wrong ? `${problem!.message} ${problem!.hint}` : undefined}
              onChange={(value) => set(parameter.name, value)}
            />
          ))}
          {all && stage && (
            <>
              <Words
                label="targets"
                help="Layers by name, class or re:PATTERN, with commas between. Linear where empty."
                value={step.targets}
                onChange={(targets) => onChange({ ...step, targets })}
              />
              <Words
                label="ignore"
                help="Layers that stay as they are. lm_head where empty."
                value={step.ignore}
                onChange={(ignore) => onChange({ ...step, ignore })}
              />
            </>
          )}
        </div>
        {!all && (parameters.length > shown.length || stage) && (
          <button type="button" className="button quiet" onClick={() => setAll(true)}>
            {stage ? `Show all ${parameters.length} parameters and targets` : `Show all ${parameters.length} parameters`}
          </button>
        )}
      </Collapsible.Panel>
    </Collapsible.Root>
  );
}

/** "bits 3, group_size 32, targets re:.*mlp.*": what differs from the defaults. */
const told = (step: Step) =>
  [...Object.entries(step.params), ...(["targets", "ignore", "when"] as const).map((key) => [key, step[key]] as const)]
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${key} ${shown(value)}`)
    .join(", ");

const shown = (value?: Value): string =>
  value === null || value === undefined
    ? ""
    : Array.isArray(value) && value.every((one) => typeof one !== "object")
      ? value.join(", ")
      : typeof value === "object"
        ? JSON.stringify(value)
        : String(value);

/** A text that is being written stays as it is while it reads as the value; else it is that of the value, which came from elsewhere. */
function useWritten<T extends Value | undefined>(value: T, read: (text: string) => T) {
  const [text, setText] = useState(() => shown(value));
  return [same(read(text), value) ? text : shown(value), setText] as const;
}

function words(text: string): string[] | undefined {
  const list = text
    .split(",")
    .map((word) => word.trim())
    .filter(Boolean);
  return list.length > 0 ? list : undefined;
}

function Words({ label, help, value, onChange }: { label: string; help: string; value?: string[]; onChange: (list?: string[]) => void }) {
  const id = useId();
  const [text, setText] = useWritten(value, words);
  return (
    <div className="labelled">
      <label htmlFor={id}>{label}</label>
      <input
        id={id}
        className="field"
        value={text}
        aria-describedby={`${id}-help`}
        onChange={(e) => {
          setText(e.target.value);
          onChange(words(e.target.value));
        }}
      />
      <p id={`${id}-help`} className="muted small">
        {help}
      </p>
    </div>
  );
}

/** What a stage behind these may work towards: the input, or what one of them makes, but for the last, which it begins with. */
const referencesAmong = (before: string[]): Value[] => [
  "input",
  ...before.map((name, i) => (before.filter((other) => other === name).length === 1 ? name : i)).slice(0, -1),
];

function range(p: Parameter): string {
  if (p.choices?.length || (p.min === undefined && p.max === undefined)) return "";
  return `${p.min ?? ""} to ${p.max ?? "any"}`;
}

function ParameterField({
  parameter: p,
  value,
  error,
  onChange,
}: {
  parameter: Parameter;
  value: Value;
  error?: string;
  onChange: (value: Value | undefined) => void;
}) {
  const id = useId();
  const help = [p.help, range(p) && `${range(p)}.`, shown(p.default) && `Default ${shown(p.default)}.`]
    .filter(Boolean)
    .join(" ");
  const common = { id, describedBy: `${id}-help` };
  const options = p.choices?.map((c) => ({ value: String(c), label: String(c) })) ?? [];
  const choose = (next: string) => onChange(p.choices!.find((c) => String(c) === next));
  return (
    <div className="labelled">
      {p.type !== "boolean" && (
        <label id={`${id}-label`} htmlFor={id}>
          {p.name} {p.unit && p.unit !== p.name && <span className="muted">{p.unit}</span>}
        </label>
      )}
      {options.length > 0 && options.every(({ label }) => label.length <= 2) ? (
        <Segments describedBy={`${id}-help`} labelledBy={`${id}-label`} value={String(value ?? "")} options={options} onChange={choose} />
      ) : options.length > 0 ? (
        <Choice
          {...common}
          labelledBy={`${id}-label`}
          value={String(value ?? "")}
          options={options}
          onChange={choose}
          invalid={error !== undefined}
        />
      ) : p.type === "boolean" ? (
        <Check {...common} label={p.name} checked={value === true} onChange={onChange} />
      ) : (
        <TextParameter id={id} parameter={p} value={value} error={error} onChange={onChange} />
      )}
      <p id={`${id}-help`} className={error ? "bad-text small" : "muted small"}>
        {error ?? help}
      </p>
    </div>
  );
}

/** What a text says of a parameter; undefined: nothing. What is no number where one is due, lists of numbers and calls of levels are read by the server. */
function read({ type }: Parameter, text: string): Value | undefined {
  if (text.trim() === "" && type !== "string") return undefined;
  if (type === "integer" || type === "number") return Number.isFinite(Number(text)) ? Number(text) : text;
  if (type === "sparsity-pattern" && /^\d*\.?\d+$/.test(text)) return Number(text); // a share; "2:4" is text
  if (type === "stages" && text.startsWith("["))
    try {
      return JSON.parse(text);
    } catch {
      // not yet: the server says what is wrong
    }
  return text;
}

interface TextProps {
  id: string;
  parameter: Parameter;
  value: Value;
  error?: string;
  onChange: (value: Value | undefined) => void;
}

function TextParameter({ id, parameter, value, error, onChange }: TextProps) {
  const [text, setText] = useWritten(value, (text) => read(parameter, text) ?? parameter.default);
  return (
    <input
      id={id}
      className="field"
      inputMode={parameter.type === "integer" ? "numeric" : parameter.type === "number" ? "decimal" : undefined}
      value={text}
      aria-describedby={`${id}-help`}
      aria-invalid={error ? true : undefined}
      onChange={(e) => {
        setText(e.target.value);
        onChange(read(parameter, e.target.value));
      }}
    />
  );
}
