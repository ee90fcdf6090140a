"""Finds DICOM instances that this box stored by their UIDs, which stand nowhere in clear, and what became of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence

from agent.witnessed_logs import WitnessedLogs
from drivers.dicom.commitment import Reference, Standing
from ledger.block import decode_signed_header
from ledger.errors import OrledgerError
from ledger.keyring import Keyring
from ledger.local_secret import LocalSecret
from ledger.log import LogId
from ledger.manifest import Manifest
from ledger.objects.vouching import ObjectVouching
from ledger.ops import LabelObject, ObjectState
from ledger.quorum import Level
from ledger.records import Object
from ledger.recovery import open_payload
from ledger.store import Store
from ledger.store.objects import ObjectRow

_LOG = logging.getLogger(__name__)
_CLASS_BYTES = 16
_PAGE = 64


class Instances:
    """``label`` and ``labels`` on any thread; the rest reads the disk, so on a thread that may wait."""

    def __init__(
        self, store: Store, keyring: Keyring, vouching: ObjectVouching, secret: LocalSecret, own: str
    ) -> None:  # fmt: skip
        self._store = store
        self._keyring = keyring
        self._vouching = vouching
        self._secret = secret
        self._own = own
        self._logs = WitnessedLogs(store, own)

    def labels(self, records: Sequence[Object]) -> list[LabelObject]:
        """By what the objects of these records are found from now on."""
        return [
            LabelObject(record.sha256, self._instance(instance), self._class(record.meta.get("sop_class", "")))
            for record in records
            if (instance := record.meta.get("sop_instance"))
        ]

    def _instance(self, uid: str) -> bytes:
        return self._secret.label("sop-instance", uid)

    def _class(self, uid: str) -> bytes:
        return self._secret.label("sop-class", uid)[:_CLASS_BYTES]

    def standings(
        self, references: Sequence[Reference], manifest: Manifest, live: LogId, live_size: int
    ) -> list[Standing]:  # fmt: skip
        """What is known of each; ``live_size``: how many blocks of the log that is written are witnessed.

        Raises StoreFault.
        """
        sizes = self._logs.sizes(manifest, live, live_size)
        found = []
        for number, reference in enumerate(references):
            if number % _PAGE == _PAGE - 1:
                time.sleep(0.001)  # the tick needs the interpreter too
            found.append(self._standing(reference, sizes))
        return found

    def _standing(self, reference: Reference, sizes: Mapping[LogId, int]) -> Standing:
        """Every object that was stored under this UID must be witnessed: which of them is meant cannot be told."""
        sop_class = self._class(reference.sop_class)
        held = [
            (row, value == sop_class)
            for sha256, value in self._store.objects_labelled(self._instance(reference.sop_instance))
            for row in self._store.objects_named(sha256)
            if row.state is not ObjectState.GONE and row.log.box == self._own
        ]
        if not held:
            return Standing.ABSENT
        rows = [row for row, is_class in held if is_class]
        if not rows:
            return Standing.OTHER_CLASS
        if not all(self._is_witnessed(row, sizes) for row in rows):
            return Standing.PENDING
        try:
            opens = all(self._vouching.check(row.stored.sha256) is not None for row in rows)
        except OrledgerError as fault:
            _LOG.warning("an instance that is to be committed: %s", fault)
            return Standing.PENDING
        return Standing.WITNESSED if opens else Standing.ABSENT

    def _is_witnessed(self, row: ObjectRow, sizes: Mapping[LogId, int]) -> bool:
        """The block that names it, and the object itself: a box that says it holds one holds that block's header."""
        if row.state is not ObjectState.HELD or sizes.get(row.log, 0) <= row.seq:
            return False
        return self._vouching.level(row.log, row.stored.sha256) >= Level.WITNESSED

    def unlabelled(self) -> Iterator[LabelObject]:
        """For objects that came before there were labels, or with the blocks that this box was rebuilt from."""
        for number, row in enumerate(self._store.objects()):
            if number % _PAGE == _PAGE - 1:
                time.sleep(0.001)
            is_own = row.log.box == self._own and row.state is not ObjectState.GONE
            if is_own and not self._store.has_label(row.stored.sha256):
                yield from self.labels(self._records(row))

    def _records(self, row: ObjectRow) -> list[Object]:
        block = self._store.block(row.log, row.seq)
        if block is None or not block.payload:
            return []
        try:
            groups = open_payload(decode_signed_header(block.signed_header), block.payload, self._keyring.get)
        except OrledgerError:
            return []  # its key is erased, or is not here
        return [
            record
            for records in groups.values()
            for record in records
            if isinstance(record, Object) and record.sha256 == row.stored.sha256
        ]
