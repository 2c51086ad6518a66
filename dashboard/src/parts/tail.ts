// What grows line by line, events and log: only what is new is asked for, and the last of it once the job has ended.
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { isActive, type Job } from "../api";

interface Numbered {
  number: string;
}

const LAST_LOOKS = 3; // at a job that has ended: what its worker said last may come a moment later

/** `ask`: what comes after a number. `most`: as many as are kept. */
export function useTail<T extends Numbered>(name: string, job: Job, ask: (after: string) => Promise<T[]>, most = Infinity) {
  const client = useQueryClient();
  const active = isActive(job.state);
  return useQuery({
    // Each end of the job makes it another query, with looks of its own; it goes on where the one before stopped.
    queryKey: [name, job.id, active ? "" : (job.end_time ?? "")],
    queryFn: async () => {
      const known = client.getQueriesData<T[]>({ queryKey: [name, job.id] }).map(([, data]) => data ?? []);
      const last = (items: T[]) => Number(items.at(-1)?.number ?? 0);
      const before = known.reduce((a, b) => (last(b) > last(a) ? b : a), [] as T[]);
      return before.concat(await ask(before.at(-1)?.number ?? "0")).slice(-most);
    },
    refetchInterval: (query) => (active || query.state.dataUpdateCount < LAST_LOOKS ? 1000 : false),
    placeholderData: (old) => old,
    staleTime: 0,
  });
}
