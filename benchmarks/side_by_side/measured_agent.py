"""The agent as it is, and a file of when its own blocks closed, were durable here, at a first peer, and witnessed.

    python -m benchmarks.side_by_side.measured_agent MARKS_FILE --config FILE run

Only looks: three public calls are wrapped, nothing is changed in what they do. One line a mark: kind, log, number of
blocks, moment (boot clock, ns).
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from agent.cli.main import main
from agent.intake import Intake
from agent.pump import Pump
from agent.recorder import Closed
from benchmarks.side_by_side.work import now_ns
from ledger.message_codec import decode_message
from ledger.messages import Signed, Stored
from ledger.quorum import Level

CLOSED, DURABLE, COPIED, WITNESSED = "closed", "durable", "copied", "witnessed"
_STORED = b"\x04"


class _Marks:
    """What the wrapped calls saw."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._closed: deque[tuple[int, str, int]] = deque()
        self._log = ""
        self._sizes: dict[tuple[str, str], int] = {}

    def closed(self, closed: Closed) -> None:
        """Time of the tick, before the block was encoded and signed."""
        log, size = str(closed.block.log), closed.block.seq + 1
        self._closed.append((closed.last_position, log, size))
        self._log = log
        self._write(CLOSED, log, size, closed.closed.mono_ns)

    def durable(self, position: int) -> None:
        """Every record up to ``position`` is synced here."""
        newest = None
        while self._closed and self._closed[0][0] <= position:
            newest = self._closed.popleft()
        if newest is not None:
            self._write(DURABLE, newest[1], newest[2], now_ns())

    def vouched(self, copied: int, witnessed: int) -> None:
        """How far peers vouch for the live log by now."""
        self._reached(COPIED, self._log, copied)
        self._reached(WITNESSED, self._log, witnessed)

    def stored(self, wire: bytes) -> None:
        """A peer said how much of a log it stores: also of one that is live no more, as a provisional one soon is."""
        match decode_message(wire):
            case Signed(body=Stored(log, size)):
                self._reached(COPIED, str(log), size)

    def _reached(self, kind: str, log: str, size: int) -> None:
        if size > self._sizes.get((kind, log), 0):
            self._sizes[kind, log] = size
            self._write(kind, log, size, now_ns())

    def _write(self, kind: str, log: str, size: int, at_ns: int) -> None:
        self._file.write(f"{kind} {log} {size} {at_ns}\n")


@dataclass(frozen=True, slots=True)
class Mark:
    """One line: ``size`` blocks of ``log`` were ``kind`` at ``at_ns``."""

    kind: str
    log: str
    size: int
    at_ns: int


def read_marks(path: Path) -> list[Mark]:
    """In the order of time. A line cut by SIGKILL is left out."""
    whole = path.read_text().rpartition("\n")[0] if path.exists() else ""
    parts = [line.split(" ") for line in whole.splitlines()]
    return [Mark(kind, log, int(size), int(at_ns)) for kind, log, size, at_ns in parts]


def reached(marks: Sequence[Mark], kind: str, block: Mark) -> int | None:
    """When the log of ``block`` was first ``kind`` up to it."""
    found = (mark.at_ns for mark in marks if mark.kind == kind and mark.log == block.log and mark.size >= block.size)
    return next(found, None)


def _wrap(marks: _Marks) -> None:
    closed, arrived, durable = Pump.closed, Pump.arrived, Intake.durable

    def pump_closed(pump: Pump, block: Closed) -> None:
        marks.closed(block)
        closed(pump, block)

    def pump_arrived(pump: Pump, sender: str, wire: bytes, **options: Any) -> None:
        arrived(pump, sender, wire, **options)
        vouching = pump._member.writer.vouching  # noqa: SLF001 - no public way leads to it
        if wire[:1] == _STORED:
            marks.stored(wire)
        marks.vouched(vouching.size_at(Level.COPIED), vouching.size_at(Level.WITNESSED))

    def intake_durable(intake: Intake, position: int) -> None:
        marks.durable(position)  # before the answers leave: who has one finds the mark of the block that made it true
        durable(intake, position)

    Pump.closed = pump_closed  # type: ignore[method-assign, assignment]
    Pump.arrived = pump_arrived  # type: ignore[method-assign, assignment]
    Intake.durable = intake_durable  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    with Path(sys.argv.pop(1)).open("a", buffering=1) as marks_file:
        _wrap(_Marks(marks_file))
        sys.exit(main())
