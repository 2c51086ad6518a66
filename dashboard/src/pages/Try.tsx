// A prompt to a model and to the dense one that it was made from, side by side. Each answer is a job that only samples.
import { useMutation, useQueries, useQuery } from "@tanstack/react-query";
import { Link, useSearchParams } from "wouter";
import { type Artifact, get, isActive, type Job, normalForm, post, unlessGone, uuid } from "../api";
import { bytes, short } from "../format";
import { TRIED } from "../job_text";
import { firstModel } from "../lineage";
import { Empty, Failure, StateBadge, useTitle } from "../parts/basics";
import { discardJob } from "../parts/calls";
import { useDraft } from "../parts/draft";
import { inputIds, Labelled } from "../parts/labelled";
import { ArtifactChoice } from "../parts/search_choice";
import { useBarred } from "../parts/session";

const PROMPT = "The state of the Union is";

interface Wanted {
  prompt: string;
  tokens: string;
  temperature: string;
  seed: string;
}

const recipe = ({ prompt, tokens, temperature }: Wanted) =>
  JSON.stringify({ name: TRIED, evaluations: [{ suite: "sample", params: { prompt, tokens: Number(tokens), temperature: Number(temperature) }, when: ["before"] }] });
const BEGINNING = `{"name":"${TRIED}","evaluations":[{"suite":"sample"`;

/** The model that nothing was done to yet, the first in its line; and whose the chosen one is. */
async function origin(digest: string): Promise<{ parent: Artifact; project: string }> {
  const artifact = await get<Artifact>(`artifacts/${digest}`);
  return { parent: await firstModel(artifact), project: artifact.project };
}

export default function Try() {
  useTitle("Try it");
  const [params, setParams] = useSearchParams();
  const model = params.get("model") ?? "";
  const ids = (params.get("jobs") ?? "").split(",").filter(Boolean);
  const barred = useBarred("submitter");
  return (
    <>
      <div className="head">
        <div className="head-title">
          <h1>Try it</h1>
          <p className="muted">One prompt to a model and to the dense one that it was made from. Each answer is a job, in the queue as any other.</p>
        </div>
      </div>
      <div className="try-both">
        <Form
          model={model}
          before={ids}
          onModel={(next) => setParams({ model: next, ...(ids.length > 0 && { jobs: ids.join(",") }) })}
          // In the place of answers whose jobs are deleted: the way back would lead to nothing.
          onJobs={(jobs) => setParams({ model, jobs: jobs.join(",") }, { replace: ids.length > 0 })}
        />
        {ids.length > 0 ? (
          <section aria-label="Answers">
            <Answers ids={ids} />
            <p className="muted small">
              These are jobs; the next prompt takes their place.{" "}
              <button
                className="link"
                disabled={barred !== ""}
                onClick={() => {
                  for (const id of ids) discard(id);
                  setParams({ model }, { replace: true });
                }}
              >
                Delete them
              </button>
            </p>
          </section>
        ) : (
          <Empty title={model ? "No prompt was sent yet" : "Choose a model"}>
            <p className="muted">It must be a language model that writes: the answers of both appear here.</p>
          </Empty>
        )}
      </div>
    </>
  );
}

/** Takes an answer's job out of the list of jobs. The address may name any job: no other is touched. */
const discard = async (id: string) => {
  const job = await get<Job>(`jobs/${id}`).catch(() => undefined);
  if (!job?.spec.recipe.startsWith(BEGINNING)) return;
  await discardJob(id, !isActive(job.state));
};

interface FormProps {
  model: string;
  before: string[]; // jobs of the answers that are shown
  onModel: (model: string) => void;
  onJobs: (jobs: string[]) => void;
}

function Form({ model, before, onModel, onJobs }: FormProps) {
  const barred = useBarred("submitter");
  const { value: wanted, change } = useDraft<Wanted>("try", { prompt: PROMPT, tokens: "40", temperature: "0", seed: "0" });
  const line = useQuery({ queryKey: ["origin", model], queryFn: () => origin(model), enabled: model !== "", staleTime: Infinity });
  const parent = line.data?.parent;
  const send = useMutation({
    mutationFn: () =>
      Promise.all(
        [...new Set([parent!.digest, model])].map((digest) =>
          post<Job>("jobs", { request_id: uuid(), spec: { name: TRIED, project: line.data!.project, recipe: recipe(wanted), model: digest, seed: wanted.seed || "0" } }),
        ),
      ),
    onSuccess: (jobs) => {
      for (const job of before) discard(job);
      onJobs(jobs.map((job) => job.id));
    },
  });
  const number = (key: "tokens" | "temperature", label: string, help: string, more: Record<string, number | string>) => (
    <Labelled label={label} help={help}>
      {(ids) => (
        <input
          {...inputIds(ids)}
          className="field"
          type="number"
          required
          value={wanted[key]}
          onChange={(event) => change({ [key]: event.target.value })}
          {...more}
        />
      )}
    </Labelled>
  );
  return (
    <form
      className="card try"
      onSubmit={(event) => {
        event.preventDefault();
        send.mutate();
      }}
    >
      <Labelled
        label="Model"
        help={
          parent && parent.digest !== model
            ? `Beside ${parent.name || short(parent.digest)}, which it was made from.`
            : parent
              ? parent.created_by_job
                ? "What it was made from is not known any more: there is no other to compare it with."
                : "It was handed in: there is no other to compare it with."
              : "A model that a job has made, or one that was handed in."
        }
      >
        {(ids) => <ArtifactChoice kind="model" ids={ids} value={model} onChange={onModel} placeholder="Choose a model" />}
      </Labelled>
      <Labelled label="Prompt" help="What both go on from.">
        {(ids) => (
          <textarea
            {...inputIds(ids)}
            className="field"
            rows={3}
            required
            value={wanted.prompt}
            onChange={(event) => change({ prompt: event.target.value })}
          />
        )}
      </Labelled>
      <div className="grid">
        {number("tokens", "Tokens", "How many each writes, at most 4,096.", { min: 1, max: 4096 })}
        {number("temperature", "Temperature", "0: always the likeliest.", { min: 0, max: 10, step: "any" })}
        <Labelled label="Seed" help="Of the draws, above temperature 0.">
          {(ids) => (
            <input
              {...inputIds(ids)}
              className="field"
              inputMode="numeric"
              pattern="[0-9]*"
              value={wanted.seed}
              onChange={(event) => change({ seed: event.target.value })}
            />
          )}
        </Labelled>
      </div>
      {(send.error || line.error) && <Failure error={send.error ?? line.error} />}
      <div className="head-actions">
        <button className="button primary" disabled={!parent || send.isPending || barred !== ""} aria-describedby="try-barred">
          {send.isPending ? "Sending…" : "Send"}
        </button>
        <span id="try-barred" className="muted small">
          {barred}
        </span>
      </div>
    </form>
  );
}

const textOf = (job?: Job) => job?.evaluations.find((row) => row.suite === "sample" && row.text)?.text;

/** How many characters both begin with, up to the word in which they part. */
function alike(a: string, b: string): number {
  let n = 0;
  while (n < a.length && a[n] === b[n]) ++n;
  const ends = (text: string) => n === text.length || /\s/.test(text[n]);
  return ends(a) && ends(b) ? n : a.slice(0, n).search(/\S*$/);
}

interface Asked {
  prompt: string;
  settings: string; // in words
}

/** What a job was asked: the form may say another thing by now. */
async function askedOf({ spec }: Job): Promise<Asked | null> {
  const params = (await normalForm(spec.recipe)).evaluations.find(({ suite }) => suite === "sample")?.params;
  if (typeof params?.prompt !== "string") return null;
  const { prompt, tokens, temperature } = params;
  return { prompt, settings: `${tokens} tokens, temperature ${temperature}, seed ${spec.seed}` };
}

const alikeOf = (queries: { data?: Asked | null }[]): Asked[] => [
  ...new Map(queries.flatMap(({ data }) => (data ? [[data.prompt + data.settings, data] as const] : []))).values(),
];

/** Above the answers: each prompt that they go on from, which is one where this page asked. */
function Prompts({ jobs }: { jobs: Job[] }) {
  const all = useQueries({
    queries: jobs.map((job) => ({ queryKey: ["asked", job.recipe_digest, job.spec.seed], queryFn: () => askedOf(job), staleTime: Infinity })),
    combine: alikeOf,
  });
  return all.map(({ prompt, settings }) => (
    <div key={prompt + settings} className="asked" role="group" aria-label="What was asked">
      <p title={prompt}>{prompt}</p>
      <p className="muted small">{settings}</p>
    </div>
  ));
}

function Answers({ ids }: { ids: string[] }) {
  const queries = useQueries({
    queries: ids.map((id) => ({
      queryKey: ["job", id],
      queryFn: () => get<Job>(`jobs/${id}`),
      refetchInterval: unlessGone<Job>((job) => (job && !isActive(job.state) ? false : 700)),
    })),
  });
  const [dense, made, ...more] = queries.map((query) => textOf(query.data));
  const same = dense !== undefined && made !== undefined && more.length === 0 ? alike(dense, made) : undefined;
  return (
    <>
      <Prompts jobs={queries.flatMap(({ data }) => data ?? [])} />
      <div className="pair">
        {queries.map((query, i) =>
          query.data ? <Answer key={ids[i]} job={query.data} same={same} /> : query.error && <Failure key={ids[i]} error={query.error} />,
        )}
      </div>
      {same !== undefined && <p className="small">{dense === made ? "Both write the same." : "From the mark on they differ."}</p>}
    </>
  );
}

/** `same`: so many characters are the other's, too. */
function Answer({ job, same }: { job: Job; same?: number }) {
  const model = useQuery({
    queryKey: ["artifact", job.spec.model],
    queryFn: () => get<Artifact>(`artifacts/${job.spec.model}`),
    staleTime: Infinity,
  });
  const text = textOf(job);
  return (
    <figure aria-busy={isActive(job.state)}>
      <figcaption className="head-line">
        <Link href={`/artifacts/${job.spec.model}`}>{model.data?.name || short(job.spec.model)}</Link>
        {model.data && <span>{bytes(model.data.total_bytes)}</span>}
        <Link href={`/jobs/${job.id}`}>
          <StateBadge state={job.state} />
        </Link>
      </figcaption>
      {text !== undefined ? (
        <blockquote>
          {text.slice(0, same)}
          {same !== undefined && same < text.length && <mark>{text.slice(same)}</mark>}
        </blockquote>
      ) : job.error && job.state === "FAILED" ? (
        <p className="bad-text">
          {job.error.message} <span className="muted">{job.error.hint}</span>
        </p>
      ) : (
        <p className="muted" role="status">
          {job.state === "QUEUED" ? `Waits: ${job.waiting_reason}` : isActive(job.state) ? "Writing…" : "It wrote nothing."}
        </p>
      )}
    </figure>
  );
}
