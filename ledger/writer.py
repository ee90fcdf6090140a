"""The writer's side of replication: records at once in a provisional log, asks for a fence, opens a fenced epoch.

States (docs/architecture.md, "Replication"): PROVISIONAL and FENCING record without a fence, LONE has no
peers, FENCED is the normal state. Recording never waits for the network: every state has a live chain.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ledger.block import decode_signed_header, header_signature_is_valid
from ledger.chain import Block, Chain, Draft
from ledger.errors import PeerFault
from ledger.limits import LIMITS
from ledger.log import INCARNATION_BYTES, LogId
from ledger.manifest import Manifest
from ledger.messages import Cosign, Fence, Nack, Promise, Refuse, Signed, Stored, Wrap, decode_message
from ledger.notices import Head, Notice, Start
from ledger.ops import AppendBlock, OpenLog, PutSelf
from ledger.outbox import EVERYBODY, Outbox, Warn
from ledger.replica import LogReader
from ledger.sealing import DataKey, wrap
from ledger.signing import SigningKey
from ledger.start import highest_fenced
from ledger.vouching import Vouching

RECOVERY = "recovery"
COUNTER = "counter"
_TAILS_NAMED = 64
"""Ends that a start names: it must fit its header beside the promises. The live log's is the last of them."""
Random = Callable[[int], bytes]


class State(enum.Enum):
    """Where the writer is in REPLICATION's machine; recording goes on in each."""

    PROVISIONAL = "provisional"
    FENCING = "fencing"
    LONE = "alone"
    FENCED = "fenced"


@dataclass(slots=True)
class _Attempt:
    """One fencing dialogue. ``counter`` is burnt whatever comes of it."""

    counter: int
    incarnation: bytes
    nonce: bytes
    until_ns: int
    back_to: State
    promises: dict[str, tuple[bytes, Promise]]


@dataclass(frozen=True, slots=True)
class OwnPast:
    """What the disk holds of this box's earlier processes."""

    counter: int
    heads: tuple[Head, ...]


class Writer:
    """One box's recording. ``random`` gives secret bytes; the clock and the disk are the caller's."""

    def __init__(
        self, own_id: str, key: SigningKey, manifest: Manifest, boot_id: bytes, reader: LogReader, out: Outbox,
        random: Random,
    ) -> None:  # fmt: skip
        self.own_id = own_id
        self.manifest = manifest
        self.quorum = manifest.quorum_of(own_id)
        self.state = State.PROVISIONAL
        self.out = out
        self.new_keys: list[tuple[LogId, DataKey, dict[str, bytes]]] = []
        self.chain: Chain
        self.vouching: Vouching
        self._key = key
        self._boot_id = boot_id
        self._reader = reader
        self._random = random
        self._counter = 0
        self._heads: dict[LogId, Head] = {}
        self._peers_up: set[str] = set()
        self._attempt: _Attempt | None = None
        self._next_attempt_ns = 0
        self._backoff_ns = LIMITS.fence_retry_min_ns
        self._start: Start
        self._opened_ns: int | None = None

    # ---- logs --------------------------------------------------------------------------------------------------

    def start(self, past: OwnPast) -> None:
        """Every process start is a new incarnation that records at once."""
        self._counter = past.counter
        self._heads = {head.log: head for head in past.heads}
        if self.quorum.peers == 0:
            self._burn_counter(self._counter + 1)
            parent = highest_fenced(self._heads.values())
            tails = self._tails(parent)
            self._open(self._random(INCARNATION_BYTES), fenced=True, start=Start(self._boot_id, (), parent, tails))
            self.state = State.LONE
        else:
            start = Start(self._boot_id, (), None, ())
            self._open(self._random(INCARNATION_BYTES), fenced=False, start=start)

    def _open(self, incarnation: bytes, *, fenced: bool, start: Start) -> None:
        log = LogId(self.own_id, self._counter, incarnation, fenced)
        data_key = DataKey(self._random(32))
        self.chain = Chain(self.manifest.site, log, self._key, data_key, self.manifest.hash)
        self.vouching = Vouching(self.manifest, log, self.quorum)
        self._start = start
        self._opened_ns = None
        wraps = {box.id: wrap(data_key, self.own_id, incarnation, box.receiving_public)
                 for box in (self.manifest.box(self.own_id), *self.manifest.peers_of(self.own_id))}  # fmt: skip
        if self.manifest.recovery_public is not None:
            wraps[RECOVERY] = wrap(data_key, self.own_id, incarnation, self.manifest.recovery_public)
        self.new_keys.append((log, data_key, wraps))
        self.out.persist(OpenLog(log, self.manifest.hash))
        self.out.tell(EVERYBODY, Wrap(log, data_key.key_id, tuple(sorted(wraps.items()))))

    def close_block(self, draft: Draft) -> Block:
        """Close the next block of the live log; its append is asked for and the block may be sent at once."""
        if self.chain.size == 0:
            draft = _with_notice(draft, self._start)
        block = self.chain.close_block(draft)
        self.vouching.add(self.chain.size, block.root, block.checkpoint_signature)
        self.out.persist(AppendBlock(block.log, block.seq, block.signed_header, block.payload))
        self.out.tell(EVERYBODY, block.message())
        return block

    @property
    def wants_keyframe(self) -> bool:
        """True when the next block must hold a keyframe whatever the interval says."""
        return self.chain.size == 0

    def names(self) -> set[LogId]:
        """The logs that the live log's start names."""
        parent = self._start.parent
        return {head.log for head in (*self._start.tails, *((parent,) if parent is not None else ()))}

    def _burn_counter(self, counter: int) -> None:
        self._counter = counter
        self.out.persist(PutSelf(COUNTER, counter.to_bytes(8, "big")))

    # ---- fencing -----------------------------------------------------------------------------------------------

    def peer_up(self, peer: str) -> None:
        """A peer can be spoken to."""
        self._peers_up.add(peer)

    def peer_down(self, peer: str) -> None:
        """A peer cannot be spoken to."""
        self._peers_up.discard(peer)

    def step(self, now_ns: int) -> None:
        """Time passes (monotonic): ask for a fence, give up on one, take it when enough promised, roll the epoch."""
        if self._opened_ns is None:
            self._opened_ns = now_ns
        attempt = self._attempt
        if attempt is not None:
            if self._try_recover(attempt):
                return
            if now_ns >= attempt.until_ns:
                self.state = attempt.back_to
                self._attempt = None
                self._next_attempt_ns = now_ns + self._backoff_ns
                self._backoff_ns = min(2 * self._backoff_ns, LIMITS.fence_retry_max_ns)
        elif self.state is not State.LONE and self._wants_epoch(now_ns):
            if len(self._peers_up) >= self.quorum.fence and now_ns >= self._next_attempt_ns:
                self._fence(now_ns)
        elif self.state is State.LONE and self._is_full(now_ns):
            parent = self.chain.head()
            self._burn_counter(self._counter + 1)
            self._open(self._random(INCARNATION_BYTES), fenced=True, start=Start(self._boot_id, (), parent, ()))

    def _wants_epoch(self, now_ns: int) -> bool:
        return self.state is State.PROVISIONAL or self._is_full(now_ns)

    def _is_full(self, now_ns: int) -> bool:
        old = self._opened_ns is not None and now_ns - self._opened_ns >= LIMITS.epoch_ns
        return self.chain.size >= LIMITS.epoch_blocks or old

    def _fence(self, now_ns: int) -> None:
        self._burn_counter(self._counter + 1)
        incarnation, nonce = self._random(INCARNATION_BYTES), self._random(16)
        until = now_ns + LIMITS.fence_timeout_ns
        self._attempt = _Attempt(self._counter, incarnation, nonce, until, self.state, {})
        self.state = State.FENCING
        self.out.tell_when_durable(EVERYBODY, Fence(self._counter, incarnation, nonce))

    def on_promise(self, signed: Signed, promise: Promise, now_ns: int) -> None:
        """Counts only for exactly this attempt, and once its giver delivered the headers it reports."""
        attempt = self._attempt
        if attempt is None or promise.box != self.own_id:
            return
        if (promise.counter, promise.incarnation, promise.nonce) != (
            attempt.counter, attempt.incarnation, attempt.nonce,
        ):  # fmt: skip
            return
        first = signed.sender not in attempt.promises
        attempt.promises[signed.sender] = (signed.wire, promise)
        if first and self._lacking(promise):
            attempt.until_ns = max(attempt.until_ns, now_ns + LIMITS.promise_headers_ns)

    def _lacking(self, promise: Promise) -> list[Head]:
        return [head for head in (*promise.fenced, *promise.provisional)
                if head.log != self.chain.log and self._reader.length(head.log) < head.size]  # fmt: skip

    def lacking(self) -> Iterable[tuple[str, Head]]:
        """(giver, head) for every own older log that a promise reports longer than our disk holds it."""
        if self._attempt is not None:
            for giver, (_, promise) in self._attempt.promises.items():
                for head in self._lacking(promise):
                    yield giver, head

    def _try_recover(self, attempt: _Attempt) -> bool:
        counted = {giver: pair for giver, pair in attempt.promises.items() if not self._lacking(pair[1])}
        if len(counted) < self.quorum.fence:
            return False
        for _, promise in counted.values():
            for head in (*promise.fenced, *promise.provisional):
                known = self._heads.get(head.log)
                if head.log != self.chain.log and (known is None or known.size < head.size):
                    self._heads[head.log] = head
        if self.chain.size:
            self._heads[self.chain.log] = self.chain.head()
        parent = highest_fenced(self._heads.values())
        promises = tuple(wire for _, (wire, _) in sorted(counted.items()))
        start = Start(self._boot_id, promises, parent, self._tails(parent))
        self._counter = attempt.counter
        self._open(attempt.incarnation, fenced=True, start=start)
        self._heads = {}
        self._attempt = None
        self._backoff_ns = LIMITS.fence_retry_min_ns
        self.state = State.FENCED
        return True

    def _tails(self, parent: Head | None) -> tuple[Head, ...]:
        tails = [head for head in self._heads.values() if head.size and (parent is None or head.log != parent.log)]
        return tuple(sorted(tails[-_TAILS_NAMED:], key=lambda head: head.log))

    def on_refuse(self, refuse: Refuse, now_ns: int) -> None:
        """A peer promised a newer epoch. Without evidence signed by our own key it is ignored."""
        counter = self._evidenced_counter(refuse.evidence)
        if self._attempt is None or counter is None or counter < self._attempt.counter:
            return
        self.state = self._attempt.back_to
        self._attempt = None
        self._burn_counter(counter)
        self._next_attempt_ns = now_ns + LIMITS.fence_retry_min_ns

    def on_nack(self, sender: str, nack: Nack, now_ns: int) -> None:
        """A peer no longer takes this log: a later fence of our key is our own lost attempt, or a second writer."""
        counter = self._evidenced_counter(nack.evidence)
        if nack.log != self.chain.log or counter is None or counter <= self.chain.log.counter:
            return
        own_attempt = counter <= self._counter
        if not own_attempt:
            self._burn_counter(counter)
            self.out.warn(Warn(
                "second-writer", "critical", "us", self.own_id,
                f"{sender} holds a later epoch {counter} of {self.own_id}: another process records under this key",
                "make sure only one box carries this identity",
            ))  # fmt: skip
        if self.state is State.FENCED:
            self.state = State.PROVISIONAL
            self._next_attempt_ns = now_ns + (0 if own_attempt else LIMITS.second_writer_wait_ns)

    def _evidenced_counter(self, evidence: bytes) -> int | None:
        """The epoch counter in a FENCE or START that our own key signed; None when it proves nothing."""
        public = self.manifest.box(self.own_id).signing_public
        try:
            if header_signature_is_valid(evidence, public):
                log = decode_signed_header(evidence).log
                return log.counter if log.fenced and log.box == self.own_id else None
            signed = decode_message(evidence)
        except PeerFault:
            return None
        if not isinstance(signed, Signed) or not isinstance(signed.body, Fence) or signed.sender != self.own_id:
            return None
        return signed.body.counter if signed.is_signed_by(public) else None

    # ---- vouching ----------------------------------------------------------------------------------------------

    def on_cosign(self, cosign: Cosign) -> None:
        """A peer vouches for the live log. Raises PeerFault when its signature or root is wrong."""
        if cosign.log == self.chain.log:
            self.vouching.on_cosign(cosign)

    def on_stored(self, sender: str, stored: Stored) -> None:
        """A peer holds the live log up to a size."""
        if stored.log == self.chain.log:
            self.vouching.on_stored(sender, stored.size)


def _with_notice(draft: Draft, notice: Notice) -> Draft:
    return Draft(
        payload=draft.payload, codec=draft.codec, has_keyframe=draft.has_keyframe, opened_ns=draft.opened_ns,
        closed_ns=draft.closed_ns, boot_ns=draft.boot_ns, clock=draft.clock, notices=(notice, *draft.notices),
    )  # fmt: skip
