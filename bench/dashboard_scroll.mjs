// Scrolls the page of jobs of a server to its last one: dashboard_scroll.mjs ADDRESS
import { browser, open } from "../tests/page/browser.mjs";

const chrome = await browser();
const { page } = await open(chrome, process.argv[2]);
await page.addInitScript(() => {
  window.long = [];
  new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) window.long.push(duration);
  }).observe({ type: "longtask", buffered: true });
});
let asked = 0; // what came of a job, once its row rests on the screen
page.on("request", (request) => request.url().includes("/evaluations?") && ++asked);
const start = Date.now();
await page.goto("/jobs");
await page.waitForSelector("table.jobs tbody tr");
await page.getByLabel("Filter by name").focus();
console.log(`first rows, and the filter takes keys, after ${((Date.now() - start) / 1000).toFixed(2)} s`);
await page.waitForFunction(() => document.querySelector(".cell-size")?.textContent.includes("MB"));
await page.evaluate(() => (window.long = []));
// As one reads: a screen every half second, on which each row asks for its size and quality.
const before = asked;
await page.evaluate(async () => {
  for (let screen = 0; screen < 60; ++screen) {
    window.scrollBy(0, innerHeight);
    await new Promise((done) => setTimeout(done, 500));
  }
});
const read = await page.evaluate(() => window.long);
console.log(`60 screens in 30 s, ${asked - before} rows asked what came of them: longest task ${read.length ? Math.max(...read).toFixed(0) : "under 50"} ms, ` +
  `${read.filter((t) => t > 100).length} above 100 ms`);
await page.evaluate(() => (window.long = []));
const begin = Date.now();
// A screen each frame, as fast as a wheel goes; the browser waits where rows are still asked for.
const rows = await page.evaluate(async () => {
  const table = document.querySelector("table.jobs");
  const frame = () => new Promise(requestAnimationFrame);
  for (;;) {
    window.scrollBy(0, innerHeight);
    await frame();
    const count = Number(table.getAttribute("aria-rowcount"));
    if (count > 0 && scrollY + innerHeight >= document.documentElement.scrollHeight - 200) return count - 1;
  }
});
const down = (Date.now() - begin) / 1000;
const { long, heap } = await page.evaluate(() => ({ long: window.long, heap: performance.memory.usedJSHeapSize }));
await page.evaluate(() => (window.long = []));
// Back up through what is there already.
const frames = await page.evaluate(async () => {
  const waits = [];
  for (let last = performance.now(); scrollY > 0; ) {
    window.scrollBy(0, -3 * innerHeight);
    await new Promise(requestAnimationFrame);
    waits.push(performance.now() - last);
    last = performance.now();
  }
  return waits.sort((a, b) => a - b);
});
const back = await page.evaluate(() => window.long);
const most = (tasks) => (tasks.length ? Math.max(...tasks).toFixed(0) : "under 50");
console.log(`${rows} jobs scrolled to the last in ${down.toFixed(0)} s: longest task ${most(long)} ms, ${long.filter((t) => t > 100).length} above 100 ms; ` +
  `${(heap / 1e6).toFixed(0)} MB of heap`);
console.log(`and back: longest task ${most(back)} ms, ${back.filter((t) => t > 100).length} above 100 ms; ` +
  `a frame ${frames[frames.length >> 1].toFixed(0)} ms (p50), ${frames[Math.floor(frames.length * 0.99)].toFixed(0)} ms (p99)`);
await chrome.close();
