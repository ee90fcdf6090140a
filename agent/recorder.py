"""The tick: what the feeds brought becomes a block. Pure of I/O: the node gives it time, records and a member."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from agent.clock import StepDetector
from agent.intake import Batch
from ledger.block import ClockQuality
from ledger.chain import Block, Draft
from ledger.instant import Now
from ledger.limits import LIMITS
from ledger.member import Member
from ledger.notices import CaseBoundary, Notice, StoredObject, StoredObjects
from ledger.ops import LabelObject, MarkObject, ObjectState
from ledger.payload import CODEC_ZSTD, EncodedRecord, encode_record, payload_of
from ledger.records import CaseChange, Gap, Keyframe, Object, Record
from ledger.state import LEDGER_FEED, RoomState, encode_state

_NOTICES = LIMITS.notices - 3  # a first block says its start and its case beside them, any may name objects

_CLOSINGS_KEPT = 64


@dataclass(frozen=True, slots=True)
class Closed:
    """A closed block and the intake position it covers."""

    block: Block
    last_position: int
    closed: Now


class Recorder:
    """Decides at each tick whether to close a block, and closes it."""

    def __init__(self, member: Member, state: RoomState, quality: Callable[[], ClockQuality]) -> None:
        self._state = state
        self._unfolded: Mapping[str, Sequence[EncodedRecord]] = {}
        self.objects_named: Callable[[Sequence[bytes]], tuple[StoredObject, ...]] = _none
        self.labels_of: Callable[[Sequence[Object]], Sequence[LabelObject]] = _no_labels
        self.apart: Callable[[], AbstractContextManager[object]] = nullcontext
        """Open while the writer has the key of another case than the room's."""
        self._member = member
        self._quality = quality
        self._steps = StepDetector()
        self._notices: list[Notice] = []
        self._own_records: list[Record] = []
        self._keyframe_due_ns = 0
        self._keyframe_early_ns = 0
        self._since_keyframe_bytes = 0
        self._idle_due_ns = 0
        self._opened: Now | None = None
        self._closings: deque[int] = deque(maxlen=_CLOSINGS_KEPT)

    @property
    def state(self) -> RoomState:
        """The room's state, up to the newest block."""
        self.settle()
        return self._state

    def settle(self) -> None:
        """Fold the newest block into the room's state: what nobody waits for, once the block has left."""
        unfolded, self._unfolded = self._unfolded, {}
        for feed, encoded in sorted(unfolded.items()):
            for record, *_ in encoded:
                if type(record) is not Keyframe:
                    self._state.fold(feed, record)

    def closed_since(self, mono_ns: int) -> int:
        """How many blocks were closed from this moment on, as far as the newest ones tell."""
        return sum(1 for closed_ns in self._closings if closed_ns >= mono_ns)

    def notice(self, notice: Notice) -> None:
        """Say this in the next block's header, or in one soon after when there are many."""
        self._notices.append(notice)

    def own_record(self, record: Record) -> None:
        """Record this in the ledger's own name."""
        self._own_records.append(record)

    def enter_case(self, opening: CaseChange | None) -> None:
        """What is recorded from here on is of another case, or of none. The next block is its first: it says so, and
        its keyframe holds nothing of a patient.
        """
        self._member.enter_case(None if opening is None else opening.case_id)
        self.state.leave_patient()
        self._keyframe_due_ns = self._keyframe_early_ns = 0
        self._idle_due_ns = 0
        if opening is not None:
            self._own_records.insert(0, opening)
            self._notices.insert(0, CaseBoundary("open", opening.case_id))

    def close_case(self, now: Now, batch: Batch, closing: CaseChange) -> Closed:
        """Close the last block of the open case: with ``batch``, and with the word that it ends here."""
        self._own_records.append(closing)
        self._notices.insert(0, CaseBoundary("close", closing.case_id))
        return Closed(self._close(now, batch, self._member.writer.wants_keyframe), batch.last_position, now)

    def close_apart(self, now: Now, batch: Batch, case_id: bytes, known: Mapping[str, str]) -> Iterator[Closed]:
        """Close a block of another case than the open one, which goes on after it. It changes no state. ``known``: all
        that was announced of that case so far, for whoever starts anew.
        """
        writer = self._member.writer
        if writer.wants_keyframe:  # a log begins with the room's own case
            yield Closed(self._close(now, Batch(), begins=True), batch.first_position - 1, now)
        apart = CaseChange(
            at_ns=now.utc_ns, case_id=case_id, phase="apart", cause="hl7", by="", opened_ns=now.utc_ns, facts=known
        )
        current = writer.case_id
        with self.apart():
            self._member.enter_case(case_id)
            try:
                groups = {**batch.encoded, LEDGER_FEED: [encode_record(apart)]}
                block = self._seal(now, groups, keyframe=False, notices=())
            finally:
                self._member.enter_case(current)
        yield Closed(block, batch.last_position, now)

    def tick(self, now: Now, batch: Batch) -> Closed | None:
        """Close a block if there is anything to record, or a second has passed, or a new log wants to begin."""
        step = self._steps.observe(now)
        if step is not None:
            self.notice(step)
            since, until = sorted((now.utc_ns - step.step_ns, now.utc_ns))
            self.own_record(Gap(at_ns=now.utc_ns, cause="clock_jump", since_ns=since, until_ns=until))
        begins = self._member.writer.wants_keyframe
        due = begins or now.mono_ns >= self._idle_due_ns
        if not (due or batch.encoded or self._notices or self._own_records):
            return None
        return Closed(self._close(now, batch, begins), batch.last_position, now)

    def _close(self, now: Now, batch: Batch, begins: bool) -> Block:
        self.settle()
        groups = dict(batch.encoded)
        keyframe = begins or self._keyframe_is_due(now)
        own, self._own_records = self._own_records, []
        if keyframe:
            own.insert(0, Keyframe(at_ns=now.utc_ns, state=encode_state(self.state)))
            self._keyframe_due_ns = now.mono_ns + LIMITS.keyframe_every_ns
            self._keyframe_early_ns = now.mono_ns + LIMITS.keyframes_apart_ns
            self._since_keyframe_bytes = 0
        if own:
            groups[LEDGER_FEED] = [encode_record(record) for record in own]
        notices, self._notices = tuple(self._notices[:_NOTICES]), self._notices[_NOTICES:]
        block = self._seal(now, groups, keyframe=keyframe, notices=notices)
        self._since_keyframe_bytes += len(block.payload)
        self._unfolded = groups
        return block

    def _keyframe_is_due(self, now: Now) -> bool:
        """By time, or earlier by how much a restore would have to read."""
        much = self._since_keyframe_bytes >= LIMITS.keyframe_every_bytes
        return now.mono_ns >= (self._keyframe_early_ns if much else self._keyframe_due_ns)

    def _seal(
        self, now: Now, groups: Mapping[str, Sequence[EncodedRecord]], *, keyframe: bool, notices: tuple[Notice, ...]
    ) -> Block:
        naming = [record for group in groups.values() for record, *_ in group if isinstance(record, Object)]
        objects = self.objects_named([record.sha256 for record in naming]) if naming else ()
        if objects:
            notices = (*notices, StoredObjects(objects))
        opened = self._opened or now
        block = self._member.close_block(
            Draft(
                payload=payload_of(groups),
                codec=CODEC_ZSTD,
                has_keyframe=keyframe,
                opened_ns=opened.utc_ns,
                closed_ns=now.utc_ns,
                boot_ns=now.mono_ns,
                clock=self._quality(),
                notices=notices,
            )
        )
        for each in objects:  # in the transaction of the block: nobody has to ask whether the file is there
            self._member.out.persist(MarkObject(block.log, block.seq, each.sha256, ObjectState.HELD))
        for label in self.labels_of(naming) if objects else ():
            self._member.out.persist(label)
        self._opened = now
        self._closings.append(now.mono_ns)
        self._idle_due_ns = now.mono_ns + LIMITS.idle_block_ns
        return block


def _none(_names: Sequence[bytes]) -> tuple[StoredObject, ...]:
    """No objects are taken in."""
    return ()


def _no_labels(_records: Sequence[Object]) -> Sequence[LabelObject]:
    """Nobody looks for objects by what is in them."""
    return ()
