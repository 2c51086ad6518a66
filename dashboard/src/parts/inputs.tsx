// What a job or a sweep begins with, chosen from the store; and text that the server checks while it is written.
import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { type Artifact, get, Problem } from "../api";
import { bytes, short } from "../format";
import type { Option } from "./controls";

export function useArtifacts(kind: string): Option[] {
  const query = useQuery({
    queryKey: ["artifacts", kind, ""],
    queryFn: () => get<{ artifacts: Artifact[] }>("artifacts", { kind, page_size: 200 }),
  });
  return (query.data?.artifacts ?? []).map((a) => ({
    value: a.digest,
    label: a.name || short(a.digest),
    detail: `${bytes(a.total_bytes)} · ${short(a.digest)}`,
  }));
}

/** The job's own artifact may be older than the list that was loaded. */
export const withValue = (options: Option[], value: string): Option[] =>
  value === "" || options.some((o) => o.value === value) ? options : [{ value, label: short(value) }, ...options];

/** The server's word on a text, once typing has paused; the answer to an older text never replaces that to a newer. */
export function useVerdict<T>(key: string, text: string, check: (text: string) => Promise<T>) {
  const [settled, setSettled] = useState(text);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(text), 250);
    return () => clearTimeout(timer);
  }, [text]);
  const query = useQuery({
    queryKey: [key, settled],
    queryFn: () => check(settled),
    enabled: settled.trim() !== "",
    staleTime: Infinity,
    retry: false,
  });
  return {
    answer: settled === text ? query.data : undefined,
    problem: settled === text && query.error instanceof Problem ? query.error : undefined,
    last: query.data,
  };
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
    <>
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
    </>
  );
}
