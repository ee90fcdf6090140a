"""A box's store opened to read, beside the running agent or without one: for ``verify``, ``records`` and exports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

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

Decoded = tuple[LogId, int, Header, dict[str, tuple[Record, ...]]]
"""(log, seq, header, records by feed) of one block."""


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
        """The same for one log, from block ``first`` on.

        Raises NoPeer ``restore.no-key`` without the data key, or the fault that keeps the keyring shut;
        VerificationFailed when a payload does not open or decode; StoreFault.
        """
        first = max(first, self.store.first_held(log))
        for block in self.store.blocks(log, first, self.store.length(log)):
            header = decode_signed_header(block.signed_header)
            early = from_ns is not None and header.closed_ns < from_ns
            if early or (to_ns is not None and header.closed_ns >= to_ns) or not block.payload:
                continue
            yield log, block.seq, header, self._open(header, block.payload)

    def _open(self, header: Header, payload: bytes) -> dict[str, tuple[Record, ...]]:
        try:
            return open_payload(header, payload, self.key_for)
        except NoPeer:
            if self.key_fault is not None:
                raise self.key_fault from None
            raise


def open_reader(data_dir: Path) -> Reader:
    """Open the box whose data folder this is. Raises StoreFault ``store.absent`` and others of the store's."""
    return Reader(BoxFolder(data_dir))
