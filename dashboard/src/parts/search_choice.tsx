// One of many, which the server is asked for as a part of its name is written: artifacts, jobs.
import { Combobox } from "@base-ui/react/combobox";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { type Artifact, get, type Job, Problem, stateNames } from "../api";
import { bytes, short } from "../format";
import { TRIED } from "../job_text";
import { Caret, type Option, Tick } from "./controls";
import type { Ids } from "./labelled";

const MOST = 50;

/** The text once typing has paused. */
export function useSettled(text: string): string {
  const [settled, setSettled] = useState(text);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(text), 200);
    return () => clearTimeout(timer);
  }, [text]);
  return settled;
}

interface SearchChoiceProps extends Partial<Ids> {
  label?: string;
  what: string; // "Search models"
  about: string[]; // key of the query, but for the text
  search: (text: string) => Promise<Option[]>;
  value: string;
  selected?: Option; // what is known of the value
  onChange: (value: string) => void;
  placeholder: string;
}

function SearchChoice({ label, what, about, search, value, selected, onChange, placeholder, id, labelledBy, describedBy, invalid }: SearchChoiceProps) {
  const [open, setOpen] = useState(false);
  const [text, setText] = useState("");
  const settled = useSettled(text);
  const query = useQuery({
    queryKey: [...about, settled],
    queryFn: () => search(settled),
    enabled: open,
    placeholderData: keepPreviousData,
    staleTime: 5000,
  });
  const options = query.data ?? [];
  const chosen = value === "" ? null : (options.find((option) => option.value === value) ?? selected ?? { value, label: short(value) });
  const told =
    query.error instanceof Problem
      ? query.error.message
      : query.isPending || settled !== text
        ? "Searching…"
        : options.length === 0
          ? text
            ? `None has “${text}” in its name.`
            : "There is none yet."
          : options.length >= MOST
            ? "The newest of them; write a part of its name to find others."
            : "";
  return (
    <Combobox.Root
      items={options}
      filter={null}
      value={chosen}
      onValueChange={(next) => onChange((next as Option | null)?.value ?? "")}
      isItemEqualToValue={(a: Option, b: Option) => a.value === b.value}
      inputValue={text}
      onInputValueChange={(next, { reason }) => setText(reason === "item-press" ? "" : next)}
      open={open}
      onOpenChange={(next) => {
        setOpen(next);
        setText("");
      }}
    >
      <Combobox.Trigger className="field select" id={id} aria-label={label} aria-labelledby={labelledBy} aria-describedby={describedBy} aria-invalid={invalid || undefined}>
        <span className="select-value" data-placeholder={chosen ? undefined : ""}>
          {chosen?.label ?? placeholder}
        </span>
        <Combobox.Icon className="select-icon">
          <Caret />
        </Combobox.Icon>
      </Combobox.Trigger>
      <Combobox.Portal>
        <Combobox.Positioner sideOffset={4} align="start" className="popup-place">
          <Combobox.Popup className="popup" aria-label={what}>
            <Combobox.Input className="field popup-search" placeholder={what} aria-label={what} />
            <Combobox.Status className="popup-status muted small">{told}</Combobox.Status>
            <Combobox.List className="popup-list">
              {(option: Option) => (
                <Combobox.Item key={option.value} value={option} className="popup-item">
                  <span>{option.label}</span>
                  {option.detail && <span className="muted small">{option.detail}</span>}
                  <Combobox.ItemIndicator className="popup-tick">
                    <Tick />
                  </Combobox.ItemIndicator>
                </Combobox.Item>
              )}
            </Combobox.List>
          </Combobox.Popup>
        </Combobox.Positioner>
      </Combobox.Portal>
    </Combobox.Root>
  );
}

const artifactOption = (a: Artifact): Option => ({
  value: a.digest,
  label: a.name || short(a.digest),
  detail: [bytes(a.total_bytes), short(a.digest), a.created_by_job && `made by ${a.created_by_job}`].filter(Boolean).join(" · "),
});

/** By a part of the name, or the beginning of the digest. */
async function findArtifacts(kind: string, text: string): Promise<Option[]> {
  const [byName, byDigest] = await Promise.all([
    get<{ artifacts: Artifact[] }>("artifacts", { kind, name_contains: text, page_size: MOST }),
    /^[0-9a-f]{4,64}$/.test(text) ? get<Artifact>(`artifacts/${text}`).catch(() => undefined) : undefined,
  ]);
  const all = byName.artifacts;
  if (byDigest && byDigest.kind === kind && !all.some((a) => a.digest === byDigest.digest)) all.unshift(byDigest);
  return all.map(artifactOption);
}

interface ChoiceProps {
  value: string;
  onChange: (value: string) => void;
  placeholder: string;
}

export function ArtifactChoice({ kind, ids, ...rest }: ChoiceProps & { kind: "model" | "dataset"; ids: Ids }) {
  const query = useQuery({
    queryKey: ["artifact", rest.value],
    queryFn: () => get<Artifact>(`artifacts/${rest.value}`),
    enabled: rest.value !== "",
    staleTime: Infinity,
    retry: false,
  });
  return (
    <SearchChoice
      {...ids}
      {...rest}
      what={kind === "model" ? "Search models" : "Search data sets"}
      about={["artifacts", "choice", kind]}
      search={(text) => findArtifacts(kind, text)}
      selected={query.data && artifactOption(query.data)}
    />
  );
}

/** Of the jobs that did not only sample, but for the ids `except`. `first`: an option before all. */
export function JobChoice({ label, except, states = "", first, ...rest }: ChoiceProps & { label: string; except: string[]; states?: string; first?: Option }) {
  const query = useQuery({
    queryKey: ["job", rest.value],
    queryFn: () => get<Job>(`jobs/${rest.value}`),
    enabled: rest.value !== "",
    staleTime: 60_000,
    retry: false,
  });
  const option = (job: Job): Option => ({ value: job.id, label: job.spec.name || job.id, detail: job.id });
  return (
    <SearchChoice
      {...rest}
      label={label}
      what="Search jobs"
      about={["jobs", "choice", states, String(except)]}
      search={async (text) => {
        const { jobs } = await get<{ jobs: Job[] }>("jobs", { states: stateNames(states), name_contains: text, page_size: MOST });
        const options = jobs.filter((job) => job.spec.name !== TRIED && !except.includes(job.id)).map(option);
        return first && !text ? [first, ...options] : options;
      }}
      selected={query.data && option(query.data)}
    />
  );
}
