// Light, dark or the system's: kept in this browser; colours themselves are in styles.css.
import { useSyncExternalStore } from "react";

export type Theme = "system" | "light" | "dark";
const KEY = "wring-theme";
const listeners = new Set<() => void>();
const dark = matchMedia("(prefers-color-scheme: dark)");

let chosen = kept();

/** Where the browser keeps nothing for a page, a choice is for as long as the page is open. */
function kept(): Theme {
  try {
    const text = localStorage.getItem(KEY);
    return text === "light" || text === "dark" ? text : "system";
  } catch {
    return "system";
  }
}

export const theme = () => chosen;

export function setTheme(next: Theme) {
  chosen = next;
  try {
    localStorage.setItem(KEY, next);
  } catch {
    // the browser keeps nothing
  }
  applyTheme();
}

export function applyTheme() {
  document.documentElement.style.colorScheme = theme() === "system" ? "light dark" : theme();
  for (const listener of listeners) listener();
}

dark.addEventListener("change", applyTheme);

function subscribe(listener: () => void) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export const useTheme = () => useSyncExternalStore(subscribe, theme);

const shown = () => (theme() === "system" ? (dark.matches ? "dark" : "light") : theme());
/** Changes where the colours on the screen do. */
export const useShownTheme = () => useSyncExternalStore(subscribe, shown);

/** What a colour of styles.css is at the moment: charts draw on a canvas and need the value. */
export function color(name: string): string {
  const probe = document.createElement("span");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}
