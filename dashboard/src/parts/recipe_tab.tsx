// A job's recipe, and how it differs from another job's.
import { useQuery } from "@tanstack/react-query";
import { useSearchParams } from "wouter";
import { get, type Job, methodSpecs, normalForm } from "../api";
import { draftOf, emptyDraft, yamlOf } from "../recipe";
import { Failure, Loading } from "./basics";
import { Code, Diff } from "./code";
import { JobChoice } from "./search_choice";

/** The recipe without its defaults, however it was written: one line, a mapping, llm-compressor's. */
async function plain(recipe: string): Promise<string> {
  const [specs, form] = await Promise.all([methodSpecs(), normalForm(recipe)]);
  return yamlOf(draftOf(form, specs, emptyDraft));
}

const title = (job: Job) => job.spec.name || job.id;

export function RecipeTab({ job }: { job: Job }) {
  const [params, setParams] = useSearchParams();
  const against = params.get("against") ?? "";
  return (
    <>
      <div className="tools">
        <JobChoice
          label="Compare with"
          except={[job.id]}
          value={against}
          placeholder="Compare with another job"
          first={against ? { value: "", label: "The recipe as it was written" } : undefined}
          onChange={(next) =>
            setParams((old) => (next ? old.set("against", next) : old.delete("against"), old), { replace: true })
          }
        />
      </div>
      {against ? <Difference job={job} other={against} /> : <Code label="Recipe" text={job.spec.recipe} />}
      <p className="muted small">
        Digest of its normal form: <code className="wrap">{job.recipe_digest}</code>
      </p>
    </>
  );
}

function Difference({ job, other }: { job: Job; other: string }) {
  const query = useQuery({
    queryKey: ["difference", job.id, other],
    queryFn: async () => {
      const from = await get<Job>(`jobs/${other}`);
      return { from, before: await plain(from.spec.recipe), after: await plain(job.spec.recipe) };
    },
    staleTime: Infinity,
  });
  if (query.error) return <Failure error={query.error} retry={() => query.refetch()} />;
  if (!query.data) return <Loading rows={2} />;
  const { from, before, after } = query.data;
  return (
    <>
      <p className="muted small">
        From {title(from)} (−) to {title(job)} (+); parameters at their default are left out.
      </p>
      <Diff label={`Recipe of ${title(job)} beside that of ${title(from)}`} before={before} after={after} />
    </>
  );
}
