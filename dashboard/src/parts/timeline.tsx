// When each step of each attempt ran, what was forecast of it, and the events beneath.
import { memo } from "react";
import type { Job, JobEvent, Stage } from "../api";
import { bytes, clock, duration, exact } from "../format";
import { progressText, stageProgress } from "../job_text";
import { isActive } from "../api";
import { type Attempt, attempts, extent, outlook, payload, type Span, tick, why } from "../timeline";
import { Bar, Empty, useNow } from "./basics";

interface Scale {
  start: number;
  end: number;
}

export function Timeline({ job, events }: { job: Job; events: JobEvent[] }) {
  const now = useNow(isActive(job.state));
  const all = attempts(events);
  const ahead = outlook(job, all.at(-1), now);
  const [start, end] = extent(job, all, ahead, now);
  const waited = all.length > 0 && job.create_time ? (start - Date.parse(job.create_time)) / 1000 : 0;
  const scale = { start, end };
  return (
    <>
      {all.length === 0 ? (
        <Empty title="No worker has taken it yet" />
      ) : all.length === 1 && all[0].spans.length === 0 && !isActive(job.state) ? (
        <Empty title="It ended before its first step" />
      ) : (
        <div className="scroll" tabIndex={0} role="region" aria-label="Timeline">
          <table className="gantt" aria-label="Steps">
            <thead>
              <tr>
                <th>Step</th>
                <th className="number">Time</th>
                <th className="number">Peak memory</th>
                <th className="gantt-axis">
                  <Axis scale={scale} />
                </th>
              </tr>
            </thead>
            {all.map((attempt, i) => (
              <AttemptRows
                key={i}
                attempt={attempt}
                job={job}
                scale={scale}
                ahead={ahead}
                newest={i === all.length - 1}
                alone={all.length === 1}
                now={now}
              />
            ))}
          </table>
        </div>
      )}
      {waited >= 1 && <p className="muted small">It waited {duration(waited)} for its first worker.</p>}
      <Events events={events} />
    </>
  );
}

function Axis({ scale }: { scale: Scale }) {
  const seconds = (scale.end - scale.start) / 1000;
  const step = tick(seconds, 6);
  const marks = Array.from({ length: Math.floor((seconds * 0.97) / step) + 1 }, (_, i) => i * step);
  return (
    <div className="axis" role="group" aria-label="Time since its first lease">
      {marks.map((mark) => (
        <span key={mark} style={{ left: `${(mark / seconds) * 100}%` }}>
          {step < 1 ? `${mark.toFixed(1)} s` : duration(mark)}
        </span>
      ))}
    </div>
  );
}

function AttemptRows({
  attempt,
  job,
  scale,
  ahead,
  newest,
  alone,
  now,
}: {
  attempt: Attempt;
  job: Job;
  scale: Scale;
  ahead: Map<number, [number, number]>;
  newest: boolean;
  alone: boolean;
  now: number;
}) {
  const begun = new Set(attempt.spans.map((span) => span.index));
  const pending = newest && isActive(job.state) ? job.stages.filter((stage) => !begun.has(stage.index)) : [];
  return (
    <tbody>
      {!alone && (
        <tr className="gantt-attempt">
          <th colSpan={4} scope="rowgroup">
            Attempt {attempt.number}{" "}
            <span className="muted">
              on {attempt.worker}
              {attempt.ending && ` · ${attempt.ending}`}
            </span>
          </th>
        </tr>
      )}
      <Lead attempt={attempt} scale={scale} now={now} />
      {attempt.spans.map((span) => (
        <SpanRow
          key={`${span.index} ${span.start}`}
          span={span}
          stage={newest ? job.stages.find((s) => s.index === span.index) : undefined}
          scale={scale}
          ahead={ahead}
          now={now}
        />
      ))}
      {pending.map((stage) => (
        <tr key={stage.index} className="muted">
          <td>{stage.name}</td>
          <td className="number">
            – <Expected>{stage.forecast_seconds > 0 && duration(stage.forecast_seconds)}</Expected>
          </td>
          <td className="number">
            – <Expected>{Number(stage.forecast_peak_bytes) > 0 && bytes(stage.forecast_peak_bytes)}</Expected>
          </td>
          <td className="gantt-cell">
            <Ghost expected={ahead.get(stage.index)} scale={scale} />
          </td>
        </tr>
      ))}
    </tbody>
  );
}

/** What the engine had forecast, under what it was. */
const Expected = ({ children }: { children: React.ReactNode }) => children && <div className="muted small">expected {children}</div>;

const share = (time: number, scale: Scale) => Math.max(0, ((time - scale.start) / (scale.end - scale.start)) * 100);

/** Before its first step the worker fetches what the job reads, and the engine loads it. */
function Lead({ attempt, scale, now }: { attempt: Attempt; scale: Scale; now: number }) {
  const end = attempt.spans[0]?.start ?? attempt.end ?? now;
  const took = (end - attempt.start) / 1000;
  if (took < Math.min(1, (0.05 * (scale.end - scale.start)) / 1000)) return null;
  return (
    <tr className="muted">
      <td>fetch and load</td>
      <td className="number">{duration(took)}</td>
      <td />
      <td className="gantt-cell">
        <div className="gantt-bar" data-state="lead" style={{ left: `${share(attempt.start, scale)}%`, width: `${share(end, scale) - share(attempt.start, scale)}%` }} />
      </td>
    </tr>
  );
}

/** Where a step was expected to run, beneath where it did. */
function Ghost({ expected, scale }: { expected?: [number, number]; scale: Scale }) {
  if (!expected) return null;
  const [from, to] = expected;
  const left = share(from, scale);
  const width = Math.min(100, share(to, scale)) - left;
  return <div className="gantt-bar" data-state="forecast" style={{ left: `${left}%`, width: `${width}%` }} title={`expected ${duration((to - from) / 1000)}`} />;
}

function SpanRow({ span, stage, scale, ahead, now }: { span: Span; stage?: Stage; scale: Scale; ahead: Map<number, [number, number]>; now: number }) {
  const end = span.end ?? now;
  const left = share(span.start, scale);
  const width = Math.max(0, share(end, scale) - left);
  const ended = span.state === "done" || span.state === "cached"; // else the server has put the stage back
  const took = ended && stage ? stage.seconds : (end - span.start) / 1000;
  const forecast = stage && stage.forecast_seconds > 0 ? stage.forecast_seconds : 0;
  const expected: [number, number] | undefined = span.state !== "cached" && forecast > 0 ? [span.start, span.start + forecast * 1000] : undefined;
  return (
    <tr>
      <td>
        {span.name}
        {span.state !== "done" && <span className="tag">{span.state === "cached" ? "from the cache" : span.state}</span>}
        {span.state === "running" && stage?.progress && (
          <div className="small muted">
            <Bar value={stageProgress(stage)} label={`${span.name}: ${progressText(stage)}`} />
            {progressText(stage)}
          </div>
        )}
      </td>
      <td className="number">
        {duration(took)} <Expected>{forecast > 0 && duration(forecast)}</Expected>
      </td>
      <td className="number">
        {stage && Number(stage.peak_bytes) > 0 && bytes(stage.peak_bytes)}{" "}
        <Expected>{stage && Number(stage.forecast_peak_bytes) > 0 && bytes(stage.forecast_peak_bytes)}</Expected>
      </td>
      <td className="gantt-cell">
        <Ghost expected={(stage && ahead.get(stage.index)) ?? expected} scale={scale} />
        <div
          className="gantt-bar"
          data-state={span.state}
          style={{ left: `${left}%`, width: `${width}%` }}
          title={`${clock(new Date(span.start).toISOString())}, ${duration((end - span.start) / 1000)}`}
        />
      </td>
    </tr>
  );
}

/** What an event says in words; the whole of it is in its title. */
function said(event: JobEvent): string {
  const p = payload(event);
  if (p.name) return p.name + (p.state === "cached" ? ", from the cache" : "");
  if (p.worker) return `by ${p.worker}`;
  return why(p);
}

/** Drawn anew when there are others, not each second with the bars. */
const Events = memo(function Events({ events }: { events: JobEvent[] }) {
  return (
    <section className="block">
      <h2>Events</h2>
      <div className="events" tabIndex={0} role="region" aria-label="Events">
        <table className="plain">
          <thead className="sr">
            <tr>
              <th>Time</th>
              <th>Event</th>
              <th>About</th>
            </tr>
          </thead>
          <tbody>
            {events.toReversed().map((event) => (
              <tr key={event.number}>
                <td className="muted">
                  <time dateTime={event.time} title={exact(event.time)}>
                    {clock(event.time)}
                  </time>
                </td>
                <td>{event.type.replaceAll("_", " ")}</td>
                <td className="wrap" title={event.payload_json}>
                  {said(event)}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
});
