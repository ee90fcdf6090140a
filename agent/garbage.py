"""When Python looks for reference cycles: in the pause between ticks, and never through what the start has loaded.

Left alone, it does so in the middle of a tick or of a peer's block, and once in a while through every object of the
process: 50 to 90 ms in which nothing else runs (measured).
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from ledger.instant import Now
from ledger.limits import S_NS

_YOUNG_EVERY_NS = 1 * S_NS
_ALL_EVERY_NS = 60 * S_NS
_OBJECTS_AT_ONCE = 20_000
"""So many new objects are looked through at once, pause or not: a burst must not pile up garbage."""
_OBJECTS_OF_A_COMMAND = 200_000


class Garbage:
    """The collector of this process, while the recorder runs."""

    def __init__(self) -> None:
        self._thresholds = gc.get_threshold()
        self._young_due_ns = 0
        self._all_due_ns = 0

    def settle(self, now: Now) -> None:
        """All is loaded: what lives now lives on, and is not looked through again."""
        gc.freeze()
        gc.set_threshold(_OBJECTS_AT_ONCE, *self._thresholds[1:])
        self._all_due_ns = now.mono_ns + _ALL_EVERY_NS

    def collect(self, now: Now) -> None:
        """In a pause: what has become garbage lately; the rest once a minute."""
        if now.mono_ns >= self._all_due_ns:
            self._all_due_ns = now.mono_ns + _ALL_EVERY_NS
            gc.collect()
        elif now.mono_ns >= self._young_due_ns:
            self._young_due_ns = now.mono_ns + _YOUNG_EVERY_NS
            gc.collect(1)

    def release(self) -> None:
        """Leave the collector as it was found."""
        gc.set_threshold(*self._thresholds)
        gc.unfreeze()


@contextmanager
def not_collected() -> Iterator[None]:
    """While modules are loaded: nothing that they make is garbage, and looking is a tenth of what loading takes."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def seldom_collected() -> Iterator[None]:
    """For a command that makes hundreds of thousands of objects, hardly any of them in cycles: what is loaded is not
    looked through, the rest only after many more.
    """
    thresholds = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(_OBJECTS_OF_A_COMMAND, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
