"""What this box promised about the others: to accept nothing older than an epoch. Its answers to FENCE."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ledger.canonical import Fields, pack, unpack
from ledger.held_logs import HeldLogs
from ledger.limits import LIMITS
from ledger.log import LogId
from ledger.manifests import Manifests
from ledger.messages import Fence, Promise, Refuse, Signed
from ledger.ops import PutPromise
from ledger.outbox import Outbox
from ledger.start import heads_for_promise

_PROMISE_BYTES = 2 * LIMITS.signed_header_bytes


@dataclass(frozen=True, slots=True)
class PromiseState:
    """What was promised about a box: nothing older than (counter, incarnation). ``evidence`` is the FENCE or START.

    ``void``: this box has lost memory and its word on that box does not count until it has caught up; of itself: it
    lost memory once.
    """

    counter: int
    incarnation: bytes
    manifest_hash: bytes
    evidence: bytes
    void: bool = False

    def encode(self) -> bytes:
        """As stored."""
        return pack([self.counter, self.incarnation, self.manifest_hash, self.evidence, self.void])

    @classmethod
    def decode(cls, data: bytes) -> PromiseState:
        """Strict inverse of ``encode``; raises PeerFault."""
        take = Fields(unpack(data, _PROMISE_BYTES, "promise"), 5, "promise")
        return cls(take.uint(), take.raw(16), take.raw(32), take.blob(_PROMISE_BYTES), take.boolean())


NO_PROMISE = PromiseState(0, bytes(16), bytes(32), b"")


class Promises:
    """One per box. ``may_vouch`` says for which boxes this one's word counts (``Voids``), ``is_proved`` which epochs'
    beginnings are proved (``StartProofs``).
    """

    def __init__(self, manifests: Manifests, held: HeldLogs, out: Outbox) -> None:
        self.states: dict[str, PromiseState] = {}
        self.may_vouch: Callable[[str], bool] = lambda _box: True
        self.is_proved: Callable[[LogId], bool] = lambda _log: True
        self._manifests = manifests
        self._held = held
        self._out = out
        self._waiting: dict[str, tuple[Signed, Fence]] = {}

    def load(self, stored: dict[str, bytes]) -> None:
        """Take over what the disk holds."""
        self.states = {box: PromiseState.decode(value) for box, value in stored.items()}

    def of(self, box: str) -> PromiseState:
        """What was promised about ``box``."""
        return self.states.get(box, NO_PROMISE)

    def is_current(self, log: LogId) -> bool:
        """True for the epoch that was promised: the only one of its box that may be vouched for."""
        promised = self.of(log.box)
        return log.fenced and (log.counter, log.incarnation) == (promised.counter, promised.incarnation)

    def promise(self, box: str, promise: PromiseState) -> None:
        """Promise, durably."""
        self.states[box] = promise
        self._out.persist(PutPromise(box, promise.encode()))

    def on_start(self, log: LogId, manifest_hash: bytes, signed_header: bytes) -> None:
        """An epoch began whose start is proved: nothing older is accepted from here on.

        One under an older manifest than was promised is none: its box has forgotten the newer one.
        """
        promised = self.of(log.box)
        if self._manifests.version_of(manifest_hash) < self._manifests.version_of(promised.manifest_hash):
            return
        if log.counter > promised.counter:
            newer = PromiseState(log.counter, log.incarnation, manifest_hash, signed_header, promised.void)
            self.promise(log.box, newer)

    def set_void(self, box: str, *, void: bool) -> None:
        """Our word on a box stops or starts to count, durably."""
        self.promise(box, replace(self.of(box), void=void))

    def on_fence(self, signed: Signed, fence: Fence) -> None:
        """A box starts an epoch: promise durably, or refuse with evidence."""
        box = signed.sender
        promised = self.of(box)
        same = (fence.counter, fence.incarnation) == (promised.counter, promised.incarnation)
        newer = promised.counter < fence.counter <= promised.counter + LIMITS.fence_counter_leap
        if signed.manifest_hash != self._manifests.newest.hash:
            return
        if not self.may_vouch(box):
            self._waiting[box] = (signed, fence)
            return
        if not same and not newer:
            self._out.tell(box, Refuse(box, promised.counter, promised.incarnation, promised.evidence))
            return
        if not same:
            state = PromiseState(fence.counter, fence.incarnation, signed.manifest_hash, signed.wire, promised.void)
            self.promise(box, state)
        proved = [replica for replica in self._held.of_box(box) if self.is_proved(replica.log)]
        fenced, provisional = heads_for_promise(proved, self._held.named, self._version_of)
        self._out.tell_when_durable(
            box, Promise(box, fence.counter, fence.incarnation, fence.nonce, fenced, provisional)
        )

    def _version_of(self, log: LogId) -> int:
        return self._manifests.version_of(self._held.replicas[log].manifest_hash)

    def answer_waiting(self) -> None:
        """Our word has begun to count: answer the fences that came meanwhile."""
        for box, (signed, fence) in list(self._waiting.items()):
            if self.may_vouch(box):
                del self._waiting[box]
                self.on_fence(signed, fence)
