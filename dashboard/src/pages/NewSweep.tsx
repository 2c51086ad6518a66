// A new sweep: its YAML, checked by the server as it is written; what it names is chosen from the store.
import { useMutation } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { Link, useLocation } from "wouter";
import { post, Problem, type Sweep, uuid } from "../api";
import { Failure, useTitle } from "../parts/basics";
import { YamlEdit } from "../parts/code";
import { useDraft } from "../parts/draft";
import { DraftNote, ProjectField, SubmitButton, useVerdict, Verdict } from "../parts/inputs";
import { inputIds, Labelled } from "../parts/labelled";
import { ArtifactChoice } from "../parts/search_choice";
import { useBarred } from "../parts/session";
import { tellFailure } from "../parts/toast";

const START = `recipe:
  stages: ['rtn(bits=4, group_size=64)']
  evaluations: [size]
model: model
space:
  stages.rtn.bits: [3, 4, 8]
  stages.rtn.group_size: [32, 64]
objectives: [weight_bytes]
`;

/** "grid over stages.rtn.bits and stages.rtn.group_size: 6 trials, 2 at a time". */
function plan(sweep: Sweep): string {
  const expected = Number(sweep.expected_trials);
  const trials = expected > 0 ? `${expected} ${expected === 1 ? "trial" : "trials"}` : "as many trials as it takes";
  return `${sweep.strategy} over ${sweep.dimensions.join(", ")}: ${trials}, ${sweep.parallel} at a time.`;
}

export default function NewSweep() {
  const [turn, setTurn] = useState(0);
  return <SweepForm key={turn} again={() => setTurn(turn + 1)} />;
}

function SweepForm({ again }: { again: () => void }) {
  useTitle("New sweep");
  const barred = useBarred("submitter");
  const form = useDraft("sweep", { text: START, inputs: {} as Record<string, string>, name: "", project: "" });
  const { text, inputs, name, project } = form.value;
  const [, go] = useLocation();
  const { answer, problem, last } = useVerdict("validate sweep", text, (sweep) =>
    post<Sweep>("sweeps", { validate_only: true, spec: { sweep } }),
  );
  const known = answer ?? last;
  const wanted = [...(known?.models ?? []), ...(known?.datasets ?? [])];
  const missing = wanted.filter((key) => !inputs[key]);
  const request_id = useMemo(uuid, [text, inputs, name, project]); // the same for a second click
  const submit = useMutation({
    mutationFn: () =>
      post<Sweep>("sweeps", {
        request_id,
        spec: { name, project, sweep: text, inputs: Object.fromEntries(wanted.map((key) => [key, inputs[key] ?? ""])) },
      }),
    onSuccess: (sweep) => {
      form.clear();
      go(`/sweeps/${sweep.id}`);
    },
    onError: (error) => !(error instanceof Problem && error.field) && tellFailure(error),
  });
  const said = submit.error instanceof Problem ? submit.error : undefined;
  const choices = (keys: string[], what: string, kind: "model" | "dataset") =>
    keys.map((key) => (
      <Labelled key={key} label={`${what}: ${key}`} help="The sweep’s YAML calls it so." error={said?.field === `spec.inputs.${key}` ? said.message : undefined}>
        {(ids) => (
          <ArtifactChoice
            kind={kind}
            ids={ids}
            value={inputs[key] ?? ""}
            onChange={(next) => form.change({ inputs: { ...inputs, [key]: next } })}
            placeholder="Choose one"
          />
        )}
      </Labelled>
    ));
  return (
    <>
      <div className="head">
        <div className="head-title">
          <Link href="/sweeps" className="crumb">
            Sweeps
          </Link>
          <h1>New sweep</h1>
          <p className="muted">A recipe, a space around it, and a strategy: each trial is a job.</p>
          {form.kept && (
            <DraftNote
              discard={() => {
                form.clear();
                again();
              }}
            />
          )}
        </div>
      </div>
      <form
        className="submit"
        onSubmit={(event) => {
          event.preventDefault();
          submit.mutate();
        }}
      >
        <div className="card">
          <h2>
            <label htmlFor="yaml">Sweep</label>
          </h2>
          <YamlEdit
            id="yaml"
            text={text}
            rows={10}
            aria-invalid={problem ? true : undefined}
            aria-describedby="verdict"
            onChange={(event) => form.change({ text: event.target.value })}
          />
          <Verdict text={text} problem={problem} accepted={answer && `The server accepts this sweep: ${plan(answer)}`} empty="Write the sweep’s YAML." />
        </div>
        <div className="submit-side">
          <fieldset className="card">
            <legend>Inputs</legend>
            {choices(known?.models ?? [], "Model", "model")}
            {choices(known?.datasets ?? [], "Data", "dataset")}
            <Labelled label="Name" help="For people; empty: the YAML’s." error={said?.field === "spec.name" ? said.message : undefined}>
              {(ids) => (
                <input {...inputIds(ids)} className="field" value={name} maxLength={180} onChange={(event) => form.change({ name: event.target.value })} />
              )}
            </Labelled>
            <ProjectField value={project} onChange={(next) => form.change({ project: next })} error={said?.field === "spec.project" ? said.message : undefined} />
          </fieldset>
          {said && <Failure error={said} />}
          <SubmitButton accepted={Boolean(answer)} missing={missing} barred={barred} pending={submit.isPending} />
        </div>
      </form>
    </>
  );
}
