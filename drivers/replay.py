"""Replays a capture into a driver in virtual time: no clock, no waiting; a shell may pace what comes out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from drivers.capture import CapturedMessage, CaptureItem
from drivers.contract import Action, Driver, Emit, Now, Send
from ledger.records import Gap, Link, LinkId, Record

_SHORTEST_WAIT_NS: Final = 1_000_000
"""As in the feed shell: a driver that leaves its deadline in the past is not woken more often than this."""


@dataclass(frozen=True, slots=True)
class Step:
    """What the driver wanted at one moment of virtual time, in order."""

    now: Now
    actions: tuple[Action, ...]


@dataclass(slots=True)
class Sent:
    """What the capture says was sent on one link, and what the driver sends now."""

    captured: bytearray = field(default_factory=bytearray)
    replayed: bytearray = field(default_factory=bytearray)

    @property
    def differs_at(self) -> int | None:
        """Place of the first byte that differs; None if both are the same."""
        if self.captured == self.replayed:
            return None
        shorter = min(len(self.captured), len(self.replayed))
        same = (n for n in range(shorter) if self.captured[n] != self.replayed[n])
        return next(same, shorter)


class Replay:
    """One capture played into one driver: ``steps`` once, then ``sent`` by link, and ``records`` of the actions.

    The driver is given the bytes of ``<`` lines at their times and woken at its deadlines in between. ``>`` lines are
    only compared: what the driver wants to send counts as sent at once, whatever it waits for, as if every block were
    durable at once. Gap lines are not played: a driver's own it will find again, the others were the recorder's.
    """

    def __init__(self, driver: Driver, t0_ns: int) -> None:
        self._driver = driver
        self._mono_ns = 0
        self._utc_ns = t0_ns
        self._now = Now(0, t0_ns)
        self.sent: dict[LinkId, Sent] = {}

    def steps(self, items: Iterable[CaptureItem]) -> Iterator[Step]:
        """Play; one step for each call into the driver that made it want something."""
        for item in items:
            deadline_ns = self._driver.deadline_ns()
            if deadline_ns is not None and deadline_ns <= self._mono_ns + max(0, item.at_ns - self._utc_ns):
                yield from self._wake_until(item.at_ns)
            if item.at_ns != self._utc_ns:
                self._mono_ns += max(0, item.at_ns - self._utc_ns)
                self._utc_ns = item.at_ns
                self._now = Now(self._mono_ns, self._utc_ns)
            self._play(item)
            if actions := self._drained():
                yield Step(self._now, actions)

    def _wake_until(self, utc_ns: int) -> Iterator[Step]:
        end_ns = self._mono_ns + utc_ns - self._utc_ns
        earliest_ns = self._mono_ns
        while (deadline_ns := self._driver.deadline_ns()) is not None:
            due_ns = max(deadline_ns, earliest_ns)
            if due_ns > end_ns:
                return
            self._utc_ns += due_ns - self._mono_ns
            self._mono_ns = due_ns
            self._now = Now(self._mono_ns, self._utc_ns)
            self._driver.wake(self._now)
            if actions := self._drained():
                yield Step(self._now, actions)
            earliest_ns = due_ns + _SHORTEST_WAIT_NS

    def _play(self, item: CaptureItem) -> None:
        now = self._now
        if isinstance(item, Gap):
            return
        if isinstance(item, Link):
            if item.state == "up":
                self._driver.link_up(item.link, item.peer, now)
            elif item.state == "down":
                self._driver.link_down(item.link, item.reason, now)
        elif isinstance(item, CapturedMessage):
            self._driver.receive(item.link, item.message, now)
        elif item.direction == "<":
            self._driver.receive(item.link, item.data, now)
        else:
            self._sent(item.link).captured.extend(item.data)

    def _drained(self) -> tuple[Action, ...]:
        actions = tuple(self._driver.drain())
        for action in actions:
            if isinstance(action, Send):
                self._sent(action.link).replayed.extend(action.data)
        return actions

    def _sent(self, link: LinkId) -> Sent:
        return self.sent.setdefault(link, Sent())


def replay_records(driver: Driver, items: Iterable[CaptureItem], t0_ns: int) -> Iterator[Record]:
    """Only the records that a driver makes of a capture."""
    for step in Replay(driver, t0_ns).steps(items):
        for action in step.actions:
            if isinstance(action, Emit):
                yield action.record
