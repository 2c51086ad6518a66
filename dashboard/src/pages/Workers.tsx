// The server and who does the work: what is stored, devices, what they hold, when they were last heard of.
import { Meter } from "@base-ui/react/meter";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { Link } from "wouter";
import { get, type Job, listed, post, type System, type Worker, type WorkerUse } from "../api";
import { ago, bytes, duration, exact } from "../format";
import { Empty, Loaded, More, Table, Time, useNow, useTitle } from "../parts/basics";
import { useBarred } from "../parts/session";
import { tellFailure } from "../parts/toast";

const GONE_AFTER = 60_000; // milliseconds; as the server counts connected workers

export default function Workers() {
  useTitle("Workers");
  const now = useNow();
  const query = useQuery({
    queryKey: ["workers"],
    queryFn: () => listed<Worker>("workers", "workers"),
    refetchInterval: 2000,
  });
  return (
    <>
      <div className="head">
        <h1>Workers</h1>
      </div>
      <SystemFacts />
      <Loaded query={query} rows={3}>
        {({ all, more }) =>
          all.length === 0 ? (
            <Empty title="No worker has come yet">
              <p className="muted">Jobs wait until one does:</p>
              <pre className="command">wring-worker --server HOST:PORT --cache DIR</pre>
            </Empty>
          ) : (
            <>
              <Table label="Workers" className="workers">
                <thead>
                  <tr>
                    <th>Worker</th>
                    <th>Devices</th>
                    <th>Cache</th>
                    <th>Jobs</th>
                    <th>Last seen</th>
                    <th>
                      <span className="sr">Change</span>
                    </th>
                  </tr>
                </thead>
                <tbody role="rowgroup">
                  {all
                    .toSorted((a, b) => a.name.localeCompare(b.name) || b.last_seen.localeCompare(a.last_seen))
                    .map((worker) => (
                      <OneWorker key={worker.id} worker={worker} now={now} />
                    ))}
                </tbody>
              </Table>
              <More more={more} count={all.length} />
            </>
          )
        }
      </Loaded>
    </>
  );
}

/** A paused worker is leased nothing more; what it runs goes on. */
function Pausing({ worker }: { worker: Worker }) {
  const barred = useBarred("admin");
  const client = useQueryClient();
  const pause = useMutation({
    mutationFn: () => post<Worker>(`workers/${encodeURIComponent(worker.id)}/${worker.paused ? "resume" : "pause"}`, {}),
    onSuccess: () => client.invalidateQueries({ queryKey: ["workers"] }),
    onError: tellFailure,
  });
  if (barred) return null;
  return (
    <button className="button quiet" disabled={pause.isPending} onClick={() => pause.mutate()} aria-label={`${worker.paused ? "Resume" : "Pause"} ${worker.name}`}>
      {worker.paused ? "Resume" : "Pause"}
    </button>
  );
}

/** A share in use, as a bar with its words below; no bar where nobody told. */
function Use({ label, share, children }: { label: string; share?: number; children: ReactNode }) {
  return (
    <div className="use">
      {share !== undefined && (
        <Meter.Root className="bar" value={Math.min(1, share)} max={1} aria-label={label}>
          <Meter.Track className="bar-track">
            <Meter.Indicator className="bar-fill" />
          </Meter.Track>
        </Meter.Root>
      )}
      <span className="muted small">{children}</span>
    </div>
  );
}

/** By all programs of the machine. */
function Device({ device, use }: { device: Worker["devices"][number]; use?: WorkerUse["devices"][number] }) {
  const name = `${device.kind} ${device.index}`;
  const total = Number(use?.total_memory_bytes ?? device.memory_bytes);
  return (
    <div className="device">
      <div>
        {name} <span className="muted">{device.name}</span>
      </div>
      <Use label={`${name}, busy`} share={use?.busy}>
        {[use?.busy !== undefined && `${Math.round(use.busy * 100)} % busy`, device.threads > 0 && `${device.threads} ${device.threads === 1 ? "thread" : "threads"}`]
          .filter(Boolean)
          .join(" · ")}
      </Use>
      <Use label={`${name}, memory in use`} share={use?.memory_bytes === undefined ? undefined : Number(use.memory_bytes) / total}>
        {use?.memory_bytes !== undefined && `${bytes(use.memory_bytes)} of `}
        {bytes(total)}
        {Number(device.memory_bytes) < total && `; a job may take ${bytes(device.memory_bytes)}`}
      </Use>
    </div>
  );
}

/** Hits are of the bytes that jobs needed since the worker's start. */
function Cache({ use }: { use: WorkerUse }) {
  const claimed = Number(use.cache_claimed_bytes);
  return (
    <>
      <Use label="Cache in use" share={Number(use.cache_bytes) / Number(use.cache_limit_bytes)}>
        {bytes(use.cache_bytes)} of {bytes(use.cache_limit_bytes)}
      </Use>
      {claimed > 0 && <div className="muted small">{((1 - Number(use.cache_missed_bytes) / claimed) * 100).toFixed(1)} % of what jobs needed was there</div>}
    </>
  );
}

const BADGE = { Gone: "CANCELLED", Draining: "CANCELLING", Paused: "PAUSED", Busy: "RUNNING", Idle: "SUCCEEDED" };

// As cards on a phone rows are no table to the browser: the roles say that they are one.
function OneWorker({ worker, now }: { worker: Worker; now: number }) {
  const gone = now - Date.parse(worker.last_seen) > GONE_AFTER;
  const state = gone ? "Gone" : worker.draining ? "Draining" : worker.paused ? "Paused" : worker.jobs.length > 0 ? "Busy" : "Idle";
  return (
    <tr role="row">
      <td role="cell">
        <div className="strong">{worker.name}</div>
        {(worker.classes ?? []).length > 0 && <div className="muted small">Class {worker.classes!.join(", ")}</div>}
        <span className="badge" data-state={BADGE[state]}>
          <span className="dot" aria-hidden />
          {state}
        </span>
        <details className="small">
          <summary>{worker.methods.length} methods</summary>
          <p className="muted">
            Version {worker.version}, id <code>{worker.id}</code>
          </p>
          <ul className="chips" aria-label="Methods">
            {worker.methods.map((method) => (
              <li key={method} className="tag">
                {method}
              </li>
            ))}
          </ul>
        </details>
      </td>
      <td role="cell">
        {worker.devices.map((device) => (
          <Device
            key={device.kind + device.index}
            device={device}
            use={gone ? undefined : worker.use?.devices.find((d) => d.kind === device.kind && d.index === device.index)}
          />
        ))}
      </td>
      <td role="cell" data-label="Cache">
        {!gone && worker.use ? <Cache use={worker.use} /> : <span className="muted">–</span>}
      </td>
      <td role="cell" data-label="Jobs">
        {worker.jobs.length === 0 ? <span className="muted">none</span> : worker.jobs.map((job) => <Lease key={job} id={job} now={now} />)}
      </td>
      <td role="cell" data-label="Last seen">
        <time dateTime={worker.last_seen} title={exact(worker.last_seen)}>
          {ago(worker.last_seen, now)}
        </time>
      </td>
      <td role="cell" className="number">
        {!gone && <Pausing worker={worker} />}
      </td>
    </tr>
  );
}

/** What it runs, and how old the lease is that it has of it: a job that was put back has a new one. */
function Lease({ id, now }: { id: string; now: number }) {
  const { data: job } = useQuery({ queryKey: ["job", id], queryFn: () => get<Job>(`jobs/${id}`), refetchInterval: 4000, retry: false });
  return (
    <div>
      <Link href={`/jobs/${id}`}>{job?.spec.name || id}</Link>
      {job?.start_time && <div className="muted small">leased for {duration((now - Date.parse(job.start_time)) / 1000)}</div>}
    </div>
  );
}

function Spared({ stages: { made, from_worker, from_project, skipped } }: { stages: NonNullable<System["stages"]> }) {
  const spared = Number(from_worker) + Number(from_project) + Number(skipped);
  const ended = spared + Number(made);
  return (
    <div>
      <dt>Stages not run again, since the start</dt>
      <dd>
        {ended === 0 ? "none has ended yet" : `${spared} of ${ended}`}
        {spared > 0 && (
          <span className="muted">
            {" "}
            ({[Number(from_worker) > 0 && `${from_worker} from a worker’s cache`, Number(from_project) > 0 && `${from_project} from the project’s`, Number(skipped) > 0 && `${skipped} not needed`]
              .filter(Boolean)
              .join(", ")}
            )
          </span>
        )}
      </dd>
    </div>
  );
}

/** The server itself. */
function SystemFacts() {
  const query = useQuery({ queryKey: ["system"], queryFn: () => get<System>("system"), refetchInterval: 5000 });
  return (
    <section className="card system" aria-label="System">
      <h2>System</h2>
      <Loaded query={query} rows={1}>
        {(system) => {
          const free = Number(system.disk_free_bytes) / Number(system.disk_bytes);
          return (
            <dl className="facts">
              <div>
                <dt>Server</dt>
                <dd>
                  {system.version}, started <Time time={system.start_time} />
                </dd>
              </div>
              <div>
                <dt>Stored</dt>
                <dd>{bytes(system.stored_bytes)}</dd>
              </div>
              {Number(system.disk_bytes) > 0 && (
                <div>
                  <dt>Disk</dt>
                  <dd className={free < 0.05 ? "bad-text" : undefined}>
                    {bytes(system.disk_free_bytes)} free of {bytes(system.disk_bytes)}
                  </dd>
                </div>
              )}
              <div>
                <dt>Stage outputs kept</dt>
                <dd>
                  {system.stage_outputs}, {bytes(system.stage_output_bytes)}
                </dd>
              </div>
              {system.stages && <Spared stages={system.stages} />}
            </dl>
          );
        }}
      </Loaded>
    </section>
  );
}
