// Small parts that every page is made of: states, times, digests, and what to show while there is nothing to show.
import { Progress } from "@base-ui/react/progress";
import { type ReactNode, useEffect, useSyncExternalStore } from "react";
import { Link } from "wouter";
import { isGone, Problem, serverNow, type State, type SweepState } from "../api";
import { ago, exact, short } from "../format";

export const stateText = (state: State | SweepState) => state.charAt(0) + state.slice(1).toLowerCase();

export function StateBadge({ state }: { state: State | SweepState }) {
  return (
    <span className="badge" data-state={state}>
      <span className="dot" aria-hidden />
      {stateText(state)}
    </span>
  );
}

// One clock for all that counts: a long list would have a timer in each of its rows.
const clock = { now: serverNow(), timer: 0, told: new Set<() => void>() };

function tick() {
  clock.now = serverNow();
  for (const tell of clock.told) tell();
}

function watchClock(tell: () => void): () => void {
  if (clock.told.size === 0) {
    clock.now = serverNow();
    clock.timer = window.setInterval(tick, 1000);
  }
  clock.told.add(tell);
  return () => {
    clock.told.delete(tell);
    if (clock.told.size === 0) clearInterval(clock.timer);
  };
}

const never = () => () => {};

/** The time now, once a second, for whatever counts up or down. */
export function useNow(active = true): number {
  return useSyncExternalStore(active ? watchClock : never, () => clock.now);
}

/** How long ago it was, drawn anew when the words change. */
function useAgo(time?: string): string {
  return useSyncExternalStore(watchClock, () => (time ? ago(time, clock.now) : ""));
}

export function Time({ time }: { time?: string }) {
  const said = useAgo(time);
  if (!time) return <span className="muted">–</span>;
  return (
    <time dateTime={time} title={exact(time)}>
      {said}
    </time>
  );
}

export function Digest({ digest, to }: { digest: string; to?: string }) {
  const text = <code title={digest}>{short(digest)}</code>;
  return to ? <Link href={to}>{text}</Link> : text;
}

export function Bar({ value, label }: { value: number | null; label: string }) {
  return (
    <Progress.Root className="bar" value={value === null ? null : Math.min(100, value * 100)} aria-label={label}>
      <Progress.Track className="bar-track">
        <Progress.Indicator className="bar-fill" />
      </Progress.Track>
    </Progress.Root>
  );
}

export function Failure({ error, retry }: { error: unknown; retry?: () => void }) {
  const problem = error instanceof Problem ? error : new Problem(0, "UNEXPECTED", String(error));
  return (
    <div className="notice bad" role="alert">
      <strong>
        {problem.field && <code>{problem.field}</code>} {problem.message}
      </strong>
      {problem.hint && <p>{problem.hint}</p>}
      <p className="muted small">{problem.reason}</p>
      {retry && (
        <button className="button" onClick={retry}>
          Try again
        </button>
      )}
    </div>
  );
}

export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="empty">
      <svg width="56" height="40" viewBox="0 0 56 40" fill="none" stroke="currentColor" strokeWidth="2" strokeLinecap="round" aria-hidden>
        <path d="M6 6h44M12 16h32M18 26h20M24 34h8" />
      </svg>
      <h2>{title}</h2>
      {children}
    </div>
  );
}

/** A table that scrolls sideways where it is wider than the page, by keyboard too. */
export function Table({ label, className = "", children }: { label: string; className?: string; children: ReactNode }) {
  return (
    <div className="scroll" tabIndex={0} role="region" aria-label={label}>
      <table role="table" className={`plain ${className}`.trimEnd()} aria-label={label}>
        {children}
      </table>
    </div>
  );
}

/** Below a list that ends before its end. */
export const More = ({ more, count }: { more: boolean; count: number }) =>
  more && <p className="muted small">The first {count.toLocaleString("en")}; there are more, which the page does not list.</p>;

/** Grey rows in the shape of what is to come. */
export function Loading({ rows = 6 }: { rows?: number }) {
  return (
    <div className="loading" role="status" aria-label="Loading">
      {Array.from({ length: rows }, (_, i) => (
        <div key={i} className="skeleton" />
      ))}
    </div>
  );
}

/** `home`: the view that lists what is there. */
function Gone({ error, home }: { error: Problem; home: string }) {
  useTitle("Not here");
  return (
    <>
      <div className="head">
        <h1>Not here</h1>
      </div>
      <Empty title="It is not here, or not any more">
        <p className="muted">The server says: {error.message}.</p>
        <Link href={`/${home}`}>To the {home}</Link>
      </Empty>
    </>
  );
}

/** Of a query: its failure where there is nothing to show, its loading, or the page. What was shown stays on a failed poll. */
export function Loaded<T>({
  query,
  rows,
  home,
  children,
}: {
  query: { data: T | undefined; error: unknown; refetch: () => void };
  rows?: number;
  home?: string; // of a page about one thing: the view that lists them
  children: (data: T) => ReactNode;
}) {
  if (home && isGone(query.error)) return <Gone error={query.error as Problem} home={home} />;
  if (query.data === undefined)
    return query.error ? <Failure error={query.error} retry={() => query.refetch()} /> : <Loading rows={rows} />;
  return (
    <>
      {query.error instanceof Problem && (
        <div className="notice warn" role="status">
          {query.error.message} What is shown may be old.
        </div>
      )}
      {children(query.data)}
    </>
  );
}

export function useTitle(title: string) {
  useEffect(() => {
    document.title = `${title} · Wring`;
  }, [title]);
}

const narrow = matchMedia("(max-width: 500px)");
const watchNarrow = (tell: () => void) => {
  narrow.addEventListener("change", tell);
  return () => narrow.removeEventListener("change", tell);
};

/** Whether the screen is a phone's, upright. */
export const useNarrow = () => useSyncExternalStore(watchNarrow, () => narrow.matches);
