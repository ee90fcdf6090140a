"""The long run: ``python -m tests.sim --seeds 100000 [--first N] [--jobs N]``. Prints progress, rate and failures."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time

from tests.sim.scenario import Result, run_seed

_REPORT_EVERY_S = 10.0


def main() -> int:
    """Run the seeds over all cores; 1 when any failed."""
    parser = argparse.ArgumentParser(prog="tests.sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    began, reported, failed, certified, done = time.monotonic(), 0.0, [], 0, 0
    virtual_s = 0.0
    with multiprocessing.Pool(asked.jobs) as pool:
        for result in pool.imap_unordered(run_seed, range(asked.first, asked.first + asked.seeds), chunksize=4):
            done += 1
            certified += result.certified
            virtual_s += result.virtual_s
            if result.failure is not None:
                failed.append(result.seed)
                _tell(result)
            elapsed = time.monotonic() - began
            if elapsed - reported >= _REPORT_EVERY_S:
                reported = elapsed
                _say(f"{done}/{asked.seeds} seeds, {done / elapsed:.1f}/s, {len(failed)} failed")
    elapsed = time.monotonic() - began
    _say(
        f"{done} seeds in {elapsed:.0f} s ({done / elapsed:.1f}/s), {virtual_s / 3600:.1f} h of virtual time, "
        f"{certified:,} certified blocks, {len(failed)} failed{': ' if failed else ''}{sorted(failed)[:50] or ''}"
    )
    return 1 if failed else 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _tell(result: Result) -> None:
    _say(f"seed {result.seed}: {result.failure}\n  again: pytest tests/sim -k seed --seed {result.seed}")


if __name__ == "__main__":
    sys.exit(main())
