// What an area drawn among parallel coordinates has picked, and the way back to all.
import { useEffect, useState } from "react";
import { Link, useSearchParams } from "wouter";
import { MOST_COMPARED } from "../compare";
import type { Areas } from "./chart";
import { useSettled } from "./search_choice";

const isRange = (range: unknown) => Array.isArray(range) && range.length === 2 && range.every(Number.isFinite);

function areasOf(text: string | null): Areas {
  try {
    const all = Object.entries(JSON.parse(text ?? "{}") as Areas);
    return Object.fromEntries(all.filter(([, ranges]) => Array.isArray(ranges) && ranges.every(isRange)));
  } catch {
    return {}; // an address that somebody has cut
  }
}

/** What is drawn among the lines; in the address once the pointer rests. */
export function useAreas(): [Areas, (areas: Areas) => void] {
  const [params, setParams] = useSearchParams();
  const [areas, setAreas] = useState(() => areasOf(params.get("lines")));
  const drawn = Object.entries(areas).filter(([, ranges]) => ranges.length > 0);
  const text = useSettled(drawn.length > 0 ? JSON.stringify(Object.fromEntries(drawn)) : "");
  useEffect(() => {
    if (text !== (params.get("lines") ?? "")) setParams((old) => (text ? old.set("lines", text) : old.delete("lines"), old), { replace: true });
  }, [text]);
  return [areas, setAreas];
}

/** To these jobs side by side, as many as may be; nothing where they are too few. */
export function CompareLink({ jobs, children }: { jobs: string[]; children: string }) {
  if (jobs.length < 2) return null;
  return (
    <Link href={`/compare?jobs=${jobs.slice(0, MOST_COMPARED).join(",")}`}>
      {children}
      {jobs.length > MOST_COMPARED && ` (the first ${MOST_COMPARED})`}
    </Link>
  );
}

export function Picked({ count, all, what, clear, jobs = [] }: { count: number; all: number; what: string; clear: () => void; jobs?: string[] }) {
  return (
    <div className="tools">
      <span className="muted small" role="status">
        {count} of {all} {what} picked by their lines
      </span>
      <CompareLink jobs={jobs}>Compare them</CompareLink>
      <button className="link" onClick={clear}>
        Show all
      </button>
    </div>
  );
}
