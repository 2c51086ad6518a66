// Light, dark or the system's: kept in this browser; colours themselves are in styles.css.
import { useSyncExternalStore } from "react";

export type Theme = "system" | "light" | "dark";
const KEY = "wring-theme";
const listeners = new Set<() => void>();
const dark = matchMedia("(prefers-color-scheme: dark)");

export function theme(): Theme {
  const kept = localStorage.getItem(KEY);
  return kept === "light" || kept === "dark" ? kept : "system";
}

export function setTheme(next: Theme) {
  localStorage.setItem(KEY, next);
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
