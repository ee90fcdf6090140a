"""What a device showed holds only while it speaks: of one that fell silent, values are withdrawn and alarms marked.

The rule for every driver: once nothing that tells values came for as long as its protocol allows, or its dialogue has
found the device lost, each value leaves one ``UNAVAILABLE``, and each alarm or mode that was active one ``change`` that
is ``UNAVAILABLE``: nobody knows whether it ended. When the device speaks again, what is still active is told as
``continue``, the rest as ``end``. It is the same whether the line is dumb or the link has fallen. Settings stay.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from drivers.contract import Now
from ledger.records import Record


class Shown(Protocol):
    """Something of what a device shows now: values, or alarms."""

    def silent(self, now: Now) -> Iterable[Record]:
        """The device fell silent: what is to be recorded of it. Once; again only after it spoke."""

    def tell_again(self) -> None:
        """Another case has begun: what still holds is told with the device's next word, though it did not change."""


class Silence:
    """Waits for the end of a device's patience. Told of everything that shows values by ``heard``."""

    __slots__ = ("_due_ns", "_shown", "longest_ns")

    def __init__(self, longest_ns: int = 0) -> None:
        """``longest_ns``: no values for longer is silence."""
        self.longest_ns = longest_ns
        self._shown: list[Shown] = []
        self._due_ns: int | None = None

    def follow(self, *shown: Shown) -> None:
        """These are withdrawn by it."""
        self._shown += shown

    def tell_again(self) -> None:
        """Another case has begun."""
        for shown in self._shown:
            shown.tell_again()

    def heard(self, now: Now) -> None:
        """The device told values, alarms, or that there are none."""
        self._due_ns = now.mono_ns + self.longest_ns

    def deadline_ns(self) -> int | None:
        """Monotonic time at which ``take`` is wanted."""
        return self._due_ns

    def take(self, now: Now, *, lost: bool = False) -> list[Record]:
        """What is withdrawn now, if the device has been silent for long enough or is known to be ``lost``."""
        if self._due_ns is None or not (lost or self._due_ns <= now.mono_ns):
            return []
        self._due_ns = None
        return [record for shown in self._shown for record in shown.silent(now)]
