// Cancelling and retrying, from any page.
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type Job, post } from "../api";
import { tellFailure, toasts } from "./toast";

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
