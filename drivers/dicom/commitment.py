"""Storage commitment (PS3.4 annex J): what was promised to whom, what became of each instance, when to say so.

Pure: requests, what is known of instances and ``now`` in; whom to report what out. A transaction is open from the
moment its request is durable until its asker has acknowledged the report. What was decided is never decided anew.
"""

from __future__ import annotations

import enum
import re
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from ledger.canonical import Fields, pack, unpack
from ledger.errors import StoreFault
from ledger.instant import Now
from ledger.limits import LIMITS, Limits

PUSH_MODEL: Final = "1.2.840.10008.1.20.1"
PUSH_MODEL_INSTANCE: Final = "1.2.840.10008.1.20.1.1"
REQUEST: Final = 1
ALL_COMMITTED: Final = 1
FAILURES_EXIST: Final = 2

PROCESSING_FAILURE: Final = 0x0110
NO_SUCH_INSTANCE: Final = 0x0112
INVALID_ARGUMENT: Final = 0x0115
CONFLICT: Final = 0x0119
NO_SUCH_ACTION: Final = 0x0123
RESOURCE_LIMITATION: Final = 0x0213

_UID: Final = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*")
_UID_CHARACTERS: Final = 64
_TITLE_CHARACTERS: Final = 64
_VERSION: Final = 1
_ROW_BYTES: Final = 4 << 20
_PENDING: Final = -1
_COMMITTED: Final = 0


class Standing(enum.Enum):
    """What is known of an instance: the group holds it as its level demands, not yet, it is not here, it is of
    another SOP class.
    """

    WITNESSED = _COMMITTED
    PENDING = _PENDING
    ABSENT = NO_SUCH_INSTANCE
    OTHER_CLASS = CONFLICT


@dataclass(frozen=True, slots=True)
class Reference:
    """An instance as a request names it."""

    sop_class: str
    sop_instance: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not taken: an N-ACTION status, and in words."""

    status: int
    comment: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: who asks by which feed, and (UTC) until when each instance must be witnessed, and how long after that
    its report is tried.
    """

    feed: str
    asker: str
    uid: str
    references: tuple[Reference, ...]
    at_ns: int
    decide_by_ns: int
    report_within_ns: int

    @property
    def key(self) -> Key:
        """What it is known by."""
        return self.feed, self.asker, self.uid


Key = tuple[str, str, str]
"""Feed, AE title of the asker, Transaction UID."""


@dataclass(frozen=True, slots=True)
class Report:
    """What an N-EVENT-REPORT says."""

    asker: str
    uid: str
    committed: tuple[Reference, ...]
    failed: tuple[tuple[Reference, int], ...]

    @property
    def event_type(self) -> int:
        """1: all are committed; 2: failures exist."""
        return FAILURES_EXIST if self.failed else ALL_COMMITTED


@dataclass(slots=True)
class Transaction:
    """``outcomes``: of each reference -1 while undecided, 0 for committed, else the failure reason. ``decided_ns``:
    when the last one was, 0 before (UTC). Nothing happens before it has ``begun``: its request is answered first.
    """

    asked: Asked
    outcomes: list[int]
    decided_ns: int = 0
    begun: bool = True
    attempts: int = 0
    retry_ns: int = 0
    under_way: bool = False

    @property
    def report(self) -> Report:
        """What to say once all is decided."""
        pairs = list(zip(self.asked.references, self.outcomes, strict=True))
        return Report(
            self.asked.asker, self.asked.uid,
            tuple(reference for reference, outcome in pairs if outcome == _COMMITTED),
            tuple((reference, outcome) for reference, outcome in pairs if outcome != _COMMITTED),
        )  # fmt: skip

    @property
    def report_by_ns(self) -> int:
        """When nobody will be told any more (UTC)."""
        return self.decided_ns + self.asked.report_within_ns

    def encode(self) -> bytes:
        """As it is kept: sealed, for it names instances."""
        asked = self.asked
        classes = list(dict.fromkeys(reference.sop_class for reference in asked.references))
        number = {sop_class: at for at, sop_class in enumerate(classes)}
        rows = [
            [number[reference.sop_class], reference.sop_instance, outcome]
            for reference, outcome in zip(asked.references, self.outcomes, strict=True)
        ]
        return pack([
            _VERSION, asked.feed, asked.asker, asked.uid, asked.at_ns, asked.decide_by_ns, asked.report_within_ns,
            self.decided_ns, classes, rows,
        ])  # fmt: skip

    @classmethod
    def decode(cls, data: bytes) -> Transaction:
        """Inverse of ``encode``. Raises PeerFault; StoreFault for a version that is not known."""
        what, most = "commitment", LIMITS.commitment_instances
        take = Fields(unpack(data, _ROW_BYTES, what), 10, what)
        if take.uint() != _VERSION:
            raise StoreFault("store.format", "a storage commitment of another version is kept here", "upgrade orledger")
        feed, asker, uid = take.text(_TITLE_CHARACTERS), take.text(_TITLE_CHARACTERS), take.text(_UID_CHARACTERS)
        at_ns, decide_by_ns, report_within_ns, decided_ns = take.uint(), take.uint(), take.uint(), take.uint()
        classes = [str(each) for each in take.array(most)]
        references, outcomes = [], []
        for item in take.array(most):
            fields = Fields(item, 3, what)
            references.append(Reference(classes[fields.uint(len(classes) - 1)], fields.text(_UID_CHARACTERS)))
            outcomes.append(fields.sint())
        asked = Asked(feed, asker, uid, tuple(references), at_ns, decide_by_ns, report_within_ns)
        return cls(asked, outcomes, decided_ns)


def is_uid(text: str) -> bool:
    """Whether this is a UID (PS3.5 9.1)."""
    return 0 < len(text) <= _UID_CHARACTERS and _UID.fullmatch(text) is not None


def refusal_of(uid: str, references: tuple[Reference, ...], limits: Limits = LIMITS) -> Refusal | None:
    """What is wrong with the request itself; None when nothing is."""
    if not is_uid(uid):
        return Refusal(INVALID_ARGUMENT, "no Transaction UID, or none that is a UID")
    if not references:
        return Refusal(INVALID_ARGUMENT, "the Referenced SOP Sequence is empty")
    if len(references) > limits.commitment_instances:
        return Refusal(RESOURCE_LIMITATION, f"more than {limits.commitment_instances} instances")
    if not all(is_uid(each.sop_class) and is_uid(each.sop_instance) for each in references):
        return Refusal(INVALID_ARGUMENT, "a reference without its SOP class or instance UID")
    if len({each.sop_instance for each in references}) != len(references):
        return Refusal(INVALID_ARGUMENT, "an instance is referenced twice")
    return None


@dataclass(slots=True)
class CommitmentBook:
    """Every open transaction. Whoever calls makes durable what changed before it tells anybody."""

    limits: Limits = LIMITS
    open: dict[Key, Transaction] = field(default_factory=dict)
    _instances: int = 0
    _turns: OrderedDict[Key, dict[int, None]] = field(default_factory=OrderedDict)

    def take_up(self, transaction: Transaction) -> None:
        """One that was open before this process began, or that was just asked for."""
        key = transaction.asked.key
        self.open[key] = transaction
        self._instances += len(transaction.outcomes)
        undecided = dict.fromkeys(at for at, outcome in enumerate(transaction.outcomes) if outcome == _PENDING)
        if undecided:
            self._turns[key] = undecided

    def ask(self, asked: Asked) -> Transaction | Refusal:
        """A request: the transaction that is open from now on, which it may have been before (sent again)."""
        wrong = refusal_of(asked.uid, asked.references, self.limits)
        if wrong is not None:
            return wrong
        known = self.open.get(asked.key)
        if known is not None:
            if set(known.asked.references) == set(asked.references):
                return known
            return Refusal(INVALID_ARGUMENT, "this Transaction UID is in use for other instances")
        full = self._instances + len(asked.references) > self.limits.commitments_instances
        if full or len(self.open) >= self.limits.commitments:
            return Refusal(RESOURCE_LIMITATION, "too many storage commitments are open")
        transaction = Transaction(asked, [_PENDING] * len(asked.references), begun=False)
        self.take_up(transaction)
        return transaction

    def begin(self, key: Key) -> None:
        """Its request was answered with success."""
        if key in self.open:
            self.open[key].begun = True

    def withdraw(self, key: Key) -> bool:
        """Its request was refused after all; True when that ends it: one that was sent again had begun before."""
        known = self.open.get(key)
        if known is None or known.begun:
            return False
        self._close(key)
        return True

    # ---- deciding ----------------------------------------------------------------------------------------------

    def to_look_up(self, most: int) -> list[tuple[Key, int, Reference]]:
        """Up to so many undecided instances, of each transaction in its turn."""
        found: list[tuple[Key, int, Reference]] = []
        for _ in range(len(self._turns)):
            if len(found) >= most:
                break
            key, undecided = next(iter(self._turns.items()))
            self._turns.move_to_end(key)
            if not self.open[key].begun:
                continue
            taken = list(islice(undecided, most - len(found)))
            references = self.open[key].asked.references
            found += [(key, at, references[at]) for at in taken]
            for at in taken:  # behind the others
                del undecided[at]
                undecided[at] = None
        return found

    def judge(self, key: Key, at: int, standing: Standing) -> None:
        """What is known of an instance now."""
        transaction = self.open.get(key)
        if transaction is None or standing is Standing.PENDING or transaction.outcomes[at] != _PENDING:
            return
        transaction.outcomes[at] = standing.value
        del self._turns[key][at]

    def decide(self, now: Now) -> list[Transaction]:
        """Those of which all is decided, or whose time is over, since the last call."""
        decided = []
        for key, transaction in self.open.items():
            if transaction.decided_ns or not transaction.begun:
                continue
            if now.utc_ns >= transaction.asked.decide_by_ns:
                late = self._turns.get(key, ())
                for at in late:
                    transaction.outcomes[at] = PROCESSING_FAILURE
                self._turns.pop(key, None)
            if not self._turns.get(key):
                self._turns.pop(key, None)
                transaction.decided_ns = now.utc_ns
                decided.append(transaction)
        return decided

    # ---- reporting ---------------------------------------------------------------------------------------------

    def due(self, now: Now) -> Iterator[Transaction]:
        """Those to be reported now. Mark each by ``reporting`` before the next is asked for."""
        for transaction in list(self.open.values()):
            if transaction.decided_ns and not transaction.under_way and now.mono_ns >= transaction.retry_ns:
                yield transaction

    def reporting(self, key: Key) -> None:
        """Its report is on its way."""
        self.open[key].under_way = True

    def acknowledged(self, key: Key) -> None:
        """Its asker knows: it is over."""
        self._close(key)

    def not_delivered(self, key: Key, now: Now) -> None:
        """Its asker was not reached, or did not answer with success."""
        transaction = self.open.get(key)
        if transaction is None:
            return
        transaction.under_way = False
        wait_ns = self.limits.commitment_retry_min_ns << min(transaction.attempts, 16)
        transaction.attempts += 1
        transaction.retry_ns = now.mono_ns + min(wait_ns, self.limits.commitment_retry_max_ns)

    def can_be_reached(self, feed: str, asker: str) -> None:
        """An association with this asker was opened: what waits for it need not wait longer."""
        for key, transaction in self.open.items():
            if key[:2] == (feed, asker):
                transaction.retry_ns = 0

    def give_up(self, now: Now) -> list[Transaction]:
        """Those whose report nobody took in time; they are over. What is due is tried once more before, however long
        this box was away.
        """
        late = [
            each
            for each in self.open.values()
            if each.decided_ns and not each.under_way and now.mono_ns < each.retry_ns
            if now.utc_ns >= each.report_by_ns
        ]
        for transaction in late:
            self._close(transaction.asked.key)
        return late

    def _close(self, key: Key) -> None:
        transaction = self.open.pop(key, None)
        self._turns.pop(key, None)
        if transaction is not None:
            self._instances -= len(transaction.outcomes)
