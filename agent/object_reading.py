"""The objects of a data folder, read beside the running agent or without one: listed, opened, proved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.box_files import BoxFolder
from agent.reading import Reader
from ledger.audit.findings import MEND, Finding, Severity
from ledger.block import Header, decode_signed_header
from ledger.errors import NoPeer, OperatorFault, OrledgerError, PeerFault, StoreFault, VerificationFailed
from ledger.message_codec import decode_message
from ledger.messages import Holding, Signed
from ledger.notices import StoredObject
from ledger.objects import ObjectFile, ObjectFolder, open_content, prove, read_header
from ledger.ops import ObjectState
from ledger.quorum import Level
from ledger.records import Object
from ledger.store.objects import ObjectRow
from ledger.store.rows import StoredBlock

_SHORTEST_NAME = 4
_NAME_DIGITS = 64
_LACKING_NAMED = 20


@dataclass(frozen=True, slots=True)
class ObjectEntry:
    """An object as its block names it. ``record`` and ``feed`` are None and empty where the block's payload cannot be
    read here; ``holders`` are the box's peers whose signed word that they hold it is kept here.
    """

    row: ObjectRow
    header: Header | None
    record: Object | None
    feed: str
    holders: tuple[str, ...]
    peers: int
    level: Level


@dataclass(slots=True)
class ObjectsChecked:
    """What was proved of the objects: ``checked`` were read to the end, ``opened`` of them with their key."""

    held: int = 0
    bytes: int = 0
    checked: int = 0
    opened: int = 0
    lacking: int = 0
    gone: int = 0


@dataclass(frozen=True, slots=True)
class ObjectsReport:
    """What was proved, what was found, and the names of those that are damaged or lost."""

    checked: ObjectsChecked
    findings: tuple[Finding, ...]
    damaged: tuple[bytes, ...]

    @property
    def is_good(self) -> bool:
        """True when nothing held here is damaged or lost."""
        return not self.damaged

    def mended(self) -> ObjectsReport:
        """The same once what is damaged is being fetched anew."""
        remarks = tuple(each for each in self.findings if each.severity is not Severity.BAD)
        return ObjectsReport(self.checked, remarks, ())


class ObjectReader:
    """Over an open ``Reader``, whose store and keys it uses."""

    def __init__(self, reader: Reader, data_dir: Path, beside: ObjectFolder | None = None) -> None:
        """``beside``: where else objects may lie, sealed, for this reading."""
        self._reader = reader
        self._beside = beside
        self.folder = ObjectFolder(BoxFolder(data_dir).objects)

    def entries(self, box: str | None = None) -> Iterator[ObjectEntry]:
        """Every object that a block held here names. Raises StoreFault."""
        block: tuple[ObjectRow, StoredBlock | None] | None = None
        for row in self._reader.store.objects():
            if box not in (None, row.log.box):
                continue
            if block is None or (block[0].log, block[0].seq) != (row.log, row.seq):
                block = row, self._reader.store.block(row.log, row.seq)
            yield self._entry(row, block[1])

    def find(self, name: str) -> ObjectEntry:
        """The one object whose name begins like this. Raises OperatorFault."""
        digits = name.lower()
        if not _SHORTEST_NAME <= len(digits) <= _NAME_DIGITS or not set(digits) <= set("0123456789abcdef"):
            problem = f"{name!r} is no object's name: {_SHORTEST_NAME} or more of its hexadecimal digits are"
            raise OperatorFault("object.name", problem, "orledger objects list")
        if len(digits) == _NAME_DIGITS:
            rows = self._reader.store.objects_named(bytes.fromhex(digits))
        else:
            rows = [row for row in self._reader.store.objects() if row.stored.sha256.hex().startswith(digits)]
        names = {row.stored.sha256 for row in rows}
        if len(names) != 1:
            count = "several objects begin" if names else "no block held here names an object that begins"
            raise OperatorFault("object.unknown", f"{count} with {name}", "orledger objects list")
        row = max(rows, key=lambda each: each.state is ObjectState.HELD)
        return self._entry(row, self._reader.store.block(row.log, row.seq))

    def _entry(self, row: ObjectRow, block: StoredBlock | None) -> ObjectEntry:
        header = None if block is None else decode_signed_header(block.signed_header)
        feed, record = self._record(row, header, block)
        peers = {box.id for box in self._reader.manifest.peers_of(row.log.box)}
        holders = tuple(sorted(peers & set(self.words(row))))
        level = self._reader.manifest.quorum_of(row.log.box).level(len(holders), len(holders))
        return ObjectEntry(row, header, record, feed, holders, len(peers), level)

    def _record(self, row: ObjectRow, header: Header | None, block: StoredBlock | None) -> tuple[str, Object | None]:
        if header is None or block is None or not block.payload:
            return "", None
        try:
            groups = self._reader.open_block(header, block.payload)
        except (NoPeer, VerificationFailed, StoreFault):
            return "", None  # its key is erased, or is not here
        for feed, records in groups.items():
            for record in records:
                if isinstance(record, Object) and record.sha256 == row.stored.sha256:
                    return feed, record
        return "", None

    def words(self, row: ObjectRow) -> dict[str, bytes]:
        """Each box's signed word that it holds this object; those that do not verify are left out."""
        manifest = self._reader.manifest
        found = {}
        for box, wire in self._reader.store.object_holdings(row.stored.sha256).items():
            try:
                message, public = decode_message(wire), manifest.box(box).signing_public
            except PeerFault:
                continue
            says = Holding(row.stored.sha256, row.stored.sealed_bytes)
            if not isinstance(message, Signed) or (message.site, message.sender) != (manifest.site, box):
                continue
            if message.body == says and message.is_signed_by(public):
                found[box] = wire
        return found

    def content(self, entry: ObjectEntry) -> Iterator[bytes]:
        """The content, proved chunk by chunk. Raises StoreFault ``objects.absent``, NoPeer ``restore.no-key``,
        VerificationFailed, ``object.size`` at its end when the record says another length.
        """
        size = 0
        with self._source(entry.row) as source:
            key_id = read_header(source).key_id
            key = self._reader.key_for(key_id)
            if key is None:
                text = f"the key of object {entry.row.stored.sha256.hex()[:16]} is not held here, or was erased"
                raise self._reader.key_fault or NoPeer("restore.no-key", text, "ask a box that holds its case")
            for content in open_content(source, key):
                size += len(content)
                yield content
        if entry.record is not None and entry.record.size != size:
            text = f"the record says {entry.record.size:,} bytes, there are {size:,}"
            raise VerificationFailed("object.size", text, "orledger verify")

    def _source(self, row: ObjectRow) -> ObjectFile:
        try:
            if self._beside is not None and self.folder.length(row.stored.sha256) is None:
                return self._beside.source(row.stored.sha256)
            return self.folder.source(row.stored.sha256)
        except StoreFault as fault:
            if fault.id != "objects.absent":
                raise
            gone = row.state is ObjectState.GONE
            why = "went at its retention" if gone else "is not held here yet"
            step = "ask a peer that keeps longer" if gone else "the running agent fetches it from a peer; try again"
            raise StoreFault(fault.id, f"object {row.stored.sha256.hex()[:16]} {why}", step) from fault

    # ---- proving -----------------------------------------------------------------------------------------------

    def check(self, box: str | None, *, quick: bool) -> ObjectsReport:
        """Prove every object held here, of one box or of all; with ``quick`` only that it is there and whole in length.

        Each name is proved once. What lacks is a remark, what is damaged is bad.
        """
        checked = ObjectsChecked()
        findings: list[Finding] = []
        damaged: list[bytes] = []
        lacking: list[ObjectRow] = []
        seen: set[tuple[StoredObject, ObjectState]] = set()
        for row in self._reader.store.objects():
            if box not in (None, row.log.box) or (row.stored, row.state) in seen:
                continue
            seen.add((row.stored, row.state))
            if row.state is ObjectState.GONE:
                checked.gone += 1
            elif row.state is ObjectState.WANTED:
                lacking.append(row)
            else:
                fault = self._check_one(row, checked, quick=quick)
                if fault is not None:
                    damaged.append(row.stored.sha256)
                    findings.append(_finding(row, Severity.BAD, fault, MEND))
        checked.lacking = len(lacking)
        step = "the running agent fetches it from a peer that holds it"
        findings += [_finding(row, Severity.REMARK, "is not held here yet", step) for row in lacking[:_LACKING_NAMED]]
        return ObjectsReport(checked, tuple(findings), tuple(damaged))

    def _check_one(self, row: ObjectRow, checked: ObjectsChecked, *, quick: bool) -> str | None:
        """Why it does not prove itself; None when it does."""
        stored = row.stored
        checked.held += 1
        try:
            length = self.folder.length(stored.sha256)
            if length != stored.sealed_bytes:
                return "is lost" if length is None else f"has {length:,} bytes, not {stored.sealed_bytes:,}"
            checked.bytes += length
            if quick:
                return None
            with self.folder.source(stored.sha256) as source:
                proof = prove(source, stored.sha256, self._reader.key_for(read_header(source).key_id))
        except OrledgerError as fault:
            return fault.text
        if proof.index_hash != stored.index_hash:
            return "has another index than its block names"
        checked.checked += 1
        checked.opened += proof.plain_bytes is not None
        return None


def _finding(row: ObjectRow, severity: Severity, what: str, next_step: str) -> Finding:
    subject = f"object {row.stored.sha256.hex()[:16]} of block {row.seq:,} of {row.log}"
    return Finding(severity, "disk", subject, None, None, what, next_step)
