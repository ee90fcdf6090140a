"""What must hold of objects whatever happens, checked as it happens."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ledger.block import decode_signed_header
from ledger.errors import OrledgerError
from ledger.member import WireMessage
from ledger.message_codec import decode_message
from ledger.messages import Holding, Signed
from ledger.notices import StoredObjects
from ledger.objects import SealedObject, open_content, read_header
from ledger.objects.exchange import Denied
from ledger.objects.pull import Pull
from ledger.objects.turns import Turns
from ledger.ops import AppendBlock, MarkObject, ObjectState, Op
from ledger.quorum import Level
from tests.sim.objects.box import SIM, ObjectBox
from tests.sim.objects.disk import Row, SimFolder, SimSource
from tests.sim.truth import Broken
from tests.sim.world import Process, Watcher

_MOST_IN_MEMORY = SIM.object_pieces_outstanding + 1


@dataclass(frozen=True, slots=True)
class Taken:
    """An object that a box took in, and was told is durable."""

    known: SealedObject
    content: bytes


class ObjectTruth(Watcher):
    """``liars`` may say what they like; ``spoilers`` hold what they say they hold, and give it spoilt or not at all."""

    def __init__(self) -> None:
        self.liars: set[str] = set()
        self.spoilers: set[str] = set()
        self.taken: dict[bytes, Taken] = {}
        self.recorded = 0
        self.words = 0
        self.pulled_back = 0

    def committed(self, process: Process, folder: SimFolder, ops: Iterable[Op]) -> None:
        """A transaction is durable: whatever it says is held must be, already."""
        for op in ops:
            if isinstance(op, MarkObject) and op.state is ObjectState.HELD and not folder.holds(op.sha256):
                raise Broken(f"{process.label} says that it holds {_short(op.sha256)} before its disk does")
            if isinstance(op, AppendBlock) and op.log.box == process.name and op.has_notices:
                for notice in decode_signed_header(op.signed_header).notices:
                    for stored in notice.objects if isinstance(notice, StoredObjects) else ():
                        self.recorded += 1
                        if stored.sha256 in self.taken and not folder.holds(stored.sha256):
                            raise Broken(f"{process.label} recorded {_short(stored.sha256)} before it was durable")

    def sent(self, process: Process, message: WireMessage) -> None:
        if message.kind is not Holding or process.name in self.liars:
            return
        signed = decode_message(message.wire)
        assert isinstance(signed, Signed)
        assert isinstance(signed.body, Holding)
        name = signed.body.sha256
        self.words += 1
        folder, rows = process.disk.folder, process.disk.objects_named(name)  # type: ignore[attr-defined]
        if not folder.holds(name):
            raise Broken(f"{process.label} vouches for {_short(name)} without holding it")
        if not any(row.state is ObjectState.HELD for row in rows):
            raise Broken(f"{process.label} vouches for {_short(name)} before its row is durable")

    def check_bounds(self, box: ObjectBox) -> None:
        """Queues and memory."""
        label = box.process.label
        if box.exchange.outstanding > SIM.object_pulls * SIM.object_pieces_outstanding:
            raise Broken(f"{label} waits for {box.exchange.outstanding} pieces of objects")
        for pulling in box.pulls:
            if pulling.pull.kept_back > _MOST_IN_MEMORY:
                raise Broken(f"{label} keeps {pulling.pull.kept_back} chunks of one object in memory")
        if len(box.intake.unfinished()) > SIM.object_notice_entries or box.writers > SIM.object_writers:
            raise Broken(f"{label} took in more objects than it may")
        if len(box.folder.unfinished()) > box.writers:
            raise Broken(f"{label} leaves {box.folder.unfinished()} behind, with {box.writers} writers")

    # ---- restoring ---------------------------------------------------------------------------------------------

    def witnessed(self, box: ObjectBox) -> list[Row]:
        """What this box would say is vouched for by enough of its peers."""
        return [
            row for row in box.disk.objects()
            if row.log.box == box.process.name and row.stored.sha256 in self.taken
            and box.vouching.level(row.log, row.stored.sha256) >= Level.WITNESSED
        ]  # fmt: skip

    def check_pull_back(self, row: Row, folders: Mapping[str, SimFolder], rng: random.Random) -> None:
        """These boxes answer, some of them liars: the object comes bit for bit, or its level was worth nothing."""
        came, names = SimFolder(rng), sorted(folders)
        turns = Turns(SIM)
        for name in names:
            turns.peer_up(name)
        pull, now_ns = Pull(row, came, turns, SIM), 0
        while not pull.has_ended:
            now_ns += 1
            work = pull.work()
            if work is not None:
                fault = None
                try:
                    work()
                except OrledgerError as failed:
                    fault = failed
                pull.worked(fault, now_ns)
                continue
            for question in pull.questions(now_ns, SIM.object_pieces_outstanding):
                given = self._given(folders[question.peer], row, question.peer, question.first, question.end, rng)
                pull.answered(question, given, now_ns)
        wanted = row.stored.sha256
        if pull.header is None or not came.holds(wanted):
            raise Broken(f"the witnessed {_short(wanted)} of {row.log.box} does not come back from {names}")
        self.pulled_back += 1

    def _given(
        self, folder: SimFolder, row: Row, peer: str, first: int, end: int, rng: random.Random
    ) -> bytes | OrledgerError:
        data = folder.durable(row.stored.sha256)
        if peer in self.liars:
            return rng.randbytes(end - first)
        if data is None:
            return Denied("object.denied", f"{peer} does not hold it")
        return data[first:end]

    def check_content(self, box: ObjectBox, row: Row) -> None:
        """What lies here opens to what was brought."""
        name = row.stored.sha256
        data = box.folder.durable(name) or b""
        taken = self.taken[name]
        source = SimSource(data)
        key = box.disk.get(read_header(source).key_id)
        if hashlib.sha256(data).digest() != name or key is None:
            raise Broken(f"{box.process.label} cannot open {_short(name)}")
        if b"".join(open_content(source, key)) != taken.content:
            raise Broken(f"{box.process.label} gives back another content of {_short(name)}")


def _short(name: bytes) -> str:
    return f"object {name.hex()[:8]}"
