"""A box's store opened to read, beside the running agent or without one: for ``verify``, ``records`` and exports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from agent.box_files import BoxFolder, read_ring_key
from agent.disk import load_manifest
from ledger.block import Header, decode_signed_header
from ledger.errors import ConfigurationFault, NoPeer, OperatorFault, OrledgerError, StoreFault
from ledger.keyring import Keyring
from ledger.log import LogId
from ledger.manifest import Manifest
from ledger.records import Record
from ledger.recovery import open_payload
from ledger.sealing import DataKey
from ledger.store import Store

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Decoded = tuple[LogId, int, Header, dict[str, tuple[Record, ...]]]
"""(log, seq, header, records by feed) of one block."""


@dataclass(frozen=True, slots=True)
class OpenedBlock:
    """One block's header and its records by feed; ``groups`` is None when the payload is no longer held."""

    header: Header
    groups: Mapping[str, tuple[Record, ...]] | None


class Reader:
    """One box's store and the keys it holds. A context manager; nothing is ever written."""

    def __init__(self, folder: BoxFolder) -> None:
        """Raises StoreFault when there is no store, or it cannot be read."""
        self._folder = folder
        self.store = Store.open(folder.ledger, readonly=True)
        self.keyring: Keyring | None = None
        self.key_fault: OrledgerError | None = None
        try:
            self.keyring = Keyring(folder.keyring, read_ring_key(folder))
        except OrledgerError as fault:
            self.key_fault = fault

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.store.close()

    @property
    def manifest(self) -> Manifest:
        """The newest manifest held. Raises ConfigurationFault ``box.unenrolled``, PeerFault, StoreFault."""
        manifest = load_manifest(self.store)
        if manifest is None:
            raise ConfigurationFault("box.unenrolled", f"{self._folder.path} holds no manifest", "run: orledger init")
        return manifest

    def key_for(self, key_id: bytes) -> DataKey | None:
        """The data key of that id, None when it is not held."""
        return self.keyring.get(key_id) if self.keyring is not None else None

    def refresh(self) -> None:
        """See what other processes committed since: new boxes' blocks and new keys. No read may be under way."""
        self.store.close()
        self.store = Store.open(self._folder.ledger, readonly=True)
        with suppress(StoreFault):  # the agent is replacing the file: the keys held before still hold
            self.keyring = Keyring(self._folder.keyring, read_ring_key(self._folder))

    def logs_of(self, box: str | None) -> list[LogId]:
        """Logs in the order they were opened. Raises OperatorFault for a box this site does not have."""
        known = [each.id for each in self.manifest.boxes]
        if box is not None and box not in known:
            raise OperatorFault("box.unknown", f"{box!r} is no box of this site", f"one of: {', '.join(known)}")
        return [log for log, _ in self.store.logs(box)]

    def decoded_blocks(
        self, box: str | None = None, from_ns: int | None = None, to_ns: int | None = None
    ) -> Iterator[Decoded]:
        """Blocks closed from ``from_ns`` to before ``to_ns`` (UTC), log by log, whose payload is held here.

        Verify the store first: this reads what it holds. Raises as ``decoded_log``.
        """
        for log in self.logs_of(box):
            yield from self.decoded_log(log, from_ns=from_ns, to_ns=to_ns)

    def decoded_log(
        self, log: LogId, first: int = 0, *, from_ns: int | None = None, to_ns: int | None = None
    ) -> Iterator[Decoded]:
        """The same for one log, from block ``first`` on. The start is searched as in ``first_closed_at``.

        Raises NoPeer ``restore.no-key`` without the data key, or the fault that keeps the keyring shut;
        VerificationFailed when a payload does not open or decode; StoreFault.
        """
        first = max(first, self.store.first_held(log))
        if from_ns is not None:
            first = max(first, self.first_closed_at(log, from_ns))
        for block in self.store.blocks(log, first, self.store.length(log)):
            header = decode_signed_header(block.signed_header)
            early = from_ns is not None and header.closed_ns < from_ns
            if early or (to_ns is not None and header.closed_ns >= to_ns) or not block.payload:
                continue
            yield log, block.seq, header, self.open_block(header, block.payload)

    def log(self, box: str, name: str | None = None) -> LogId:
        """The log of ``box`` whose name (epoch-incarnation) begins like this; without a name the one opened last.

        Raises OperatorFault ``log.unknown`` if there is none, ``log.ambiguous`` if there are several.
        """
        logs = [log for log, _ in self.store.logs(box)]
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
        return self.first_closed_at(log, utc_ns(where))

    def ends(self, log: LogId) -> tuple[int, int]:
        """The first block held, and one more than the last."""
        return self.store.first_held(log), self.store.length(log)

    def blocks(self, log: LogId, first: int, end: int) -> Iterator[OpenedBlock]:
        """Blocks ``first`` to ``end`` - 1, opened. Raises as ``decoded_log``."""
        for block in self.store.blocks(log, first, end):
            header = decode_signed_header(block.signed_header)
            held = block.payload or not header.payload_bytes
            yield OpenedBlock(header, self.open_block(header, block.payload) if held else None)

    def header(self, log: LogId, seq: int) -> Header:
        """One block's header. Raises StoreFault ``store.missing`` when it is not held."""
        block = self.store.block(log, seq)
        if block is None:
            raise StoreFault("store.missing", f"block {seq} of {log} is not held", "orledger verify")
        return decode_signed_header(block.signed_header)

    def first_closed_at(self, log: LogId, at_ns: int) -> int:
        """The first block held that was closed at ``at_ns`` (UTC) or later; one more than the last if there is none.

        Searched by halves, so exact only where the box's clock was not set back within the log.
        """
        low, high = self.ends(log)
        while low < high:  # blocks are closed in order of time, but for steps of the clock
            middle = (low + high) // 2
            if self.header(log, middle).closed_ns < at_ns:
                low = middle + 1
            else:
                high = middle
        return low

    def open_block(self, header: Header, payload: bytes) -> dict[str, tuple[Record, ...]]:
        """The records of a block by feed. Raises as ``decoded_log``."""
        try:
            return open_payload(header, payload, self.key_for)
        except NoPeer:
            if self.key_fault is not None:
                raise self.key_fault from None
            raise


def open_reader(data_dir: Path) -> Reader:
    """Open the box whose data folder this is. Raises StoreFault ``store.absent`` and others of the store's."""
    return Reader(BoxFolder(data_dir))


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
