"""The writer's side of replication: records at once in a provisional log, asks for a fence, opens a fenced epoch.

States (docs/architecture.md, "Replication"): PROVISIONAL and FENCING record without a fence, LONE has no
peers, FENCED is the normal state. Recording never waits for the network: every state has a live chain.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from ledger.chain import Block, Chain, Draft
from ledger.data_keys import DataKeys
from ledger.fencing import Attempt
from ledger.limits import LIMITS
from ledger.log import INCARNATION_BYTES, LogId
from ledger.manifest import Manifest
from ledger.messages import NONCE_BYTES, Cosign, Fence, Nack, Promise, Refuse, Signed, Stored
from ledger.notices import CaseBoundary, Head, ManifestChange, Notice, Start
from ledger.ops import AppendBlock, OpenLog, PutSelf
from ledger.outbox import EVERYBODY, Outbox, Warn
from ledger.own_history import evidenced_counter, is_second_history
from ledger.quorum import Level
from ledger.replica import LogReader, Replica
from ledger.signing import SigningKey
from ledger.start import highest_fenced, promised_in
from ledger.vouching import Vouching

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
        self.data_keys = DataKeys(own_id, random, out)
        self.case_id: bytes | None = None
        self.chain: Chain
        self.vouching: Vouching
        self.written: set[LogId] = set()
        self.manifest_of: Callable[[LogId], Manifest | None] = lambda _log: None
        self.manifest_before: Callable[[], Manifest | None] = lambda: None
        self.loose_ends: Callable[[], Iterable[Head]] = tuple
        self._key = key
        self._boot_id = boot_id
        self._reader = reader
        self._random = random
        self._counter = 0
        self._heads: dict[LogId, Head] = {}
        self._peers_up: set[str] = set()
        self._attempt: Attempt | None = None
        self._back_to = State.PROVISIONAL
        self._bound = manifest
        self._notices: deque[Notice] = deque()
        self._undurable: deque[tuple[int, Replica, int]] = deque()
        self._tail_holders: dict[LogId, dict[str, int]] = {}
        self._next_attempt_ns = 0
        self._backoff_ns = LIMITS.fence_retry_min_ns
        self._start: Start
        self._opened_ns: int | None = None

    # ---- logs --------------------------------------------------------------------------------------------------

    def start(self, past: OwnPast) -> None:
        """Every process start is a new incarnation that records at once."""
        self._counter = past.counter
        self._heads = {head.log: head for head in past.heads}
        parent = self._highest_head()
        before = self.manifest_of(parent.log) if parent is not None else None
        if self.quorum.peers == 0 and (before is None or before.quorum_of(self.own_id).peers == 0):
            self._burn_counter(self._counter + 1)
            tails = self._tails(parent)
            self._open(self._random(INCARNATION_BYTES), fenced=True, start=Start(self._boot_id, (), parent, tails))
            self.state = State.LONE
        else:
            self._open_provisional()

    def _open_provisional(self) -> None:
        self.state = State.PROVISIONAL
        self._attempt = None
        self._open(self._random(INCARNATION_BYTES), fenced=False, start=Start(self._boot_id, (), None, ()))

    def _open(self, incarnation: bytes, *, fenced: bool, start: Start, counter: int | None = None) -> None:
        log = LogId(self.own_id, self._counter if counter is None else counter, incarnation, fenced)
        self.out.persist(OpenLog(log, self.manifest.hash))
        data_key = self.data_keys.of_case(self.case_id, log, self.manifest)
        self.chain = Chain(self.manifest.site, log, self._key, data_key, self.manifest.hash)
        self.chain.case_id = self.case_id
        self.vouching = Vouching(self.manifest, log, self.quorum)
        self._start = start
        self._bound = self.manifest
        self._opened_ns = None
        self.written.add(log)
        self._tail_holders = {tail.log: {} for tail in start.tails}

    def resume_case(self, case_id: bytes | None) -> None:
        """Before ``start``: the case that was open when the process before this one ended goes on."""
        self.case_id = case_id

    def enter_case(self, case_id: bytes | None) -> None:
        """What is recorded from here on, in this log and the next, is of this case; None: of no case."""
        self.case_id = case_id
        self.chain.enter(case_id, self.data_keys.of_case(case_id, self.chain.log, self.manifest))

    def close_block(self, draft: Draft) -> Block:
        """Close the next block of the live log; its append is asked for and the block may be sent at once."""
        if self.chain.size == 0:
            goes_on = (CaseBoundary("continue", self.case_id),) if self.case_id is not None else ()
            draft = replace(draft, notices=(self._start, *goes_on, *draft.notices))
        if self._notices and len(draft.notices) < LIMITS.notices:
            draft = replace(draft, notices=(*draft.notices, self._notices.popleft()))
        block = self.chain.close_block(draft)
        self.vouching.add(self.chain.size, block.root, block.checkpoint_signature)
        position = self.out.persist(AppendBlock(block.log, block.seq, block.signed_header, block.payload))
        self._undurable.append((position, self.chain.replica, self.chain.size))
        for row in self.chain.case_rows:
            self.out.persist(row)
        self.chain.case_rows.clear()
        self.out.tell(EVERYBODY, block.message())
        return block

    def committed(self, position: int) -> None:
        """Operations up to ``position`` are durable."""
        while self._undurable and self._undurable[0][0] <= position:
            _, replica, size = self._undurable.popleft()
            replica.durable_size = size

    def has_drawn(self, incarnation: bytes) -> bool:
        """True for an incarnation of this process: of a log that it opened, or of the epoch it asks a fence for."""
        attempt = self._attempt.incarnation if self._attempt is not None else None
        return incarnation == attempt or any(log.incarnation == incarnation for log in self.written)

    @property
    def wants_keyframe(self) -> bool:
        """True when the next block must hold a keyframe whatever the interval says."""
        return self.chain.size == 0

    def notice(self, notice: Notice) -> None:
        """Say this in one of the next blocks; beyond ``LIMITS.notices`` waiting, the oldest is let go."""
        if len(self._notices) >= LIMITS.notices:
            self._notices.popleft()
        self._notices.append(notice)

    def names(self) -> list[Head]:
        """The ends that the live log's start names."""
        parent = self._start.parent
        return [*self._start.tails, *((parent,) if parent is not None else ())]

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
            if not self._try_recover(attempt, now_ns) and now_ns >= attempt.until_ns:
                self._give_up(now_ns)
        elif not self._wants_epoch(now_ns):
            return
        elif self.state is State.LONE and self.quorum.peers == 0:
            parent = self.chain.head() if self.chain.size else self._highest_head()
            self._burn_counter(self._counter + 1)
            self._open(self._random(INCARNATION_BYTES), fenced=True, start=Start(self._boot_id, (), parent, ()))
        elif now_ns >= self._next_attempt_ns:
            groups = self._groups()
            if all(promised_in(each, self.own_id, self._peers_up) >= each.quorum_of(self.own_id).fence
                   for each in groups):  # fmt: skip
                self._fence(groups, now_ns)

    def _give_up(self, now_ns: int) -> None:
        """Go on in the log as it is; the counter stays burnt."""
        self.state = self._back_to
        self._attempt = None
        self._next_attempt_ns = now_ns + self._backoff_ns
        self._backoff_ns = min(2 * self._backoff_ns, LIMITS.fence_retry_max_ns)

    def _groups(self) -> tuple[Manifest, ...]:
        """The manifests whose groups must promise: the one in force and, if it is another, that of our highest head."""
        best, before = self._highest_head(), self._bound if self.chain.log.fenced else None
        if best is not None and (before is None or self._version_of(best.log) > before.version):
            before = self.manifest_of(best.log)
        elif before is None:
            before = self.manifest_before()
        return (self.manifest,) if before is None or before.hash == self.manifest.hash else (self.manifest, before)

    def adopt_manifest(self, manifest: Manifest) -> None:
        """A newer manifest is in force: the next epoch is bound to it, fenced by its group and by the one before."""
        self.manifest = manifest
        self.quorum = manifest.quorum_of(self.own_id)
        self.notice(ManifestChange(manifest.version, manifest.hash))
        if self._attempt is not None:
            self.state = self._back_to
            self._attempt = None
        self._next_attempt_ns = 0

    def _wants_epoch(self, now_ns: int) -> bool:
        rebound = self._bound.hash != self.manifest.hash
        return self.state is State.PROVISIONAL or rebound or self._is_full(now_ns)

    def _is_full(self, now_ns: int) -> bool:
        old = self._opened_ns is not None and now_ns - self._opened_ns >= LIMITS.epoch_ns
        return self.chain.size >= LIMITS.epoch_blocks or old

    def _fence(self, groups: tuple[Manifest, ...], now_ns: int) -> None:
        self._burn_counter(self._counter + 1)
        incarnation, nonce = self._random(INCARNATION_BYTES), self._random(NONCE_BYTES)
        until = now_ns + LIMITS.fence_timeout_ns
        self._attempt = Attempt(self.own_id, self._counter, incarnation, nonce, until, groups, self.chain.log)
        self._back_to = self.state
        self.state = State.FENCING
        self.out.tell_when_durable(EVERYBODY, Fence(self._counter, incarnation, nonce))

    def on_promise(self, signed: Signed, promise: Promise, now_ns: int) -> None:
        """Counts only for exactly this attempt, and once its giver delivered the headers it reports.

        Raises PeerFault ``promise.names``.
        """
        if self._attempt is not None:
            self._attempt.take(signed, promise, self._reader, now_ns)

    def lacking(self) -> Iterable[tuple[str, Head]]:
        """(giver, head) for every own older log that a promise reports longer than our disk holds it."""
        return self._attempt.all_lacking(self._reader) if self._attempt is not None else ()

    def _try_recover(self, attempt: Attempt, now_ns: int) -> bool:
        counted = attempt.counted(self._reader, now_ns)
        if not attempt.is_enough(counted):
            return False
        heads = [head for _, promise in counted.values() for head in (*promise.fenced, *promise.provisional)]
        for head in (*self.loose_ends(), *heads):  # of one size our own: its root was computed here
            known = self._heads.get(head.log)
            if head.log != self.chain.log and (known is None or known.size < head.size):
                self._heads[head.log] = head
        if self.chain.size:
            self._heads[self.chain.log] = self.chain.head()
        parent = self._highest_head()
        if parent is not None and parent.log != self.chain.log and not self._is_covered(parent, attempt):
            return False
        promises = tuple(wire for _, (wire, _) in sorted(counted.items()))
        start = Start(self._boot_id, promises, parent, self._tails(parent))
        self._counter = max(self._counter, attempt.counter)
        self._open(attempt.incarnation, counter=attempt.counter, fenced=True, start=start)
        self._heads = {}
        self._attempt = None
        self._backoff_ns = LIMITS.fence_retry_min_ns
        self.state = State.FENCED if self.quorum.peers else State.LONE
        return True

    def _highest_head(self) -> Head | None:
        return highest_fenced(self._heads.values(), self._version_of)

    def _version_of(self, log: LogId) -> int:
        is_live = log in self.written and log == self.chain.log
        bound = self._bound if is_live else self.manifest_of(log)
        return bound.version if bound is not None else 0

    def _is_covered(self, parent: Head, attempt: Attempt) -> bool:
        """False when the head to continue turns out to belong to a group that was not asked: ask again."""
        before = self.manifest_of(parent.log)
        return before is None or before.hash in {group.hash for group in attempt.groups}

    def _tails(self, parent: Head | None) -> tuple[Head, ...]:
        tails = [head for head in self._heads.values() if head.size and (parent is None or head.log != parent.log)]
        return tuple(sorted(tails[-_TAILS_NAMED:], key=lambda head: head.log))

    def on_refuse(self, refuse: Refuse, now_ns: int) -> None:
        """A peer promised a newer epoch. Without evidence signed by our own key it is ignored."""
        counter = evidenced_counter(refuse.evidence, self.manifest.box(self.own_id))
        if self._attempt is None or counter is None or counter < self._attempt.counter:
            return
        self.state = self._back_to
        self._attempt = None
        self._burn_counter(counter)
        self._next_attempt_ns = now_ns + LIMITS.fence_retry_min_ns

    def on_nack(self, sender: str, nack: Nack, now_ns: int) -> None:
        """A peer no longer takes this log: a later fence of our key is our own lost attempt, or a second writer; proof
        of a block that is not ours is a second history.
        """
        own = self.manifest.box(self.own_id)
        if is_second_history(nack.evidence, self.chain, self.vouching, self._reader, own.signing_public):
            self._on_second_history(now_ns)
            return
        counter = evidenced_counter(nack.evidence, own)
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
        if own_attempt and self.state is State.FENCED:
            self.state = State.PROVISIONAL
            self._next_attempt_ns = now_ns
        elif not own_attempt:
            self._leave(now_ns)

    def _leave(self, now_ns: int) -> None:
        """Sign nothing more in this log: what follows is provisional until a fence is there, a minute from now."""
        if self.chain.size:
            self._heads[self.chain.log] = self.chain.head()
        self._open_provisional()
        self._next_attempt_ns = now_ns + LIMITS.second_writer_wait_ns

    def _on_second_history(self, now_ns: int) -> None:
        """Our own key signed another history of the live log: freeze it, go on in a new one."""
        self.chain.replica.frozen = True
        self.chain.replica.dirty = True
        self.out.warn(Warn(
            "own-fork", "critical", "us", self.own_id,
            f"another process signs under {self.own_id}'s key: log {self.chain.log} is suspect and closed",
            "treat this box's key as stolen: enrol a replacement box",
        ))  # fmt: skip
        self._leave(now_ns)

    # ---- vouching ----------------------------------------------------------------------------------------------

    def on_cosign(self, cosign: Cosign) -> None:
        """A peer vouches for the live log. Raises PeerFault when its signature or root is wrong."""
        if cosign.log == self.chain.log:
            self.vouching.on_cosign(cosign)

    def on_stored(self, sender: str, stored: Stored) -> None:
        """A peer holds the live log, or an end that the live log names, up to a size."""
        if stored.log == self.chain.log:
            self.vouching.on_stored(sender, stored.size)
        elif stored.log in self._tail_holders and self.manifest.lists(sender):
            self._tail_holders[stored.log][sender] = stored.size

    def tail_level(self, log: LogId) -> Level:
        """The level of an end that the live log's start names: its start's, and no more than hold its headers."""
        named = next((tail for tail in self._start.tails if tail.log == log), None)
        if named is None or not self.chain.size:
            return Level.LOCAL
        holders = sum(1 for size in self._tail_holders[log].values() if size >= named.size)
        return min(self.vouching.level_of(0), self.quorum.level(holders, holders))
