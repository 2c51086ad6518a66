// A list of jobs that grows, shrinks and is scrolled at random: once its chunks are asked for again, it is the server's.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const dashboard = fileURLToPath(new URL("../../dashboard/", import.meta.url));
const { buildSync } = createRequire(dashboard + "package.json")("esbuild");
const built = buildSync({ entryPoints: [dashboard + "src/job_list.ts"], bundle: true, format: "esm", write: false });
const { append, chunkAt, NOTHING, pageSize, refresh, renew } = await import("data:text/javascript;base64," + Buffer.from(built.outputFiles[0].contents).toString("base64"));

const SIZE = 5;

function random(seed) {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** Jobs by number, newest first; a token is the number that the page's jobs are below. */
class Server {
  jobs = [];
  made = 0;

  make() {
    const create_time = new Date(1e12 + Math.floor(this.made / 2)).toISOString(); // two of a time
    this.jobs.unshift({ id: `job${this.made}`, number: this.made++, create_time, spec: { name: "" }, state: "QUEUED", waiting_reason: "", stages: [], fits: true });
  }

  page(token, size = SIZE) {
    const rows = this.jobs.filter((job) => job.fits && (token === "" || job.number < Number(token)));
    const jobs = rows.slice(0, size);
    return { jobs, next_page_token: rows.length > size ? String(jobs.at(-1).number) : "" };
  }
}

const ids = (list) => list.lines.map((line) => line.id);

for (let seed = 1; seed <= 2000; ++seed) {
  const draw = random(seed);
  const server = new Server();
  for (let i = draw(40); i > 0; --i) server.make();
  let list = append(NOTHING, server.page(""));
  for (let step = 0; step < 40; ++step) {
    const what = draw(6);
    if (what === 0) for (let i = draw(8); i >= 0; --i) server.make();
    const job = server.jobs[draw(server.jobs.length)];
    if (what === 1 && job) job.fits = !job.fits;
    if (what === 2 && job) job.state = "RUNNING";
    if (what === 3 && list.next) list = append(list, server.page(list.next));
    if (what > 3) {
      const index = what === 4 ? 0 : chunkAt(list, draw(list.lines.length + 1));
      list = refresh(list, index, server.page(list.chunks[index].token));
    }
    assert.equal(new Set(ids(list)).size, list.lines.length, `seed ${seed}: a job is there twice`);
    const times = list.lines.map((line) => line.made);
    assert.deepEqual(times, [...times].sort((a, b) => b - a), `seed ${seed}: out of order`);
  }
  // What is on the screen is the server's after one look, wherever that is.
  const first = draw(list.lines.length + 1);
  const seen = { first, last: first + draw(12) };
  const ask = (token) => server.page(token, SIZE - 2 + draw(5)); // of one size here, of another there
  list = await renew(list, seen, 0, ask);
  list = await renew(list, seen, 0, ask); // what came in above has moved the rows
  const truth = new Map(server.jobs.map((one) => [one.id, one]));
  for (const one of list.lines.slice(seen.first, seen.last + 1)) {
    assert.ok(truth.get(one.id).fits, `seed ${seed}: a row that fits no more`);
    assert.equal(one.state, truth.get(one.id).state, `seed ${seed}: an old state on the screen`);
  }
  // And all of it once all was on the screen.
  list = await renew(list, { first: 0, last: Infinity }, Infinity, ask);
  const asked = []; // sizes, by where the list was then
  await renew(list, { first: 0, last: 0 }, 0, (token, size) => (asked.push(size), server.page(token)));
  assert.deepEqual(asked, [50]);
  list = await renew(list, { first: 0, last: Infinity }, Infinity, (token) => server.page(token));
  assert.equal(await renew(list, { first: 0, last: Infinity }, Infinity, (token) => server.page(token)), list, `seed ${seed}: nothing changed, and the list did`);
  const fitting = server.jobs.filter((one) => one.fits);
  assert.deepEqual(ids(list), fitting.map((one) => one.id), `seed ${seed}`);
  assert.deepEqual(list.lines.map((line) => line.state), fitting.map((one) => one.state), `seed ${seed}: old states`);
}
assert.deepEqual([0, 999, 1000].map(pageSize), [50, 50, 200]);
console.log("2000 lives of a list");
