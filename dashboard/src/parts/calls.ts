// What changes a job or a sweep, from any page.
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useLocation } from "wouter";
import { type Job, post, remove, type Sweep } from "../api";
import { messageOf, tellFailure, toasts } from "./toast";

function useJobCall(verb: "cancel" | "retry", done: string) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (id: string) => post<Job>(`jobs/${id}/${verb}`, {}),
    onSuccess: (job) => {
      toasts.add({ title: `${job.spec.name || job.id}: ${done}` });
      client.setQueryData(["job", job.id], job);
      return client.invalidateQueries({ queryKey: ["jobs"] });
    },
    onError: tellFailure,
  });
}

export const useCancel = () => useJobCall("cancel", "is being cancelled");
export const useRetry = () => useJobCall("retry", "is back in the queue");

/** Of several jobs, with one answer for all of them. */
export function useBulk() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: async ({ verb, jobs }: { verb: "cancel" | "retry"; jobs: { id: string; name: string }[] }) => {
      const failed: { name: string; error: unknown }[] = [];
      const rest = [...jobs];
      const one = async () => {
        for (let job = rest.shift(); job; job = rest.shift())
          await post<Job>(`jobs/${job.id}/${verb}`, {}).catch((error) => failed.push({ name: job!.name || job!.id, error }));
      };
      await Promise.all([one(), one(), one(), one()]); // a browser's connections to one server are few
      return { verb, jobs, failed };
    },
    onMutate: ({ verb, jobs }) =>
      jobs.length > 20 ? toasts.add({ title: `${verb === "cancel" ? "Cancelling" : "Retrying"} ${jobs.length} jobs…`, timeout: 0 }) : undefined,
    onSettled: (_, __, ___, toast) => toast && toasts.close(toast),
    onSuccess: ({ verb, jobs, failed }) => {
      const many = jobs.length - failed.length;
      const done = verb === "cancel" ? ["is being cancelled", "are being cancelled"] : ["is back in the queue", "are back in the queue"];
      if (many > 0) toasts.add({ title: jobs.length === 1 ? `${jobs[0].name || jobs[0].id}: ${done[0]}` : `${many} ${many === 1 ? `job ${done[0]}` : `jobs ${done[1]}`}` });
      if (failed.length === 1) tellFailure(failed[0].error);
      else if (failed.length > 1)
        toasts.add({ title: `${failed.length} jobs were not changed`, description: `The first is ${failed[0].name}: ${messageOf(failed[0].error)}`, type: "bad", priority: "high" });
      return client.invalidateQueries({ queryKey: ["jobs"] });
    },
  });
}

export function usePause() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: ({ id, paused }: { id: string; paused: boolean }) => post<Job>(`jobs/${id}/${paused ? "pause" : "resume"}`, {}),
    onSuccess: (job) => client.setQueryData(["job", job.id], job),
    onError: tellFailure,
  });
}

/** Deletes a job, or a sweep, and leaves its page. */
export function useRemove(kind: "jobs" | "sweeps") {
  const client = useQueryClient();
  const [, go] = useLocation();
  return useMutation({
    mutationFn: (id: string) => remove(`${kind}/${id}`),
    onSuccess: () => {
      go(`/${kind}`);
      return client.invalidateQueries({ queryKey: [kind] });
    },
    onError: tellFailure,
  });
}

/** Takes a job that was only a question out of the list of jobs. */
export async function discardJob(id: string, ended = false) {
  if (!ended) await post(`jobs/${id}/cancel`, {}).catch(() => {}); // it has ended meanwhile
  await remove(`jobs/${id}`).catch(() => {}); // its worker has not stopped yet, or it is gone: it stays, or is away
}

const SWEEP_VERBS = {
  pause: "makes no more trials until it is resumed",
  resume: "goes on",
  stop: "makes no more trials",
  cancel: "is being cancelled",
  extend: "may go on for longer",
};

export function useSweepCall(verb: keyof typeof SWEEP_VERBS) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: ({ id, ...body }: { id: string; more?: { trials?: number; seconds?: number; bytes?: string } }) => post<Sweep>(`sweeps/${id}/${verb}`, body),
    onSuccess: (sweep) => {
      toasts.add({ title: `${sweep.spec.name || sweep.id}: ${SWEEP_VERBS[verb]}` });
      client.setQueryData(["sweep", sweep.id], sweep);
      return client.invalidateQueries({ queryKey: ["sweeps"] });
    },
    onError: tellFailure,
  });
}
