// Pictures of every view of a running server, in both themes: screenshots.mjs ADDRESS FOLDER [VIEW...]
import { mkdirSync } from "node:fs";
import { api, browser, open, views } from "./browser.mjs";

const [address, folder, ...wanted] = process.argv.slice(2);
mkdirSync(folder, { recursive: true });
const succeeded = (await api(address, "jobs?states=JOB_STATE_SUCCEEDED&page_size=50")).jobs;
const failed = (await api(address, "jobs?states=JOB_STATE_FAILED")).jobs[0];
// The job with most stages shows most; those of the model that has most jobs are compared.
const done = await api(address, "jobs/" + [...succeeded].sort((a, b) => b.stages.length - a.stages.length)[0].id);
const sized = succeeded.filter((job) => job.stages.some((stage) => stage.name.startsWith("evaluate: size")));
const ofModel = (model) => sized.filter((job) => job.spec.model === model);
const compared = sized
  .map((job) => ofModel(job.spec.model))
  .sort((a, b) => b.length - a.length)[0]
  .map((job) => job.id);
const sweep = (await api(address, "sweeps")).sweeps[0];
const tried = succeeded.filter((job) => job.stages.length === 1 && job.stages[0].name.startsWith("evaluate: sample")).slice(0, 2).map((job) => job.id);
const layer = JSON.parse(done.stages.findLast((stage) => stage.report_json.includes('"layer"')).report_json).layers[0].layer;
const all = views({ layer, done: done.id, failed: failed.id, compared, result: done.result, sweep: sweep.id, tried }).filter(
  (view) => view.name !== "try" || tried.length > 0,
);
const chrome = await browser();
for (const theme of ["light", "dark"]) {
  for (const [suffix, viewport] of [
    ["", { width: 1280, height: 820 }],
    ["-phone", { width: 390, height: 800 }],
  ]) {
    const { page, context, complaints } = await open(chrome, address, { colorScheme: theme, viewport });
    for (const view of all) {
      if (wanted.length > 0 && !wanted.includes(view.name + suffix)) continue;
      if (wanted.length === 0 && suffix && view.name !== "jobs" && view.name !== "job-results") continue;
      await page.goto(view.path);
      await page.waitForSelector(view.ready);
      if (view.name === "artifact-layer") await page.locator(view.ready).scrollIntoViewIfNeeded();
      await page.waitForTimeout(700); // charts fade in
      await page.screenshot({ path: `${folder}/${view.name}${suffix}-${theme}.png` });
    }
    for (const complaint of complaints) console.log(`${theme}${suffix}: ${complaint}`);
    await context.close();
  }
}
await chrome.close();
