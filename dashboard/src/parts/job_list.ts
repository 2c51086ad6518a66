// The list of jobs that a page scrolls through, alive where it is looked at.
import { keepPreviousData, useQuery, useQueryClient } from "@tanstack/react-query";
import { get, isActive, Problem, stateNames } from "../api";
import { type JobList, NOTHING, type Page, renew, type Shown } from "../job_list";

const AHEAD = 50; // rows that are there before they are scrolled to

/** Empty: any. `sweep`: of its trials, or NO_TRIALS. */
export interface JobFilter {
  state: string;
  name: string;
  project: string;
  model: string;
  sweep: string;
}
export const NO_TRIALS = "none"; // no sweep's id, which has 12 letters

export function useJobList({ state, name, project, model, sweep }: JobFilter, shown: { current: Shown }) {
  const client = useQueryClient();
  const queryKey = ["jobs", state, name, project, model, sweep];
  const trials = sweep === NO_TRIALS ? { no_trials: "true" } : { sweep };
  const ask = (token: string, size: number) =>
    get<Page>("jobs", { states: stateNames(state), name_contains: name, project, model, ...trials, page_token: token, page_size: size });

  async function newest(): Promise<JobList> {
    const known = client.getQueryData<JobList>(queryKey) ?? NOTHING;
    try {
      return await renew(known, shown.current, shown.current.last + AHEAD, ask);
    } catch (error) {
      if (error instanceof Problem && error.reason === "BAD_PAGE_TOKEN") return renew(NOTHING, shown.current, AHEAD, ask); // another database
      throw error;
    }
  }

  return useQuery({
    queryKey,
    queryFn: newest,
    structuralSharing: false,
    placeholderData: keepPreviousData,
    refetchInterval: (query) => {
      const { first, last } = shown.current;
      return query.state.data?.lines.slice(first, last + 1).some((line) => isActive(line.state)) ? 2000 : 3000;
    },
  });
}
