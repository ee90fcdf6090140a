"""Fuzz drivers with damaged input made of their captures; on failure prints the shortest input and how to repeat it."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field

from drivers.built_in import BUILT_IN
from tests.fuzz.campaign import INPUTS_A_RUN, planned, tracks
from tests.fuzz.minimise import failure, told

PROGRESS_S = 10.0
_WAITING_A_JOB = 3


@dataclass(frozen=True, slots=True)
class Order:
    """One run to do: the ``number``-th of a driver."""

    driver: str
    seed: str
    number: int
    inputs: int

    def again(self) -> str:
        """The command that does it once more."""
        inputs = f" --inputs {self.inputs}" if self.inputs != INPUTS_A_RUN else ""
        return f"python -m tests.fuzz --driver {self.driver} --seed {self.seed} --run {self.number}{inputs}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run: the fault in words, or none; how long one processor was busy with it."""

    order: Order
    fault: str
    busy_s: float


def carry_out(order: Order) -> Outcome:
    """Do one run."""
    started_s = time.process_time()
    run = planned(order.driver, f"{order.seed}/{order.number}", order.inputs)
    fault = told(run) if failure(run) is not None else ""
    return Outcome(order, fault, time.process_time() - started_s)


@dataclass(slots=True)
class Tally:
    """What was done so far of each driver, and told every few seconds."""

    inputs_wanted: int
    inputs: dict[str, int] = field(default_factory=dict)
    busy_s: dict[str, float] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    started_s: float = field(default_factory=time.monotonic)
    shown_s: float = field(default_factory=time.monotonic)

    def add(self, outcome: Outcome) -> None:
        """A run is over; the first fault of each driver is printed at once."""
        driver = outcome.order.driver
        self.inputs[driver] = self.inputs.get(driver, 0) + outcome.order.inputs
        self.busy_s[driver] = self.busy_s.get(driver, 0.0) + outcome.busy_s
        if outcome.fault and driver not in self.failed:
            self.failed.add(driver)
            say(f"{outcome.fault}\nagain: {outcome.order.again()}")
        if time.monotonic() - self.shown_s > PROGRESS_S:
            self.shown_s = time.monotonic()
            say(f"{driver}: {self.inputs[driver]} damaged inputs; {self._sum()}")

    def finish(self, driver: str) -> None:
        """A driver's last run is over."""
        inputs, busy_s = self.inputs.get(driver, 0), self.busy_s.get(driver, 0.0)
        word = "FAILED" if driver in self.failed else "withstood"
        say(f"{driver}: {inputs} damaged inputs, {inputs / max(busy_s, 1e-3):.0f}/s of one processor: {word}")

    def end(self) -> None:
        """All is over."""
        say(f"total: {self._sum()}; failed: {', '.join(sorted(self.failed)) or 'none'}")

    def _sum(self) -> str:
        done, took_s = sum(self.inputs.values()), time.monotonic() - self.started_s
        return f"{done} of {self.inputs_wanted} in {took_s:.0f} s, {done / max(took_s, 1e-3):.0f}/s"


def orders(driver: str, seed: str, inputs: int, only: int | None = None) -> Iterator[Order]:
    """The runs that make up so many inputs (in whole runs), or one of them."""
    numbers = range(-(-inputs // INPUTS_A_RUN)) if only is None else (only,)
    return (Order(driver, seed, number, min(INPUTS_A_RUN, inputs)) for number in numbers)


def one_by_one(waiting: Iterator[Order]) -> Iterator[Outcome]:
    return map(carry_out, waiting)


def side_by_side(waiting: Iterator[Order], pool: ProcessPoolExecutor, jobs: int) -> Iterator[Outcome]:
    """As each is done; never more than a few are on their way, so that a stop is soon heeded."""
    running: set[Future[Outcome]] = set()
    for order in waiting:
        running.add(pool.submit(carry_out, order))
        if len(running) >= jobs * _WAITING_A_JOB:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    yield from (future.result() for future in running)


def main(arguments: Sequence[str] | None = None) -> int:
    """1 if a driver fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--driver", action="append", help="this driver; may be given repeatedly; else all")
    parser.add_argument(
        "--inputs", type=int, default=1_000_000, help="damaged inputs for each driver; default: 1000000"
    )
    parser.add_argument("--seed", default=str(time.time_ns()), help="else one of its own, printed")
    parser.add_argument("--run", type=int, help="only this run of the seed, as a failure names it")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes; default: one a processor")
    options = parser.parse_args(arguments)
    chosen = options.driver or sorted(BUILT_IN)
    if unknown := [driver for driver in chosen if driver not in BUILT_IN]:
        parser.error(f"there is no driver {unknown[0]!r}; there are {', '.join(sorted(BUILT_IN))}")
    if options.inputs < 1 or options.jobs < 1:
        parser.error("--inputs and --jobs are 1 or more")
    say(f"seed {options.seed}, {options.jobs} processes, {len(chosen)} drivers")
    lists = {driver: list(orders(driver, options.seed, options.inputs, options.run)) for driver in chosen}
    tally = Tally(sum(order.inputs for runs in lists.values() for order in runs))
    with ProcessPoolExecutor(options.jobs) as pool:
        for driver, runs in lists.items():
            if not tracks(driver):
                tally.failed.add(driver)
                say(f"{driver}: there is no capture of it in tests/captures")
                continue
            todo = (order for order in runs if driver not in tally.failed)
            for outcome in one_by_one(todo) if options.jobs == 1 else side_by_side(todo, pool, options.jobs):
                tally.add(outcome)
            tally.finish(driver)
    tally.end()
    return 1 if tally.failed else 0


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
