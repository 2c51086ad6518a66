// One stage or evaluation as a form: a field for each parameter of its spec, with type, range, unit and help.
import { NumberField } from "@base-ui/react/number-field";
import { useId, useState } from "react";
import type { MethodSpec, Parameter, Problem, Value } from "../api";
import type { Step } from "../recipe";
import { Check, Choice } from "./controls";

export function StepForm({
  step,
  number,
  stage,
  spec,
  problem,
  path,
  onChange,
  onRemove,
  onUp,
}: {
  step: Step;
  number: number;
  stage: boolean;
  spec?: MethodSpec;
  problem?: Problem;
  path: string;
  onChange: (step: Step) => void;
  onRemove: () => void;
  onUp?: () => void;
}) {
  const [all, setAll] = useState(false);
  const parameters = spec?.parameters ?? [];
  const wrong = parameters.find((p) => problem?.field === `${path}.params.${p.name}`);
  // The spec names the parameters that matter most first; the rest is a click away, or open where one is set or wrong.
  const shown = all ? parameters : parameters.filter((p, i) => i < 3 || p.name in step.params || p === wrong);
  const set = (name: string, value: Value | undefined) => {
    const { [name]: _, ...rest } = step.params;
    const isDefault = value === undefined || value === parameters.find((p) => p.name === name)?.default;
    onChange({ ...step, params: isDefault ? rest : { ...rest, [name]: value } });
  };
  const words = (text: string) => {
    const list = text
      .split(",")
      .map((word) => word.trim())
      .filter(Boolean);
    return list.length > 0 ? list : undefined;
  };
  return (
    <section className="step" aria-label={`${number} ${step.name}`}>
      <header className="step-head">
        <h3>
          <span className="muted">{number}</span> {step.name}
        </h3>
        <div>
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
            parameter={parameter}
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
              onChange={(text) => onChange({ ...step, targets: words(text) })}
            />
            <Words
              label="ignore"
              help="Layers that stay as they are. lm_head where empty."
              value={step.ignore}
              onChange={(text) => onChange({ ...step, ignore: words(text) })}
            />
          </>
        )}
      </div>
      {!all && (parameters.length > shown.length || stage) && (
        <button type="button" className="button quiet" onClick={() => setAll(true)}>
          {stage ? `Show all ${parameters.length} parameters and targets` : `Show all ${parameters.length} parameters`}
        </button>
      )}
    </section>
  );
}

function Words({ label, help, value, onChange }: { label: string; help: string; value?: string[]; onChange: (text: string) => void }) {
  const id = useId();
  const [text, setText] = useState(value?.join(", ") ?? "");
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
          onChange(e.target.value);
        }}
      />
      <p id={`${id}-help`} className="muted small">
        {help}
      </p>
    </div>
  );
}

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
  const help = [p.help, range(p) && `${range(p)}.`, p.default !== null && p.default !== "" && `Default ${String(p.default)}.`]
    .filter(Boolean)
    .join(" ");
  const common = { id, describedBy: `${id}-help` };
  return (
    <div className="labelled">
      {p.type !== "boolean" && (
        <label id={`${id}-label`} htmlFor={id}>
          {p.name} {p.unit && p.unit !== p.name && <span className="muted">{p.unit}</span>}
        </label>
      )}
      {p.choices?.length ? (
        <Choice
          {...common}
          labelledBy={`${id}-label`}
          value={String(value ?? "")}
          options={p.choices.map((c) => ({ value: String(c), label: String(c) }))}
          onChange={(next) => onChange(p.choices!.find((c) => String(c) === next))}
          invalid={error !== undefined}
        />
      ) : p.type === "boolean" ? (
        <Check {...common} label={p.name} checked={value === true} onChange={onChange} />
      ) : p.type === "integer" || p.type === "number" ? (
        <NumberField.Root
          id={id}
          value={typeof value === "number" ? value : null}
          onValueChange={(next) => onChange(next ?? undefined)}
          step={p.type === "integer" ? 1 : "any"}
          format={{ useGrouping: false, maximumFractionDigits: 12 }}
        >
          <NumberField.Group>
            <NumberField.Input className="field" aria-describedby={`${id}-help`} aria-invalid={error ? true : undefined} />
          </NumberField.Group>
        </NumberField.Root>
      ) : (
        <TextParameter id={id} value={value} error={error} onChange={onChange} />
      )}
      <p id={`${id}-help`} className={error ? "bad-text small" : "muted small"}>
        {error ?? help}
      </p>
    </div>
  );
}

/** A text that may stand for a number: the server knows, so a number goes as one. */
function TextParameter({ id, value, error, onChange }: { id: string; value: Value; error?: string; onChange: (value: Value) => void }) {
  return (
    <input
      id={id}
      className="field"
      value={value === null ? "" : String(value)}
      aria-describedby={`${id}-help`}
      aria-invalid={error ? true : undefined}
      onChange={(e) => onChange(/^-?\d+(\.\d+)?$/.test(e.target.value) ? Number(e.target.value) : e.target.value)}
    />
  );
}
