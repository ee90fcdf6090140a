"""Base of the drivers for devices at one byte stream: whose link it is, gaps, silence, what the end of a link cuts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from drivers.contract import Message, Now, Outbox, Spec
from drivers.gaps import GapCollector
from drivers.silence import Silence
from ledger.errors import OurFault
from ledger.limits import S_NS
from ledger.records import LinkId, Record


class ByteDevice(Outbox):
    """Override ``opened``, ``heard`` and ``closed``, and for a driver that asks ``woken`` and ``due_ns``.

    The values and alarms that ``_silence`` follows are withdrawn after ``spec.silence_s``, unless the driver sets
    another time. One link at a time: bytes of any other are not the device's.
    """

    spec: ClassVar[Spec[Any]]

    def __init__(self) -> None:
        super().__init__()
        self._gaps = GapCollector()
        self._silence = Silence(round(self.spec.silence_s * S_NS))
        self._link: LinkId | None = None

    def opened(self, link: LinkId, peer: str, now: Now) -> None:
        """The port is open."""
        raise NotImplementedError

    def heard(self, data: bytes, now: Now) -> None:
        """Bytes of the line."""
        raise NotImplementedError

    def closed(self, now: Now) -> int:
        """The port is gone: forget the session; how many bytes were begun and never ended."""
        raise NotImplementedError

    def woken(self, now: Now) -> None:
        """Say what is due; called while the link is up."""

    def due_ns(self) -> int | None:
        """When ``woken`` is wanted; asked while the link is up."""
        return None

    # What the shell calls -------------------------------------------------------------------------------------

    def link_up(self, link: LinkId, peer: str, now: Now) -> None:
        """The port is open."""
        self._link = link
        self.opened(link, peer, now)

    def receive(self, link: LinkId, data: bytes | Message, now: Now) -> None:
        """Bytes of the line. Raises OurFault for a Message: no transport of such a driver makes one."""
        if isinstance(data, Message):
            raise OurFault(f"{self.spec.name}.message", "a driver of a byte stream was handed a framed message")
        if link == self._link:
            self.heard(data, now)

    def link_down(self, link: LinkId, reason: str, now: Now) -> None:
        """The port is gone; say what was begun and never ended."""
        if link != self._link:
            return
        begun = self.closed(now)
        if begun:
            self._gaps.add("framing", now, begun, "cut by the end of the connection")
        self.emit_all(self._gaps.take(now, everything=True))
        self._link = None

    def wake(self, now: Now) -> None:
        """Tell the gaps that are due, withdraw what a silent device showed, and ask what is due."""
        self.emit_all(self._gaps.take(now))
        self.emit_all(self._silence.take(now))
        if self._link is not None:
            self.woken(now)

    def deadline_ns(self) -> int | None:
        """When ``wake`` is wanted."""
        due = [self._gaps.deadline_ns(), self._silence.deadline_ns(), self.due_ns() if self._link is not None else None]
        return min([at_ns for at_ns in due if at_ns is not None], default=None)

    def case_changed(self, facts: Mapping[str, str] | None) -> None:
        """Another case has begun, and its state holds nothing yet: what the device says next is told in full.

        A driver that keeps more than its silence follows, to tell it only when it changes, forgets that too.
        """
        self._silence.tell_again()

    # What a driver calls --------------------------------------------------------------------------------------

    def fell_silent(self, now: Now) -> None:
        """The dialogue has found that the device does not answer: what it showed no longer holds."""
        self.emit_all(self._silence.take(now, lost=True))

    def emit_all(self, records: Iterable[Record]) -> None:
        """Record these, in order."""
        for record in records:
            self.emit(record)
