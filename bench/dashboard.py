#!/usr/bin/env python3
"""What the dashboard costs: gzipped script of the page of jobs, and the server's CPU for polls that find nothing new.

A real server and worker finish JOBS small jobs first; then the polls of the page of jobs and of one job's page are sent over one
connection each with If-None-Match, and the server's CPU time is read from /proc. Then OPEN pages of jobs poll every 2 s for SECONDS, a
connection each, as open tabs do: at rest, and while a job tells of its progress. At last the page of a server with LISTED jobs is scrolled to its last one in Chromium, and back.
"""
import argparse
import asyncio
import gzip
import http.client
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/e2e")]

from random_models import TEXT, make_decoder  # noqa: E402
from service import Service  # noqa: E402
from service_load import fill, fresh_server  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")
EVERY = 2  # seconds between the polls of an open page


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def script_bytes(page):
    """Of what index.html names: what the page of jobs loads before it is drawn."""
    names = re.findall(r'(?:src|href)="/(assets/[^"]+\.(?:js|css))"', (page / "index.html").read_text())
    sizes = {name: len(gzip.compress((page / name).read_bytes(), 9, mtime=0)) for name in names}
    return {kind: sum(size for name, size in sizes.items() if name.endswith(kind)) for kind in (".js", ".css")}


def poll(service, path, polls):
    """CPU and wall seconds of one poll, bytes of the answer that is not repeated, and the CPU of the same server at rest."""
    connection = http.client.HTTPConnection(service.http)
    connection.request("GET", path)
    first = connection.getresponse()
    size, tag = len(first.read()), first.getheader("ETag")
    cpu, wall = cpu_seconds(service.server.pid), time.monotonic()
    for _ in range(polls):
        connection.request("GET", path, headers={"If-None-Match": tag})
        answer = connection.getresponse()
        assert answer.status == 304 and not answer.read(), f"{path}: {answer.status}"
    cpu, wall = cpu_seconds(service.server.pid) - cpu, time.monotonic() - wall
    idle = cpu_seconds(service.server.pid)
    time.sleep(wall)
    idle = cpu_seconds(service.server.pid) - idle
    return (cpu - idle) / polls, wall / polls, size, idle / wall


async def one_page(address, path, until, waits, news):
    reader, writer = await asyncio.open_connection(*address.split(":"))
    await asyncio.sleep(random.uniform(0, EVERY))
    tag = '"none"'
    while time.monotonic() < until:
        start = time.monotonic()
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\nIf-None-Match: {tag}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        says = dict(line.lower().split(": ", 1) for line in head.splitlines()[1:] if ": " in line)
        if " 304 " not in head.splitlines()[0]:
            await reader.readexactly(int(says["content-length"]))
            news.append(start)
        tag = says["etag"].replace("w/", "W/")
        waits.append(time.monotonic() - start)
        await asyncio.sleep(max(0, EVERY - waits[-1]))
    writer.close()


def open_pages(service, path, options, what):
    """Prints the share of a core that the server takes, the polls that were answered a second, those with news among them, and what 99 % waited at most."""
    waits, news = [], []

    async def pages():
        until = time.monotonic() + options.seconds
        await asyncio.gather(*(one_page(service.http, path, until, waits, news) for _ in range(options.open)))

    cpu, wall = cpu_seconds(service.server.pid), time.monotonic()
    asyncio.run(pages())
    cpu, wall = cpu_seconds(service.server.pid) - cpu, time.monotonic() - wall
    print(f"{options.open} open pages of jobs, a poll every {EVERY} s each, {what}: {cpu / wall * 100:.1f} % of a core, {len(waits) / wall:.0f} polls a second, "
          f"{len(news) / wall:.0f} of them with news, p99 {sorted(waits)[int(0.99 * len(waits))] * 1e3:.1f} ms until the answer", flush=True)


def polls(options):
    sizes = script_bytes(options.bin / "../share/wring/dashboard")
    print(f"page of jobs: {sizes['.js'] / 1000:.1f} kB of gzipped script, {sizes['.css'] / 1000:.1f} kB of gzipped style")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make_decoder(folder / "model", seed=2, num_hidden_layers=16)
        (folder / "text.txt").write_text("\n".join(TEXT * 200))
        service = Service(options.bin.resolve(), folder)
        try:
            service.start_server()
            service.start_worker()
            arguments = ["gptq(bits=4, group_size=32, samples=2, sequence_length=32)", folder / "model", "--data", f"calibration={folder / 'text.txt'}"]
            jobs = [service.submit(*arguments) for _ in range(options.jobs)]
            for job in jobs:
                assert service.wait_for_end(job)["state"] == "SUCCEEDED", service.logs()
            layers = len(service.job(jobs[0])["stages"][0]["report"]["layers"])
            for name, path in [(f"list of {options.jobs} jobs", "/api/v1/jobs?page_size=50"), (f"job of {layers} layers", f"/api/v1/jobs/{jobs[0]}")]:
                cpu, wall, size, idle = poll(service, path, options.polls)
                print(f"poll, {name}: {cpu * 1e3:.3f} ms of server CPU, {wall * 1e3:.3f} ms until the 304, instead of {size / 1000:.1f} kB "
                      f"(server at rest: {idle * 100:.1f} % of a core)")
            open_pages(service, "/api/v1/jobs?page_size=50", options, "nothing runs")
            running = service.submit("finetune(steps=100000, batch=2, sequence_length=32)", *arguments[1:])
            service.wait_for("it runs", lambda: service.job(running)["state"] == "RUNNING")
            open_pages(service, "/api/v1/jobs?page_size=50", options, "a job runs")
        finally:
            service.stop()


def scroll(count):
    """By service_load's server: rows as its lists are measured on."""
    with fresh_server() as server:
        fill(server, server.put_model(), count)
        address = json.loads((server.data / "endpoints.json").read_text())["http"]
        subprocess.run(["node", ROOT / "bench/dashboard_scroll.mjs", f"http://{address}"], check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default=ROOT / "build/release/bin", type=Path)
    parser.add_argument("--jobs", default=50, type=int, help="as many as a page shows")
    parser.add_argument("--polls", default=5000, type=int)
    parser.add_argument("--open", default=500, type=int, help="pages that are open at a time")
    parser.add_argument("--listed", default=100_000, type=int, help="jobs of the server whose list is scrolled")
    parser.add_argument("--only-scroll", action="store_true", help="leave the polls out")
    parser.add_argument("--seconds", default=30, type=float, help="how long they are")
    options = parser.parse_args()
    if not options.only_scroll:
        polls(options)
    scroll(options.listed)


if __name__ == "__main__":
    main()
