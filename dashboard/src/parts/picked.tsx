// What an area drawn among parallel coordinates has picked, and the way back to all.
import { Link } from "wouter";

const MOST_COMPARED = 12;

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
