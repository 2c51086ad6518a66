// What engine and worker say of a job, as they say it.
import { useLayoutEffect, useMemo, useRef, useState } from "react";
import { get, type Job, type LogLine } from "../api";
import { bytes, clock, exact } from "../format";
import { saveText } from "../save";
import { Empty, Loaded } from "./basics";
import { SearchField } from "./controls";
import { Copy } from "./copy";
import { useTail } from "./tail";

const MOST = 1000; // lines, as the server keeps

/** "export export: gguf took 0.007651 s, peak 1.055e+08 bytes" as people read it. */
const told = (words: string) =>
  words
    .replace(/^export (export: )/, "$1")
    .replace(/\b(\d[\d.]*(?:e[+-]?\d+)?) bytes\b/g, (_, size) => bytes(Math.round(Number(size))))
    .replace(/\b(\d*\.\d+(?:e[+-]?\d+)?) s\b/g, (_, seconds) => `${Number(Number(seconds).toPrecision(2))} s`);

/** "2026-11-28T06:02:20.123+00:00 wring-engine info rtn begins": when it was said. The server hears of many lines at once, later. */
function parts({ time, text }: LogLine): { time: string; level: string; words: string } {
  const match = /^(\d{4}-\S+) wring-engine (\w+) (.*)$/s.exec(text);
  if (!match) return { time, level: "", words: text };
  const said = Date.parse(match[1]);
  return { time: Number.isNaN(said) ? time : new Date(said).toISOString(), level: match[2], words: told(match[3]) };
}

interface Said {
  number: string;
  time: string;
  level: string;
  words: string;
  times: number; // that it was said, one after the other
}

function said(lines: LogLine[]): Said[] {
  const all: Said[] = [];
  for (const line of lines) {
    const { time, level, words } = parts(line);
    const last = all.at(-1);
    if (last && last.words === words) ++last.times;
    else all.push({ number: line.number, time, level, words, times: 1 });
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
  const text = () =>
    lines
      .map(parts)
      .map(({ time, words }) => `${time} ${words}\n`)
      .join("");
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
          <Copy text={text} what="the log" />
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
        {shown.map(({ number, time, level, words, times }) => (
          <div key={number} data-level={level}>
            <time dateTime={time} title={exact(time)}>
              {clock(time)}
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
