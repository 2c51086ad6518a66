// Lines of parallel coordinates picked without a pointer: a range of each axis, or some of its values.
import { useState } from "react";
import type { Areas } from "./chart";
import { Check } from "./controls";

/** An axis as it can be picked from: its marks by their names, or the ends of its scale. */
export interface PickAxis {
  id: string;
  name: string;
  marks?: string[];
  from: number;
  to: number;
}

type Range = [number, number];

const HALF = 0.4; // of the way to the next mark

const holds = (ranges: Range[], at: number) => ranges.some(([a, b]) => Math.min(a, b) <= at && at <= Math.max(a, b));

interface Props {
  axis: PickAxis;
  ranges: Range[];
  onChange: (ranges: Range[]) => void;
}

function Marks({ axis, ranges, onChange }: Props) {
  const marks = axis.marks!;
  const toggle = (mark: number, on: boolean) =>
    onChange(marks.flatMap((_, i): Range[] => ((i === mark ? on : holds(ranges, i)) ? [[i - HALF, i + HALF]] : [])));
  return marks.map((mark, i) => <Check key={mark} label={mark} checked={holds(ranges, i)} onChange={(on) => toggle(i, on)} />);
}

/** Taken over when a field is left, or by the Enter key; an empty field is its end of the scale. */
function Ends({ axis, ranges, onChange }: Props) {
  const range = ranges.at(0);
  const take = (end: 0 | 1, text: string) => {
    const ends: Range = [...(range ?? [axis.from, axis.to])];
    ends[end] = text === "" ? [axis.from, axis.to][end] : Number(text);
    if (ends[0] > ends[1]) ends[1 - end] = ends[end];
    onChange(ends[0] <= axis.from && ends[1] >= axis.to ? [] : [ends]);
  };
  return (["from", "to"] as const).map((word, end) => (
    <label key={word}>
      {word}{" "}
      <input
        key={range?.[end]}
        className="field quota"
        type="number"
        step="any"
        aria-label={`${axis.name}, ${word}`}
        defaultValue={range ? Number(range[end].toPrecision(6)) : ""}
        onBlur={(event) => event.target.value !== event.target.defaultValue && take(end as 0 | 1, event.target.value)}
        onKeyDown={(event) => event.key === "Enter" && event.currentTarget.blur()}
      />
    </label>
  ));
}

/** The same areas as are drawn along the axes. */
export function AxisPicks({ axes, areas, onAreas }: { axes: PickAxis[]; areas: Areas; onAreas: (areas: Areas) => void }) {
  const [open, setOpen] = useState(false);
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>Pick lines by their values</summary>
      {open &&
        axes.map((axis) => {
          const Fields = axis.marks ? Marks : Ends;
          return (
            <fieldset key={axis.id} className="axis-pick">
              <legend>{axis.name}</legend>
              <Fields axis={axis} ranges={areas[axis.id] ?? []} onChange={(ranges) => onAreas({ ...areas, [axis.id]: ranges })} />
            </fieldset>
          );
        })}
    </details>
  );
}
