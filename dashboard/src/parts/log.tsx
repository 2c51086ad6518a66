// What engine and worker say of a job, as they say it.
import { useLayoutEffect, useMemo, useRef, useState } from "react";
import { get, type Job, type LogLine } from "../api";
import { clock, exact } from "../format";
import { saveText } from "../save";
import { Empty, Loaded } from "./basics";
import { SearchField } from "./controls";
import { useTail } from "./tail";

const MOST = 1000; // lines, as the server keeps

/** "2026-11-28T06:02:20.123+00:00 wring-engine info rtn begins": the server's time stands beside it already. */
function parts(text: string): { level: string; words: string } {
  const match = /^\d{4}-\S+ wring-engine (\w+) (.*)$/s.exec(text);
  return match ? { level: match[1], words: match[2] } : { level: "", words: text };
}

interface Said {
  line: LogLine;
  level: string;
  words: string;
  times: number; // that it was said, one after the other
}

function said(lines: LogLine[]): Said[] {
  const all: Said[] = [];
  for (const line of lines) {
    const { level, words } = parts(line.text);
    const last = all.at(-1);
    if (last && last.words === words) ++last.times;
    else all.push({ line, level, words: words.replace(/^export (export: )/, "$1"), times: 1 });
  }
  return all;
}

export function Log({ job }: { job: Job }) {
  const query = useTail("log", job, async (after) => (await get<{ lines: LogLine[] }>(`jobs/${job.id}/log`, { after })).lines, MOST);
  return (
    <Loaded query={query}>
      {(lines) =>
        lines.length > 0 ? (
          <Lines lines={lines} job={job} />
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
function Lines({ lines, job }: { lines: LogLine[]; job: Job }) {
  const box = useRef<HTMLDivElement>(null);
  const atEnd = useRef(true);
  const [search, setSearch] = useState("");
  const all = useMemo(() => said(lines), [lines]);
  const shown = all.filter(({ words }) => words.toLowerCase().includes(search.toLowerCase()));
  const text = () => lines.map((line) => `${line.time} ${parts(line.text).words}\n`).join("");
  useLayoutEffect(() => {
    if (atEnd.current && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [lines]);
  return (
    <>
      <div className="tools">
        <SearchField label="Search the log" text={search} onChange={setSearch} />
        {search && (
          <span className="muted small" role="status">
            {shown.length} of {all.length} lines
          </span>
        )}
        <span className="tools-end">
          <button className="button" onClick={() => saveText(`${job.id}.log`, "text/plain", text())}>
            Download
          </button>
        </span>
      </div>
      <div
        ref={box}
        className="log"
        tabIndex={0}
        role="log"
        aria-label="Log"
        onScroll={({ currentTarget: b }) => (atEnd.current = b.scrollHeight - b.scrollTop - b.clientHeight < 24)}
      >
        {shown.map(({ line, level, words, times }) => (
          <div key={line.number} data-level={level}>
            <time dateTime={line.time} title={exact(line.time)}>
              {clock(line.time)}
            </time>
            <span>
              {words}
              {times > 1 && <span className="tag">{times} times</span>}
            </span>
          </div>
        ))}
      </div>
      {lines.length >= MOST && <p className="muted small">The newest {MOST.toLocaleString("en")} lines; older ones are not kept.</p>}
    </>
  );
}
