// What was begun in a form, kept by this tab of the browser until it is handed in.
import { useEffect, useState } from "react";

const PREFIX = "draft ";

function read<T>(key: string): T | undefined {
  try {
    return JSON.parse(sessionStorage.getItem(PREFIX + key) ?? "null") ?? undefined;
  } catch {
    return undefined; // of another release, or the browser keeps nothing
  }
}

function write(key: string, value?: unknown) {
  try {
    if (value === undefined) sessionStorage.removeItem(PREFIX + key);
    else sessionStorage.setItem(PREFIX + key, JSON.stringify(value));
  } catch {
    // it is full, or the browser keeps nothing
  }
}

/** As useState, but what was changed is there again when the form is. `clear` forgets it; `kept`: it was not begun just now. */
export function useDraft<T extends object>(key: string, start: T) {
  const [kept] = useState(() => read<T>(key));
  const [value, setValue] = useState<T>({ ...start, ...kept });
  const [touched, setTouched] = useState(false);
  useEffect(() => {
    if (touched) write(key, value);
  }, [key, value, touched]);
  return {
    value,
    kept: kept !== undefined,
    change: (next: Partial<T>) => {
      setTouched(true);
      setValue((old) => ({ ...old, ...next }));
    },
    clear: () => {
      setTouched(false);
      write(key);
    },
  };
}

/** Who fills in forms from now on: another's drafts are not shown to him. */
export function draftsAreOf(writer: string) {
  try {
    if (sessionStorage.getItem("writer") !== writer) forgetDrafts();
    sessionStorage.setItem("writer", writer);
  } catch {
    // the browser keeps nothing
  }
}

export function forgetDrafts() {
  try {
    for (const key of Object.keys(sessionStorage)) if (key.startsWith(PREFIX)) sessionStorage.removeItem(key);
  } catch {
    // the browser keeps nothing
  }
}
