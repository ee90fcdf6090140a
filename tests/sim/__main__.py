"""The long run: ``python -m tests.sim --seeds 100000 [--of blocks|objects] [--first N] [--jobs N]``.

Of objects, whose stories are longer, a tenth as many. Prints progress, rate and failures.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Callable

from tests.sim.objects.scenario import Result as ObjectResult
from tests.sim.objects.scenario import run_object_seed
from tests.sim.scenario import Result, run_seed

_REPORT_EVERY_S = 10.0


def main() -> int:
    """Run the seeds over all cores; 1 when any failed."""
    parser = argparse.ArgumentParser(prog="tests.sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--of", choices=("blocks", "objects"), help="only these")
    asked = parser.parse_args()
    first, seeds, jobs = asked.first, asked.seeds, asked.jobs
    failed = 0
    if asked.of != "objects":
        failed += _run("blocks", run_seed, range(first, first + seeds), jobs)
    if asked.of != "blocks":
        some = seeds if asked.of else max(1, seeds // 10)
        failed += _run("objects", run_object_seed, range(first, first + some), jobs)
    return 1 if failed else 0


def _run(name: str, run: Callable[[int], Result | ObjectResult], seeds: range, jobs: int) -> int:
    """How many of these failed."""
    began, reported, failed, certified, done = time.monotonic(), 0.0, [], 0, 0
    virtual_s = 0.0
    with multiprocessing.Pool(jobs) as pool:
        for result in pool.imap_unordered(run, seeds, chunksize=4):
            done += 1
            certified += result.certified if isinstance(result, Result) else result.pulled_back
            virtual_s += result.virtual_s
            if result.failure is not None:
                failed.append(result.seed)
                _tell(name, result)
            elapsed = time.monotonic() - began
            if elapsed - reported >= _REPORT_EVERY_S:
                reported = elapsed
                _say(f"{name}: {done}/{len(seeds)} seeds, {done / elapsed:.1f}/s, {len(failed)} failed")
    elapsed = time.monotonic() - began
    proved = "certified blocks" if name == "blocks" else "witnessed objects pulled back"
    _say(
        f"{name}: {done} seeds in {elapsed:.0f} s ({done / elapsed:.1f}/s), {virtual_s / 3600:.1f} h of virtual time, "
        f"{certified:,} {proved}, {len(failed)} failed{': ' if failed else ''}{sorted(failed)[:50] or ''}"
    )
    return len(failed)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _tell(name: str, result: Result | ObjectResult) -> None:
    again = f"python -m tests.sim --of {name} --first {result.seed} --seeds 1"
    _say(f"{name}, seed {result.seed}: {result.failure}\n  again: {again}")


if __name__ == "__main__":
    sys.exit(main())
