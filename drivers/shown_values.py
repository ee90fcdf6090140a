"""What a device shows, followed place by place, so that silence about a value never stands for a value.

A value is recorded every time it comes; a place without a value only when it becomes so, or its reason changes. A place
that the device no longer shows, or gives another name to, leaves one ``UNAVAILABLE``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from drivers.contract import Now
from ledger.records import Numeric, Quality, Setting


class ShownValues:
    """Remembers what was recorded last of each place ("slot"). The caller bounds the number of places."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: dict[str, Numeric] = {}

    def __len__(self) -> int:
        return len(self._last)

    def __contains__(self, slot: str) -> bool:
        return slot in self._last

    def show(self, slot: str, numeric: Numeric) -> Iterator[Numeric]:
        """The device shows this at ``slot``, a value or (None) the lack of one; what of it is to be recorded."""
        before = self._last.get(slot)
        self._last[slot] = numeric
        if before is not None and _name(before) != _name(numeric):
            yield from _unavailable(before, numeric.at_ns)
            before = None
        if numeric.value is not None or before is None or (before.value, before.quality) != (None, numeric.quality):
            yield numeric

    def tell_again(self) -> None:
        """A value is told every time it comes, so nothing is to be forgotten."""

    def silent(self, now: Now) -> Iterator[Numeric]:
        """The device fell silent. What was set stays as it was set."""
        return self.withdraw(now.utc_ns, lambda slot: not isinstance(self._last[slot], Setting))

    def withdraw(self, at_ns: int, chosen: Callable[[str], bool] | None = None) -> Iterator[Numeric]:
        """The device no longer shows anything at the ``chosen`` places, or at any."""
        for slot in [slot for slot in self._last if chosen is None or chosen(slot)]:
            yield from _unavailable(self._last.pop(slot), at_ns)


def _name(numeric: Numeric) -> tuple[str, str, str, str]:
    return numeric.sub, numeric.code, numeric.channel, numeric.device_code


def _unavailable(before: Numeric, at_ns: int) -> Iterator[Numeric]:
    if before.value is not None or before.quality != Quality.UNAVAILABLE:
        yield replace(before, at_ns=at_ns, device_time=None, quality=Quality.UNAVAILABLE, value=None)
