"""Fuzz drivers with damaged input made of their captures; on failure prints the seed and the shortest input."""

from __future__ import annotations

import argparse
import sys
import time

from drivers.built_in import BUILT_IN
from tests.fuzz.campaign import INPUTS_A_RUN, planned, tracks
from tests.fuzz.minimise import failure, told

PROGRESS_S = 10.0


def fuzz(driver: str, seed: str, inputs: int) -> bool:
    """Whether the driver withstood so many damaged inputs."""
    if not tracks(driver):
        print(f"{driver}: there is no capture of it in tests/captures")  # noqa: T201
        return False
    started_s = shown_s = time.monotonic()
    for number in range(-(-inputs // INPUTS_A_RUN)):
        run = planned(driver, f"{seed}/{number}", min(INPUTS_A_RUN, inputs - number * INPUTS_A_RUN))
        if failure(run) is not None:
            print(told(run))  # noqa: T201
            return False
        if time.monotonic() - shown_s > PROGRESS_S:
            shown_s = time.monotonic()
            print(f"{driver}: {(number + 1) * INPUTS_A_RUN} of {inputs}", flush=True)  # noqa: T201
    took_s = time.monotonic() - started_s
    print(f"{driver}: {inputs} damaged inputs withstood, {inputs / took_s:.0f}/s, seed {seed!r}")  # noqa: T201
    return True


def main() -> int:
    """1 if a driver fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--driver", action="append", help="this driver; else all")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="over all of them together; default: 1000000")
    parser.add_argument("--seed", default=str(time.time_ns()), help="else one of its own, printed")
    options = parser.parse_args()
    chosen = options.driver or sorted(BUILT_IN)
    each = max(1, options.inputs // len(chosen))
    failed = [driver for driver in chosen if not fuzz(driver, options.seed, each)]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
