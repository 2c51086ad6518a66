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
  const known = (ended: boolean) => client.getQueryData<T[]>([name, job.id, ended]) ?? [];
  return useQuery({
    // The end of the job makes it another query, so that it is asked once more; it goes on where the other stopped.
    queryKey: [name, job.id, !active],
    queryFn: async () => {
      const [a, b] = [known(true), known(false)];
      const before = Number(a.at(-1)?.number ?? 0) > Number(b.at(-1)?.number ?? 0) ? a : b;
      return before.concat(await ask(before.at(-1)?.number ?? "0")).slice(-most);
    },
    refetchInterval: (query) => (active || query.state.dataUpdateCount < LAST_LOOKS ? 1000 : false),
    placeholderData: (old) => old,
    staleTime: 0,
  });
}
