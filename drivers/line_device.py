"""Base of the drivers for devices that send lines of text: the line, its faults, the device's clock, its identity.

A driver built on it says how a line is read; it asks for nothing unless it overrides ``link_up`` and ``wake``.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

from drivers.byte_device import ByteDevice
from drivers.clock_offset import ClockOffset, ClockStep
from drivers.contract import Now
from drivers.line_splitter import LineFault, LineSplitter
from ledger.errors import DeviceFault
from ledger.limits import S_NS
from ledger.records import GapCause, Identity, Link, LinkId, LinkState

_ANY_END: Final = b"\r\n"


@dataclass(slots=True)
class LineSession:
    """What is known of one connection. ``heard_at``: when the last line that could be read came."""

    link: LinkId
    peer: str
    splitter: LineSplitter
    clock: ClockOffset
    identity: Identity | None = None
    heard_at: Now | None = None


class ShapeGuard:
    """For lines without a checksum whose fields do not move: a line with another shape than before is doubted.

    Another sensor or setting may bring another shape, a lost byte may too; only the former brings it twice.
    """

    __slots__ = ("_doubted", "_shape")

    def __init__(self) -> None:
        self._shape: Hashable = None
        self._doubted: Hashable = None

    def trusts(self, shape: Hashable) -> bool:
        """Whether a line of this shape counts; never None."""
        if self._shape is None or shape in (self._shape, self._doubted):
            self._shape, self._doubted = shape, None
            return True
        self._doubted = shape
        return False


NOISE: Final = b"\0\x11\x13"
"""NUL, XON and XOFF: a port that is switched on or held back sends them, around lines of which they are no part."""


class LineDevice(ByteDevice):
    """Override ``read``; it may raise DeviceFault for a line that cannot be read, and is given each line whole.

    ``noise``: bytes that are taken away before and behind a line; of a line of fixed columns they may be a part.

    What ``_silence`` follows is withdrawn when no line could be read for so long.
    """

    def __init__(
        self, longest_line_bytes: int, ends: bytes = _ANY_END, clock_resolution_ns: int = S_NS, noise: bytes = b""
    ) -> None:
        super().__init__()
        self._longest_line_bytes = longest_line_bytes
        self._ends = ends
        self._noise = noise
        self._clock_resolution_ns = clock_resolution_ns
        self._session: LineSession | None = None

    def read(self, session: LineSession, line: bytes, now: Now) -> None:
        """One line without its end. Raises DeviceFault when it is none of the device's."""
        raise NotImplementedError

    # What the base calls --------------------------------------------------------------------------------------

    def opened(self, link: LinkId, peer: str, now: Now) -> None:
        """The port is open."""
        splitter = LineSplitter(self._longest_line_bytes, self._ends)
        self._session = LineSession(link, peer, splitter, ClockOffset(self._clock_resolution_ns))

    def heard(self, data: bytes, now: Now) -> None:
        """Bytes of the line."""
        session = self._session
        if session is None:
            return
        for item in session.splitter.feed(data):
            if isinstance(item, LineFault):
                self.lost("oversize", item.lost_bytes, "a line without end", now)
            else:
                self._take(session, item, now)

    def closed(self, now: Now) -> int:
        """The port is gone."""
        session, self._session = self._session, None
        return session.splitter.abandon() if session is not None else 0

    def _take(self, session: LineSession, line: bytes, now: Now) -> None:
        if self._noise and not (line := line.strip(self._noise)):
            return
        try:
            self.read(session, line, now)
        except DeviceFault as fault:
            self.lost("undecodable", len(line), fault.text, now)
        else:
            session.heard_at = now
            self._silence.heard(now)

    # What ``read`` may call -----------------------------------------------------------------------------------

    def lost(self, cause: GapCause, lost_bytes: int, detail: str, now: Now) -> None:
        """So many bytes could not be used."""
        self._gaps.add(cause, now, lost_bytes, detail)

    def identified(self, session: LineSession, identity: Identity) -> None:
        """Record who the device says it is, once and when that changes; ``at_ns`` does not count."""
        known = session.identity
        if known is not None and _who(known) == _who(identity):
            return
        session.identity = identity
        self.emit(identity)
        state: LinkState = "identified" if known is None else "changed"
        self.emit(Link(at_ns=identity.at_ns, link=session.link, state=state, peer=session.peer))

    def clocked(self, session: LineSession, device_ns: int, now: Now) -> bool:
        """The device stamped a line ``device_ns`` (its own clock). True when that clock was set or began anew."""
        outcome = session.clock.observe(device_ns, now)
        if isinstance(outcome, ClockStep):
            moved = f"the device's clock moved by {outcome.step_ns / S_NS:+.0f} s"
            self._gaps.add("clock_jump", now, None, moved, since=session.heard_at)
            return True
        if outcome is not None:
            self.emit(outcome)
        return False


def _who(identity: Identity) -> tuple[str, ...]:
    return (identity.sub, identity.make, identity.model, identity.serial, identity.software, identity.protocol)
