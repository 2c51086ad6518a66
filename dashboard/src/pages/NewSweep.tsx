// A new sweep: its YAML, checked by the server as it is written; what it names is chosen from the store.
import { useMutation } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { Link, useLocation } from "wouter";
import { post, Problem, type Sweep, uuid } from "../api";
import { Failure, useTitle } from "../parts/basics";
import { Choice } from "../parts/controls";
import { SubmitButton, useArtifacts, useVerdict, Verdict, withValue } from "../parts/inputs";
import { inputIds, Labelled } from "../parts/labelled";
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
  useTitle("New sweep");
  const barred = useBarred("submitter");
  const [text, setText] = useState(START);
  const [inputs, setInputs] = useState<Record<string, string>>({});
  const [name, setName] = useState("");
  const [, go] = useLocation();
  const models = useArtifacts("model");
  const datasets = useArtifacts("dataset");
  const { answer, problem, last } = useVerdict("validate sweep", text, (sweep) =>
    post<Sweep>("sweeps", { validate_only: true, spec: { sweep } }),
  );
  const known = answer ?? last;
  const wanted = [...(known?.models ?? []), ...(known?.datasets ?? [])];
  const missing = wanted.filter((key) => !inputs[key]);
  const request_id = useMemo(uuid, [text, inputs, name]); // the same for a second click
  const submit = useMutation({
    mutationFn: () =>
      post<Sweep>("sweeps", {
        request_id,
        spec: { name, sweep: text, inputs: Object.fromEntries(wanted.map((key) => [key, inputs[key] ?? ""])) },
      }),
    onSuccess: (sweep) => go(`/sweeps/${sweep.id}`),
    onError: (error) => !(error instanceof Problem && error.field) && tellFailure(error),
  });
  const said = submit.error instanceof Problem ? submit.error : undefined;
  const choices = (keys: string[], what: string, options: ReturnType<typeof useArtifacts>) =>
    keys.map((key) => (
      <Labelled key={key} label={`${what}: ${key}`} help="The sweep’s YAML calls it so." error={said?.field === `spec.inputs.${key}` ? said.message : undefined}>
        {(ids) => (
          <Choice
            {...ids}
            value={inputs[key] ?? ""}
            options={withValue(options, inputs[key] ?? "")}
            onChange={(next) => setInputs({ ...inputs, [key]: next })}
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
          <textarea
            id="yaml"
            className="field yaml"
            spellCheck={false}
            value={text}
            rows={Math.min(30, Math.max(14, text.split("\n").length + 1))}
            aria-invalid={problem ? true : undefined}
            aria-describedby="verdict"
            onChange={(event) => setText(event.target.value)}
          />
          <Verdict text={text} problem={problem} accepted={answer && `The server accepts this sweep: ${plan(answer)}`} empty="Write the sweep’s YAML." />
        </div>
        <div className="submit-side">
          <fieldset className="card">
            <legend>Inputs</legend>
            {choices(known?.models ?? [], "Model", models)}
            {choices(known?.datasets ?? [], "Data", datasets)}
            <Labelled label="Name" help="For people; empty: the YAML’s." error={said?.field === "spec.name" ? said.message : undefined}>
              {(ids) => (
                <input {...inputIds(ids)} className="field" value={name} maxLength={180} onChange={(event) => setName(event.target.value)} />
              )}
            </Labelled>
          </fieldset>
          {said && <Failure error={said} />}
          <SubmitButton accepted={Boolean(answer)} missing={missing} barred={barred} pending={submit.isPending} />
        </div>
      </form>
    </>
  );
}
