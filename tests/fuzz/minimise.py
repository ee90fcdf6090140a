"""Makes a run that fails as short as it can be and still fail in the same way."""

from __future__ import annotations

import traceback
from dataclasses import replace

from tests.fuzz.campaign import Input, Run, execute
from tests.fuzz.shell import Violation

_MOST_TRIES = 600


def failure(run: Run) -> Exception | None:
    """What the run raises."""
    try:
        execute(run)
    except Exception as fault:  # noqa: BLE001 - whatever a driver raises is what is looked for
        return fault
    return None


def minimal(run: Run) -> Run:
    """Fewer inputs, then shorter ones."""
    fault = failure(run)
    if fault is None:
        return run
    tries = [_MOST_TRIES]

    def fails(inputs: tuple[Input, ...]) -> bool:
        tries[0] -= 1
        return tries[0] >= 0 and _kind(failure(replace(run, inputs=inputs))) == _kind(fault)

    inputs = run.inputs
    size = max(1, len(inputs) // 2)
    while size:
        at = 0
        while at < len(inputs):
            fewer = inputs[:at] + inputs[at + size :]
            if fails(fewer):
                inputs = fewer
            else:
                at += size
        size //= 2
    for index, given in enumerate(inputs):
        data = given.data
        size = len(data) // 2 if isinstance(data, bytes) else 0
        while size and isinstance(data, bytes):
            at = 0
            while at < len(data):
                shorter = data[:at] + data[at + size :]
                if fails((*inputs[:index], replace(given, data=shorter), *inputs[index + 1 :])):
                    data = shorter
                    inputs = (*inputs[:index], replace(given, data=data), *inputs[index + 1 :])
                else:
                    at += size
            size //= 2
    return replace(run, inputs=inputs)


def told(run: Run) -> str:
    """A failing run for people: what failed, its seed, and the shortest input that does it."""
    short = minimal(run)
    fault = failure(short) or failure(run)
    header = run.track.header
    lines = [f"driver {header.driver}, seed {run.seed!r}, options {header.options}: {type(fault).__name__}: {fault}"]
    lines += [f"  {given}" for given in short.inputs]
    lines.append("  and at last all of the track on a new link")
    if fault is not None:
        lines += traceback.format_exception(fault)[-6:]
    return "\n".join(lines)


def _kind(fault: Exception | None) -> tuple[type, str] | None:
    if fault is None:
        return None
    if isinstance(fault, Violation):
        return type(fault), str(fault)[:24]
    where = traceback.extract_tb(fault.__traceback__)[-1]
    return type(fault), f"{where.filename}:{where.lineno}"
