// What came of a job in a row of a list: asked for once the row rests on the screen.
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { type ReactNode, startTransition, useEffect, useState } from "react";
import { type Evaluation, get } from "../api";
import { type Outcome, outcomeOf } from "../job_text";

const REST = 300; // milliseconds on the screen, after which a row asks for more than the list says

/** Whether a job's row is there to be looked at: a row that only passes by asks for nothing, and watches nothing. */
export function useRests(id: string): boolean {
  const client = useQueryClient();
  const [rests, setRests] = useState(() => client.getQueryData(["outcome", id]) !== undefined); // or did before
  useEffect(() => {
    if (rests) return;
    const timer = setTimeout(() => startTransition(() => setRests(true)), REST); // all rows of a screen come to rest at once
    return () => clearTimeout(timer);
  }, [rests]);
  return rests;
}

interface Outcomes {
  size?: Outcome;
  quality?: Outcome;
}

function Asked({ id, children }: { id: string; children: (outcome: Outcomes) => ReactNode }) {
  const query = useQuery({
    queryKey: ["outcome", id],
    // A row that leaves takes its call back.
    queryFn: ({ signal }) => get<{ evaluations: Evaluation[] }>("evaluations", { job_id: id, page_size: 200 }, signal),
    select: outcomeOf,
    staleTime: Infinity,
  });
  return children(query.data ?? {});
}

/** With the size and quality of what the job made, which are asked for where `asks`. */
export function WithOutcome({ id, asks, children }: { id: string; asks: boolean; children: (outcome: Outcomes) => ReactNode }) {
  return asks ? <Asked id={id}>{children}</Asked> : children({});
}

/** The figure over what changed, with its name where its column does not say it. */
export function OutcomeFigure({ outcome, named }: { outcome?: Outcome; named?: boolean }) {
  if (!outcome) return <span className="muted">–</span>;
  const { name, now, before, change } = outcome;
  return (
    <span title={before ? `${name} ${before} → ${now}` : `${name} ${now}`}>
      {now}
      <span className="muted small under">{[named && name, change].filter(Boolean).join(" ")}</span>
    </span>
  );
}
