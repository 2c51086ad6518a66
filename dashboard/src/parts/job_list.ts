// The list of jobs that a page scrolls through, alive where it is looked at.
import { keepPreviousData, useQuery, useQueryClient } from "@tanstack/react-query";
import { get, isActive, Problem, stateNames } from "../api";
import { type JobList, NOTHING, type Page, renew, type Shown } from "../job_list";

const AHEAD = 50; // rows that are there before they are scrolled to

export function useJobList(state: string, name: string, project: string, model: string, shown: { current: Shown }) {
  const client = useQueryClient();
  const queryKey = ["jobs", state, name, project, model];
  const ask = (token: string, size: number) => get<Page>("jobs", { states: stateNames(state), name_contains: name, project, model, page_token: token, page_size: size });

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
