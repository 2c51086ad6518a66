// What a recipe's stages would take of a worker: asked by a job that is only planned, which is deleted once it has answered.
import { useMutation, useQuery } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { get, isActive, type Job, type JobSpec, post, type Stage, unlessGone, uuid } from "../api";
import { bytes, duration } from "../format";
import { Failure, Table } from "./basics";
import { discardJob } from "./calls";
import { tellFailure } from "./toast";

const isStage = (stage: Stage) => !/^(evaluate|export): /.test(stage.name);

export function PlanTable({ job }: { job: Job }) {
  const stages = job.stages.filter(isStage);
  if (stages.length === 0) return <p className="muted">It has no stages: what evaluations and exports take is not forecast.</p>;
  const sum = stages.reduce((total, stage) => total + stage.forecast_seconds, 0);
  const peak = Math.max(...stages.map((stage) => Number(stage.forecast_peak_bytes)));
  const after = (stage: Stage) => Number(stage.forecast_bytes_after) > 0 && stage.forecast_bytes_after !== stage.forecast_bytes_before;
  return (
    <>
      <Table label="Plan">
        <thead>
          <tr>
            <th>Stage</th>
            <th className="number">Time</th>
            <th className="number">Peak memory</th>
            <th className="number">Its weights</th>
          </tr>
        </thead>
        <tbody>
          {stages.map((stage) => (
            <tr key={stage.index}>
              <td>{stage.name}</td>
              {Number(stage.forecast_peak_bytes) > 0 ? (
                <>
                  <td className="number">{duration(stage.forecast_seconds)}</td>
                  <td className="number">{bytes(stage.forecast_peak_bytes)}</td>
                  <td className="number">{after(stage) && `${bytes(stage.forecast_bytes_before)} → ${bytes(stage.forecast_bytes_after)}`}</td>
                </>
              ) : (
                <td colSpan={3} className="muted">
                  {stage.state === "cached" ? "at hand: it was made before" : "no forecast"}
                </td>
              )}
            </tr>
          ))}
        </tbody>
      </Table>
      <p className="muted small">
        {peak > 0 && `About ${duration(sum)} in all, at most ${bytes(peak)} of memory, by an estimate of worker ${job.worker}. `}
        {stages.length < job.stages.length && "What evaluations and exports take is not forecast; it comes on top."}
      </p>
    </>
  );
}

interface PlanProps {
  spec: Partial<JobSpec>;
  about: string; // names the state of the form that `spec` is of: what was said of another is not shown
  disabled: boolean;
}

export function Plan({ spec, about, disabled }: PlanProps) {
  const [asked, setAsked] = useState<{ id: string; about: string }>();
  const shown = useRef("");
  useEffect(() => {
    shown.current = about;
    return () => void (shown.current = "");
  }, [about]);
  const ask = useMutation({
    mutationFn: ({ spec }: { spec: Partial<JobSpec>; about: string }) =>
      post<Job>("jobs", {
        request_id: uuid(),
        spec: { ...spec, name: `plan: ${spec.name ?? ""}`.slice(0, 200), plan_only: true, priority: 100 }, // it takes seconds
      }),
    // The form may have changed, or be gone, before the answer.
    onSuccess: (job, { about }) => (shown.current === about ? setAsked({ id: job.id, about }) : void discardJob(job.id)),
    onError: tellFailure,
  });
  const id = asked?.about === about ? asked.id : "";
  const query = useQuery({
    queryKey: ["job", id],
    queryFn: () => get<Job>(`jobs/${id}`),
    enabled: id !== "",
    refetchInterval: unlessGone<Job>((job) => (job && !isActive(job.state) ? false : 700)),
    staleTime: Infinity, // once it has ended it is deleted
  });
  const job = id ? query.data : undefined;
  const waits = Boolean(job && isActive(job.state));
  const open = useRef(""); // a job of ours that may still be there
  useEffect(() => {
    open.current = id;
    return () => void (open.current && discardJob(open.current));
  }, [id]);
  useEffect(() => {
    if (!job || waits) return;
    open.current = "";
    discardJob(job.id, true);
  }, [job?.id, waits]);
  return (
    <section className="card plan" aria-label="Plan">
      <h2>Plan</h2>
      {job?.state === "SUCCEEDED" ? (
        <PlanTable job={job} />
      ) : job?.error && job.state === "FAILED" ? (
        <p className="bad-text" role="alert">
          {job.error.message} <span className="muted">{job.error.hint}</span>
        </p>
      ) : query.error && id ? (
        <Failure error={query.error} />
      ) : (
        <p className="muted small" role="status">
          {!job
            ? "Time and memory of each stage, estimated by a worker with this model. It runs nothing."
            : job.state === "QUEUED"
              ? `Waits: ${job.waiting_reason}.${job.error ? ` ${job.error.message}` : ""}`
              : waits
                ? "A worker tries one block of each stage…"
                : "It was cancelled."}
        </p>
      )}
      <div className="head-actions">
        <button className="button" type="button" disabled={disabled || waits || ask.isPending} onClick={() => ask.mutate({ spec, about })}>
          {job && !waits ? "Estimate again" : "Estimate time and memory"}
        </button>
        {waits && (
          <button className="button quiet" type="button" onClick={() => setAsked(undefined)}>
            Stop
          </button>
        )}
      </div>
    </section>
  );
}
