// What the forms of a job and of a sweep share: the project, and text that the server checks while it is written.
import { useQuery } from "@tanstack/react-query";
import { useId, useState } from "react";
import { listed, Problem, type Project } from "../api";
import { inputIds, Labelled } from "./labelled";
import { useSettled } from "./search_choice";
import { useOwnProject } from "./session";

/** The names of those that have something to do, for who sees all projects; others choose among none. */
export function useProjects(): string[] | undefined {
  const own = useOwnProject();
  const query = useQuery({
    queryKey: ["projects"],
    queryFn: () => listed<Project>("projects", "projects"),
    enabled: own === "",
    staleTime: 60_000,
  });
  if (own !== "") return undefined;
  return query.data?.all.map((project) => project.name) ?? [];
}

/** Whose share of the workers it takes; asked of who sees all projects, of all others it is their own. */
export function ProjectField({ value, onChange, error }: { value: string; onChange: (value: string) => void; error?: string }) {
  const names = useProjects();
  const list = useId();
  if (!names) return null;
  return (
    <Labelled label="Project" help="Whose share of the workers it takes." error={error}>
      {(ids) => (
        <>
          <input {...inputIds(ids)} className="field" list={list} placeholder="default" maxLength={63} value={value} onChange={(e) => onChange(e.target.value)} />
          <datalist id={list}>
            {names.map((name) => (
              <option key={name} value={name} />
            ))}
          </datalist>
        </>
      )}
    </Labelled>
  );
}

/** The server's word on a text, once typing has paused; the answer to an older text never replaces that to a newer. `last`: the newest one it gave. */
export function useVerdict<T>(key: string, text: string, check: (text: string) => Promise<T>) {
  const settled = useSettled(text);
  const query = useQuery({
    queryKey: [key, settled],
    queryFn: () => check(settled),
    enabled: settled.trim() !== "",
    staleTime: Infinity,
    retry: false,
  });
  const answer = settled === text ? query.data : undefined;
  const [last, setLast] = useState(answer);
  if (answer !== undefined && answer !== last) setLast(answer);
  return { answer, problem: settled === text && query.error instanceof Problem ? query.error : undefined, last };
}

/** Under the text: what is wrong with it, or `accepted`. */
export function Verdict({
  text,
  problem,
  accepted,
  empty,
}: {
  text: string;
  problem?: Problem;
  accepted?: React.ReactNode;
  empty: string;
}) {
  return (
    <div id="verdict" className="verdict small" aria-live="polite">
      {problem ? (
        <span className="bad-text">
          {problem.field && <code>{problem.field}</code>} {problem.message} {problem.hint && <span className="muted">{problem.hint}</span>}
        </span>
      ) : accepted ? (
        <span className="good-text">{accepted}</span>
      ) : (
        <span className="muted">{text.trim() ? "Checking…" : empty}</span>
      )}
    </div>
  );
}

/** The form's last line: the button, and what is in its way. */
export function SubmitButton({ accepted, missing, barred, pending }: { accepted: boolean; missing: (string | false)[]; barred: string; pending: boolean }) {
  return (
    <div className="submit-end">
      <button
        className="button primary wide"
        type="submit"
        disabled={!accepted || missing.length > 0 || pending || barred !== ""}
        aria-describedby="missing"
      >
        {pending ? "Submitting…" : "Submit"}
      </button>
      <p id="missing" className="muted small">
        {barred || (missing.length > 0 && `Still to choose: ${missing.join(", ")}.`)}
      </p>
    </div>
  );
}

/** Beside the title of a form that was filled in from a draft. */
export const DraftNote = ({ discard }: { discard: () => void }) => (
  <p className="muted small">
    As you left it.{" "}
    <button type="button" className="link" onClick={discard}>
      Start anew
    </button>
  </p>
);
