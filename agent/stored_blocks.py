"""The blocks in this box's store, opened: for commands that read what was recorded, beside a running agent or without.

The cipher proves each payload against its header and key; whether the headers are whole, linked and witnessed is what
``orledger verify`` answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from agent.box_files import BoxFolder, load_box, open_keyring
from ledger.block import Header, decode_signed_header
from ledger.errors import OperatorFault, StoreFault
from ledger.log import LogId
from ledger.records import Record
from ledger.recovery import KeyFor, open_payload
from ledger.store import Store

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class OpenedBlock:
    """One block's header and its records by feed; ``groups`` is None when the payload is no longer held."""

    header: Header
    groups: Mapping[str, tuple[Record, ...]] | None


class StoredBlocks:
    """Reads one box's store with that box's keys. See ``open_stored``."""

    def __init__(self, store: Store, key_for: KeyFor) -> None:
        self._store = store
        self._key_for = key_for

    def log(self, box: str, name: str | None = None) -> LogId:
        """The log of ``box`` whose name (epoch-incarnation) begins like this; without a name the one opened last.

        Raises OperatorFault ``log.unknown`` if there is none, ``log.ambiguous`` if there are several.
        """
        logs = [log for log, _ in self._store.logs(box)]
        if name is None:
            if not logs:
                raise OperatorFault("log.unknown", f"no log of {box} is held here", "name a box of this group")
            return logs[-1]
        fitting = [log for log in logs if f"{log.counter}-{log.incarnation.hex()}".startswith(name)]
        if len(fitting) != 1:
            names = ", ".join(f"{log.counter}-{log.incarnation.hex()[:8]}" for log in fitting or logs) or "none"
            problem = "ambiguous" if fitting else "unknown"
            raise OperatorFault(f"log.{problem}", f"log {name!r} of {box} is {problem}", f"there are: {names}")
        return fitting[0]

    def place(self, log: LogId, where: str | None, default: int) -> int:
        """A place in a log: a block's number, or RFC 3339 UTC for the first block closed then or later.

        Raises OperatorFault ``log.place`` for anything else.
        """
        if where is None:
            return default
        if where.isdecimal():
            return int(where)
        return self._first_closed_at(log, utc_ns(where))

    def ends(self, log: LogId) -> tuple[int, int]:
        """The first block held, and one more than the last."""
        return self._store.first_held(log), self._store.length(log)

    def blocks(self, log: LogId, first: int, end: int) -> Iterator[OpenedBlock]:
        """Blocks ``first`` to ``end`` - 1, opened. Raises as ``ledger.recovery.open_payload`` and StoreFault."""
        for block in self._store.blocks(log, first, end):
            header = decode_signed_header(block.signed_header)
            held = block.payload or not header.payload_bytes
            yield OpenedBlock(header, open_payload(header, block.payload, self._key_for) if held else None)

    def header(self, log: LogId, seq: int) -> Header:
        """One block's header. Raises StoreFault ``store.missing`` when it is not held."""
        block = self._store.block(log, seq)
        if block is None:
            raise StoreFault("store.missing", f"block {seq} of {log} is not held", "orledger verify")
        return decode_signed_header(block.signed_header)

    def _first_closed_at(self, log: LogId, at_ns: int) -> int:
        low, high = self.ends(log)
        while low < high:  # blocks are closed in order of time, but for steps of the clock
            middle = (low + high) // 2
            if self.header(log, middle).closed_ns < at_ns:
                low = middle + 1
            else:
                high = middle
        return low


@contextmanager
def open_stored(data_dir: Path) -> Iterator[StoredBlocks]:
    """The store below this ``data_dir``, for reading. Raises NotPermitted, StoreFault, ConfigurationFault."""
    folder = BoxFolder(data_dir)
    keyring = open_keyring(folder, load_box(folder))
    store = Store.open(folder.ledger, readonly=True)
    try:
        yield StoredBlocks(store, keyring.get)
    finally:
        store.close()


def utc_ns(text: str) -> int:
    """RFC 3339 UTC, like 2026-11-23T08:14:02Z, in nanoseconds. Raises OperatorFault ``log.place``."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.utcoffset() != timedelta(0):
        raise OperatorFault(
            "log.place", f"{text!r} is neither a block nor a UTC time", "write 5120 or 2026-11-23T08:14:02Z"
        )
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1_000
