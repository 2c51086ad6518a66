// What the tests of the page share: what was prepared, the CLI beside the page, axe, and the loop that runs them.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { promisify } from "node:util";
import { browser, open, views } from "./browser.mjs";

const [factsFile, ...wanted] = process.argv.slice(2);
export const facts = JSON.parse(readFileSync(factsFile, "utf8"));
export const { address, jobs } = facts;
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
export const all = views({
  done: jobs.gptq,
  failed: jobs.failed,
  compared: [jobs["rtn-3bit"], jobs["rtn-8bit"], jobs.gptq],
  result: facts.result,
  layer: "model.layers.0.mlp.up_proj",
  sweep: facts.sweep,
  tried: facts.tried,
});

export async function cli(...words) {
  const { stdout } = await promisify(execFile)(facts.wring, ["--server", facts.grpc, ...words, "--json"]);
  return JSON.parse(stdout);
}

/** Submits one of the recipes in the folder by the CLI, as somebody else would. */
export async function submit(recipe) {
  const job = await cli(
    "submit",
    `${facts.folder}/${recipe}.yaml`,
    "--model",
    facts.slow,
    "--data",
    `calibration=${facts.text}`,
    "--data",
    `test=${facts.text}`,
  );
  return job.id;
}

/** What axe finds on the page as it stands. */
export async function seriousViolations(page, rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]) {
  await page.evaluate(axe);
  const result = await page.evaluate((runOnly) => window.axe.run({ runOnly, resultTypes: ["violations"] }), rules);
  return result.violations
    .filter(({ impact }) => ["serious", "critical"].includes(impact))
    .map(({ id, nodes }) => {
      const places = nodes.map((node) => node.html + " " + (node.any[0]?.message ?? ""));
      return `${id}: ${places.slice(0, 3).join(" | ")}`;
    });
}

/** Each on a page of its own, one after the other, of a shard [k, n] every n-th; ends the process. */
export async function run(tests) {
  const chrome = await browser();
  let passed = 0;
  const failures = [];
  const chosen = Object.entries(tests).filter(([name]) => wanted.length === 0 || wanted.some((part) => name.includes(part)));
  const [shard, shards] = facts.shard ?? [0, 1];
  for (const [name, test] of chosen.filter((_, place) => place % shards === shard)) {
    const start = Date.now();
    const tab = await open(chrome, address);
    try {
      await test(tab);
      // The policy and the scripts of the page have nothing to complain about, whatever was done.
      assert.deepEqual(tab.complaints, []);
      ++passed;
      console.log(`ok      ${((Date.now() - start) / 1000).toFixed(1).padStart(5)} s  ${name}`);
    } catch (error) {
      failures.push(name);
      console.log(
        `FAILED  ${((Date.now() - start) / 1000).toFixed(1).padStart(5)} s  ${name}\n${error.stack}\nat ${tab.page.url()}; complaints: ${tab.complaints.join("; ") || "none"}`,
      );
      await tab.page.screenshot({ path: `${facts.folder}/../wring-page-failure.png` }).catch(() => {});
    }
    await tab.context.close();
  }
  await chrome.close();
  console.log(`${passed} passed, ${failures.length} failed`);
  process.exit(failures.length > 0 ? 1 : 0);
}
