// The server and who does the work: what is stored, devices, what they hold, when they were last heard of.
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "wouter";
import { get, type Job, post, type System, type Worker, type WorkerUse } from "../api";
import { bytes, duration } from "../format";
import { Empty, Loaded, Time, useNow, useTitle } from "../parts/basics";
import { useBarred } from "../parts/session";
import { tellFailure } from "../parts/toast";

const GONE_AFTER = 60_000; // milliseconds; as the server counts connected workers

export default function Workers() {
  useTitle("Workers");
  const now = useNow();
  const query = useQuery({
    queryKey: ["workers"],
    queryFn: () => get<{ workers: Worker[] }>("workers", { page_size: 1000 }),
    refetchInterval: 2000,
  });
  return (
    <>
      <div className="head">
        <h1>Workers</h1>
      </div>
      <SystemFacts />
      <Loaded query={query} rows={3}>
        {({ workers }) =>
          workers.length === 0 ? (
            <Empty title="No worker has come yet">
              <p className="muted">Jobs wait until one does:</p>
              <pre className="command">wring-worker --server HOST:PORT --cache DIR</pre>
            </Empty>
          ) : (
            <ul className="workers">
              {workers
                .toSorted((a, b) => b.last_seen.localeCompare(a.last_seen))
                .map((worker) => (
                  <OneWorker key={worker.id} worker={worker} now={now} />
                ))}
            </ul>
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

/** By all programs of the machine. */
function InUse({ use }: { use?: WorkerUse["devices"][number] }) {
  const said = [
    use?.busy !== undefined && `${Math.round(use.busy * 100)} % busy`,
    use?.memory_bytes !== undefined && `${bytes(use.memory_bytes)} in use`,
  ].filter(Boolean);
  return said.length > 0 && <div className="muted small">{said.join(", ")}</div>;
}

/** Of the bytes that jobs needed since the worker's start. */
function HitRate({ use }: { use: WorkerUse }) {
  const claimed = Number(use.cache_claimed_bytes);
  if (claimed === 0) return null;
  return <div className="muted small">{((1 - Number(use.cache_missed_bytes) / claimed) * 100).toFixed(1)} % of what jobs needed was there</div>;
}

function OneWorker({ worker, now }: { worker: Worker; now: number }) {
  const gone = now - Date.parse(worker.last_seen) > GONE_AFTER;
  const state = gone ? "Gone" : worker.draining ? "Draining" : worker.paused ? "Paused" : worker.jobs.length > 0 ? "Busy" : "Idle";
  return (
    <li className="card">
      <header className="step-head">
        <div className="head-line">
          <h2>{worker.name}</h2>
          <span className="badge" data-state={{ Gone: "CANCELLED", Draining: "CANCELLING", Paused: "PAUSED", Busy: "RUNNING", Idle: "SUCCEEDED" }[state]}>
            <span className="dot" aria-hidden />
            {state}
          </span>
        </div>
        {!gone && <Pausing worker={worker} />}
      </header>
      <dl className="facts">
        <div>
          <dt>Last seen</dt>
          <dd>
            <Time time={worker.last_seen} />
          </dd>
        </div>
        {worker.devices.map((device) => (
          <div key={device.kind + device.index}>
            <dt>
              {device.kind} {device.index}
            </dt>
            <dd>
              {device.name}, {bytes(device.memory_bytes)}
              {device.threads > 0 && `, ${device.threads} threads`}
              {!gone && <InUse use={worker.use?.devices.find((d) => d.kind === device.kind && d.index === device.index)} />}
            </dd>
          </div>
        ))}
        <div>
          <dt>Jobs</dt>
          <dd>
            {worker.jobs.length === 0
              ? "none"
              : worker.jobs.map((job) => <Lease key={job} id={job} now={now} />)}
          </dd>
        </div>
        {!gone && worker.use && (
          <div>
            <dt>Cache</dt>
            <dd>
              {bytes(worker.use.cache_bytes)} of {bytes(worker.use.cache_limit_bytes)}
              <HitRate use={worker.use} />
            </dd>
          </div>
        )}
        <div>
          <dt>Version</dt>
          <dd>{worker.version}</dd>
        </div>
        <div>
          <dt>Id</dt>
          <dd>
            <code>{worker.id}</code>
          </dd>
        </div>
      </dl>
      <details>
        <summary>{worker.methods.length} methods</summary>
        <ul className="chips" aria-label="Methods">
          {worker.methods.map((method) => (
            <li key={method} className="tag">
              {method}
            </li>
          ))}
        </ul>
      </details>
    </li>
  );
}

/** What it runs, and since when. */
function Lease({ id, now }: { id: string; now: number }) {
  const { data: job } = useQuery({ queryKey: ["job", id], queryFn: () => get<Job>(`jobs/${id}`), staleTime: 5000, retry: false });
  return (
    <div>
      <Link href={`/jobs/${id}`}>{job?.spec.name || id}</Link>
      {job?.start_time && <span className="muted"> for {duration((now - Date.parse(job.start_time)) / 1000)}</span>}
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
              <div>
                <dt>Disk</dt>
                <dd className={free < 0.05 ? "bad-text" : undefined}>
                  {bytes(system.disk_free_bytes)} free of {bytes(system.disk_bytes)}
                </dd>
              </div>
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
