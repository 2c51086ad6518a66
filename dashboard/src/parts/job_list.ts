// The list of jobs that a page scrolls through, alive where it is looked at.
import { keepPreviousData, useQuery, useQueryClient } from "@tanstack/react-query";
import { get, isActive } from "../api";
import { append, chunkAt, type JobList, NOTHING, type Page, refresh } from "../job_list";

const AHEAD = 50; // rows that are there before they are scrolled to

/** The rows on the screen: [first, last]. */
export interface Shown {
  first: number;
  last: number;
}

export function useJobList(state: string, name: string, shown: { current: Shown }) {
  const client = useQueryClient();
  const queryKey = ["jobs", state, name];
  const ask = (token: string) => get<Page>("jobs", { state, name_contains: name, page_token: token, page_size: 50 });

  async function newest(): Promise<JobList> {
    let list = client.getQueryData<JobList>(queryKey) ?? NOTHING;
    if (list.chunks.length === 0) list = append(list, await ask(""));
    else
      for (const row of new Set([0, shown.current.first, shown.current.last])) {
        const index = chunkAt(list, row);
        if (row === 0 || index > 0) list = refresh(list, index, await ask(list.chunks[index].token));
      }
    while (list.next && list.lines.length <= shown.current.last + AHEAD) list = append(list, await ask(list.next));
    return list;
  }

  return useQuery({
    queryKey,
    queryFn: newest,
    structuralSharing: false,
    placeholderData: keepPreviousData,
    refetchInterval: (query) => {
      const { first, last } = shown.current;
      return query.state.data?.lines.slice(first, last + 1).some((line) => isActive(line.state)) ? 1500 : 3000;
    },
  });
}
