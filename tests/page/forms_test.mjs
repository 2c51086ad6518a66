// What must hold of the forms, of what is tried and of the workers' page: forms_test.mjs FACTS.json [TEST...]
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { api } from "./browser.mjs";
import { address, cli, facts, jobs, run, seriousViolations, submit } from "./harness.mjs";

const tests = {
  async "what was begun in a form is there after a look elsewhere, until it is begun anew"({ page }) {
    await page.goto(`/submit?from=${jobs["rtn-8bit"]}`);
    const yaml = page.getByLabel("Recipe", { exact: true });
    await yaml.waitFor();
    await yaml.fill("stages: ['rtn(bits=6, group_size=32)']");
    await page.getByLabel("Name", { exact: true }).fill("half done");
    await page.getByRole("link", { name: "Workers" }).click();
    await page.waitForSelector(".workers tbody tr");
    await page.goBack();
    await page.waitForFunction(() => [...document.querySelectorAll(".segment[aria-pressed=true]")].some((bits) => bits.textContent === "6"));
    assert.equal(await page.getByLabel("Name", { exact: true }).inputValue(), "half done");
    await page.getByRole("button", { name: "Start anew" }).click();
    assert.match(await yaml.inputValue(), /bits=8/);
    await page.goto("/sweeps/new");
    const sweep = page.getByLabel("Sweep", { exact: true });
    await sweep.fill((await sweep.inputValue()) + "# mine");
    await page.reload();
    assert.match(await sweep.inputValue(), /# mine$/);
    await page.getByRole("button", { name: "Start anew" }).click();
    assert.doesNotMatch(await sweep.inputValue(), /# mine/);
  },

  async "a prompt is answered by a model and by the one that it was made from"({ page }) {
    await page.goto(`/artifacts/${facts.result}`);
    await page.locator(".head-actions").getByRole("link", { name: "Try it" }).click();
    await page.getByText(/Beside tiny, which it was made from/).waitFor();
    await page.getByLabel("Tokens").fill("5");
    await page.getByRole("button", { name: "Send" }).click();
    await page.waitForURL(/jobs=/);
    await page.waitForFunction(() => document.querySelectorAll("blockquote").length === 2, undefined, { timeout: 60_000 });
    const ids = decodeURIComponent(new URL(page.url()).searchParams.get("jobs")).split(",");
    const said = await Promise.all(ids.map((id) => api(address, `jobs/${id}`)));
    assert.equal(said[1].spec.model, facts.result);
    assert.notEqual(said[0].spec.model, facts.result);
    const texts = said.map((job) => job.evaluations.find((row) => row.suite === "sample").text);
    assert.deepEqual(await page.locator("blockquote").allTextContents(), texts);
    const marks = await page.locator("blockquote mark").allTextContents();
    if (texts[0] === texts[1]) assert.deepEqual(marks, []);
    else {
      const [before, after] = texts.map((text, i) => text.slice(0, text.length - (marks[i]?.length ?? 0)));
      assert.equal(before, after); // what is not marked is what both say
      const parts = [...texts[0]].findIndex((letter, i) => letter !== texts[1][i]);
      assert.doesNotMatch(texts[0].slice(before.length, parts), /\s/);
    }
    await page.getByLabel("Prompt", { exact: true }).fill("What nobody has asked yet");
    const asked = page.getByRole("group", { name: "What was asked" });
    await asked.getByText("The state of the Union is", { exact: true }).waitFor(); // whatever the form says
    await asked.getByText("5 tokens, temperature 0, seed 0", { exact: true }).waitFor();
    assert.equal(await asked.count(), 1);
    const shown = await page.getByRole("region", { name: "Answers" }).boundingBox();
    assert.ok(shown.y + shown.height <= 820, "the answers are below the screen");
  },

  async "a sweep is written, refused, mended and run by form"({ page, complaints }) {
    await page.goto("/sweeps");
    await page.getByRole("link", { name: "New sweep" }).click();
    const yaml = page.getByLabel("Sweep", { exact: true });
    await page.getByText(/accepts this sweep: grid over .*: 6 trials/).waitFor();
    await yaml.fill((await yaml.inputValue()).replace("[3, 4, 8]", "[3, 9]"));
    await page.locator("#verdict .bad-text").waitFor();
    assert.match(complaints.splice(0).join(), /^Failed to load resource: .* 400/); // the browser's own line on the refusal
    await yaml.fill((await yaml.inputValue()).replace("[3, 9]", "[3]").replace("[32, 64]", "[16]"));
    await page.getByText(/accepts this sweep: grid over .*: 1 trial,/).waitFor();
    await page.getByRole("combobox", { name: "Model: model" }).click();
    await page.getByRole("option", { name: /tiny/ }).click();
    await page.getByLabel("Name", { exact: true }).fill("by form");
    await page.getByLabel("Project").fill("vision");
    await page.getByRole("button", { name: "Submit" }).click();
    await page.waitForURL(/\/sweeps\/[a-z0-9]{12}$/);
    assert.equal((await api(address, "sweeps/" + page.url().split("/").at(-1))).spec.project, "vision");
    await page.locator(".head-line").getByText("Succeeded", { exact: true }).waitFor({ timeout: 60_000 });
  },

  async "a form that the server refuses names the field; mended, it becomes a job that succeeds"({ page, complaints }) {
    await page.goto("/submit");
    await page.getByLabel("Add a stage").click();
    await page.getByRole("option", { name: /^rtn/ }).click();
    const group = page.getByLabel(/^group_size/);
    await group.fill("-7");
    await group.blur();
    await page.locator("#verdict").getByText("stages[0].params.group_size").waitFor();
    await page.waitForSelector("[aria-invalid=true]");
    assert.equal(await page.getByRole("button", { name: "Submit" }).isDisabled(), true);
    assert.match(complaints.splice(0).join(), /^Failed to load resource: .* 400/); // the browser's own line on the refusal
    await group.fill("32");
    await group.blur();
    await page.getByText("The server accepts this recipe.").waitFor();
    assert.match(await page.getByLabel("Recipe").inputValue(), /method: rtn\n {4}params: \{group_size: 32\}/);
    await page.getByLabel("Add an evaluation").click();
    await page.getByRole("option", { name: /^size/ }).click();
    // The model is not among the newest.
    await page.route("**/api/v1/artifacts?*", async (route) => {
      const response = await route.fetch();
      const { artifacts } = await response.json();
      if (new URL(route.request().url()).searchParams.has("name_contains")) return route.fulfill({ response });
      await route.fulfill({ json: { artifacts: artifacts.filter((a) => a.name !== "tiny"), next_page_token: "more" } });
    });
    await page.getByRole("combobox", { name: "Model" }).click();
    await page.getByRole("option").first().waitFor();
    assert.equal(await page.getByRole("option", { name: /tiny/ }).count(), 0);
    await page.getByRole("combobox", { name: "Search models" }).fill("tin");
    await page.getByRole("option", { name: /tiny/ }).click();
    await page.getByLabel("Name", { exact: true }).fill("by form");
    await page.getByLabel("Project").fill("speech");
    const button = page.getByRole("button", { name: "Submit" });
    await page.waitForFunction(() => !document.querySelector("button[type=submit]").disabled);
    await button.click();
    await page.waitForURL(/\/jobs\/[a-z0-9]{12}$/);
    await page.getByText("Succeeded", { exact: true }).waitFor({ timeout: 60_000 });
    await page.getByRole("heading", { name: "by form" }).waitFor();
    const job = await api(address, "jobs/" + page.url().split("/").at(-1));
    assert.equal(job.spec.name, "by form");
    assert.equal(job.spec.project, "speech");
    await page.goto("/jobs");
    await page.getByRole("combobox", { name: "Project" }).click();
    await page.getByRole("option", { name: "speech" }).click();
    await page.waitForFunction(() => document.querySelectorAll("table.jobs tbody tr").length === 1);
    assert.match(page.url(), /project=speech/);
    const row = page.locator("table.jobs tbody tr");
    await row.getByText("speech · ").waitFor();
    await page.setViewportSize({ width: 1500, height: 820 }); // there is room for a column
    await row.getByRole("cell", { name: "speech", exact: true }).waitFor();
    await row.getByText("tiny").waitFor(); // what it is about, what was done, and what came of it
    await row.getByText("rtn", { exact: true }).waitFor();
    await row.getByText(/^[\d.]+ kB−\d+ %$/).waitFor();
    assert.match(await row.locator("time").getAttribute("title"), /\d{4}.*\d:\d\d/); // the exact time, on hover
  },

  async "the form follows the YAML, and what is run again with changes has the changed parameter"({ page }) {
    await page.goto(`/jobs/${jobs["rtn-8bit"]}`);
    await page.getByRole("link", { name: "Run again with changes" }).click();
    const yaml = page.getByLabel("Recipe");
    await page.getByText("The server accepts this recipe.").waitFor();
    const bits = page.getByRole("group", { name: /^bits/ });
    await bits.getByRole("button", { name: "8", pressed: true }).waitFor();
    await yaml.fill((await yaml.inputValue()).replace("bits=8", "bits=4"));
    await bits.getByRole("button", { name: "4", pressed: true }).waitFor();
    await bits.getByRole("button", { name: "5" }).click();
    assert.match(await yaml.inputValue(), /bits: 5/);
    await page.getByText("The server accepts this recipe.").waitFor();
    await page.getByRole("button", { name: "Submit" }).click();
    await page.waitForURL(/\/jobs\/[a-z0-9]{12}$/);
    const id = page.url().split("/").at(-1);
    const [before, after] = await Promise.all([api(address, `jobs/${jobs["rtn-8bit"]}`), api(address, `jobs/${id}`)]);
    assert.match(after.spec.recipe, /bits: 5/);
    assert.deepEqual({ ...after.spec, recipe: "" }, { ...before.spec, recipe: "" });
    await page.getByText("Succeeded", { exact: true }).waitFor({ timeout: 60_000 });
  },

  async "where a job runs and how long it may is asked for, kept by who runs it again, and told on its page"({ page }) {
    await page.goto(`/submit?from=${jobs["rtn-8bit"]}`);
    await page.getByText("The server accepts this recipe.").waitFor();
    await page.getByText("Where it runs, and limits").click();
    await page.getByLabel("Memory", { exact: true }).fill("many");
    await page.getByText("A number and a unit: 4GB or 512MiB.").waitFor();
    assert.equal(await page.getByRole("button", { name: "Submit" }).isDisabled(), true);
    await page.getByLabel("Memory", { exact: true }).fill("512MiB");
    await page.getByLabel("Threads", { exact: true }).fill("1");
    await page.getByLabel("Longest attempt").fill("2h");
    await page.getByLabel("Attempts", { exact: true }).fill("2");
    await page.getByRole("combobox", { name: "Results are kept" }).click();
    await page.getByRole("option", { name: "7 days" }).click();
    assert.deepEqual(await seriousViolations(page), []);
    await page.getByRole("button", { name: "Submit" }).click();
    await page.waitForURL(/\/jobs\/[a-z0-9]{12}$/);
    const { spec, id } = await api(address, "jobs/" + page.url().split("/").at(-1));
    assert.equal(spec.resources.memory_bytes, String(512 * 1024 ** 2));
    assert.deepEqual([spec.resources.threads, spec.max_runtime_seconds, spec.retry.max_attempts, spec.retention.expire_after_seconds], [1, 7200, 2, 7 * 86400]);
    await page.getByText("Details", { exact: true }).click();
    await page.getByText("1 thread, 512MiB of memory, 2h an attempt, 2 attempts, results kept 7d").waitFor();
    await page.goto(`/submit?from=${id}`);
    await page.getByText("The server accepts this recipe.").waitFor();
    await page.getByRole("button", { name: "Submit" }).click();
    await page.waitForURL((url) => /\/jobs\/[a-z0-9]{12}$/.test(url.pathname) && !url.pathname.endsWith(id));
    assert.deepEqual((await api(address, "jobs/" + page.url().split("/").at(-1))).spec, spec);
  },

  async "the recipe's name and the form's are one"({ page }) {
    await page.goto("/submit");
    const recipe = page.getByLabel("Recipe", { exact: true });
    const name = page.getByLabel("Name", { exact: true });
    await recipe.fill("name: mine # so far\nstages: ['rtn(bits=4)']\n");
    await page.getByText("The server accepts this recipe.").waitFor();
    assert.equal(await name.inputValue(), "mine");
    await name.fill("yours");
    assert.match(await recipe.inputValue(), /^name: yours # so far\n/);
    await page.goto(`/submit?from=${jobs["rtn-3bit"]}`);
    await page.getByText("The server accepts this recipe.").waitFor();
    const before = await name.inputValue();
    await recipe.fill((await recipe.inputValue()).replace(/^name: .*/m, "name: again"));
    await page.getByText("The server accepts this recipe.").waitFor();
    assert.deepEqual([before, await name.inputValue()], ["rtn-3bit", "again"]);
  },

  async "a change in the form leaves the comments of the YAML"({ page }) {
    await page.goto("/submit");
    const yaml = page.getByLabel("Recipe", { exact: true });
    await yaml.fill("# for phones\nstages:\n  - method: rtn # no data\n    params: {bits: 8, group_size: 32}\nevaluations: [size]\n");
    await page.getByText("The server accepts this recipe.").waitFor();
    await page.getByRole("group", { name: /^bits/ }).getByRole("button", { name: "5" }).click();
    assert.equal(await yaml.inputValue(), "# for phones\nstages:\n  - method: rtn # no data\n    params: {bits: 5, group_size: 32}\nevaluations: [size]\n");
    await page.getByRole("button", { name: "Remove size" }).click();
    assert.equal(await yaml.inputValue(), "# for phones\nstages:\n  - method: rtn # no data\n    params: {bits: 5, group_size: 32}\n");
    await page.getByText("The server accepts this recipe.").waitFor();
  },

  async "what a recipe would take is told before it is submitted, by a job that leaves no trace"({ page }) {
    await page.goto(`/submit?from=${jobs.gptq}`);
    await page.getByText("The server accepts this recipe.").waitFor();
    const plan = page.getByRole("region", { name: "Plan", exact: true });
    const clear = () => page.waitForFunction(async () => !(await (await fetch("/api/v1/jobs")).json()).jobs.some((job) => job.spec.plan_only));
    await plan.getByRole("button", { name: "Estimate time and memory" }).click();
    const row = plan.locator("tbody tr", { hasText: "gptq" });
    await row.waitFor({ timeout: 60_000 });
    await plan.getByText("at hand: it was made before").first().waitFor(); // by the same worker
    await clear();
    await page.getByRole("group", { name: /^bits/ }).getByRole("button", { name: "3" }).click();
    await row.waitFor({ state: "detached" }); // it was of another recipe
    await page.getByText("The server accepts this recipe.").waitFor();
    await plan.getByRole("button", { name: "Estimate time and memory" }).click();
    await row.getByText(/MB/).first().waitFor({ timeout: 60_000 });
    const cells = await row.locator("td").allTextContents();
    assert.match(cells[1], /^(\d+:\d\d|(< )?0\.\d s)$/);
    assert.match(cells[2], /^[\d.]+ [MG]B$/);
    assert.match(cells[3], /^[\d.]+ kB → [\d.]+ kB$/);
    assert.deepEqual(await seriousViolations(page), []);
    await clear();
    await cli("pause", "worker", (await api(address, "workers")).workers[0].id);
    try {
      await plan.getByRole("button", { name: "Estimate again" }).click();
      await plan.getByText(/Waits: paused: all connected workers that fit/).waitFor();
      await plan.getByRole("button", { name: "Stop" }).click();
      await clear();
    } finally {
      await cli("resume", "worker", (await api(address, "workers")).workers[0].id);
    }
    const job = await api(address, `jobs/${jobs.gptq}`);
    assert.equal(job.spec.plan_only, false);
  },

  async "a worker's row says how busy its machine is and what its cache spared"({ page }) {
    await page.goto("/workers");
    await page.getByText(/^\d+ % busy · \d+ threads$/).waitFor();
    await page.getByText(/^[\d.]+ GB of [\d.]+ GB$/).waitFor();
    const [worker] = (await api(address, "workers")).workers;
    const memory = page.getByRole("meter", { name: "cpu 0, memory in use" });
    assert.ok(Math.abs(Number(await memory.getAttribute("aria-valuenow")) - worker.use.devices[0].memory_bytes / worker.devices[0].memory_bytes) < 0.1);
    await page.getByText(/^[\d.]+ % of what jobs needed was there$/).waitFor();
    await page.getByText(/^[\d.]+ [kM]B of 50.0 GB/).waitFor();
    const system = page.getByRole("region", { name: "System" });
    const { version, stages } = await api(address, "system");
    await system.getByText(`${version}, started`).waitFor();
    await system.getByText(/^[\d.]+ [GT]B free of [\d.]+ [GT]B$/).waitFor();
    assert.ok(Number(stages.made) > 0);
    await system.getByText(/^\d+ of \d+/).waitFor();
  },

  async "a text is what was typed: numbers stay as they are written, and a prompt of digits is text"({ page }) {
    await page.goto("/submit");
    await page.getByLabel("Add a stage").click();
    await page.getByRole("option", { name: /^ptq/ }).click();
    await page.getByRole("button", { name: /^Show all/ }).click();
    const mean = page.getByLabel(/^mean/);
    await mean.fill("");
    await mean.pressSequentially("0.2023, 1.05");
    assert.equal(await mean.inputValue(), "0.2023, 1.05");
    await page.getByLabel("Add an evaluation").click();
    await page.getByRole("option", { name: /^sample/ }).click();
    const prompt = page.getByLabel(/^prompt/);
    await prompt.fill("");
    await prompt.pressSequentially("42");
    const recipe = await page.getByLabel("Recipe", { exact: true }).inputValue();
    const { normal_form_json } = await (await page.request.post("/api/v1/recipes/validate", { data: { recipe } })).json();
    const { stages, evaluations } = JSON.parse(normal_form_json);
    assert.deepEqual(stages[0].params.mean, [0.2023, 1.05]);
    assert.equal(evaluations[0].params.prompt, "42");
    await page.getByText("The server accepts this recipe.").waitFor();
  },

  async "a number is what was typed, and what is none is refused, not made into one"({ page, complaints }) {
    await page.goto("/submit");
    await page.getByLabel("Add a stage").click();
    await page.getByRole("option", { name: /^finetune/ }).click();
    await page.getByRole("button", { name: /^Show all/ }).click();
    const rate = page.getByLabel(/^learning_rate/);
    for (const [typed, meant] of [["1e-5", 1e-5], ["0.00025", 0.00025], ["2,5", undefined]]) {
      await rate.fill("");
      await rate.pressSequentially(typed);
      await rate.blur();
      assert.equal(await rate.inputValue(), typed);
      const recipe = await page.getByLabel("Recipe", { exact: true }).inputValue();
      const answer = await page.request.post("/api/v1/recipes/validate", { data: { recipe } });
      if (meant === undefined) {
        assert.equal((await answer.json()).field, "stages[0].params.learning_rate");
        await page.waitForFunction((id) => document.getElementById(id)?.getAttribute("aria-invalid") === "true", await rate.getAttribute("id"));
      } else {
        assert.equal(JSON.parse((await answer.json()).normal_form_json).stages[0].params.learning_rate, meant);
        await page.getByText("The server accepts this recipe.").waitFor();
      }
    }
    assert.ok(complaints.splice(0).every((line) => line.includes("400"))); // the browser's own lines on refusals
  },

  async "levels are calls in the form, and stay what they are when another field is written in"({ page }) {
    const normalForm = async (recipe) => JSON.parse((await (await page.request.post("/api/v1/recipes/validate", { data: { recipe } })).json()).normal_form_json);
    await page.goto("/submit");
    const yaml = page.getByLabel("Recipe", { exact: true });
    for (const [level, text] of [
      ["gptq(bits=8, group_size=32)", "gptq(bits=3) | gptq(bits=8, group_size=32)"],
      ["{method: rtn, targets: [up_proj]}", /^\[\{.*"up_proj"/],
    ]) {
      await yaml.fill(`stages:\n- method: mixed-levels\n  params:\n    samples: 8\n    levels:\n    - gptq(bits=3)\n    - ${level}\n`);
      const before = await normalForm(await yaml.inputValue());
      await page.getByText("The server accepts this recipe.").waitFor();
      const levels = page.getByLabel(/^levels/);
      await levels.waitFor();
      if (text instanceof RegExp) assert.match(await levels.inputValue(), text);
      else assert.equal(await levels.inputValue(), text);
      const samples = page.getByLabel(/^samples/);
      await samples.fill("9");
      await samples.blur();
      before.stages[0].params.samples = 9;
      assert.deepEqual(await normalForm(await yaml.inputValue()), before);
      if (text instanceof RegExp) continue;
      await levels.press("End");
      await levels.pressSequentially(" | rtn");
      before.stages[0].params.levels.push((await normalForm("stages: ['mixed-levels(levels=\"rtn\")']")).stages[0].params.levels[0]);
      assert.deepEqual(await normalForm(await yaml.inputValue()), before);
    }
  },

  async "YAML that is no recipe yet is not written over by the form"({ page, complaints }) {
    const yaml = page.getByLabel("Recipe", { exact: true });
    const untouched = async (text) => {
      await page.getByLabel("Add a stage").click({ force: true });
      await assert.rejects(page.getByRole("option", { name: /^rtn/ }).click({ timeout: 1000 }));
      assert.equal(await yaml.inputValue(), text);
    };
    let answer;
    const answers = new Promise((resolve) => (answer = resolve));
    await page.route("**/api/v1/recipes/validate", (route) => answers.then(() => route.continue()));
    await page.goto(`/submit?from=${jobs["rtn-8bit"]}`);
    await yaml.waitFor();
    await untouched(await yaml.inputValue()); // the server has not said yet what it says
    answer();
    await page.getByText("The server accepts this recipe.").waitFor();
    const broken = "stages: ['rtn(bits=6, group_size=32)'";
    await yaml.fill(broken);
    await untouched(broken);
    await page.getByText("wait until the YAML is a recipe").waitFor();
    await untouched(broken);
    await page.reload();
    await page.getByText("wait until the YAML is a recipe").waitFor();
    await untouched(broken);
    await yaml.fill(`${broken}]`);
    await page.getByText("The server accepts this recipe.").waitFor();
    await page.getByLabel("Add a stage").click();
    await page.getByRole("option", { name: /^rtn/ }).click();
    assert.match(await yaml.inputValue(), /^stages: \['rtn\(bits=6, group_size=32\)', \{ ?method: rtn ?\}\]$/m); // what is there stays as it was written
    await yaml.fill("");
    await page.getByRole("button", { name: "Remove rtn" }).first().waitFor({ state: "detached" }); // nor does the form say what the YAML does not any more
    assert.ok(complaints.splice(0).every((line) => line.includes("400")));
  },

  async "targets and layers to ignore follow the YAML while they are open"({ page }) {
    await page.goto(`/submit?from=${jobs["rtn-8bit"]}`);
    const yaml = page.getByLabel("Recipe", { exact: true });
    await page.getByText("The server accepts this recipe.").waitFor();
    await page.getByRole("button", { name: /^Show all .* targets/ }).click();
    const targets = page.getByLabel("targets", { exact: true });
    await targets.pressSequentially("up_proj, down_proj");
    assert.equal(await targets.inputValue(), "up_proj, down_proj");
    assert.match(await yaml.inputValue(), /targets: \[up_proj, down_proj\]/);
    await page.getByText("The server accepts this recipe.").waitFor();
    await yaml.fill((await yaml.inputValue()).replace("up_proj, down_proj", "q_proj"));
    await page.waitForFunction((input) => input.value === "q_proj", await targets.elementHandle());
    await page.getByLabel("ignore", { exact: true }).fill("lm_head, embed");
    assert.match(await yaml.inputValue(), /targets: \[q_proj\]\n {4}ignore: \[lm_head, embed\]/);
  },

  async "a stage that works towards a model may take an earlier stage's"({ page, complaints }) {
    await page.goto("/submit");
    const yaml = page.getByLabel("Recipe", { exact: true });
    await yaml.fill("stages:\n  - rtn(bits=8) # first\n  - rtn(bits=6)\n  - rtn(bits=3)\n  - svd-compensation\n");
    await page.getByText("The server accepts this recipe.").waitFor();
    await page.getByRole("button", { name: /svd-compensation/, expanded: false }).first().click();
    const step = page.getByRole("region", { name: "4 svd-compensation" });
    await step.getByLabel(/^reference/).click();
    assert.deepEqual(await page.getByRole("option").allTextContents(), ["input", "0", "1"]); // not the stage that it begins with
    await page.getByRole("option", { name: "1", exact: true }).click();
    assert.match(await yaml.inputValue(), /# first[^]*method: svd-compensation[^]*reference: 1/);
    await page.getByText("The server accepts this recipe.").waitFor();
    await step.getByRole("button", { name: /svd-compensation/, expanded: true }).click();
    await step.getByRole("button", { name: /svd-compensation reference 1$/ }).waitFor();
    await page.getByRole("button", { name: "Remove rtn" }).first().click();
    await page.getByRole("region", { name: "3 svd-compensation" }).getByText("makes what this stage begins with").waitFor(); // the index means another one now
    complaints.length = 0; // the browser's own line on the refusal
  },

  async "a choice of data stays in sight while the recipe is written"({ page, complaints }) {
    await page.goto(`/submit?from=${jobs.gptq}`);
    const data = page.getByRole("combobox", { name: "Data: calibration" });
    await data.getByText("text").waitFor();
    const yaml = page.getByLabel("Recipe", { exact: true });
    await yaml.press("End");
    await yaml.pressSequentially("\n[");
    await page.locator("#verdict .bad-text").waitFor();
    assert.equal(await data.count(), 1);
    await yaml.press("Backspace");
    assert.equal(await data.count(), 1); // while it is checked, too
    await page.getByText("The server accepts this recipe.").waitFor();
    complaints.length = 0; // the browser's own line on the refusal
  },

  async "a step is a line that tells what was changed, until it is opened, and a field's help is there when it is needed"({ page }) {
    await page.goto(`/submit?from=${jobs.gptq}`);
    const step = page.getByRole("region", { name: "1 perplexity" });
    const line = step.getByRole("button", { name: /perplexity window 64, windows 4$/ });
    await line.waitFor();
    assert.equal(await page.getByLabel(/^windows/).count(), 0);
    await line.press("Enter");
    const windows = step.getByLabel(/^windows/);
    const help = step.locator(".labelled").filter({ has: page.getByLabel(/^windows/) }).locator("p");
    await windows.waitFor();
    assert.equal(await help.count(), 1);
    assert.equal(await help.isVisible(), false);
    await windows.focus();
    await help.waitFor();
    assert.deepEqual(await seriousViolations(page), []);
  },

  async "a plan is of the recipe that it was asked for; one that nobody waits for any more leaves no trace"({ page, complaints }) {
    const plans = async () => (await api(address, "jobs")).jobs.filter((job) => job.spec.plan_only);
    let go = () => {};
    await page.route("**/api/v1/jobs", async (route) => {
      if (route.request().method() !== "POST") return route.continue();
      const response = await route.fetch();
      await new Promise((resolve) => (go = resolve));
      await route.fulfill({ response });
    });
    const ask = async () => {
      await page.getByText("The server accepts this recipe.").waitFor();
      await page.getByRole("button", { name: "Estimate time and memory" }).click();
      while ((await plans())[0]?.state !== "JOB_STATE_SUCCEEDED") await page.waitForTimeout(200);
    };
    const gone = async () => {
      const until = Date.now() + 10_000;
      while ((await plans()).length > 0) {
        assert.ok(Date.now() < until, "the job that planned is still there");
        await page.waitForTimeout(200);
      }
    };
    await page.goto(`/submit?from=${jobs.gptq}`);
    await ask();
    await page.getByRole("group", { name: /^bits/ }).getByRole("button", { name: "2" }).click();
    go();
    await gone();
    assert.equal(await page.getByRole("region", { name: "Plan", exact: true }).locator("tbody tr").count(), 0);
    await ask();
    await page.getByRole("link", { name: "Access" }).click();
    await page.getByRole("heading", { name: "Access" }).waitFor();
    go();
    await gone();
    assert.ok(complaints.splice(0).every((line) => line.includes("409"))); // it has ended: there is nothing to cancel
  },

  async "a prompt stays for the next model, whose answers take the place of those before; deleted, these are gone"({ page }) {
    await page.goto(`/try?model=${facts.result}`);
    await page.getByText(/Beside tiny, which it was made from/).waitFor();
    await page.getByLabel("Prompt").fill("Once there was");
    await page.getByLabel("Tokens").fill("4");
    const answered = async (count) => {
      await page.waitForFunction((n) => document.querySelectorAll("blockquote").length === n, count, { timeout: 60_000 });
      return decodeURIComponent(new URL(page.url()).searchParams.get("jobs")).split(",");
    };
    const gone = async (ids) => {
      for (const id of ids) while ((await fetch(`${address}/api/v1/jobs/${id}`)).status !== 404) await page.waitForTimeout(200);
    };
    await page.getByRole("button", { name: "Send" }).click();
    const first = await answered(2);
    await page.getByRole("combobox", { name: "Model" }).click();
    await page.getByRole("combobox", { name: "Search models" }).fill("tiny");
    await page.getByRole("option", { name: /^tiny/ }).first().click();
    await page.getByText("there is no other to compare it with").waitFor();
    assert.equal(await page.getByLabel("Prompt").inputValue(), "Once there was");
    assert.equal(await page.getByLabel("Tokens").inputValue(), "4");
    assert.deepEqual(await answered(2), first);
    await page.getByRole("button", { name: "Send" }).click();
    const second = await answered(1);
    await gone(first);
    assert.match((await api(address, `jobs/${second[0]}`)).spec.recipe, /Once there was/);
    await page.reload();
    assert.equal(await page.getByLabel("Prompt").inputValue(), "Once there was");
    await page.getByRole("button", { name: "Delete them" }).click();
    await page.getByText("No prompt was sent yet").waitFor();
    await gone(second);
  },

  async "a model is tried in the project whose it is"({ page }) {
    const made = await cli("submit", "rtn(bits=5, group_size=16)", "--model", `${facts.folder}/tiny`, "--project", "speech", "--wait");
    const { artifact_digest } = await cli("job", made.id);
    await page.goto(`/try?model=${artifact_digest}`);
    await page.getByLabel("Tokens").fill("3");
    await page.getByRole("button", { name: "Send" }).click();
    await page.waitForURL(/jobs=/);
    const ids = decodeURIComponent(new URL(page.url()).searchParams.get("jobs")).split(",");
    for (const id of ids) assert.equal((await api(address, `jobs/${id}`)).spec.project, "speech");
  },

  async "a sweep says how many trials each fidelity has had"({ page }) {
    const file = `${facts.folder}/halving.yaml`;
    writeFileSync(
      file,
      `name: halving
recipe: {stages: ['gptq(group_size=32, sequence_length=32)'], evaluations: ['perplexity(window=64, windows=2)']}
model: ${facts.folder}/tiny
data: {calibration: ${facts.text}, test: ${facts.text}}
space: {stages.gptq.bits: [2, 3, 4, 8]}
strategy: {name: successive-halving, configurations: 4, fidelity: {path: stages.gptq.samples, low: 1, high: 4, eta: 2}}
objectives: [perplexity]
`,
    );
    const { id } = await cli("sweep", "submit", file);
    await page.goto(`/sweeps/${id}`);
    const row = page.locator(".facts > div", { hasText: "Fidelities" });
    await row.getByText("1: 4 of 4 · 2: 2 of 2 · 4: 1 of 1").waitFor({ timeout: 120_000 });
  },

  async "a worker is there or gone by the server's clock, whatever the browser's says"({ page }) {
    for (const ahead of [600_000, -600_000]) {
      const tab = await page.context().newPage();
      await tab.addInitScript((ms) => {
        const now = Date.now;
        Date.now = () => now() + ms;
      }, ahead);
      await tab.route("**/api/v1/workers?*", async (route) => {
        const { workers } = await (await route.fetch()).json();
        const before = new Date(Date.now() - 120_000).toISOString();
        await route.fulfill({ json: { workers: [...workers, { ...workers[0], id: "gone", name: "left behind", last_seen: before, jobs: [] }] } });
      });
      await tab.goto("/workers");
      const row = (name) => tab.getByRole("table", { name: "Workers" }).getByRole("row").filter({ hasText: name });
      const { workers } = await api(address, "workers");
      await row(workers[0].name).filter({ hasText: /Idle|Busy/ }).getByText(/just now|^\d s ago/).waitFor();
      await row("left behind").getByText("Gone", { exact: true }).waitFor();
      await row("left behind").getByText("2 min ago").waitFor();
      await tab.close();
    }
  },

  async "a lease is as old as it is, not as the one before"({ page }) {
    const id = await submit("endless");
    const running = async (since) => {
      for (;;) {
        const job = await api(address, `jobs/${id}`);
        if (job.state === "JOB_STATE_RUNNING" && job.start_time !== since) return job;
        await page.waitForTimeout(200);
      }
    };
    const { start_time: before } = await running();
    await page.goto("/workers");
    const lease = page.getByRole("table", { name: "Workers" }).getByText(/^leased for/);
    const age = async () => {
      const [minutes, seconds] = (await lease.textContent()).match(/\d+/g).map(Number);
      return 60 * minutes + seconds;
    };
    while ((await age()) < 12) await page.waitForTimeout(500);
    await cli("pause", "job", id);
    await cli("resume", "job", id);
    const start = Date.parse((await running(before)).start_time);
    while ((await age()) >= 12) await page.waitForTimeout(500);
    const shown = await age();
    assert.ok(shown <= (Date.now() - start) / 1000 + 1, `${shown} s`); // a page on busy cores may be behind, never ahead
    await cli("cancel", id);
  },

  async "whose token has ended finds his drafts again with it, and nobody else does"({ page, complaints }) {
    const { address: closed, token } = facts.closed;
    const made = await fetch(`${closed}/api/v1/tokens`, {
      method: "POST",
      headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
      body: JSON.stringify({ name: "other", scope: "submitter" }),
    });
    const { secret } = await made.json();
    const login = async (with_) => {
      await page.context().clearCookies();
      await page.goto(`${closed}/sweeps/new`);
      await page.getByLabel("Token", { exact: true }).fill(with_);
      assert.equal(await page.getByRole("navigation", { name: "Views" }).count(), 0); // it would lead nowhere
      await page.getByRole("button", { name: "Log in" }).click();
      await page.getByRole("navigation", { name: "Views" }).waitFor();
    };
    const yaml = page.getByLabel("Sweep", { exact: true });
    await login(token);
    await yaml.fill((await yaml.inputValue()) + "# mine");
    await login(token);
    assert.match(await yaml.inputValue(), /# mine$/);
    await login(secret);
    assert.doesNotMatch(await yaml.inputValue(), /# mine/);
    complaints.length = 0; // the browser's own lines on what a closed server refuses
  },
};

await run(tests);
