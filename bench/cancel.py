"""How long a cancel takes to end the engine of a running job: COUNT=100 gptq jobs on smollm2-offgrid, each cancelled at a moment of its own.

From the call of `wring cancel` until no engine process is left; then what the jobs left in the worker's cache.
"""
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, "tests/e2e")
from service import Service  # noqa: E402

COUNT = int(os.environ.get("COUNT", "100"))
MODEL = Path("build/models/smollm2-offgrid").resolve()
TEXT = Path("build/data/calibration.txt").resolve()


def main():
    draw = random.Random(1)
    seconds = []
    with tempfile.TemporaryDirectory(prefix="wring-bench-") as folder:
        service = Service(Path("build/release/bin").resolve(), Path(folder))
        try:
            service.start_server()
            service.start_worker()
            for seed in range(COUNT):
                job = service.submit("gptq(bits=4, group_size=64, samples=64, sequence_length=512)", MODEL, "--data", f"calibration={TEXT}", "--seed", str(seed))
                service.wait_for("an engine", service.engines)
                time.sleep(draw.uniform(0, 4))
                before = time.monotonic()
                if service.cli("cancel", job).status != 0:
                    raise SystemExit(f"job {job} was not cancelled")
                while service.engines():
                    time.sleep(0.005)
                seconds.append(time.monotonic() - before)
                service.wait_for_end(job)
                assert service.job(job)["state"] == "CANCELLED", service.job(job)
            left = [path for path in (Path(folder) / "worker").glob("work/*")] + [path for path in (Path(folder) / "worker").glob("snapshots/*/*")]
        finally:
            service.stop()
    seconds.sort()
    print(f"{COUNT} cancels: p50 {statistics.median(seconds):.2f} s, p99 {seconds[int(0.99 * (COUNT - 1))]:.2f} s, highest {seconds[-1]:.2f} s; "
          f"{len(left)} files or folders left by them; load {os.getloadavg()[0]:.1f}")


main()
