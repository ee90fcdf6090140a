"""One process's objects: the real rules, carried by events in virtual time as the agent carries them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from agent.object_intake import IncomingObject, ObjectIntake
from ledger.errors import NoPeer, OrledgerError, StoreFault
from ledger.limits import MS_NS, Limits
from ledger.member import WireMessage
from ledger.message_codec import encode_plain
from ledger.messages import AskHoldings, GetObject, Holding, ObjectBody, ObjectPiece, SignedBody
from ledger.notices import StoredObjects
from ledger.objects import SealedObject
from ledger.objects.exchange import Exchange
from ledger.objects.keeping import is_litter, marks
from ledger.objects.pull import Pull, Question
from ledger.objects.turns import Turns
from ledger.objects.vouching import ObjectVouching
from ledger.ops import MarkObject, ObjectState
from tests.sim.objects.disk import ObjectDisk, PowerCut, Row
from tests.sim.world import Process, World

SIM = Limits(
    object_retry_min_ns=200 * MS_NS, object_retry_max_ns=1_500 * MS_NS, object_piece_timeout_ns=600 * MS_NS,
    object_ask_ns=900 * MS_NS, object_unrecorded_ns=4_000 * MS_NS, object_writers=4, object_notice_entries=8,
    object_room_look_bytes=100_000,
)  # fmt: skip
KEEP_FREE_BYTES = 50_000
_SWEEP_EVERY = 8


@dataclass(eq=False)
class _Pulling:
    row: Row
    pull: Pull
    working: bool = False
    asked: dict[int, Question] = field(default_factory=dict)


class ObjectBox:
    """``heard_of`` tells what the truth must know: every object that was finished here, with its content."""

    def __init__(self, world: World, process: Process, on_power_cut: Callable[[Process], None]) -> None:
        assert isinstance(process.disk, ObjectDisk)
        self.process, self.disk, self.folder = process, process.disk, process.disk.folder
        self._world = world
        self._member = process.member
        self._on_power_cut = on_power_cut
        self.folder.sweep()
        self.exchange = Exchange(SIM)
        self.turns = Turns(SIM)
        chain = self._member.writer
        self.intake = ObjectIntake(
            self.folder, lambda: (chain.chain.log, chain.chain.data_key), KEEP_FREE_BYTES, SIM,  # type: ignore[arg-type]
            lambda: world.now_ns,
        )  # fmt: skip
        self.vouching = ObjectVouching(self._member, self.disk, self.disk, self.folder, self._say)
        self.pulls: list[_Pulling] = []
        self.waiting: list[SealedObject] = []
        self.unvouched: list[bytes] = []
        self.writers = 0
        self.given_up: set[bytes] = set()
        self._steps = 0
        self._ask_due_ns = 0
        self._member.on_object = self._on_object
        self.vouching.take_up(self.vouching.unvouched())

    # ---- taking in ---------------------------------------------------------------------------------------------

    def put(self, content: bytes, *, abort: bool, finished: Callable[[SealedObject], None]) -> None:
        """Somebody brings an object, piece by piece; perhaps he leaves in the middle of it."""
        try:
            writer = self.intake.begin(expected_bytes=len(content))
        except StoreFault:
            return
        except PowerCut:
            self._on_power_cut(self.process)
            return
        self.writers += 1
        self._write(writer, content, abort=abort, finished=finished)

    def _write(
        self, writer: IncomingObject, rest: bytes, *, abort: bool, finished: Callable[[SealedObject], None]
    ) -> None:
        size = self._world.random.randrange(1, 120_000)

        def work() -> None:
            try:
                if abort and len(rest) < 2 * size:
                    writer.abort()
                elif rest:
                    writer.write(rest[:size])
                    self._write(writer, rest[size:], abort=abort, finished=finished)
                    return
                else:
                    known = writer.finish()
                    finished(known)
                    self.waiting.append(known)
            except StoreFault:
                pass  # it has cleaned up by itself
            self.writers -= 1

        self._later(work)

    def named(self) -> tuple[StoredObjects, ...]:
        """As the recorder: what the block that closes now says of the objects whose records it holds."""
        waiting, self.waiting = self.waiting, []
        objects = self.intake.named([known.sha256 for known in waiting])
        self.vouching.recorded(objects)
        return (StoredObjects(objects),) if objects else ()

    def recorded(self, log: object, seq: int, notices: tuple[StoredObjects, ...]) -> None:
        """As the recorder: in the transaction of the block."""
        for notice in notices:
            for stored in notice.objects:
                self._member.out.persist(MarkObject(log, seq, stored.sha256, ObjectState.HELD))  # type: ignore[arg-type]

    # ---- time --------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """What is due, a few times a second."""
        now_ns = self._now_ns
        self._steps += 1
        for request_id in self.exchange.overdue(now_ns):
            self.exchange.forget(request_id)
            self._answer(request_id, NoPeer("peer.silent", "no answer", ""))
        self._begin_pulls()
        for pulling in list(self.pulls):
            self._advance(pulling)
        self._vouch_for_new()
        if now_ns >= self._ask_due_ns:
            self._ask_due_ns = now_ns + SIM.object_ask_ns
            self.vouching.ask(sorted(self.turns.peers))
        if self.intake.has_late:
            self._later(lambda: self.intake.expire([known.sha256 for known in self.waiting]))
        if self._steps % _SWEEP_EVERY == 0:
            self._sweep()

    def _begin_pulls(self) -> None:
        busy = {pulling.row.stored.sha256 for pulling in self.pulls}
        while len(self.pulls) < SIM.object_pulls and self.turns.peers:
            row = self.turns.choose(self.disk.objects_wanted(), busy, self._now_ns, smallest=not self.pulls)
            if row is None:
                return
            busy.add(row.stored.sha256)
            self.pulls.append(_Pulling(row, Pull(row, self.folder, self.turns, SIM)))

    def _advance(self, pulling: _Pulling) -> None:
        pull = pulling.pull
        if pulling.working or pulling not in self.pulls:
            return
        work = pull.work()
        if work is not None:
            pulling.working = True
            self._later(lambda: self._work(pulling, work))
            return
        if not self._may_take(pull.more_bytes):
            self._end(pulling)
            return
        for question in pull.questions(self._now_ns, SIM.object_pieces_outstanding):
            name = pulling.row.stored.sha256
            get = self.exchange.ask(question.peer, name, question.first, question.end, self._now_ns)
            pulling.asked[get.request_id] = question
            self._say(question.peer, get, bulk=True)
        if pull.has_ended:
            self._end(pulling)

    def _work(self, pulling: _Pulling, work: Callable[[], None]) -> None:
        pulling.working = False
        if pulling.pull.has_ended:
            return
        fault = None
        try:
            work()
        except OrledgerError as failed:
            fault = failed
        try:
            pulling.pull.worked(fault, self._now_ns)
        except StoreFault:
            self._end(pulling)
            return
        self._advance(pulling)

    def _end(self, pulling: _Pulling) -> None:
        """As the keeper does with what a pull came to."""
        pull, name = pulling.pull, pulling.row.stored.sha256
        pull.close()
        self.pulls.remove(pulling)
        for request_id in pulling.asked:
            self.exchange.forget(request_id)
        if pull.header is None and pull.false_name is None:
            return
        state = ObjectState.GONE if pull.header is None else ObjectState.HELD
        for mark in marks(self.disk.objects_named(name), pulling.row.stored, state):
            self._member.out.persist(mark)
        self.turns.done(name)
        if pull.header is None:
            self.given_up.add(name)
        else:
            self.unvouched.append(name)
        self._world.pump(self.process)

    def _vouch_for_new(self) -> None:
        self.unvouched, waiting = [], self.unvouched
        peers = [box.id for box in self._member.manifest.peers_of(self._member.own_id)]
        for name in waiting:
            if not (self._is_checked(name) and self.vouching.vouch(name, peers)):
                self.unvouched.append(name)

    def _is_checked(self, name: bytes) -> bool:
        if self.vouching.was_checked(name):
            return True
        try:
            sealed_bytes = self.vouching.check(name)
        except OrledgerError:
            return False
        if sealed_bytes is not None:
            self.vouching.note_checked(name, sealed_bytes)
        return sealed_bytes is not None

    def _sweep(self) -> None:
        """As the keeper's survey."""
        states: dict[bytes, ObjectState] = {}
        for row in self.disk.objects():
            before = states.get(row.stored.sha256, ObjectState.GONE)
            states[row.stored.sha256] = row.state if before is ObjectState.GONE else before
        unfinished, busy = self.intake.unfinished(), {pulling.row.stored.sha256 for pulling in self.pulls}
        for file in list(self.folder.held()):
            state = states.get(file.sha256)
            if file.sha256 not in unfinished and is_litter(state, file.modified_ns, 0, SIM):
                self.folder.delete(file.sha256)
        for part in list(self.folder.parts()):
            if states.get(part.sha256) is not ObjectState.WANTED and part.sha256 not in busy:
                self.folder.delete_part(part.sha256)

    # ---- messages ----------------------------------------------------------------------------------------------

    def _say(self, peer: str, body: SignedBody, *, bulk: bool = False) -> None:
        self._world.say(self.process, WireMessage(peer, self._member.sign(body), type(body), bulk=bulk))

    def _on_object(self, sender: str, body: ObjectBody, wire: bytes) -> None:
        match body:
            case ObjectPiece():
                get = self.exchange.belongs(sender, body)
                if get is not None:
                    self._answer(get.request_id, _opened(sender, get, body))
            case GetObject():
                self.exchange.serve(sender, body)
                self._later(lambda: self._give(sender, body), lost=lambda: self.exchange.served(sender))
            case Holding():
                self.vouching.on_holding(sender, body, wire)
            case AskHoldings(names):
                for name in names:
                    if self.vouching.held(name) and self._is_checked(name):
                        self.vouching.vouch(name, (sender,))

    def _answer(self, request_id: int, given: bytes | OrledgerError) -> None:
        for pulling in list(self.pulls):
            question = pulling.asked.pop(request_id, None)
            if question is not None:
                pulling.pull.answered(question, given, self._now_ns)
                for peer, fault in pulling.pull.faults:
                    key = f"{peer} {fault.id}"
                    self._world.faults[key] = self._world.faults.get(key, 0) + 1
                pulling.pull.faults.clear()
                self._advance(pulling)

    def _give(self, sender: str, get: GetObject) -> None:
        self.exchange.served(sender)
        length = self.folder.length(get.sha256)
        data = b"" if length is None or get.end > length else self.folder.source(get.sha256).read(get.first, get.end)
        piece = ObjectPiece(get.request_id, get.sha256, get.first, data)
        self._world.say(self.process, WireMessage(sender, encode_plain(piece), ObjectPiece, bulk=True))

    # ---- what all share ----------------------------------------------------------------------------------------

    @property
    def _now_ns(self) -> int:
        return self._world.now_of(self.process).mono_ns

    def _may_take(self, more_bytes: int) -> bool:
        try:
            self.intake.require_room(more_bytes)
        except StoreFault:
            return False
        return True

    def _later(self, work: Callable[[], object], lost: Callable[[], None] | None = None) -> None:
        """Work of a thread: done some time from now, if the process lives so long."""

        def run() -> None:
            if not self.process.running:
                return
            try:
                work()
            except PowerCut:
                self._on_power_cut(self.process)
            except StoreFault:
                if lost is not None:
                    lost()

        self._world.after(self._world.random.randrange(1, 60) * MS_NS, run)


def _opened(sender: str, get: GetObject, piece: ObjectPiece) -> bytes | OrledgerError:
    try:
        return Exchange.opened(sender, get, piece)
    except OrledgerError as fault:
        return fault
