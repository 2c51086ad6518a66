// A new job: a form made of the methods' specs beside the recipe's YAML; the server checks every keystroke's pause.
import { useMutation, useQuery } from "@tanstack/react-query";
import { useEffect, useMemo, useRef, useState } from "react";
import { Link, useLocation, useSearchParams } from "wouter";
import { get, type Job, type JobSpec, methodSpecs, type MethodSpec, type NormalForm, post, Problem, uuid } from "../api";
import { Failure, Loaded, useTitle } from "../parts/basics";
import { Choice } from "../parts/controls";
import { YamlEdit } from "../parts/code";
import { useDraft } from "../parts/draft";
import { DraftNote, ProjectField, SubmitButton, useVerdict, Verdict } from "../parts/inputs";
import { inputIds, Labelled } from "../parts/labelled";
import { LimitFields } from "../parts/limit_fields";
import { Plan } from "../parts/plan";
import { ArtifactChoice } from "../parts/search_choice";
import { useBarred } from "../parts/session";
import { StepForm } from "../parts/step_form";
import { tellFailure } from "../parts/toast";
import { type Limits, limitOf, limitsOf, specOf, wrongIn } from "../limits";
import { type Draft, draftOf, emptyDraft, newStep, type Step } from "../recipe";
import { renamed, rewritten } from "../recipe_text";

export default function Submit() {
  useTitle("New job");
  const [params] = useSearchParams();
  const from = params.get("from") ?? "";
  const specs = useQuery({ queryKey: ["methods"], queryFn: methodSpecs, staleTime: Infinity });
  const source = useQuery({ queryKey: ["job", from], queryFn: () => get<Job>(`jobs/${from}`), enabled: from !== "", staleTime: Infinity });
  return (
    <>
      <div className="head">
        <div className="head-title">
          <h1>{source.data ? "Run again with changes" : "New job"}</h1>
          {source.data && (
            <p className="muted">
              From <Link href={`/jobs/${source.data.id}`}>{source.data.spec.name || source.data.id}</Link>. Stages that stay the same come
              from the worker’s cache.
            </p>
          )}
        </div>
        {!from && (
          <Link className="button" href="/sweeps/new">
            A sweep instead
          </Link>
        )}
      </div>
      <Loaded query={specs}>
        {(all) =>
          from ? <Loaded query={source}>{(job) => <Began key={job.id} from={job.id} specs={all} start={job.spec} />}</Loaded> : <Began from="" specs={all} />
        }
      </Loaded>
    </>
  );
}

interface Checked {
  normal_form_json: string;
  data_names: string[];
}

interface FormValue {
  text: string;
  model: string;
  data: Record<string, string>;
  seed: string;
  name: string;
  priority: string;
  project: string;
  limits: Limits;
}

interface FormProps {
  specs: MethodSpec[];
  from: string; // id of the job that is run again, or empty
  start?: JobSpec;
}

function Began(props: FormProps) {
  const [turn, setTurn] = useState(0);
  return <JobForm key={turn} {...props} again={() => setTurn(turn + 1)} />;
}

function JobForm({ specs, from, start, again }: FormProps & { again: () => void }) {
  const [draft, setDraft] = useState<Draft>(emptyDraft);
  const form = useDraft<FormValue>(`submit ${from}`, {
    text: start?.recipe ?? "",
    model: start?.model ?? "",
    data: start?.data ?? {},
    seed: start?.seed ?? "0",
    name: start?.name ?? "",
    priority: String(start?.priority ?? 0),
    project: start?.project ?? "",
    limits: limitsOf(start),
  });
  const { text, model, data, seed, name, priority, project, limits } = form.value;
  const typed = useRef(text !== ""); // the text was typed (or loaded) and the form follows it
  const { answer, problem, last } = useVerdict("validate", text, (recipe) => post<Checked>("recipes/validate", { recipe }));
  const [, go] = useLocation();
  const barred = useBarred("submitter");

  const called = useRef(start || form.kept ? undefined : ""); // the name that the recipe says; undefined: it was not read yet

  useEffect(() => {
    if (!answer) return;
    const recipe = JSON.parse(answer.normal_form_json) as NormalForm;
    if (typed.current) setDraft((old) => draftOf(recipe, specs, old));
    if (called.current !== undefined && called.current !== recipe.name && recipe.name) form.change({ name: recipe.name });
    called.current = recipe.name;
  }, [answer, specs]);

  const edit = (next: Draft) => {
    typed.current = false;
    setDraft(next);
    form.change({ text: rewritten(text, draft, next) });
  };
  const waits = typed.current && !answer; // the form does not say yet what the text does, and would write its own over it
  const dataNames = (answer ?? last)?.data_names ?? [];
  const request_id = useMemo(uuid, [text, model, data, seed, name, priority, project, limits]); // the same for a second click
  const spec = {
    ...start,
    ...specOf(limits, start),
    plan_only: false,
    name,
    recipe: text,
    model,
    data: Object.fromEntries(dataNames.map((key) => [key, data[key] ?? ""])),
    seed: seed || "0",
    priority: Number(priority) || 0,
    project,
  };
  const submit = useMutation({
    mutationFn: () => post<Job>("jobs", { request_id, spec }),
    onSuccess: (job) => {
      form.clear();
      go(`/jobs/${job.id}`);
    },
    onError: (error) => !(error instanceof Problem && error.field) && tellFailure(error),
  });
  const said = submit.error instanceof Problem ? submit.error : undefined;
  const fieldError = (field: string) => (said?.field === field ? said.message : undefined);
  const wrong = wrongIn(limits);
  const refused = said && limitOf(said.field);
  const missing = [
    Object.keys(wrong).length > 0 && "limits that can be read",
    !text.trim() && "a stage or an evaluation",
    !model && "a model",
    ...dataNames.map((key) => !data[key] && `data “${key}”`),
  ].filter(Boolean);

  return (
    <form
      className="submit"
      onSubmit={(event) => {
        event.preventDefault();
        submit.mutate();
      }}
    >
      <div className="submit-form">
        {form.kept && (
          <DraftNote
            discard={() => {
              form.clear();
              again();
            }}
          />
        )}
        <InputFields value={form.value} onChange={form.change} fieldError={fieldError} dataNames={dataNames} />
        {waits && problem && (
          <p className="notice warn" role="status">
            Stages, evaluations and exports wait until the YAML is a recipe.
          </p>
        )}
        <div className="submit-form steps" inert={waits}>
          <Steps
            title="Stages"
            add="Add a stage"
            kind="stages"
            steps={draft.stages}
            specs={specs.filter((s) => s.kind !== "evaluation" && s.kind !== "export")}
            problem={waits ? undefined : problem}
            onChange={(stages) => edit({ ...draft, stages })}
          />
          <Steps
            title="Evaluations"
            add="Add an evaluation"
            kind="evaluations"
            steps={draft.evaluations}
            specs={specs.filter((s) => s.kind === "evaluation")}
            problem={waits ? undefined : problem}
            onChange={(evaluations) => edit({ ...draft, evaluations })}
          />
          <Steps
            title="Exports"
            add="Add an export"
            kind="exports"
            steps={draft.exports}
            specs={specs.filter((s) => s.kind === "export")}
            problem={waits ? undefined : problem}
            onChange={(exports) => edit({ ...draft, exports })}
          />
        </div>
        <JobFields
          value={form.value}
          onChange={(next) => form.change(next.name === undefined ? next : { ...next, text: renamed(text, (called.current = next.name)) })}
          fieldError={fieldError} wrong={refused ? { ...wrong, [refused]: said.message } : wrong}
        />
      </div>
      <div className="submit-side">
        <div className="card">
          <h2>
            <label htmlFor="yaml">Recipe</label>
          </h2>
          <YamlEdit
            id="yaml"
            text={text}
            rows={10}
            aria-invalid={problem ? true : undefined}
            aria-describedby="verdict"
            placeholder={"stages:\n  - method: gptq\n    params: {bits: 4}\nevaluations:\n  - suite: perplexity"}
            onChange={(e) => {
              typed.current = e.target.value.trim() !== "";
              if (!typed.current) setDraft(emptyDraft);
              form.change({ text: e.target.value });
            }}
          />
          <Verdict
            text={text}
            problem={problem}
            accepted={answer && "The server accepts this recipe."}
            empty="Fill in the form, or write YAML here; each follows the other."
          />
        </div>
        <Plan spec={spec} about={request_id} disabled={!answer || missing.length > 0 || barred !== ""} />
        {said && <Failure error={said} />}
        <SubmitButton accepted={Boolean(answer)} missing={missing} barred={barred} pending={submit.isPending} />
      </div>
    </form>
  );
}

interface FieldsProps {
  value: FormValue;
  onChange: (next: Partial<FormValue>) => void;
  fieldError: (field: string) => string | undefined;
}

/** The model, and what the recipe reads beside it. */
function InputFields({ value: { model, data }, onChange, fieldError, dataNames }: FieldsProps & { dataNames: string[] }) {
  return (
    <fieldset className="card">
      <legend>Input</legend>
      <Labelled label="Model" help="What is compressed. To add one: wring put DIR --name NAME" error={fieldError("spec.model")}>
        {(ids) => <ArtifactChoice kind="model" ids={ids} value={model} onChange={(next) => onChange({ model: next })} placeholder="Choose a model" />}
      </Labelled>
      {dataNames.map((key) => (
        <Labelled key={key} label={`Data: ${key}`} help="The recipe reads it. To add one: wring put FILE --name NAME" error={fieldError(`spec.data.${key}`)}>
          {(ids) => (
            <ArtifactChoice
              kind="dataset"
              ids={ids}
              value={data[key] ?? ""}
              onChange={(next) => onChange({ data: { ...data, [key]: next } })}
              placeholder="Choose a data set"
            />
          )}
        </Labelled>
      ))}
    </fieldset>
  );
}

/** What the job is beside its recipe and inputs. */
function JobFields({ value: { name, seed, priority, project, limits }, onChange, fieldError, wrong }: FieldsProps & { wrong: ReturnType<typeof wrongIn> }) {
  return (
    <fieldset className="card">
      <legend>Job</legend>
      <div className="grid">
        <Labelled label="Name" help="For people; the recipe’s own where it has one." error={fieldError("spec.name")}>
          {(ids) => <input {...inputIds(ids)} className="field" value={name} maxLength={200} onChange={(e) => onChange({ name: e.target.value })} />}
        </Labelled>
        <Labelled label="Seed" help="The same seed gives the same digest." error={fieldError("spec.seed")}>
          {(ids) => (
            <input {...inputIds(ids)} className="field" inputMode="numeric" pattern="[0-9]*" value={seed} onChange={(e) => onChange({ seed: e.target.value })} />
          )}
        </Labelled>
        <Labelled label="Priority" help="-100 to 100; a higher one is leased first." error={fieldError("spec.priority")}>
          {(ids) => (
            <input {...inputIds(ids)} className="field" type="number" min={-100} max={100} value={priority} onChange={(e) => onChange({ priority: e.target.value })} />
          )}
        </Labelled>
        <ProjectField value={project} onChange={(next) => onChange({ project: next })} error={fieldError("spec.project")} />
      </div>
      <LimitFields value={limits} onChange={(next) => onChange({ limits: { ...limits, ...next } })} wrong={wrong} />
    </fieldset>
  );
}

function Steps({
  title,
  add,
  kind,
  steps,
  specs,
  problem,
  onChange,
}: {
  title: string;
  add: string;
  kind: "stages" | "evaluations" | "exports";
  steps: Step[];
  specs: MethodSpec[];
  problem?: Problem;
  onChange: (steps: Step[]) => void;
}) {
  const options = specs.map((s) => ({ value: s.name, label: s.name, detail: s.summary }));
  const added = useRef("");
  const move = (from: number, to: number) => {
    const next = [...steps];
    next.splice(to, 0, ...next.splice(from, 1));
    onChange(next);
  };
  const append = (name: string) => {
    const step = newStep(name);
    added.current = step.key;
    onChange([...steps, step]);
  };
  return (
    <fieldset className="card">
      <legend>{title}</legend>
      {steps.map((step, i) => (
        <StepForm
          key={step.key}
          step={step}
          number={i + 1}
          stage={kind === "stages"}
          before={steps.slice(0, i).map((s) => s.name)}
          spec={specs.find((s) => s.name === step.name)}
          problem={problem?.field.startsWith(`${kind}[${i}]`) ? problem : undefined}
          path={`${kind}[${i}]`}
          began={step.key === added.current || (kind === "stages" && i === 0)}
          onChange={(next) => onChange(steps.map((s) => (s.key === step.key ? next : s)))}
          onRemove={() => onChange(steps.filter((s) => s.key !== step.key))}
          onUp={i > 0 ? () => move(i, i - 1) : undefined}
        />
      ))}
      <Choice label={add} value="" options={options} placeholder={add} onChange={append} />
    </fieldset>
  );
}
