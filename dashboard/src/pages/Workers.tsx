// Who does the work: devices, what they hold, when they were last heard of.
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "wouter";
import { get, post, type Worker, type WorkerUse } from "../api";
import { bytes } from "../format";
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
        <h2>{worker.name}</h2>
        <span className="badge" data-state={{ Gone: "CANCELLED", Draining: "CANCELLING", Paused: "PAUSED", Busy: "RUNNING", Idle: "SUCCEEDED" }[state]}>
          <span className="dot" aria-hidden />
          {state}
        </span>
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
              : worker.jobs.map((job) => (
                  <Link key={job} href={`/jobs/${job}`}>
                    <code>{job}</code>{" "}
                  </Link>
                ))}
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
      <ul className="chips" aria-label="Methods">
        {worker.methods.map((method) => (
          <li key={method} className="tag">
            {method}
          </li>
        ))}
      </ul>
    </li>
  );
}
