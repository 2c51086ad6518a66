// Chromium as Debian installs it, and pages that tell of everything the policy or a script complains about.
import { chromium } from "playwright-core";

export async function browser() {
  return chromium.launch({ executablePath: process.env.WRING_CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
}

/** A page in a context of its own; `complaints` are console errors, uncaught exceptions and violations of the policy. */
export async function open(chrome, address, options = {}) {
  const context = await chrome.newContext({ baseURL: address, viewport: { width: 1280, height: 820 }, acceptDownloads: true, ...options });
  const page = await context.newPage();
  const complaints = [];
  // That an artifact was deleted is no fault of the page that asks for it.
  const isGone = (message) => /404/.test(message.text()) && /\/artifacts\/[0-9a-f]{64}$/.test(message.location().url);
  page.on("console", (message) => message.type() === "error" && !isGone(message) && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("dialog", (dialog) => {
    complaints.push(`a dialog said: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.setDefaultTimeout(20_000);
  return { page, context, complaints };
}

export async function api(address, path) {
  const response = await fetch(`${address}/api/v1/${path}`);
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  return response.json();
}

/** Counts the clicks that reach the page, over its reloads; `clicks()` says how many. */
export async function countClicks(page) {
  await page.addInitScript(() =>
    addEventListener("click", () => sessionStorage.setItem("clicks", Number(sessionStorage.getItem("clicks")) + 1), true),
  );
  return () => page.evaluate(() => Number(sessionStorage.getItem("clicks")));
}

/** Every view, with what shows that it is there. */
export function views({ done, failed, compared, result, layer, sweep, tried }) {
  return [
    { name: "jobs", path: "/jobs", ready: "table.jobs tbody tr" },
    { name: "jobs-empty", path: "/jobs?name=nothing-is-called-so", ready: ".empty" },
    { name: "job-results", path: `/jobs/${done}?tab=results`, ready: "table[aria-label='Before and after']" },
    { name: "job-timeline", path: `/jobs/${done}?tab=timeline`, ready: ".gantt-bar" },
    { name: "job-log", path: `/jobs/${done}?tab=log`, ready: ".log" },
    { name: "job-layers", path: `/jobs/${done}?tab=layers`, ready: ".chart canvas" },
    { name: "job-recipe", path: `/jobs/${done}?tab=recipe`, ready: "pre.code" },
    { name: "job-recipe-diff", path: `/jobs/${done}?tab=recipe&against=${compared.find((id) => id !== done)}`, ready: "pre.diff" },
    { name: "job-files", path: `/jobs/${done}?tab=files`, ready: "table[aria-label='Files']" },
    { name: "job-failed", path: `/jobs/${failed}`, ready: ".notice.bad" },
    { name: "compare", path: `/compare?jobs=${compared.join(",")}`, ready: ".chart canvas" },
    { name: "compare-choose", path: "/compare", ready: ".choose" },
    { name: "sweeps", path: "/sweeps", ready: "table[aria-label='Sweeps']" },
    { name: "sweep", path: `/sweeps/${sweep}`, ready: ".chart canvas" },
    { name: "sweep-trials", path: `/sweeps/${sweep}?tab=trials`, ready: "table[aria-label='Trials']" },
    { name: "sweep-parameters", path: `/sweeps/${sweep}?tab=parameters`, ready: ".chart canvas" },
    { name: "sweep-space", path: `/sweeps/${sweep}?tab=space`, ready: "pre.code" },
    { name: "sweep-new", path: "/sweeps/new", ready: ".good-text" },
    { name: "submit", path: `/submit?from=${done}`, ready: ".step" },
    { name: "artifacts", path: "/artifacts", ready: "table[aria-label='Artifacts']" },
    { name: "artifact", path: `/artifacts/${result}`, ready: ".chart canvas" },
    { name: "artifact-layer", path: `/artifacts/${result}?layer=${layer}`, ready: ".layer .chart canvas" },
    { name: "try", path: `/try?model=${result}&jobs=${tried.join(",")}`, ready: "blockquote" },
    { name: "workers", path: "/workers", ready: ".workers tbody tr" },
    { name: "access", path: "/access", ready: "table[aria-label='Projects']" },
  ];
}
