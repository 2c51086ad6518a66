// What must hold of the page, one test after the other on one service: page_test.mjs FACTS.json [TEST...]
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { api, countClicks } from "./browser.mjs";
import { address, all, cli, facts, jobs, run, seriousViolations, submit } from "./harness.mjs";

/** Draws an area along the first of the axes of parallel coordinates, from its upper end to its middle. */
/** By an area along the first axis, drawn again where the canvas was there before its axes were. */
async function pickUpperHalf(page, chart) {
  const told = page.getByRole("status").filter({ hasText: "picked by their lines" });
  for (let turn = 0; turn < 10 && !(await told.isVisible()); ++turn) {
    const box = await chart.boundingBox();
    const [x, top, bottom] = [box.x + 64, box.y + 48, box.y + box.height - 24];
    await page.mouse.move(x, top + 1);
    await page.mouse.down();
    await page.mouse.move(x, (top + bottom) / 2, { steps: 5 });
    await page.mouse.up();
    await told.waitFor({ timeout: 2000 }).catch(() => {});
  }
}

const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

const tests = {
  async "a job appears, shows its progress and reaches its end without a reload"({ page }) {
    await page.goto("/jobs");
    await page.waitForSelector("table.jobs tbody tr");
    await page.evaluate(() => (window.sameDocument = true));
    const id = await submit("live");
    const row = page.locator("tr", { hasText: id });
    await row.getByRole("progressbar").waitFor({ timeout: 60_000 });
    await row.getByText("Running").waitFor();
    const polls = [];
    page.on("request", (request) => request.url().includes("/api/v1/jobs?") && polls.push(Date.now()));
    await row.getByText("Succeeded").waitFor({ timeout: 180_000 });
    const waits = polls.slice(1).map((time, i) => time - polls[i]);
    // On the whole: on a busy machine a poll is heard of late, and the next one sooner after it.
    assert.ok(polls.at(-1) - polls[0] > 1900 * waits.length, `it polled after ${waits} ms`);
    assert.equal(await page.evaluate(() => window.sameDocument), true);
    await row.getByRole("link").click();
    await page.locator(".gantt-bar, table[aria-label='Before and after']").first().waitFor();
    assert.match(page.url(), new RegExp(`/jobs/${id}$`));
    await page.goBack();
    await page.waitForSelector("table.jobs");
  },

  async "a job that is watched to its end has its end on the timeline and in the log, of which only the news are asked for"({ page }) {
    const worker = (await api(address, "workers")).workers[0].id;
    await cli("pause", "worker", worker);
    const id = await submit("live");
    const cursors = [];
    const watch = async (tab, path) => {
      let ended = false; // what the page was told of the job
      await tab.route(`**/api/v1/jobs/${id}`, async (route) => {
        const response = await route.fetch();
        ended ||= (await response.json()).state === "JOB_STATE_SUCCEEDED";
        await route.fulfill({ response });
      });
      // The worst order of answers: the last events and lines come after the job's state.
      await tab.route(new RegExp(`/jobs/${id}/(events|log)`), async (route) => {
        cursors.push(Number(new URL(route.request().url()).searchParams.get("after")));
        const response = await route.fetch();
        const { events = [], lines = [] } = await response.json();
        if (ended) await route.fulfill({ response });
        else await route.fulfill({ json: { events: events.filter((event) => event.type !== "succeeded"), lines: lines.slice(0, 0) } });
      });
      await tab.goto(`/jobs/${id}?tab=${path}`);
      await tab.locator(".head-line").getByText("Queued", { exact: true }).waitFor();
    };
    const log = await page.context().newPage();
    await Promise.all([watch(page, "timeline"), watch(log, "log")]);
    await cli("resume", "worker", worker);
    for (const tab of [page, log]) await tab.locator(".head-line").getByText("Succeeded", { exact: true }).waitFor({ timeout: 180_000 });
    await page.getByRole("region", { name: "Events" }).getByText("succeeded", { exact: true }).waitFor();
    assert.equal(await page.locator(".gantt-bar[data-state=running]").count(), 0);
    await log.getByRole("log").locator("time").first().waitFor();
    assert.ok(Math.max(...cursors) > 0, "everything was asked for again");
  },

  async "the state filter and the name filter are in the address, and a reload keeps them"({ page }) {
    await page.goto("/jobs");
    await page.getByRole("button", { name: "Failed" }).click();
    await page.waitForFunction(() => document.querySelectorAll("table.jobs tbody tr").length === 1);
    assert.match(page.url(), /state=failed/);
    await page.reload();
    await page.getByText(facts.hostile, { exact: true }).waitFor();
    assert.equal(await page.locator("table.jobs tbody tr").count(), 1);
    await page.getByRole("button", { name: "All", exact: true }).click();
    await page.getByLabel("Filter by name").fill("rtn-");
    await page.waitForURL(/name=rtn-/);
    await page.waitForFunction(() => document.querySelectorAll("table.jobs tbody tr").length === 2);
    await page.goto("/jobs?state=nonsense"); // as one writes by hand
    await page.waitForSelector("table.jobs tbody tr");
    assert.equal(await page.getByRole("button", { name: "All", exact: true }).getAttribute("aria-pressed"), "true");
  },

  async "a long list is asked for as it is scrolled to, and is where it was after a look elsewhere"({ page, complaints }) {
    const tokens = new Set();
    await page.route("**/api/v1/jobs?*", async (route) => {
      // Each of the server's few jobs many times over, in pages that name the next.
      const url = new URL(route.request().url());
      const at = Number(url.searchParams.get("page_token") ?? 0);
      tokens.add(at);
      url.searchParams.delete("page_token");
      const { jobs } = await (await route.fetch({ url: url.href })).json();
      const copies = Array.from({ length: 50 }, (_, i) => ({
        ...jobs[i % jobs.length],
        id: String(at + i).padStart(12, "0"),
        create_time: new Date(1.7e12 - (at + i) * 1000).toISOString(),
      }));
      await route.fulfill({ json: { jobs: copies, next_page_token: at < 1050 ? String(at + 50) : "" } });
    });
    await page.goto("/jobs");
    const rows = page.locator("table.jobs tbody:not(.space) tr");
    await rows.first().getByRole("checkbox").click();
    assert.ok(!tokens.has(1050), "the end was asked for before it was scrolled to");
    const reached = async (id) => (await page.locator("table.jobs code", { hasText: id }).count()) > 0;
    const plain = () => page.locator("table.jobs tbody:not(.space) tr:not(:has(a))").count();
    await page.evaluate(() => {
      const flies = "table.jobs tbody:not(.space) tr:not(:has(a))";
      const look = () => (globalThis.flew ||= document.querySelector(flies) !== null);
      new MutationObserver(look).observe(document.body, { childList: true, subtree: true });
      const now = performance.now.bind(performance); // a slow machine makes few moves a second
      performance.now = () => now() / 20;
    });
    for (let turn = 0; turn < 600 && !(await reached("000000001099")); ++turn) {
      await page.mouse.wheel(0, 4000);
      await page.waitForTimeout(50);
    }
    assert.ok(await reached("000000001099"));
    assert.ok(await page.evaluate(() => delete performance.now && globalThis.flew), "rows that fly past are made in full");
    await page.waitForFunction(() => !document.querySelector("table.jobs tbody:not(.space) tr:not(:has(a, input))"));
    assert.equal(await plain(), 0, "a row that rests is drawn in full");
    assert.ok((await rows.count()) < 60, "rows that nobody sees are in the page");
    assert.equal(await page.locator("table.jobs").getAttribute("aria-rowcount"), "1101");
    const chosen = page.getByRole("region", { name: "Selected jobs" });
    await chosen.getByText("1 selected").waitFor();
    await page.locator("tr", { hasText: "000000001098" }).getByRole("checkbox").click({ modifiers: ["Shift"] });
    await chosen.getByText("1,001 selected").waitFor(); // the first, and as many as may be by one click
    const scrolled = await page.evaluate(() => scrollY);
    await page.getByRole("link", { name: "Workers" }).click();
    await page.waitForSelector(".workers tbody tr");
    await page.goBack();
    await rows.first().waitFor();
    await page.waitForFunction((y) => Math.abs(scrollY - y) < 100, scrolled);
    await page.unroute("**/api/v1/jobs?*");
    assert.ok(complaints.splice(0).every((line) => line.includes("404"))); // the jobs that were made up have no figures
  },

  async "a model's name that could not be fetched is there once it can be"({ page, complaints }) {
    let away = true;
    await page.route("**/api/v1/artifacts/*", (route) => (away ? route.fulfill({ status: 503, json: { detail: "not now" } }) : route.continue()));
    await page.goto("/jobs?name=gptq");
    const row = page.locator("table.jobs tbody tr").first();
    await row.waitFor();
    await page.waitForTimeout(5000); // it has been asked for thrice
    assert.equal(await row.getByText("tiny").count(), 0);
    away = false;
    await page.getByRole("link", { name: "Workers" }).click();
    await page.waitForSelector(".workers tbody tr");
    await page.goBack();
    await row.getByText("tiny").waitFor();
    assert.ok(complaints.splice(0).every((line) => line.includes("503")));
  },

  async "why a job failed is one click away"({ page }) {
    const clicks = await countClicks(page);
    await page.goto("/jobs");
    await page.getByRole("link", { name: facts.hostile }).click();
    const why = page.getByRole("alert");
    await why.getByText("stages[0].params.group_size").waitFor();
    await why.getByText(/48 does not divide the \d+ input features/).waitFor();
    await why.getByText(/accepts a divisor/).waitFor();
    assert.equal(await clicks(), 1);
  },

  async "the best of a sweep at a size is two clicks and the size away"({ page }) {
    const clicks = await countClicks(page);
    const { trials } = await api(address, `sweeps/${facts.sweep}/trials`);
    const value = (trial, metric) => trial.metrics.find((m) => m.metric === metric).value;
    const sizes = trials.map((trial) => value(trial, "weight_bytes")).sort((a, b) => a - b);
    const most = Math.ceil(sizes[sizes.length - 2] / 1000); // kB: the largest is out
    const allowed = trials.filter((trial) => value(trial, "weight_bytes") <= most * 1000);
    const best = allowed.reduce((a, b) => (value(b, "kl_mean") < value(a, "kl_mean") ? b : a));
    await page.goto("/sweeps");
    await page.getByRole("link", { name: "bits", exact: true }).click();
    await page.getByLabel("Best at no more than").click();
    await page.keyboard.type(`${most} kB`);
    await page.getByRole("status").getByRole("link", { name: `trial ${best.number}`, exact: true }).click();
    await page.waitForURL(new RegExp(`/jobs/${best.job_id}$`));
    assert.ok((await clicks()) <= 4, `${await clicks()} clicks`);
    await page.locator(".facts").getByRole("link", { name: facts.sweep }).click(); // and back to its sweep
    await page.waitForURL(new RegExp(`/sweeps/${facts.sweep}`));
  },

  async "a sweep's jobs are listed alone, and the list without any trial"({ page }) {
    const { trials } = await api(address, `sweeps/${facts.sweep}/trials`);
    const names = () => page.locator("table.jobs tbody tr .cell-name code").allInnerTexts();
    await page.goto(`/sweeps/${facts.sweep}`);
    await page.getByRole("link", { name: "Its jobs" }).click();
    await page.waitForURL(new RegExp(`/jobs\\?sweep=${facts.sweep}$`));
    await page.waitForFunction((count) => document.querySelectorAll("table.jobs tbody tr .cell-name").length === count, trials.length);
    assert.deepEqual(await names(), trials.map(({ job_id }) => job_id).reverse());
    await page.getByRole("button", { name: `Jobs of any sweep or none, not of ${facts.sweep} alone` }).click();
    await page.getByRole("button", { name: "Without", exact: true }).click();
    await page.waitForURL(/\/jobs\?sweep=none$/);
    await page.waitForFunction((id) => document.querySelector("table.jobs tbody tr") && ![...document.querySelectorAll("table.jobs code")].some((code) => code.textContent === id), trials[0].job_id);
    const ids = trials.map(({ job_id }) => job_id);
    assert.ok(!(await names()).some((id) => ids.includes(id)));
    await page.getByRole("button", { name: "With trials" }).click();
    await page.waitForURL(/\/jobs$/);
  },

  async "running again with 3 bits takes four clicks, which layer lost most two"({ page }) {
    const clicks = await countClicks(page);
    await page.goto("/jobs");
    await page.getByRole("link", { name: "rtn-8bit", exact: true }).click();
    await page.getByRole("link", { name: "Run again with changes" }).click();
    await page.getByText("The server accepts this recipe.").waitFor();
    await page.getByRole("group", { name: /^bits/ }).getByRole("button", { name: "3" }).click();
    await page.getByText("The server accepts this recipe.").waitFor();
    await page.getByRole("button", { name: "Submit" }).click();
    await page.waitForURL(/\/jobs\/[a-z0-9]{12}$/);
    assert.ok((await clicks()) <= 4, `${await clicks()} clicks`);
    assert.match((await api(address, "jobs/" + page.url().split("/").at(-1))).spec.recipe, /bits: 3/);
    await page.goto("/jobs?name=gptq");
    const before = await clicks();
    await page.getByRole("link", { name: "gptq", exact: true }).click();
    await page.getByRole("tab", { name: "Layers" }).click();
    await page.locator("table[aria-label=Layers] tbody tr").first().waitFor();
    assert.ok((await clicks()) - before <= 4);
  },

  async "what waits, why, and how many go first is three clicks away"({ page }) {
    const clicks = await countClicks(page);
    const ids = [await submit("endless"), await submit("endless"), await submit("endless")];
    await page.goto("/jobs");
    await page.getByRole("button", { name: "Active" }).click();
    await page.locator("tr", { hasText: ids[2] }).getByText("Waits: all workers that fit are busy").waitFor();
    await page.locator("tr", { hasText: ids[2] }).getByRole("link").click();
    await page.getByText("1 job goes first.").waitFor();
    assert.ok((await clicks()) <= 4);
    await page.getByRole("button", { name: "Pause" }).click();
    await page.getByText(/Waits: paused/).waitFor();
    const next = await page.context().newPage();
    await next.route(/\/api\/v1\/jobs\?states=JOB_STATE_RUNNING/, async (route) => {
      const { jobs: running } = await (await route.fetch()).json();
      const other = structuredClone(running.find((job) => job.stages.some((stage) => stage.progress)) ?? running[0]);
      for (const stage of other.stages) if (stage.progress) stage.progress.eta_seconds = 0.1;
      Object.assign(other.spec, { name: "on another device", resources: { ...other.spec.resources, device: "cuda" } });
      await route.fulfill({ json: { jobs: [...running, other], next_page_token: "" } });
    });
    await next.goto(`/jobs/${ids[1]}`);
    await next.getByText("It is the next of its project.").waitFor();
    await next.getByText(/Of those that run, endless is expected to end first, in (at least|about) \d+:\d\d/).waitFor({ timeout: 60_000 });
    await next.close();
    for (const id of ids) await cli("cancel", id);
    await page.getByText("Cancelled", { exact: true }).waitFor();
    await page.getByRole("button", { name: "More" }).click();
    await page.getByRole("menuitem", { name: "Delete" }).click();
    await page.getByRole("button", { name: "Delete the job" }).click();
    await page.waitForURL(/\/jobs$/);
    await assert.rejects(api(address, `jobs/${ids[2]}`), /404/);
  },

  async "two recipes differ by the lines that differ"({ page }) {
    await page.goto(`/jobs/${jobs.gptq}?tab=recipe`);
    await page.locator(".hljs-string, .hljs-attr").first().waitFor();
    await page.getByRole("combobox", { name: "Compare with" }).click();
    await page.getByRole("option").nth(1).waitFor();
    await page.getByRole("combobox", { name: "Search jobs" }).fill("tn-3b");
    await page.waitForFunction(() => document.querySelectorAll("[role=option]").length === 1);
    await page.getByRole("option", { name: /rtn-3bit/ }).click();
    await page.locator("ins", { hasText: "method: gptq" }).waitFor();
    await page.locator("del", { hasText: "method: rtn" }).waitFor();
    assert.match(page.url(), new RegExp(`against=${jobs["rtn-3bit"]}`));
    assert.equal(await page.locator("ins, del", { hasText: "suite: size" }).count(), 0);
  },

  async "two jobs are compared with the better figure marked, and go out as CSV"({ page }) {
    await page.goto("/jobs?name=rtn-");
    for (const name of ["rtn-3bit", "rtn-8bit"])
      await page.locator("tr", { hasText: jobs[name] }).getByRole("checkbox").click();
    await page.getByRole("region", { name: "Selected jobs" }).getByRole("link", { name: "Compare" }).click();
    await page.waitForSelector(".chart canvas");
    const size = page.locator("tr", { hasText: "Bytes on disk" });
    await size.waitFor();
    const small = await api(address, `jobs/${jobs["rtn-3bit"]}`);
    const column = await page.locator("table.compare thead th").evaluateAll((heads) => heads.map((head) => head.firstChild.textContent));
    const best = await size.locator("td").evaluateAll((cells) => cells.findIndex((cell) => cell.classList.contains("best")));
    assert.equal(column[best], "rtn-3bit");
    await page.locator("table.compare tr", { hasText: "rtn · bits" }).waitFor(); // the parameter that differs
    await page.getByRole("img", { name: /^error of .* by block in 2 jobs/ }).locator("canvas").waitFor(); // layer by layer
    await page.getByText("These figures as a table").click();
    const layers = page.locator("table[aria-label='Figures by block']");
    const place = JSON.parse(small.stages.find((stage) => stage.name === "rtn").report_json).layers.find(({ layer }) => /\.0\.mlp\.down_proj$/.test(layer));
    assert.equal(await layers.locator("tbody tr").first().locator("td").nth(column.indexOf("rtn-3bit")).textContent(), String(Number(place.error.toPrecision(4))));
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Download CSV" }).click()]);
    const lines = readFileSync(await download.path(), "utf8").split("\r\n");
    const wanted = small.evaluations.find((row) => row.metric === "artifact_bytes" && row.when === "after").value;
    const cells = lines.find((line) => line.startsWith("artifact_bytes")).split(",");
    assert.equal(Number(cells[lines[0].split(",").findIndex((head) => head.includes(jobs["rtn-3bit"]))]), wanted);
  },

  async "a comparison's charts stay as they are while one of its jobs runs, and the jobs are found by name"({ page }) {
    let polls = 0;
    await page.route(`**/api/v1/jobs/${jobs["rtn-3bit"]}`, async (route) => {
      const job = await (await route.fetch()).json();
      job.stages[0].progress = { stage: 0, done: String(++polls), total: "100", unit: "blocks", metric: "", value: 0, eta_seconds: 9 };
      await route.fulfill({ json: { ...job, state: "JOB_STATE_RUNNING", etag: String(polls) } });
    });
    await page.goto("/compare");
    await page.getByLabel("Search by name").fill("tn-3");
    await page.waitForFunction(() => document.querySelectorAll(".choose li").length === 1);
    const row = page.locator(".choose li");
    await row.getByText(/^[\d.]+ kB−\d+ %$/).waitFor(); // by what one chooses: size, quality, method
    await row.getByText(/^perplexity/).waitFor();
    await row.getByText("rtn", { exact: true }).waitFor();
    await row.getByRole("checkbox").click();
    await page.getByLabel("Search by name").fill("rtn-8");
    await page.getByRole("checkbox", { name: new RegExp(jobs["rtn-8bit"]) }).click();
    await page.getByRole("button", { name: "Compare 2" }).click();
    await page.waitForSelector(".chart canvas");
    await page.waitForTimeout(500);
    await page.evaluate(() => (window.canvases = [...document.querySelectorAll(".chart canvas")]));
    const before = polls;
    for (let turn = 0; turn < 100 && polls < before + 3; ++turn) await page.waitForTimeout(100);
    assert.ok(polls >= before + 3);
    assert.ok(await page.evaluate(() => window.canvases.length >= 2 && window.canvases.every((canvas) => canvas.isConnected)));
  },

  async "jobs are added to a comparison and left out of it; one that is not there is named and let go"({ page, complaints }) {
    const ids = (url) => url.searchParams.get("jobs")?.split(",");
    await page.goto(`/compare?jobs=${jobs["rtn-3bit"]},${jobs["rtn-8bit"]},nope`);
    const columns = page.locator("table.compare thead th");
    await page.getByRole("status").getByText("There is no job nope").waitFor();
    assert.equal(await columns.count(), 3);
    await page.getByRole("button", { name: "Leave it out" }).click();
    await page.waitForURL((url) => ids(url).length === 2);
    complaints.length = 0; // of the console, about the 404
    await page.getByRole("combobox", { name: "Add job" }).click();
    await page.getByRole("combobox", { name: "Search jobs" }).fill("gpt");
    await page.getByRole("option", { name: /^gptq/ }).click();
    await page.waitForURL((url) => ids(url).at(-1) === jobs.gptq);
    await page.waitForFunction(() => document.querySelectorAll("table.compare thead th").length === 4);
    await page.getByRole("button", { name: "Leave out rtn-8bit" }).click();
    await page.waitForURL((url) => ids(url).join() === [jobs["rtn-3bit"], jobs.gptq].join());
    await page.goBack();
    await page.getByRole("button", { name: "Leave out rtn-8bit" }).waitFor();
    await page.goto(`/compare?pick=${Array.from({ length: 25 }, (_, i) => `job-${i}`)}`);
    await page.getByRole("status").getByText("25 chosen. At most 24 jobs are compared").waitFor();
    assert.ok(await page.getByRole("button", { name: "Compare 25" }).isDisabled());
  },

  async "a change is told with the error of the differences, not of the two figures"({ page }) {
    await page.goto(`/jobs/${jobs.gptq}?tab=results`);
    const row = page.getByRole("table", { name: "Before and after" }).getByRole("row", { name: /^Perplexity/ });
    const { evaluations } = await (await page.request.get(`/api/v1/jobs/${jobs.gptq}`)).json();
    const after = evaluations.find((one) => one.metric === "perplexity" && one.when === "after");
    assert.ok(after.change_stderr > 0 && after.change_stderr < after.stderr);
    const error = Number(((100 * after.change_stderr) / after.baseline_value).toPrecision(2));
    await row.locator("td").nth(2).getByText(`± ${error} %`).waitFor();
  },

  async "a comparison begins with the quality that tells the jobs apart"({ page }) {
    const near = async (route) => {
      const job = await (await route.fetch()).json();
      for (const row of job.evaluations) if (row.metric === "perplexity" || row.metric === "nll") row.stderr = row.value; // whatever they are
      await route.fulfill({ json: job });
    };
    for (const name of ["rtn-3bit", "rtn-8bit"]) await page.route(`**/api/v1/jobs/${jobs[name]}`, near);
    await page.goto(`/compare?jobs=${jobs["rtn-3bit"]},${jobs["rtn-8bit"]}`);
    await page.getByRole("combobox", { name: "Quality" }).getByText("KL divergence, mean").waitFor();
  },

  async "two suites that name a metric alike stay two, in the table and in the CSV"({ page }) {
    const twice = async (route) => {
      const job = await (await route.fetch()).json();
      const rows = job.evaluations.filter((row) => row.metric === "perplexity");
      job.evaluations.push(...rows.map((row) => ({ ...row, suite: "another", value: row.value + 1, stderr: 0.25 })));
      await route.fulfill({ json: job });
    };
    for (const name of ["rtn-3bit", "rtn-8bit"]) await page.route(`**/api/v1/jobs/${jobs[name]}`, twice);
    await page.goto(`/compare?jobs=${jobs["rtn-3bit"]},${jobs["rtn-8bit"]}`);
    await page.locator("table.compare").waitFor();
    assert.equal(await page.locator("table.compare td:first-child", { hasText: /^Perplexity/ }).count(), 2);
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Download CSV" }).click()]);
    const lines = readFileSync(await download.path(), "utf8").split("\r\n").map((line) => line.split(","));
    const was = lines.find((line) => line[0] === "perplexity" && line[1] !== "another");
    const other = lines.find((line) => line[0] === "perplexity" && line[1] === "another");
    assert.ok(Math.abs(Number(other[3]) - Number(was[3]) - 1) < 1e-9);
    assert.equal(other[4], "0.25"); // the standard error
    assert.ok(Number(was[5]) > 0); // what it was before
  },

  async "a comparison has its parameters and figures as lines, and its charts go out as pictures"({ page }) {
    await page.goto(`/compare?jobs=${jobs["rtn-3bit"]},${jobs.gptq}`);
    await page.getByText(/^\d+ of \d+ axes$/).click();
    await page.getByRole("checkbox", { name: "stage 1 · samples" }).waitFor(); // that one of the jobs has not
    assert.equal(await page.locator("table.compare tr", { hasText: "samples" }).count(), 0); // it tells no two apart
    await page.getByRole("button", { name: /^\d+ more, which some have/ }).click();
    await page.locator("table.compare tr", { hasText: "samples" }).waitFor();
    const perplexity = page.getByRole("checkbox", { name: "Perplexity" }).first();
    const on = await perplexity.isChecked();
    await perplexity.click();
    await page.waitForURL((url) => (url.searchParams.get("axes") ?? "").includes("perplexity perplexity") !== on);
    await page.goto(`/compare?jobs=${jobs["rtn-3bit"]},${jobs["rtn-8bit"]}`);
    await page.getByRole("img", { name: "Parameters and figures of 2 jobs" }).locator("canvas").waitFor();
    for (const [name, index] of [
      ["wring-compare.png", 0],
      ["wring-parallel.png", 1],
    ]) {
      const button = page.getByRole("button", { name: "PNG" }).nth(index);
      const [download] = await Promise.all([page.waitForEvent("download"), button.click()]);
      assert.equal(download.suggestedFilename(), name);
      const bytes = readFileSync(await download.path());
      assert.equal(bytes.subarray(1, 4).toString(), "PNG");
      assert.ok(bytes.readUInt32BE(16) > 1000, "the picture is twice the page's pixels wide");
    }
    const lines = page.getByRole("img", { name: "Parameters and figures of 2 jobs" });
    await lines.scrollIntoViewIfNeeded();
    await pickUpperHalf(page, lines);
    const columns = page.locator("table.compare thead th");
    await page.getByRole("status").getByText("1 of 2 jobs picked by their lines").waitFor();
    assert.equal(await columns.count(), 2);
    await page.waitForURL(/lines=/);
    await page.reload(); // it is in the address
    await page.getByRole("status").getByText("1 of 2 jobs picked by their lines").waitFor();
    await page.getByRole("button", { name: "Show all" }).click();
    await page.waitForURL((url) => !url.searchParams.has("lines"));
    await page.waitForFunction(() => document.querySelectorAll("table.compare thead th").length === 3);
    await page.getByText("Pick lines by their values").click(); // and by keyboard
    const bits = page.getByRole("group", { name: /bits/ }).getByRole("checkbox").first();
    await bits.focus();
    await page.keyboard.press("Space");
    await page.getByRole("status").getByText("1 of 2 jobs picked by their lines").waitFor();
    await page.keyboard.press("Space");
    await page.waitForFunction(() => document.querySelectorAll("table.compare thead th").length === 3);
    const weights = page.getByRole("group", { name: /^Bytes of weights/ }).getByRole("spinbutton").last();
    await weights.fill("1");
    await page.keyboard.press("Enter");
    await page.getByText("0 of 2 jobs picked by their lines").waitFor();
  },

  async "a sweep's front grows as its trials end, also those that it is extended by"({ page }) {
    await page.goto("/sweeps");
    await page.getByRole("link", { name: "bits", exact: true }).click();
    const chart = page.getByRole("img", { name: /KL divergence, mean against Bytes of weights of 3 trials/ });
    await chart.locator("canvas").waitFor();
    const front = await api(address, `sweeps/${facts.sweep}/front`);
    await page.getByText(`${front.trials.length} of 3 trials are on the front`).waitFor();
    const fact = (name) => page.locator(".facts > div", { hasText: name }).locator("dd").textContent();
    assert.match(await fact("Strategy"), /^random, 2 at a time/);
    const saved = await api(address, `sweeps/${facts.sweep}/savings`);
    assert.ok(Number(saved.stages) >= 3);
    assert.match(await fact("Stage cache"), new RegExp(`^${saved.cached} of ${saved.stages} steps`));
    await page.evaluate(() => (window.sameDocument = true));
    await page.getByLabel("More trials").fill("2");
    await page.getByRole("button", { name: "Extend" }).click();
    await page.getByRole("img", { name: /of 5 trials, with the front/ }).waitFor({ timeout: 60_000 });
    await page.getByText("Succeeded", { exact: true }).waitFor({ timeout: 60_000 });
    assert.equal(await page.evaluate(() => window.sameDocument), true);
  },

  async "a sweep's chart stays as it is while a size is typed and trials end"({ page }) {
    const { trials } = await api(address, `sweeps/${facts.sweep}/trials`);
    const sweep = await api(address, `sweeps/${facts.sweep}`);
    let count = 3;
    await page.route(`**/api/v1/sweeps/${facts.sweep}`, (route) => route.fulfill({ json: { ...sweep, state: "SWEEP_STATE_RUNNING", succeeded: String(count) } }));
    await page.route(`**/api/v1/sweeps/${facts.sweep}/trials?*`, async (route) => {
      const more = Array.from({ length: ++count }, (_, i) => ({ ...trials[i % trials.length], number: String(i) }));
      await route.fulfill({ json: { trials: more, next_page_token: "" } });
    });
    await page.goto(`/sweeps/${facts.sweep}`);
    const chart = (n) => page.getByRole("img", { name: new RegExp(`of ${n} trials, with the front$`) });
    await chart("\\d+").locator("canvas").waitFor();
    await page.evaluate(() => (window.canvas = document.querySelector(".chart canvas")));
    await page.getByLabel("Best at no more than").pressSequentially("60 MB");
    await page.getByRole("status").getByRole("link", { name: /^trial \d+$/ }).waitFor();
    await chart(count + 2).waitFor({ timeout: 30_000 });
    await page.getByRole("button", { name: "Dark" }).click();
    assert.ok(await page.evaluate(() => window.canvas.isConnected));
    await page.getByRole("tab", { name: "Parameters" }).click();
    const lines = (n) => page.getByRole("img", { name: new RegExp(`^Parameters and figures of ${n} trials$`) });
    await lines("\\d+").locator("canvas").waitFor();
    await lines("\\d+").scrollIntoViewIfNeeded();
    await pickUpperHalf(page, lines("\\d+"));
    const status = page.getByRole("status").filter({ hasText: "picked by their lines" });
    await status.waitFor();
    await lines(count + 2).waitFor({ timeout: 30_000 });
    const [picked, all] = (await status.textContent()).match(/\d+/g).map(Number); // of those that came since, too
    assert.ok(picked > 0 && picked < all && all > 3, `${picked} of ${all}`);
    const table = page.locator("table[aria-label='Trials']");
    await page.getByRole("link", { name: "Compare them" }).waitFor();
    await page.getByRole("tab", { name: "Trials" }).click();
    await table.waitFor();
    assert.equal(await table.locator("tbody tr").count(), Number((await status.textContent()).match(/\d+/)[0]));
    assert.deepEqual(await seriousViolations(page), []);
    await page.getByRole("button", { name: "Show all" }).click();
    await status.waitFor({ state: "detached" });
    assert.ok((await table.locator("tbody tr").count()) >= all);
  },

  async "a sweep is extended by what bounds it, and its front is compared"({ page }) {
    const sweep = await api(address, `sweeps/${facts.sweep}`);
    const bounded = { ...sweep, bounds: { ...sweep.bounds, seconds: 600, bytes: "1000" }, end_reason: "bounds.seconds is reached" };
    const asked = [];
    await page.route(`**/api/v1/sweeps/${facts.sweep}`, (route) => route.fulfill({ json: bounded }));
    await page.route(`**/api/v1/sweeps/${facts.sweep}/extend`, async (route) => {
      asked.push(route.request().postDataJSON().more);
      await route.fulfill({ json: bounded });
    });
    await page.goto(`/sweeps/${facts.sweep}`);
    const extend = page.getByRole("button", { name: "Extend" });
    await page.getByLabel("More minutes").fill("1.5"); // what ended it comes first
    await extend.click();
    await page.getByRole("combobox", { name: "Of what more" }).click();
    await page.getByRole("option", { name: "GB" }).click();
    await page.getByLabel("More GB").fill("0.25");
    await page.waitForFunction(() => !document.querySelector(".extend button:not([role])").disabled);
    await extend.click();
    await page.getByRole("combobox", { name: "Of what more" }).click();
    await page.getByRole("option", { name: "trials" }).click();
    await page.getByLabel("More trials").fill("1.5");
    assert.equal(await extend.isDisabled(), true);
    await page.waitForTimeout(200);
    assert.deepEqual(asked, [{ seconds: 90 }, { bytes: "250000000" }]);
    const front = await api(address, `sweeps/${facts.sweep}/front`);
    const jobsOf = front.trials.map((trial) => trial.job_id);
    if (jobsOf.length < 2) return;
    await page.getByRole("link", { name: "Compare the front" }).click();
    await page.waitForURL((url) => url.searchParams.get("jobs") === jobsOf.join(","));
    await page.locator("table.compare").waitFor();
  },

  async "axes end where their figures do, also a cosine's, and a sweep tells how many trials each fidelity has had"({ page }) {
    const cosine = (text) => JSON.parse(text.replaceAll("kl_mean", "cosine_mean"), (key, value) => (key === "value" && value > 0 && value < 20 ? 0.9 + value / 1000 : value));
    await page.route(new RegExp(`/api/v1/sweeps/${facts.sweep}(/front|/trials\\?.*)?$`), async (route) => {
      const answer = cosine(await (await route.fetch()).text());
      for (const [i, trial] of (Array.isArray(answer.trials) ? answer.trials : []).entries()) Object.assign(trial, { rung: i % 2, fidelity_json: String(8 << (i % 2)) });
      await route.fulfill({ json: answer });
    });
    await page.addInitScript(() => {
      window.drawn = [];
      const draw = CanvasRenderingContext2D.prototype.fillText;
      CanvasRenderingContext2D.prototype.fillText = function (text, ...where) {
        window.drawn.push(text);
        return draw.call(this, text, ...where);
      };
    });
    const numbers = async () => (await page.evaluate(() => [...new Set(window.drawn)])).filter((text) => /^[\d.]+(e-\d+)?$/.test(text)).map(Number);
    await page.goto(`/sweeps/${facts.sweep}`);
    await page.getByRole("img", { name: /^Cosine to dense, mean against Bytes of weights/ }).locator("canvas").waitFor();
    await page.waitForFunction(() => window.drawn.length > 5);
    assert.ok((await numbers()).length > 1);
    assert.ok(Math.max(...(await numbers())) <= 1, `${await numbers()}`);
    const { trials } = await api(address, `sweeps/${facts.sweep}/trials`);
    const fidelities = await page.locator(".facts > div", { hasText: "Fidelities" }).locator("dd").textContent();
    assert.equal(fidelities, `8: ${Math.ceil(trials.length / 2)} of ${Math.ceil(trials.length / 2)} · 16: ${trials.length >> 1} of ${trials.length >> 1}`);
    await page.goto(`/jobs/${jobs.gptq}?tab=layers`);
    await page.waitForFunction(() => window.drawn.length > 5);
    const report = JSON.parse((await api(address, `jobs/${jobs.gptq}`)).stages.find((stage) => stage.name === "gptq").report_json).layers;
    const errors = report.map(({ error }) => error);
    const marks = (await numbers()).filter((value) => !Number.isInteger(value));
    assert.ok(marks.length > 1 && Math.min(...marks) > Math.min(...errors) / 2 && Math.max(...marks) < 2 * Math.max(...errors), `marks ${marks}, errors ${errors}`);
  },

  async "of a long sweep those trials alone are asked for again that can have changed"({ page }) {
    const { trials } = await api(address, `sweeps/${facts.sweep}/trials`);
    const sweep = await api(address, `sweeps/${facts.sweep}`);
    const asked = [];
    await page.route(`**/api/v1/sweeps/${facts.sweep}`, (route) => route.fulfill({ json: { ...sweep, state: "SWEEP_STATE_RUNNING" } }));
    await page.route(`**/api/v1/sweeps/${facts.sweep}/trials?*`, async (route) => {
      const token = new URL(route.request().url()).searchParams.get("page_token") ?? "";
      asked.push(token);
      const copies = Array.from({ length: token ? 5 : 1000 }, (_, i) => ({ ...trials[i % trials.length], number: String(token ? 1000 + i : i) }));
      if (token) copies[4].state = "JOB_STATE_RUNNING";
      await route.fulfill({ json: { trials: copies, next_page_token: token ? "" : "second" } });
    });
    await page.goto(`/sweeps/${facts.sweep}?tab=trials`);
    await page.locator("table[aria-label='Trials'] tbody tr").first().waitFor();
    for (let turn = 0; turn < 100 && asked.filter((token) => token === "second").length < 3; ++turn) await page.waitForTimeout(100);
    assert.ok(asked.filter((token) => token === "second").length >= 3);
    assert.equal(asked.filter((token) => token === "").length, 1);
  },

  async "trials are sorted by what they measured, and lead to their jobs"({ page }) {
    await page.goto(`/sweeps/${facts.sweep}?tab=trials`);
    const rows = page.locator("table[aria-label='Trials'] tbody tr");
    await rows.first().waitFor();
    const { trials } = await api(address, `sweeps/${facts.sweep}/trials`);
    assert.equal(await rows.count(), trials.length);
    await page.getByRole("button", { name: "KL divergence, mean" }).click();
    const kl = (trial) => trial.metrics.find((m) => m.metric === "kl_mean").value;
    const order = [...trials].sort((a, b) => kl(a) - kl(b)).map((trial) => trial.number);
    const shown = () => rows.locator("td:first-child a").allTextContents();
    if ((await shown())[0] !== order[0]) order.reverse();
    assert.deepEqual(await shown(), order);
    await page.reload(); // the order is in the address
    await rows.first().waitFor();
    assert.deepEqual(await shown(), order);
    await rows.first().getByRole("link").click();
    await page.waitForURL(new RegExp(`/jobs/${trials.find((trial) => trial.number === order[0]).job_id}$`));
  },

  async "why a trial failed stands in its row"({ page }) {
    await page.route(`**/api/v1/sweeps/${facts.sweep}/trials?*`, async (route) => {
      const { trials } = await (await route.fetch()).json();
      Object.assign(trials[1], { state: "JOB_STATE_FAILED", metrics: [], error: { message: "48 does not divide the 64 input features" } });
      await route.fulfill({ json: { trials, next_page_token: "" } });
    });
    await page.goto(`/sweeps/${facts.sweep}?tab=trials`);
    const row = page.locator("table[aria-label='Trials'] tbody tr", { hasText: "Failed" });
    await row.getByText("48 does not divide the 64 input features").waitFor();
    assert.deepEqual(await seriousViolations(page), []);
  },

  async "a job, a sweep or an artifact that is not there is said so once, with a way out"({ page, complaints }) {
    for (const [kind, id] of [["jobs", "aaaaaaaaaaaa"], ["sweeps", "aaaaaaaaaaaa"], ["artifacts", "0".repeat(64)]]) {
      let asked = 0;
      const count = (request) => (asked += request.url().includes(`/api/v1/${kind}/${id}`));
      page.on("request", count);
      await page.goto(`/${kind}/${id}`);
      await page.getByRole("heading", { name: "It is not here, or not any more" }).waitFor();
      await page.waitForTimeout(2500);
      assert.equal(asked, 1);
      page.off("request", count);
      assert.match(await page.title(), /^Not here/);
      await page.getByRole("link", { name: `To the ${kind}` }).click();
      await page.waitForURL(new RegExp(`/${kind}$`));
    }
    await page.goto("/no/such/view");
    await page.getByRole("heading", { name: "There is nothing here" }).waitFor();
    assert.match(await page.title(), /^Not found/);
    assert.ok(complaints.splice(0).every((line) => line.includes("404"))); // the browser's own lines
  },

  async "a sweep is paused, resumed, stopped and cancelled from its page"({ page }) {
    const { id } = await cli("sweep", "submit", facts.long);
    await page.goto(`/sweeps/${id}`);
    const state = async (word) => {
      await page.locator(".head-line").getByText(word, { exact: true }).waitFor();
      assert.equal((await api(address, `sweeps/${id}`)).state, `SWEEP_STATE_${word.toUpperCase()}`);
    };
    await page.getByRole("button", { name: "Pause" }).click();
    await state("Paused");
    await page.getByRole("button", { name: "Resume" }).click();
    await state("Running");
    await page.getByRole("button", { name: "Stop" }).click();
    await page.getByRole("button", { name: "Stop the sweep" }).click();
    await state("Stopping");
    await page.getByRole("button", { name: "Cancel", exact: true }).click();
    await page.getByRole("button", { name: "Cancel the sweep" }).click();
    await page.locator(".head-line").getByText("Cancelled", { exact: true }).waitFor({ timeout: 60_000 });
    await page.getByRole("button", { name: "More", exact: true }).click();
    await page.getByRole("menuitem", { name: "Delete" }).click();
    await page.getByRole("button", { name: "Delete the sweep" }).click();
    await page.waitForURL(/\/sweeps$/);
    await assert.rejects(api(address, `sweeps/${id}`), /404/);
  },

  async "a job is cancelled after a question, and can be retried"({ page }) {
    const id = await submit("endless");
    await page.goto(`/jobs/${id}`);
    await page.getByText("Running", { exact: true }).waitFor({ timeout: 60_000 });
    const spoken = page.locator(".head-line [aria-live]"); // not the time that is left, which changes each second
    assert.equal(await spoken.textContent(), "Running");
    await page.locator(".gantt-bar[data-state=running]").waitFor({ timeout: 60_000 });
    await page.getByRole("button", { name: "Cancel", exact: true }).click();
    await page.getByRole("button", { name: "Keep it" }).click();
    assert.equal((await api(address, `jobs/${id}`)).state, "JOB_STATE_RUNNING");
    await page.getByRole("button", { name: "Cancel", exact: true }).click();
    await page.getByRole("button", { name: "Cancel the job" }).click();
    await page.getByText("Cancelled", { exact: true }).waitFor({ timeout: 60_000 });
    assert.equal((await api(address, `jobs/${id}`)).state, "JOB_STATE_CANCELLED");
    await page.getByRole("button", { name: "Retry" }).click();
    await page
      .getByText(/Queued|Running/)
      .first()
      .waitFor();
    await page.locator(".gantt-attempt", { hasText: "Attempt 2" }).waitFor({ timeout: 60_000 });
    const newest = page.locator(".gantt tbody").last();
    const time = newest.locator("tr", { has: page.locator(".gantt-bar[data-state=running]") }).locator("td").nth(1);
    await time.getByText(/^0:0[3-9]/).waitFor({ timeout: 60_000 });
    await page.getByRole("button", { name: "Cancel", exact: true }).click();
    await page.getByRole("button", { name: "Cancel the job" }).click();
    await page.getByText("Cancelled", { exact: true }).waitFor({ timeout: 60_000 });
    const looks = [];
    page.on("request", (request) => request.url().includes(`/jobs/${id}/events`) && looks.push(request.url()));
    await page.locator(".gantt-attempt", { hasText: /^Attempt 1 on .* · cancelled/ }).waitFor();
    await page.locator(".gantt-bar[data-state='broken off']").first().waitFor();
    const broken = newest.locator("tr", { has: page.locator(".gantt-bar[data-state='broken off']") });
    assert.doesNotMatch(await broken.locator("td").nth(1).textContent(), /^0:0[0-2]/); // it ran until then
    await page.waitForTimeout(4000);
    assert.ok(looks.length >= 2, "what comes after the second end was not looked for"); // the first look may have been before
  },

  async "a timeline shows what was forecast beside what it took"({ page }) {
    await page.goto(`/jobs/${jobs.gptq}?tab=timeline`);
    const stage = (await api(address, `jobs/${jobs.gptq}`)).stages.find(({ name }) => name === "gptq");
    const row = page.locator(".gantt tbody tr", { has: page.getByRole("cell", { name: "gptq", exact: true }) });
    const seconds = Math.round(stage.forecast_seconds);
    const clock = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
    const text = stage.forecast_seconds < 0.95 ? `${Math.max(0.1, stage.forecast_seconds).toFixed(1)} s` : clock;
    await row.getByText(`expected ${text}`, { exact: true }).waitFor();
    await row.getByText(/^expected [\d.]+ [MG]B$/).waitFor();
    await row.locator(".gantt-bar[data-state=forecast]").waitFor();
    const widths = await row.locator(".gantt-bar").evaluateAll((bars) => bars.map((bar) => bar.getBoundingClientRect().width));
    const [expected, took] = widths;
    if (stage.forecast_seconds > 2 * stage.seconds && took > 10) assert.ok(expected > took);
  },

  async "several jobs are taken at once, and only those that are in sight"({ page }) {
    const ids = [await submit("endless"), await submit("endless"), await submit("endless")];
    await page.goto("/jobs?name=endless&state=queued,running,cancelling");
    const chosen = page.getByRole("region", { name: "Selected jobs" });
    const boxes = page.locator("table.jobs tbody").getByRole("checkbox");
    await page.locator("tr", { hasText: ids[0] }).waitFor();
    await boxes.nth(0).click();
    await boxes.nth(2).click({ modifiers: ["Shift"] });
    await chosen.getByText("3 selected").waitFor();
    await page.getByRole("button", { name: "Failed" }).click();
    await chosen.waitFor({ state: "detached" });
    await page.getByRole("button", { name: "Active" }).click();
    await page.getByRole("checkbox", { name: "Select all" }).click();
    await chosen.getByText("3 selected").waitFor();
    await chosen.getByRole("button", { name: "Cancel" }).click();
    await page.getByRole("button", { name: "Keep them" }).waitFor();
    await page.getByRole("button", { name: "Cancel them" }).click();
    await page.getByText("3 jobs are being cancelled").waitFor();
    assert.equal(await page.locator(".toast").count(), 1);
    await page.getByText("No job fits this filter").waitFor({ timeout: 60_000 });
    await page.goto("/jobs?name=endless&state=cancelled");
    for (const id of ids.slice(1)) await page.locator("tr", { hasText: id }).getByRole("checkbox").click();
    await chosen.getByRole("button", { name: "Retry" }).click();
    await page.getByText("2 jobs are back in the queue").waitFor();
    assert.equal((await api(address, `jobs/${ids[0]}`)).state, "JOB_STATE_CANCELLED");
    for (const id of ids.slice(1)) assert.match((await cli("cancel", id)).state, /CANCELL/i);
  },

  async "what failed is retried from the list, what runs is cancelled"({ page }) {
    const id = await submit("endless");
    await page.goto("/jobs?name=endless");
    const row = page.locator("tr", { hasText: id });
    const chosen = page.getByRole("region", { name: "Selected jobs" });
    await row.getByRole("checkbox").click();
    assert.equal(await chosen.getByRole("button", { name: "Retry" }).isDisabled(), true);
    await chosen.getByRole("button", { name: "Cancel" }).click();
    await page.getByRole("button", { name: "Cancel the job" }).click();
    await row.getByText("Cancelled", { exact: true }).waitFor({ timeout: 60_000 });
    await row.getByRole("checkbox").click();
    await chosen.getByRole("button", { name: "Retry" }).click();
    await row
      .getByText(/Queued|Running/)
      .first()
      .waitFor();
    await cli("cancel", id);
    await row.getByText("Cancelled", { exact: true }).waitFor({ timeout: 60_000 });
  },

  async "what is downloaded is what the CLI fetches, and what the manifest says"({ page }) {
    await page.goto(`/jobs/${jobs.gptq}?tab=files`);
    const manifest = JSON.parse((await api(address, `artifacts/${facts.result}`)).manifest_json);
    for (const path of ["config.json", "model.safetensors"]) {
      const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: `Download ${path}` }).click()]);
      assert.equal(download.suggestedFilename(), path);
      const bytes = readFileSync(await download.path());
      const file = manifest.files.find((entry) => entry.path === path);
      let at = 0;
      for (const chunk of file.chunks) {
        assert.equal(sha256(bytes.subarray(at, at + chunk.size)), chunk.sha256);
        at += chunk.size;
      }
      assert.equal(bytes.length, at);
      assert.equal(sha256(bytes), sha256(readFileSync(`${facts.out}/${path}`)));
    }
  },

  async "the layer that lost most is on top, as the report says"({ page }) {
    await page.goto(`/jobs/${jobs.gptq}`);
    await page.getByRole("tab", { name: "Layers" }).click();
    const job = await api(address, `jobs/${jobs.gptq}`);
    const report = JSON.parse(job.stages.find((stage) => stage.name === "gptq").report_json).layers;
    const worst = report.reduce((a, b) => (b.error > a.error ? b : a));
    const rows = page.locator("table[aria-label=Layers] tbody tr");
    assert.equal(await rows.first().locator("td").first().textContent(), worst.layer);
    assert.equal(await rows.count(), 12);
    await page.getByRole("button", { name: `Show all ${report.length}` }).click();
    assert.equal(await rows.count(), report.length);
    assert.ok(report.length > 12);
  },

  async "a model's layers carry the bytes of its file"({ page }) {
    await page.goto(`/artifacts/${facts.result}`);
    await page.waitForSelector(".chart canvas");
    assert.equal(await page.locator("table[aria-label=Layers]").count(), 0); // of thousands of layers none is drawn that nobody sees
    await page.getByText("All layers as a table").click();
    await page.locator("table[aria-label=Layers]").getByText("model.layers.0.mlp.up_proj", { exact: true }).waitFor();
    await page.getByLabel("Search the layers").fill("UP_PROJ");
    await page.getByRole("status").getByText(/^3 of \d+ layers, [\d.]+ kB$/).waitFor();
    assert.equal(await page.locator("table[aria-label=Layers] tbody tr").count(), 3); // one in each block
    await page
      .getByText(/packed-int 4 bits/)
      .first()
      .waitFor();
    const made = page.getByRole("table", { name: "Lineage" }).locator("tr[aria-current]");
    await made.getByRole("link", { name: "gptq" }).waitFor();
    assert.match(await made.textContent(), /tiny.*calibration text/);
    await page.getByRole("img", { name: "3 artifacts, made one from another by one job" }).locator("canvas").waitFor();
    await page.locator(".facts > div", { hasText: "Licence" }).getByText("apache-2.0").waitFor();
    const report = JSON.parse((await api(address, `jobs/${jobs.gptq}`)).stages.find((stage) => stage.name === "gptq").report_json).layers;
    assert.equal(await page.getByRole("button", { name: "Error", exact: true }).getAttribute("aria-pressed"), "true"); // the colours tell it
    await page.getByRole("button", { name: "Storage", exact: true }).click();
    await page.waitForURL(/paint=storage/);
    const treemap = (words) => page.getByRole("img", { name: new RegExp(`^Bytes of \\d+ layers${words}$`) });
    await treemap("").waitFor();
    await page.getByRole("combobox", { name: "Part of the model" }).click();
    await page.getByRole("option", { name: "block 1" }).click();
    await treemap(" in block 1").waitFor();
    await page.waitForURL(/part=block/);
    await page.getByRole("combobox", { name: "Part of the model" }).click();
    await page.getByRole("option", { name: "All parts" }).click();
    await treemap("").waitFor();
    const { layer, error } = report.find((one) => one.layer.endsWith("up_proj"));
    await page.getByRole("button", { name: layer, exact: true }).click();
    const card = page.getByRole("region", { name: `Layer ${layer}` });
    await card.getByRole("img", { name: `How the weights of ${layer} are spread` }).locator("canvas").waitFor();
    const fact = (name) => card.locator("dl > div", { hasText: name }).locator("dd").textContent();
    assert.ok(Math.abs(Number(await fact("Error")) / error - 1) < 1e-3, `${await fact("Error")} is not ${error}`);
    assert.equal(await fact("Shape"), report.find((one) => one.layer === layer).shape.join(" × ")); // also of packed codes
    assert.match(await fact("Stored with"), /group_size \d+/);
    await card.getByRole("cell", { name: `${layer}.scales`, exact: true }).waitFor(); // what the file holds of it
    assert.deepEqual(await seriousViolations(page), []);
    await page.reload();
    await card.waitFor(); // it is in the address
    await made.getByRole("link", { name: "tiny" }).click();
    await page.getByRole("heading", { name: /^Measured first in/ }).waitFor();
    await page.getByText("Lineage as a table").click(); // of more than a few it is closed
    await page.getByRole("table", { name: "Lineage" }).locator(`a[href='/artifacts/${facts.result}']`).waitFor();
    assert.deepEqual(await seriousViolations(page), []);
    await page.getByRole("link", { name: "All jobs that were given it" }).click();
    await page.locator("table.jobs").getByRole("link", { name: "gptq" }).first().waitFor();
    assert.equal(await page.locator("table.jobs").getByText("orphan").count(), 0); // of another model
    await page.getByRole("button", { name: "Jobs of any model, not of tiny alone" }).click();
    await page.waitForURL((url) => url.pathname === "/jobs" && url.search === "");
    await page.locator("table.jobs").getByText("orphan").first().waitFor();
  },

  async "a card of the lineage leads to its artifact"({ page }) {
    await page.goto(`/artifacts/${facts.result}`);
    const graph = page.getByRole("img", { name: /^3 artifacts/ });
    await graph.locator("canvas").waitFor();
    const { height } = await graph.boundingBox();
    await graph.click({ position: { x: 90, y: height / 2 - 30 } }); // the model stands above the data
    await page.getByRole("heading", { name: "tiny", level: 1 }).waitFor();
  },

  async "of what many jobs made or measured the rest is counted, and listed"({ page }) {
    const own = await api(address, `artifacts/${facts.result}`);
    const job = await api(address, `jobs/${jobs.gptq}`);
    const number = (i) => String(i).padStart(12, "0");
    const many = Array.from({ length: 30 }, (_, i) => ({ ...job, id: number(i), spec: { ...job.spec, model: facts.result, name: `job ${i}` }, result: number(i).padStart(64, "0") }));
    await page.route(/\/api\/v1\/jobs\?model=[0-9a-f]{64}&/, (route) =>
      route.fulfill({ json: { jobs: route.request().url().includes(facts.result) ? many : [], next_page_token: "" } }),
    );
    await page.route(/\/api\/v1\/jobs\/0{8}/, (route) => route.fulfill({ json: many[Number(route.request().url().slice(-12))] }));
    await page.route(/\/api\/v1\/artifacts\/0{50}[0-9]{14}$/, (route) => route.fulfill({ json: { ...own, digest: route.request().url().slice(-64), name: "made", created_by_job: "" } }));
    await page.route(/\/api\/v1\/evaluations/, (route) => route.fulfill({ json: { evaluations: many.map(({ id }) => ({ job_id: id, when: "after" })), next_page_token: "" } }));
    await page.goto(`/artifacts/${facts.result}`);
    await page.getByRole("img", { name: "15 artifacts, made one from another by 13 jobs" }).locator("canvas").waitFor();
    await page.getByText("Lineage as a table").click();
    const rest = page.getByRole("table", { name: "Lineage" }).getByRole("link", { name: "18 more" });
    assert.equal(await rest.getAttribute("href"), `/jobs?model=${facts.result}&state=succeeded`);
    const measured = page.locator(".block", { has: page.getByRole("heading", { name: "Measured in 30" }) });
    assert.equal(await measured.getByRole("link", { name: /^job / }).count(), 24);
    await measured.getByRole("button", { name: "6 more" }).click();
    await measured.getByRole("link", { name: "job 29" }).waitFor();
    assert.equal(await measured.getByRole("button").count(), 0);
    await rest.click();
    await page.getByRole("button", { name: /^Jobs of any model/ }).waitFor();
    assert.equal(new URL(page.url()).search, `?model=${facts.result}&state=succeeded`);
  },

  async "the tensors of a GGUF file and of an ONNX graph are layers, too"({ page }) {
    for (const { digest, rows, layer, mean, deviation, licence } of facts.others) {
      await page.goto(`/artifacts/${digest}`);
      await page.waitForSelector(".chart canvas");
      const says = page.locator(".facts > div", { hasText: "Licence" }).locator("dd");
      await says.getByText(licence, { exact: true }).waitFor();
      assert.equal(await says.getByRole("link").count(), licence === "it does not say" ? 0 : 1);
      await page.getByText("All layers as a table").click();
      const table = page.locator("table[aria-label=Layers] tbody tr");
      await table.first().waitFor();
      const texts = await table.evaluateAll((all) => all.map((row) => [...row.cells].map((cell) => cell.textContent.trim())));
      assert.deepEqual(texts, rows);
      await page.getByRole("button", { name: layer, exact: true }).click();
      const card = page.getByRole("region", { name: `Layer ${layer}` });
      await card.getByRole("img", { name: `How the weights of ${layer} are spread` }).locator("canvas").waitFor();
      for (const [name, wanted] of [
        ["Mean", mean],
        ["Standard deviation", deviation],
      ]) {
        const shown = Number(await card.locator("dl > div", { hasText: name }).locator("dd").textContent());
        assert.ok(Math.abs(shown / wanted - 1) < 2e-3, `${name} of ${layer}: ${shown}, not ${wanted}`);
      }
    }
  },

  async "a result whose model was deleted has a lineage without it, and can be tried alone"({ page, complaints }) {
    await page.goto(`/artifacts/${facts.orphan}`);
    await page.getByText("a model that was deleted").first().waitFor();
    await page.getByRole("table", { name: "Lineage" }).getByRole("link", { name: "rtn" }).waitFor();
    await page.locator(".head-actions").getByRole("link", { name: "Try it" }).click();
    await page.getByText("What it was made from is not known any more").waitFor();
    assert.equal(await page.getByRole("button", { name: "Send" }).isDisabled(), false);
    assert.ok(complaints.splice(0).every((line) => line.includes("404")));
  },

  async "what the engine says is in the log as it runs"({ page }) {
    await page.goto(`/jobs/${jobs.gptq}?tab=log`);
    await page.getByText(/^gptq took [0-9.]+ s, peak/).waitFor();
    await page.getByLabel("Search the log").fill("gptq took");
    await page.getByRole("status").getByText(/^1 of \d+ lines$/).waitFor();
    assert.equal(await page.getByRole("log").locator("time").count(), 1);
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Download" }).click()]);
    assert.match(readFileSync(await download.path(), "utf8"), /^2\S+Z .*\n/);
    await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
    await page.route(`**/api/v1/jobs/${jobs.gptq}/log?*`, async (route) => {
      const words = ["export export: gguf begins", "export export: gguf begins", "export: gguf took 0.007651 s, peak 1.055e+08 bytes"];
      const lines = words.map((text, i) => ({ number: String(i + 1), time: "2026-11-28T06:02:30Z", text: `2026-11-28T06:02:2${i}.123+00:00 wring-engine info ${text}` }));
      await route.fulfill({ json: { lines: lines.filter(({ number }) => Number(number) > Number(new URL(route.request().url()).searchParams.get("after"))) } });
    });
    await page.reload();
    await page.getByText("export: gguf took 0.0077 s, peak 105.5 MB").waitFor();
    await page.getByText("export: gguf begins").getByText("2 times").waitFor();
    const times = await page.getByRole("log").locator("time").evaluateAll((all) => all.map((time) => time.dateTime));
    assert.deepEqual(times, ["2026-11-28T06:02:20.123Z", "2026-11-28T06:02:22.123Z"]); // as the engine says, not when the server heard of it
    await page.getByRole("button", { name: "Copy the log" }).click();
    assert.match(await page.evaluate(() => navigator.clipboard.readText()), /^2026-11-28T06:02:20\.123Z export: gguf begins\n.*:21\.123Z .*\n.*105.5 MB\n$/);
    const id = await submit("endless");
    await page.goto(`/jobs/${id}?tab=log`);
    const log = page.getByRole("log");
    await log.getByText("gptq begins").waitFor({ timeout: 60_000 });
    const count = await log.locator("time").count();
    await page.waitForFunction((n) => document.querySelectorAll(".log time").length > n, count, { timeout: 180_000 });
    await page.getByRole("tab", { name: "Files" }).click();
    await page.getByText("Files are there once the job has succeeded.").waitFor();
    await cli("cancel", id);
  },

  async "a page without a clipboard says that it copies nothing"({ page }) {
    await page.addInitScript(() => Object.defineProperty(navigator, "clipboard", { value: undefined })); // as over plain HTTP
    await page.goto(`/jobs/${jobs.gptq}?tab=files`);
    await page.getByRole("button", { name: "Copy the digest", exact: true }).click();
    await page.getByText("The browser lets this page copy nothing").waitFor();
  },

  async "a page for which the browser keeps nothing works, and is dark or light while it is open"({ page }) {
    await page.addInitScript(() => {
      for (const name of ["localStorage", "sessionStorage"])
        Object.defineProperty(window, name, {
          get() {
            throw new DOMException("blocked", "SecurityError");
          },
        });
    });
    await page.emulateMedia({ colorScheme: "light" });
    await page.goto(`${facts.closed.address}/jobs`);
    await page.getByLabel("Token").fill(facts.closed.token);
    await page.getByRole("button", { name: "Log in" }).click();
    await page.getByText("No jobs yet").waitFor();
    await page.getByRole("button", { name: "Dark" }).click();
    await page.waitForFunction(() => document.documentElement.style.colorScheme === "dark");
    await page.getByRole("button", { name: "Log out" }).click();
    await page.getByLabel("Token").waitFor();
  },

  async "dark and light are chosen, kept, and the system's by default"({ page }) {
    const brightness = () =>
      page.evaluate(() => {
        const [r, g, b] = getComputedStyle(document.body).backgroundColor.match(/\d+/g).map(Number);
        return r + g + b;
      });
    await page.emulateMedia({ colorScheme: "dark" });
    await page.goto("/jobs");
    assert.ok((await brightness()) < 150);
    await page.getByRole("button", { name: "Light" }).click();
    assert.ok((await brightness()) > 600);
    await page.reload();
    await page.waitForSelector("table.jobs");
    assert.ok((await brightness()) > 600);
    await page.getByRole("button", { name: "Dark" }).click();
    assert.ok((await brightness()) < 150);
  },

  async "every view fits a phone's width"({ page }) {
    await page.setViewportSize({ width: 360, height: 740 });
    for (const view of all) {
      await page.goto(view.path);
      await page.waitForSelector(view.ready);
      const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(over <= 0, `${view.name} is ${over} px wider than the screen`);
      const isInside = async (what) => {
        const box = await what.boundingBox();
        return box.x >= 0 && box.x + box.width <= 360;
      };
      const here = page.getByRole("navigation", { name: "Views" }).locator("[aria-current]");
      assert.ok(await isInside(here), `where ${view.name} is among the views is not to be seen`);
      if (view.name === "workers") assert.ok(await isInside(page.getByRole("button", { name: /^Pause / })), "a worker cannot be paused");
      if (view.name === "compare") await page.getByText(/^4 of \d+ axes, as many as there is room for$/).waitFor();
      if (view.name === "jobs") {
        const table = page.getByRole("table", { name: "Jobs" });
        await table.getByRole("row").nth(1).getByRole("cell").first().waitFor(); // cards are still a table to who hears them
        for (const i of [1, 2]) await table.getByRole("checkbox").nth(i).click();
        const bar = await page.getByRole("region", { name: "Selected jobs" }).boundingBox();
        assert.ok(bar.x >= 0 && bar.x + bar.width <= 360, `what can be done with the selected is ${bar.width} px wide, from ${bar.x}`);
        const box = await table.getByRole("checkbox").nth(1).boundingBox();
        assert.ok(box.width >= 24 && box.height >= 24, `a checkbox of ${box.width} x ${box.height} px`);
      }
      if (view.name === "submit") {
        const button = await page.getByRole("button", { name: "Submit" }).boundingBox();
        assert.ok(button.y + button.height <= 740, "the button is below the screen");
      }
    }
  },

  async "a long name fits a phone's width"({ page }) {
    const long = "a_model_whose_name_nobody_ever_cut_into_words_".repeat(3);
    await page.setViewportSize({ width: 360, height: 740 });
    await page.route("**/api/v1/artifacts/*", async (route) => {
      const answer = await (await route.fetch()).json();
      await route.fulfill({ json: { ...answer, name: long } });
    });
    for (const view of all.filter(({ name }) => /^(job-results|artifact|compare|submit)$/.test(name))) {
      await page.goto(view.path);
      await page.waitForSelector(view.ready);
      if (view.name !== "compare") await page.getByText(long).first().waitFor({ state: "attached" });
      const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(over <= 0, `${view.name} is ${over} px wider than the screen`);
    }
  },

  async "charts give way when the screen is turned"({ page }) {
    await page.setViewportSize({ width: 740, height: 360 });
    await page.goto(`/compare?jobs=${jobs["rtn-3bit"]},${jobs["rtn-8bit"]}`);
    await page.waitForSelector(".chart canvas");
    await page.setViewportSize({ width: 360, height: 740 });
    await page.waitForFunction(() => document.documentElement.scrollWidth <= innerWidth);
  },

  async "a name of markup is text in every view, in a dialog, a list that opens and a toast"({ page, complaints }) {
    for (const path of ["/jobs?state=failed", `/jobs/${jobs.failed}`, `/submit?from=${jobs.failed}`, `/compare?jobs=${jobs.failed},${jobs.gptq}`]) {
      await page.goto(path);
      await page.getByText(facts.hostile).first().waitFor();
    }
    assert.equal(await page.evaluate(() => document.querySelectorAll("main script").length), 0);
    await page.goto(`/jobs/${jobs.failed}`);
    await page.getByRole("button", { name: "More" }).click();
    await page.getByRole("menuitem", { name: "Delete" }).click();
    await page.getByRole("alertdialog").getByText(facts.hostile).waitFor();
    await page.keyboard.press("Escape");
    await page.goto(`/jobs/${jobs.gptq}?tab=recipe`);
    await page.getByRole("combobox", { name: "Compare with" }).click();
    await page.getByRole("option").getByText(facts.hostile).waitFor();
    // What is called otherwise is called so from now on: artifacts, sweeps, workers, lines of the log.
    await page.route(/\/api\/v1\/(artifacts|sweeps|workers|jobs)([/?]|$)/, async (route) => {
      const response = await route.fetch();
      if (!response.headers()["content-type"]?.includes("json")) return route.fulfill({ response });
      const named = (value) => ("digest" in value || "id" in value || "recipe" in value || "number" in value) && ["name", "text"];
      const json = JSON.parse(await response.text(), (_, value) => {
        if (value && typeof value === "object" && !Array.isArray(value))
          for (const key of named(value) || []) if (typeof value[key] === "string") value[key] = facts.hostile;
        return value;
      });
      await route.fulfill({ response, json });
    });
    for (const [view, where] of [
      ["job-log", ".log"],
      ["sweeps", "main table"],
      ["sweep", "main h1"],
      ["artifacts", "main table"],
      ["artifact", "main h1"],
      ["workers", ".workers"],
      ["compare-choose", ".choose"],
    ]) {
      const { path, ready } = all.find(({ name }) => name === view);
      await page.goto(path);
      await page.waitForSelector(ready);
      await page.locator(where).getByText(facts.hostile).first().waitFor();
      assert.equal(await page.evaluate(() => document.querySelectorAll("main script").length), 0, view);
    }
    await page.unroute(/\/api\/v1\/(artifacts|sweeps|workers|jobs)([/?]|$)/);
    await page.route(`**/api/v1/jobs/${jobs.failed}/retry`, (route) => route.fulfill({ status: 409, json: { detail: facts.hostile } }));
    await page.goto(`/jobs/${jobs.failed}`);
    await page.getByRole("button", { name: "Retry" }).click();
    await page.locator(".toast").getByText(facts.hostile).waitFor();
    assert.equal(await page.evaluate(() => document.querySelectorAll("body script:not([src])").length), 0);
    assert.ok(complaints.splice(0).every((line) => line.includes("409")));
  },

  async "the keyboard reaches a job, its tabs and the dialog"({ page }) {
    await page.goto("/jobs?name=gptq");
    await page.waitForSelector("table.jobs tbody tr");
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to content");
    await page.getByRole("link", { name: "gptq", exact: true }).focus();
    await page.keyboard.press("Enter");
    await page.getByRole("tab", { name: "Results" }).waitFor();
    assert.equal(await page.evaluate(() => document.activeElement.id), "main"); // not nowhere
    await page.getByRole("tab", { name: "Results" }).focus();
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("Enter");
    await page.waitForURL(/tab=timeline/);
    await page.getByRole("button", { name: "More" }).focus();
    await page.keyboard.press("Enter");
    await page.getByRole("menuitem", { name: "Delete" }).waitFor();
    await page.keyboard.press("Enter");
    const dialog = page.getByRole("alertdialog");
    await dialog.waitFor();
    await page.waitForFunction(() => document.querySelector("[role=alertdialog]").contains(document.activeElement));
    await page.keyboard.press("Escape");
    await dialog.waitFor({ state: "detached" });
    await page.waitForFunction(() => document.activeElement.getAttribute("aria-label") === "More");
    assert.equal((await api(address, `jobs/${jobs.gptq}`)).state, "JOB_STATE_SUCCEEDED");
  },

  async "a poll that finds nothing new has no body"({ page }) {
    const client = await page.context().newCDPSession(page);
    await client.send("Network.enable");
    const statuses = [];
    client.on("Network.responseReceivedExtraInfo", (info) => statuses.push(info.statusCode));
    await page.goto(`/jobs?state=failed`);
    await page.waitForSelector("table.jobs tbody tr");
    await page.waitForTimeout(9000); // two polls of a list at rest
    assert.ok(statuses.filter((status) => status === 304).length >= 2, `statuses: ${statuses}`);
  },

  async "a server that is away is said so, and the page goes on by itself"({ page, complaints }) {
    await page.goto("/workers");
    await page.waitForSelector(".workers tbody tr");
    await page.context().setOffline(true);
    await page.getByText("The server does not answer.").waitFor();
    await page.context().setOffline(false);
    await page.getByText("The server does not answer.").waitFor({ state: "detached" });
    await page.context().setOffline(true); // also a view whose script was not fetched yet
    await page.getByRole("link", { name: "Compare" }).click();
    await page.getByText("This view could not be shown.").waitFor();
    await page.context().setOffline(false);
    await page.getByRole("button", { name: "Try again" }).click();
    await page.getByRole("heading", { name: "Compare" }).waitFor();
    complaints.length = 0; // the browser's own lines on the failed polls
  },

  async "a server that asks for a token lets in who has one, until he logs out"({ page, complaints }) {
    await page.goto(`${facts.closed.address}/jobs`);
    const token = page.getByLabel("Token");
    await token.fill("wring_nonsense");
    await page.getByRole("button", { name: "Log in" }).click();
    await page.getByText("this is no token of this server").waitFor();
    assert.match(complaints.splice(0).join(), /^Failed to load resource: .* 401/); // the browser's own line on the refusal
    assert.deepEqual(await seriousViolations(page), []);
    await token.fill(facts.closed.token);
    await page.getByRole("button", { name: "Log in" }).click();
    await page.getByText("No jobs yet").waitFor();
    assert.equal(await page.evaluate(() => document.cookie), ""); // scripts do not see it
    await page.reload();
    await page.getByText("admin, all projects").waitFor();
    await page.getByRole("button", { name: "Log out" }).click();
    await token.waitFor();
    await page.reload();
    await token.waitFor();
  },

  async "who makes an open server's first token sees its secret and is logged in with it"({ page }) {
    await page.goto(`${facts.closing}/access`);
    await page.getByLabel("Name", { exact: true }).fill("first");
    await page.getByRole("button", { name: "Make the token" }).click();
    const secret = (await page.getByLabel("Secret", { exact: true }).textContent()).trim();
    await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
    await page.getByRole("button", { name: "Copy the secret" }).click();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), secret);
    await page.getByText("admin, all projects").waitFor();
    const answer = await fetch(`${facts.closing}/api/v1/jobs`, { headers: { Authorization: `Bearer ${secret}` } });
    assert.equal(answer.status, 200);
    assert.equal((await fetch(`${facts.closing}/api/v1/jobs`)).status, 401);
  },

  async "the first token's secret is shown also where logging in with it fails"({ page, complaints }) {
    await page.goto(`${facts.shutting}/access`);
    await page.getByLabel("Name", { exact: true }).fill("first");
    await page.route("**/api/v1/login", (route) => route.fulfill({ status: 503, json: { detail: "not now" } }));
    await page.getByRole("button", { name: "Make the token" }).click();
    const secret = (await page.getByLabel("Secret", { exact: true }).textContent()).trim();
    await page.getByLabel("Token", { exact: true }).waitFor(); // the server is closed from now on
    assert.equal((await page.getByLabel("Secret", { exact: true }).textContent()).trim(), secret);
    await page.unroute("**/api/v1/login");
    await page.getByLabel("Token", { exact: true }).fill(secret);
    await page.getByRole("button", { name: "Log in" }).click();
    await page.getByText("admin, all projects").waitFor();
    await page.getByRole("button", { name: "I have kept it" }).click();
    await page.getByLabel("Secret", { exact: true }).waitFor({ state: "detached" });
    assert.ok(complaints.splice(0).every((line) => /50[03]|401/.test(line)));
  },

  async "an admin sets a quota and makes a token, whose holder sees why he may change nothing"({ page, complaints }) {
    await page.goto(`${facts.closed.address}/access`);
    await page.getByLabel("Token").fill(facts.closed.token);
    await page.getByRole("button", { name: "Log in" }).click();
    await page.getByLabel("Name", { exact: true }).fill("reader");
    await page.getByRole("combobox", { name: "Scope" }).click();
    await page.getByRole("option", { name: /^Viewer/ }).click();
    await page.getByRole("button", { name: "Make the token" }).click();
    const secret = (await page.getByLabel("Secret", { exact: true }).textContent()).trim();
    const row = page.locator("tr", { hasText: "reader" });
    await row.getByText("viewer").waitFor();
    const focused = (name) => page.waitForFunction((text) => (document.activeElement.ariaLabel ?? document.activeElement.textContent).startsWith(text), name);
    await page.getByRole("button", { name: "Quota" }).focus();
    await page.keyboard.press("Enter"); // and by keyboard alone:
    await focused("Queued jobs");
    await page.keyboard.press("Escape");
    await focused("Quota");
    await page.keyboard.press("Enter");
    await focused("Queued jobs");
    await page.keyboard.type("7");
    await page.keyboard.press("Enter");
    await page.getByRole("cell", { name: "0 of 7" }).waitFor();
    await focused("Quota");
    await page.getByLabel("Another project").fill("to-come");
    await page.keyboard.press("Enter");
    await focused("Queued jobs of to-come");
    await page.keyboard.type("3");
    await page.keyboard.press("Enter");
    await page.locator("tr", { hasText: "to-come" }).getByRole("cell", { name: "0 of 3" }).waitFor();
    assert.deepEqual(await seriousViolations(page), []);
    const other = await (await page.context().browser().newContext({ baseURL: facts.closed.address })).newPage();
    await other.goto("/jobs");
    await other.getByLabel("Token").fill(secret);
    await other.getByRole("button", { name: "Log in" }).click();
    await other.getByText("Your token is a viewer’s").waitFor();
    assert.ok(await other.locator("main").getByRole("button", { name: "New job", disabled: true }).isVisible());
    await other.getByText("Those that others submit are listed here.").waitFor();
    await other.goto("/access");
    await other.getByRole("cell", { name: "0 of 7" }).waitFor();
    assert.equal(await other.getByRole("button", { name: "Quota" }).count(), 0);
    await row.getByRole("button", { name: "Revoke" }).click();
    await page.getByRole("button", { name: "Revoke the token" }).click();
    await row.getByText("revoked").waitFor();
    await other.getByLabel("Token").waitFor({ timeout: 15_000 }); // shut out at once
    await other.context().close();
  },

  async "axe finds no serious violation in any view, and no contrast too low in the dark"({ page, complaints }) {
    const found = [];
    for (const view of [...all, { name: "not here", path: "/jobs/zzzzzzzzzzzz", ready: ".empty" }]) {
      await page.emulateMedia({ colorScheme: "light", reducedMotion: "reduce" });
      await page.goto(view.path);
      await page.waitForSelector(view.ready);
      for (const violation of await seriousViolations(page)) found.push(`${view.name}: ${violation}`);
      await page.emulateMedia({ colorScheme: "dark", reducedMotion: "reduce" });
      for (const violation of await seriousViolations(page, ["color-contrast"])) found.push(`${view.name}, dark: ${violation}`);
    }
    // Rows are cards on a phone.
    await page.setViewportSize({ width: 360, height: 740 });
    for (const view of all.filter(({ name }) => /^(jobs|job-results|compare|artifact|workers|submit)$/.test(name))) {
      await page.goto(view.path);
      await page.waitForSelector(view.ready);
      for (const violation of await seriousViolations(page)) found.push(`${view.name}, phone: ${violation}`);
    }
    complaints.length = 0; // the browser's own line on the job that is not here
    assert.deepEqual(found, []);
  },

  async "axe finds no serious violation in what opens: menus, lists, dialogs, toasts, the bar of the selected"({ page, complaints }) {
    const found = [];
    const look = async (what) => {
      for (const colorScheme of ["light", "dark"]) {
        await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
        for (const violation of await seriousViolations(page)) found.push(`${what}, ${colorScheme}: ${violation}`);
      }
    };
    await page.emulateMedia({ reducedMotion: "reduce" });
    await page.goto("/jobs?name=rtn-");
    await page.getByRole("checkbox", { name: "Select all" }).click();
    await page.getByRole("region", { name: "Selected jobs" }).waitFor();
    await look("selection");
    await page.goto("/jobs");
    await page.getByRole("combobox", { name: "Project" }).click();
    await page.getByRole("option").first().waitFor();
    await look("choice");
    await page.goto(`/jobs/${jobs.gptq}?tab=recipe`);
    await page.getByRole("combobox", { name: "Compare with" }).click();
    await page.getByRole("option").first().waitFor();
    await look("search");
    await page.goto(`/jobs/${jobs.failed}`);
    await page.getByRole("button", { name: "More" }).click();
    await page.getByRole("menuitem", { name: "Delete" }).waitFor();
    await look("menu");
    await page.getByRole("menuitem", { name: "Delete" }).click();
    await page.getByRole("alertdialog").waitFor();
    await look("dialog");
    await page.keyboard.press("Escape");
    await page.route(`**/api/v1/jobs/${jobs.failed}/retry`, (route) => route.fulfill({ status: 409, json: { detail: "not now", hint: "later" } }));
    await page.getByRole("button", { name: "Retry" }).click();
    await page.locator(".toast").getByText("not now").waitFor();
    await look("toast");
    complaints.length = 0; // the browser's own line on the refusal
    // The kit's own: what catches the focus at a list's end, and a toast that an alert beside it tells of.
    const isKit = (line) => /aria-hidden-focus: .*(data-base-ui-focus-guard|class="toast")/.test(line);
    assert.deepEqual(found.filter((line) => !isKit(line)), []);
  },
};

await run(tests);
