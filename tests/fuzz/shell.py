"""A shell for a driver under fire: does what the feed's shell does, and checks each thing that the driver wants."""

from __future__ import annotations

import gc
import re
import sys
from collections import Counter
from types import BuiltinFunctionType, FunctionType, ModuleType

from drivers.contract import Close, Driver, Emit, Message, Now, Send, Ticket
from ledger.limits import MIB, S_NS
from ledger.payload import encode_records
from ledger.records import Event, LinkId, Numeric, Record, Wave

HELD_BYTES = 8 * MIB
"""A driver may hold so much, and four of its protocol's longest frames, more than it held when it was made."""

ACTIONS_AT_ONCE = 1_024
"""One call may want so many things, and one for every two bytes of its input and of the protocol's longest frame."""

_WAKES_AT_ONCE = 64
_SHARED = (type, ModuleType, FunctionType, BuiltinFunctionType, re.Pattern)


class Violation(AssertionError):
    """The driver did what no driver may."""


def held_bytes(root: object) -> int:
    """All that can be reached from an object but code and types."""
    seen: set[int] = set()
    waiting, total = [root], 0
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or isinstance(thing, _SHARED):
            continue
        seen.add(id(thing))
        total += sys.getsizeof(thing)
        waiting += gc.get_referents(thing)
    return total


class Shell:
    """One driver, one link at a time, in virtual time. ``codes`` and ``acknowledged`` count what it made of it all."""

    def __init__(self, driver: Driver, t0_ns: int) -> None:
        self.driver = driver
        self.codes: Counter[str] = Counter()
        self.acknowledged = 0
        self.closed = 0
        self._cases = 0
        self._now = Now(S_NS, t0_ns)
        self._link = LinkId(0)
        self._awaited: list[Ticket] = []
        self._declared: set[bytes] = set()
        self._held_at_first = held_bytes(driver)

    def connect(self) -> None:
        """A link comes up; one that is up falls first."""
        self.disconnect("unplugged")
        self._link = LinkId(self._link + 1)
        self._call(0, self.driver.link_up, self._link, "fuzz", self._now)

    def disconnect(self, reason: str) -> None:
        """The link falls, if one is up."""
        if self._link:
            self._call(0, self.driver.link_down, self._link, reason, self._now)

    def receive(self, data: bytes | Message) -> None:
        """Bytes come."""
        size = len(data.body) if isinstance(data, Message) else len(data)
        self._call(size, self.driver.receive, self._link, data, self._now)

    def refuse(self) -> None:
        """The oldest record that an answer waits for will not become durable."""
        if self._awaited:
            self._call(0, self.driver.refused, self._awaited.pop(0), "disk full", self._now)

    def enter_case(self) -> None:
        """Another case opens, of somebody else."""
        self._cases += 1
        self._call(0, self.driver.case_changed, {"patient_ids": f"{self._cases}^^^A"} if self._cases % 3 else None)

    def wait(self, by_ns: int, utc_jump_ns: int = 0) -> None:
        """Time passes; the driver is woken when it wants to be. ``utc_jump_ns``: the box's clock is set."""
        end_ns = self._now.mono_ns + by_ns
        for _ in range(_WAKES_AT_ONCE):
            deadline_ns = self.driver.deadline_ns()
            if deadline_ns is None or deadline_ns > end_ns:
                break
            self._pass(max(deadline_ns, self._now.mono_ns))
            self._call(0, self.driver.wake, self._now)
            after_ns = self.driver.deadline_ns()
            if after_ns is not None and after_ns <= self._now.mono_ns:
                self._call(0, self.driver.wake, self._now)
                if self.driver.deadline_ns() == after_ns:
                    raise Violation("woken at its deadline, it wants to be woken at the same time again")
        self._pass(end_ns)
        self._now = Now(self._now.mono_ns, self._now.utc_ns + utc_jump_ns)

    def check_memory(self) -> None:
        """Whether the driver holds more than it may."""
        most = HELD_BYTES + 4 * self.driver.spec.longest_frame_bytes
        held = held_bytes(self.driver) - self._held_at_first
        if held > most:
            raise Violation(f"it holds {held} bytes more than at first; {most} are allowed")

    def _pass(self, mono_ns: int) -> None:
        mono_ns = max(mono_ns, self._now.mono_ns)
        self._now = Now(mono_ns, self._now.utc_ns + mono_ns - self._now.mono_ns)

    def _call(self, size: int, call: object, *arguments: object) -> None:
        call(*arguments)  # type: ignore[operator]
        spec = self.driver.spec
        actions = self.driver.drain()
        most = ACTIONS_AT_ONCE + (size + spec.longest_frame_bytes) // 2
        if len(actions) > most:
            raise Violation(f"{len(actions)} actions of one call with {size} bytes; {most} are allowed")
        records = [action.record for action in actions if isinstance(action, Emit)]
        if records:
            encode_records({"fuzz": records})  # what cannot be written raises
        for record in records:
            self._emitted(record)
        closed = False
        for action in actions:
            if isinstance(action, Send):
                self._sent(action)
            elif isinstance(action, Close):
                closed = closed or action.link == self._link
        if closed:
            self.closed += 1
            self.connect()

    def _emitted(self, record: Record) -> None:
        name = type(record).__name__.lower()
        if name not in self.driver.spec.records:
            raise Violation(f"it emits a {name} record, which its spec does not name")
        if isinstance(record, Numeric | Wave | Event):
            self.codes[record.code] += 1

    def _sent(self, send: Send) -> None:
        if send.data not in self._declared:
            if not self.driver.spec.may_send(send.data):
                raise Violation(f"it sends what it never declared: {send.data!r}")
            self._declared.add(send.data)
        if send.after is not None:
            self.acknowledged += 1
            self._awaited = [*self._awaited[-31:], send.after]
