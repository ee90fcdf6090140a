"""Carries out what the member asks: keys into the keyring, operations to the disk, messages to the mesh, and back.

Everything here runs on the loop; only the commit itself is on the writer thread.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from agent.alerts import Alerts
from agent.committer import Committer, Ledger
from agent.intake import Intake
from agent.recorder import Closed
from agent.replies import Replies
from agent.shares import Shares
from agent.statistics import Statistics
from ledger.errors import OrledgerError, PeerFault, StoreFault
from ledger.instant import Now
from ledger.keyring import Keyring
from ledger.limits import LIMITS
from ledger.log import LogId
from ledger.member import RESTORE_REQUESTS_FROM, Member, WireMessage
from ledger.message_codec import decode_message
from ledger.messages import BlockMessage, Fence, Get, Heads, Range, Signed, StandsBy, Wrap
from ledger.ops import Op
from ledger.outbox import EVERYBODY
from ledger.quorum import Level

_LOG = logging.getLogger(__name__)
_TO_EACH = (Fence, Wrap)
_REPLIES = (Range,)


class Wire(Protocol):
    """The mesh as the pump uses it."""

    def broadcast_live(self, data: bytes) -> bool: ...

    def broadcast_heads(self, data: bytes) -> bool: ...

    def send_to(self, peer: str, data: bytes, *, bulk: bool = False) -> bool: ...

    def reply_to(self, peer: str, data: bytes, *, bulk: bool = False) -> bool: ...


class Pump:
    """Between the member and the world.

    While ``replicas_paused`` this box takes and asks for no blocks of others, so that what room the disk has left is
    its own; nor does it take any while so many wait for the disk that more would only fill memory. What was passed
    over is pulled later, like anything missed. Restores and its own older logs go on. Logs that are ``rebuilding`` from
    here are not copied in bulk at the same time: that would take everything twice.
    """

    def __init__(
        self, member: Member, store: Ledger, keyring: Keyring, intake: Intake, alerts: Alerts, statistics: Statistics,
        now: Callable[[], Now], failed: Callable[[OrledgerError], None],
    ) -> None:  # fmt: skip
        self.wire: Wire | None = None
        self.replicas_paused = False
        self.rebuilding: Collection[LogId] = ()
        self.durable_blocks = 0
        self.on_durable: Callable[[], None] = lambda: None
        self.on_peer: Callable[[str, bool], None] = lambda _peer, _is_up: None
        self.take_range: Callable[[str, bytes], bool] = lambda _sender, _wire: False
        self._member = member
        self._keyring = keyring
        self._intake = intake
        self._alerts = alerts
        self._statistics = statistics
        self._now = now
        self._failed = failed
        self._committer = Committer(store, self._gather, self._committed, failed)
        self._shares = Shares(self._handle, self._refuse, time.monotonic_ns)
        self._committing_to = 0
        self._spare: Sequence[Op] = ()
        self._undurable_bytes = 0
        self._undurable: deque[tuple[int, Closed]] = deque()
        self._unwitnessed: deque[tuple[int, int]] = deque(maxlen=LIMITS.commit_queue_blocks)
        self._replies: Replies | None = None

    # ---- out ---------------------------------------------------------------------------------------------------

    def closed(self, closed: Closed) -> None:
        """A block was closed: it leaves at once and is committed as soon as the disk is free."""
        self._statistics.blocks += 1
        self._statistics.payload_bytes += len(closed.block.payload)
        if closed.block.seq == 0:
            self._unwitnessed.clear()
        self._unwitnessed.append((closed.block.seq + 1, closed.closed.mono_ns))
        self._undurable.append((self._member.out.position, closed))
        self._undurable_bytes += len(closed.block.payload)
        self.pump()

    def unvouched_ns(self, now: Now) -> int:
        """How long ago the oldest block closed that has not reached the level witnessed; 0 without peers."""
        return now.mono_ns - self._unwitnessed[0][1] if self._peers() and self._unwitnessed else 0

    @property
    def has_undurable(self) -> bool:
        """True while a block of this box waits for the disk."""
        return bool(self._undurable)

    def overloaded(self) -> bool:
        """True when the disk is so far behind that closing more blocks would only fill memory."""
        if len(self._undurable) >= LIMITS.commit_queue_blocks:
            return True
        return self._undurable_bytes >= LIMITS.commit_queue_bytes

    def pump(self) -> None:
        """Do everything the member asks for now."""
        now = self._now()
        for kept in self._member.take_keys():
            try:
                self._keyring.add(kept.log.box, kept.log.incarnation, kept.key, kept.wraps)
            except StoreFault as fault:  # what its key is not kept for cannot be restored
                if fault.id == "keyring.full" and kept.log.box != self._member.own_id:
                    self.count_fault(kept.log.box, fault)
                    continue
                self._failed(fault)
                return
            self._member.key_kept(kept.key.key_id, now)  # or destroyed for good: nobody waits for it
        for message in self._member.take_wire():  # before the commit: its thread would compete with the sending
            self._send(message)
        self._committer.poke()
        for warning in self._member.take_warnings():
            self._alerts.take(warning, now.utc_ns)
        events, self._member.events = self._member.events, []
        for event in events:
            if self._replies is not None:
                self._replies.offer(event)

    def _send(self, message: WireMessage) -> None:
        if self.wire is None:
            return
        if self.replicas_paused and issubclass(message.kind, Get) and self._feeds_a_replica(message.wire):
            return
        if self.rebuilding and message.bulk and issubclass(message.kind, Get) and self._is_rebuilt(message.wire):
            return
        if message.to != EVERYBODY:
            if issubclass(message.kind, _REPLIES):
                self.wire.reply_to(message.to, message.wire, bulk=message.bulk)
            else:
                self.wire.send_to(message.to, message.wire, bulk=message.bulk and issubclass(message.kind, Get))
        elif issubclass(message.kind, Heads | StandsBy):
            self.wire.broadcast_heads(message.wire)
        elif issubclass(message.kind, _TO_EACH):
            for peer in self._peers():
                self.wire.send_to(peer, message.wire)
        else:
            self.wire.broadcast_live(message.wire)

    def _is_rebuilt(self, wire: bytes) -> bool:
        """True for asking, in bulk, for more of a log that is rebuilt just now: that goes first."""
        message = decode_message(wire)
        body = message.body if isinstance(message, Signed) else message
        return isinstance(body, Get) and body.log in self.rebuilding and body.request_id < RESTORE_REQUESTS_FROM

    def _peers(self) -> list[str]:
        return [box.id for box in self._member.manifest.peers_of(self._member.own_id)]

    # ---- disk --------------------------------------------------------------------------------------------------

    def _gather(self) -> Sequence[Op]:
        ops, self._committing_to = self._member.take_ops()
        if ops:
            return ops
        spare, self._spare = self._spare, ()
        return spare

    def tick_due(self, mono_ns: int) -> None:
        """When this box ticks next: what peers ask for in bulk makes room for it."""
        self._shares.tick_due_ns = mono_ns

    @property
    def has_room(self) -> bool:
        """False when the disk is full and the ledger's file cannot grow."""
        return self._committer.has_room

    @property
    def has_spare_work(self) -> bool:
        """True while what ``when_idle`` was given still waits."""
        return bool(self._spare)

    def when_idle(self, ops: Sequence[Op]) -> None:
        """Commit these, which can wait, in a transaction of their own once no block waits. One set at a time."""
        self._spare = ops
        self._committer.poke()

    def _committed(self, elapsed_ns: int) -> None:
        now = self._now()
        self._statistics.commit.add(elapsed_ns)
        self._member.committed(self._committing_to, now)
        self.pump()  # what vouches for a peer's block leaves first
        position = None
        while self._undurable and self._undurable[0][0] <= self._committing_to:
            _, closed = self._undurable.popleft()
            self._undurable_bytes -= len(closed.block.payload)
            position = closed.last_position
            self.durable_blocks += 1
            self._statistics.closed_to_durable.add(now.mono_ns - closed.closed.mono_ns)
        if position is not None:
            self._intake.durable(position)
            self.on_durable()

    async def drain(self) -> None:
        """Commit everything that waits, as far as anything can be written."""
        await self._committer.drain()

    async def make_durable(self) -> None:
        """Everything asked for so far is durable when this returns. Raises OrledgerError when it cannot be."""
        self.pump()
        await self._committer.drain()
        if self._committer.fault is not None:
            raise self._committer.fault

    def close(self) -> None:
        """End the writer thread; call after ``drain``."""
        self._shares.close()
        self._committer.close()

    # ---- in ----------------------------------------------------------------------------------------------------

    def arrived(self, sender: str, wire: bytes, *, bulk: bool = False) -> None:
        """A message from a peer: handled at once, or when its sender's share of the loop allows."""
        if not self.take_range(sender, wire):
            self._shares.arrived(sender, wire, bulk)

    def _handle(self, sender: str, wire: bytes, bulk: bool) -> None:
        """What is wrong with a message is counted and told once per kind; nothing stops."""
        if self._member.out.operations >= LIMITS.commit_queue_operations:
            self._refuse(sender)
            return
        try:
            if (self.replicas_paused or self._is_behind()) and self._feeds_a_replica(wire):
                return
            self._member.on_wire(sender, wire, self._now(), bulk=bulk)
        except OrledgerError as error:
            self.count_fault(sender, error)
        self._note_witnessed()
        self.pump()

    def _is_behind(self) -> bool:
        witness = self._member.witness
        return witness.backlog >= LIMITS.commit_queue_blocks or witness.backlog_bytes >= LIMITS.commit_queue_bytes

    def _refuse(self, sender: str) -> None:
        self.count_fault(sender, PeerFault(
            "peer.flood", f"{sender} sends more than its share: what finds no room is refused", f"look at {sender}"
        ))  # fmt: skip

    def _feeds_a_replica(self, wire: bytes) -> bool:
        """True for blocks of others, and for asking for them; not for a restore, nor for this box's own logs."""
        message = decode_message(wire)
        match message.body if isinstance(message, Signed) else message:
            case BlockMessage():
                return True
            case Range(request_id, log) | Get(request_id, log):
                return request_id < RESTORE_REQUESTS_FROM and log.box != self._member.own_id
            case _:
                return False

    def count_fault(self, sender: str, error: OrledgerError) -> None:
        """Something of a peer's was wrong: count it, and tell it once per kind."""
        key = f"{sender} {error.id}"
        faults = self._statistics.peer_faults
        faults[key] = faults.get(key, 0) + 1
        if faults[key] == 1:
            _LOG.warning("%s: %s", sender, error)

    def peer_up(self, peer: str) -> None:
        """A peer's broker can be reached."""
        self._member.peer_up(peer)
        self.on_peer(peer, True)
        self.pump()

    def peer_down(self, peer: str) -> None:
        """A peer's broker cannot be reached."""
        self._member.peer_down(peer)
        self.on_peer(peer, False)

    def _note_witnessed(self) -> None:
        witnessed = self._member.writer.vouching.size_at(Level.WITNESSED)
        mono_ns = self._now().mono_ns
        while self._unwitnessed and self._unwitnessed[0][0] <= witnessed:
            self._statistics.closed_to_witnessed.add(mono_ns - self._unwitnessed.popleft()[1])

    # ---- restores ----------------------------------------------------------------------------------------------

    def listen(self) -> Replies:
        """Answers to a restore from here on; one restore at a time."""
        self._replies = Replies()
        return self._replies

    def stop_listening(self) -> None:
        """The restore has ended."""
        self._replies = None
