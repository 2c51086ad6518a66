// What engine and worker say of a job, as they say it.
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useLayoutEffect, useRef } from "react";
import { get, isActive, type Job, type LogLine } from "../api";
import { clock, exact } from "../format";
import { Empty, Loaded } from "./basics";

const MOST = 1000; // lines, as the server keeps

/** "2026-11-28T06:02:20.123+00:00 wring-engine info rtn begins": the server's time stands beside it already. */
function parts(text: string): { level: string; words: string } {
  const match = /^\d{4}-\S+ wring-engine (\w+) (.*)$/s.exec(text);
  return match ? { level: match[1], words: match[2] } : { level: "", words: text };
}

export function Log({ job }: { job: Job }) {
  const client = useQueryClient();
  const queryKey = ["log", job.id];
  const query = useQuery({
    queryKey,
    queryFn: async () => {
      const known = client.getQueryData<LogLine[]>(queryKey) ?? [];
      const page = await get<{ lines: LogLine[] }>(`jobs/${job.id}/log`, { after: known.at(-1)?.number ?? 0 });
      return known.concat(page.lines).slice(-MOST);
    },
    refetchInterval: isActive(job.state) ? 1000 : false,
  });
  return (
    <Loaded query={query}>
      {(lines) =>
        lines.length > 0 ? (
          <Lines lines={lines} />
        ) : (
          <Empty title="Nothing was said yet">
            <p className="muted">What the engine and its worker say appears here while the job runs.</p>
          </Empty>
        )
      }
    </Loaded>
  );
}

/** Stays at its end as lines come, unless somebody has scrolled up. */
function Lines({ lines }: { lines: LogLine[] }) {
  const box = useRef<HTMLDivElement>(null);
  const atEnd = useRef(true);
  useLayoutEffect(() => {
    if (atEnd.current && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [lines]);
  return (
    <div
      ref={box}
      className="log"
      tabIndex={0}
      role="log"
      aria-label="Log"
      onScroll={({ currentTarget: b }) => (atEnd.current = b.scrollHeight - b.scrollTop - b.clientHeight < 24)}
    >
      {lines.map((line) => {
        const { level, words } = parts(line.text);
        return (
          <div key={line.number} data-level={level}>
            <time dateTime={line.time} title={exact(line.time)}>
              {clock(line.time)}
            </time>
            <span>{words}</span>
          </div>
        );
      })}
    </div>
  );
}
