// Pictures of every view of a running server, in both themes: screenshots.mjs ADDRESS FOLDER [VIEW...]
// Those of a job that runs or waits are of one that does. WRING_CLOSED is the address of a server that asks for a token, WRING_TOKEN an admin's there;
// WRING_THEME takes one theme alone.
import { mkdirSync } from "node:fs";
import { api, browser, open, views } from "./browser.mjs";

const [address, folder, ...wanted] = process.argv.slice(2);
mkdirSync(folder, { recursive: true });
const newest = async (state) => (await api(address, `jobs?states=JOB_STATE_${state}&page_size=50`)).jobs;
const succeeded = await newest("SUCCEEDED");
const [[failed], [running], waiting] = await Promise.all(["FAILED", "RUNNING", "QUEUED"].map(newest));
// The job with most stages shows most; those of the model that has most jobs are compared.
const done = await api(address, "jobs/" + [...succeeded].sort((a, b) => b.stages.length - a.stages.length)[0].id);
const sized = succeeded.filter((job) => !job.spec.name.includes("/") && job.attempt === 1 && job.stages.some((stage) => stage.name.startsWith("evaluate: size"))); // no trials
const ofModel = (model) => sized.filter((job) => job.spec.model === model);
const compared = sized
  .map((job) => ofModel(job.spec.model))
  .sort((a, b) => b.length - a.length)[0]
  .slice(0, 6)
  .map((job) => job.id);
const queued = waiting.find((job) => job.ahead > 0) ?? waiting[0];
const retried = succeeded.find((job) => job.attempt > 1) ?? done;
const sweep = (await api(address, "sweeps")).sweeps[0];
const tried = succeeded
  .filter((job) => job.stages.length === 1 && job.stages[0].name.startsWith("evaluate: sample"))
  .slice(0, 2)
  .map((job) => job.id)
  .reverse(); // the dense model's first
const layer = JSON.parse(done.stages.findLast((stage) => stage.report_json.includes('"layer"')).report_json).layers[0].layer;

const PHONE = ["jobs", "job-results", "job-timeline", "compare", "workers", "submit"];
const TALL = ["compare", "artifact", "submit", "submit-plan", "job-results"]; // what matters is further down than a screen
const all = [
  ...views({ layer, done: done.id, failed: failed.id, compared, result: done.result, sweep: sweep.id, tried }).filter(
    (view) => (view.name !== "try" || tried.length > 0) && view.name !== "access" && (view.name !== "jobs" || !running),
  ),
  running && {
    name: "jobs",
    path: "/jobs",
    ready: "table.jobs tbody tr",
    act: (page) => page.getByText(/ left$/).first().waitFor({ timeout: 60_000 }),
  },
  { name: "job-retried", path: `/jobs/${retried.id}?tab=timeline`, ready: ".gantt-attempt" },
  running && { name: "job-running", path: `/jobs/${running.id}`, ready: ".gantt-bar[data-state=running]" },
  queued && { name: "job-queued", path: `/jobs/${queued.id}`, ready: ".notice" },
  !running && {
    name: "submit-plan", // it waits for a worker as any job does
    path: `/submit?from=${done.id}`,
    ready: ".good-text",
    async act(page, theme) {
      const recipe = page.getByLabel("Recipe", { exact: true });
      await recipe.fill((await recipe.inputValue()).replaceAll(/(group_size *[=:] *)\d+/g, "$1" + (theme === "light" ? 96 : 192))); // none that was made before
      await page.getByText("The server accepts this recipe.").waitFor();
      await page.getByRole("button", { name: "Estimate time and memory" }).click();
      await page.locator("table[aria-label=Plan]").waitFor({ timeout: 120_000 });
    },
  },
  {
    name: "unreachable",
    path: "/jobs",
    ready: "table.jobs",
    async act(page) {
      await page.route("**/api/v1/artifacts*", (route) => route.abort());
      await page.getByRole("link", { name: "Artifacts" }).click();
      await page.getByText("The server does not answer.").first().waitFor();
    },
  },
  process.env.WRING_CLOSED && { name: "login", path: process.env.WRING_CLOSED, ready: ".login" },
  process.env.WRING_TOKEN && {
    name: "access",
    path: `${process.env.WRING_CLOSED}/access`,
    ready: ".login",
    async act(page) {
      await page.getByLabel("Token").fill(process.env.WRING_TOKEN);
      await page.getByRole("button", { name: "Log in" }).click();
      await page.getByRole("row", { name: /viewer/i }).waitFor();
    },
  },
].filter(Boolean);

const chrome = await browser();
for (const theme of process.env.WRING_THEME ? [process.env.WRING_THEME] : ["light", "dark"]) {
  for (const [suffix, viewport] of [
    ["", { width: 1280, height: 820 }],
    ["-phone", { width: 390, height: 800 }],
  ]) {
    for (const view of all) {
      if (wanted.length > 0 && !wanted.includes(view.name + suffix)) continue;
      if (suffix && !PHONE.includes(view.name)) continue;
      const { page, context, complaints } = await open(chrome, address, { colorScheme: theme, reducedMotion: "reduce", viewport });
      try {
        await page.goto(view.path);
        await page.waitForSelector(view.ready);
        await view.act?.(page, theme);
      } catch (error) {
        console.log(`FAILED ${view.name}${suffix} ${theme}: ${error.message}`);
        process.exitCode = 1; // the others are taken all the same
        await context.close();
        continue;
      }
      if (view.name === "artifact-layer") await page.locator(view.ready).scrollIntoViewIfNeeded();
      await page.waitForTimeout(700); // charts and rows come to rest
      await page.screenshot({ path: `${folder}/${view.name}${suffix}-${theme}.png`, fullPage: !suffix && TALL.includes(view.name) });
      if (view.name !== "unreachable") for (const complaint of complaints) console.log(`${view.name}${suffix} ${theme}: ${complaint}`);
      await context.close();
    }
  }
}
await chrome.close();
