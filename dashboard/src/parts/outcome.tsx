// What came of a job in a row of a list: asked for once the row rests on the screen.
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { type Evaluation, get } from "../api";
import { type Outcome, outcomeOf } from "../job_text";

const REST = 300; // milliseconds on the screen, after which a row asks for more than the list says

/** Size and quality of what the job made. `measured`: whether it has any. */
export function useOutcome(id: string, measured: boolean): { size?: Outcome; quality?: Outcome } {
  const client = useQueryClient();
  const [rests, setRests] = useState(() => client.getQueryData(["outcome", id]) !== undefined); // or did before
  useEffect(() => {
    if (rests) return;
    const timer = setTimeout(() => setRests(true), REST);
    return () => clearTimeout(timer);
  }, [rests]);
  const query = useQuery({
    queryKey: ["outcome", rests ? id : ""], // of all that only pass by the cache keeps one, not one each
    // A row that leaves takes its call back.
    queryFn: ({ signal }) => get<{ evaluations: Evaluation[] }>("evaluations", { job_id: id, page_size: 200 }, signal),
    select: outcomeOf,
    enabled: rests && measured,
    staleTime: Infinity,
  });
  return query.data ?? {};
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
