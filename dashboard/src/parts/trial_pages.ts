// A sweep's trials, page by page: those pages alone are asked for again that can have changed.
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { get, goesOn, isActive, type Sweep, type Trial } from "../api";

interface Page {
  trials: Trial[];
  next_page_token: string;
}

const FULL_LOOK = 30; // every so many looks at a sweep that goes on, all pages: somebody may have retried a trial's job

/** A page of trials that have all ended, and that another one follows, stays as it is. */
const settled = (page?: Page) => page !== undefined && page.next_page_token !== "" && !page.trials.some((trial) => isActive(trial.state));

export function useTrials(sweep: Sweep, refetchInterval: number | false) {
  const client = useQueryClient();
  const queryKey = ["trials", sweep.id, goesOn(sweep.state)]; // its end makes it another query, so that the last figures are fetched, too
  return useQuery({
    queryKey,
    queryFn: async () => {
      const looks = client.getQueryState(queryKey)?.dataUpdateCount ?? 0;
      const known = looks % FULL_LOOK === 0 ? [] : (client.getQueryData<Page[]>(queryKey) ?? []);
      const pages: Page[] = [];
      for (let token = ""; ; ) {
        const old = known[pages.length];
        const page = settled(old) ? old : await get<Page>(`sweeps/${sweep.id}/trials`, { page_size: 1000, page_token: token });
        pages.push(page);
        token = page.next_page_token;
        if (!token) return pages;
      }
    },
    select: allOf,
    refetchInterval,
    placeholderData: (old) => old,
  });
}

const allOf = (pages: Page[]) => pages.flatMap((page) => page.trials);
