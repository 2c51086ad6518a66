// Where a job runs, how long it may, and how long what it makes is kept: rarely asked for, so behind a line that says what is.
import { useState } from "react";
import { type Limits, limitsText } from "../limits";
import { Choice } from "./controls";
import { inputIds, Labelled } from "./labelled";

const options = (...all: [string, string][]) => all.map(([value, label]) => ({ value, label }));
const DEVICES = options(["cpu", "cpu"], ["cuda", "cuda"]);
const PROCESSES = options(["1", "1"], ["2", "2"], ["4", "4"], ["8", "8"]);
const DISCARDED = "until discarded"; // a choice's value is not empty
const KEPT = options([DISCARDED, "Until it is discarded"], ["1d", "1 day"], ["7d", "7 days"], ["30d", "30 days"], ["90d", "90 days"], ["pinned", "Pinned: nobody discards it"]);

interface LimitFieldsProps {
  value: Limits;
  onChange: (next: Partial<Limits>) => void;
  wrong: Partial<Record<keyof Limits, string>>;
}

export function LimitFields({ value, onChange, wrong }: LimitFieldsProps) {
  const text = (key: keyof Limits, label: string, help: string, empty: string) => (
    <Labelled label={label} help={help} error={wrong[key]}>
      {(ids) => <input {...inputIds(ids)} className="field" value={value[key]} placeholder={empty} onChange={(e) => onChange({ [key]: e.target.value })} />}
    </Labelled>
  );
  const choice = (key: keyof Limits, label: string, help: string, all: { value: string; label: string }[]) => (
    <Labelled label={label} help={help} error={wrong[key]}>
      {(ids) => <Choice {...ids} value={value[key]} options={all} onChange={(next) => onChange({ [key]: next })} />}
    </Labelled>
  );
  const kept = value.kept || DISCARDED;
  const [open, setOpen] = useState(false);
  return (
    <details className="facts-more" open={open || Object.keys(wrong).length > 0} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>
        Where it runs, and limits <span className="muted">{limitsText(value)}</span>
      </summary>
      <div className="grid">
        {choice("device", "Device", "The kind of worker that it waits for.", DEVICES)}
        {choice("processes", "Processes", "They share calibration and training; on cuda each takes a device.", PROCESSES)}
        {text("threads", "Threads", "Of each process.", "the worker’s")}
        {text("memory", "Memory", "All processes together: 4GB, 512MiB.", "the worker’s")}
        {text("runtime", "Longest attempt", "90s, 10m, 2h, 1d.", "no limit")}
        {text("queued", "Longest wait", "For a worker, each time it is queued.", "no limit")}
        {text("total", "Longest in all", "From submission to the end, attempts and waits.", "no limit")}
        {text("attempts", "Attempts", "Before it counts as failed.", "5")}
        <Labelled label="Results are kept" help="From its success on." error={wrong.kept}>
          {(ids) => (
            <Choice
              {...ids}
              value={kept}
              options={KEPT.some((one) => one.value === kept) ? KEPT : [...KEPT, { value: kept, label: kept }]}
              onChange={(next) => onChange({ kept: next === DISCARDED ? "" : next })}
            />
          )}
        </Labelled>
      </div>
    </details>
  );
}
