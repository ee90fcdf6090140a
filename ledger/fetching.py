"""What this box lacks of the group's logs: learned, asked of the peers, and taken in when it comes.

Headers first (``catchup``), then payloads (``payload_catchup``); neither while too many blocks wait for the disk.
"""

from __future__ import annotations

from collections.abc import Iterable

from ledger.catchup import RANGE_BLOCKS, CatchUp
from ledger.errors import PeerFault
from ledger.instant import Now
from ledger.limits import LIMITS
from ledger.manifest import Role
from ledger.messages import Range
from ledger.outbox import Outbox
from ledger.payload_catchup import PayloadCatchUp
from ledger.replica import LogReader, Replica
from ledger.witness import Witness


class Fetching:
    """Fills the ``witness``'s logs from its peers. ``step`` a few times a second and after each commit."""

    def __init__(self, own_id: str, witness: Witness, disk: LogReader, out: Outbox) -> None:
        self._own_id = own_id
        self._witness = witness
        self.catchup = CatchUp(out)
        self.payloads = PayloadCatchUp(
            out, disk, witness.replicas, witness.promises.is_current, witness.on_other_header, witness.filled
        )
        self.payloads.keeps_payloads_of = self._keeps_payloads_of

    def peer_up(self, peer: str) -> None:
        """A peer can be asked."""
        self.payloads.peer_up(peer)
        self._witness.cosigner.key_requests.again()

    def peer_down(self, peer: str) -> None:
        """A peer cannot be asked."""
        self.catchup.forget(peer)
        self.payloads.peer_down(peer)

    def step(self, now: Now) -> None:
        """Ask for what is lacking, as far as the disk keeps up."""
        waits = self._witness.backlog >= LIMITS.catchup_backlog_blocks
        self.catchup.step(
            self._witness.replicas, now.mono_ns, self._witness.refused, self._witness.crowded, paused=waits
        )
        if self._witness.may_fetch_payloads:
            most = 1 if self.catchup.is_gaining(now.mono_ns) else LIMITS.ranges_outstanding
            self.payloads.step(now.mono_ns, most)

    def ask_again(self, peers_up: Iterable[str], now: Now) -> None:
        """Nobody tells the heads of closed logs: what an epoch names is asked of everybody until it is here."""
        peers = sorted(peers_up)
        for log, size in self._witness.held.lacking().items():
            for peer in peers:
                self.catchup.learn(peer, log, size)
        self._witness.cosigner.key_requests.step(peers, now.mono_ns)

    def on_live_block(self, sender: str, replica: Replica) -> None:
        """``sender`` gave a live block of this log: what lies before it, and what its start names, can be had there."""
        if replica.waiting:
            self.catchup.learn(sender, replica.log, max(replica.waiting) + 1)
        self._want_named(sender)

    def on_blocks(self, sender: str, message: Range, now: Now) -> None:
        """Blocks or headers that were asked for. Raises PeerFault."""
        self.catchup.answered(message)
        if len(message.blocks) > RANGE_BLOCKS:
            raise PeerFault("range.oversize", f"{sender} sent {len(message.blocks):,} blocks, as nobody asks for")
        self._witness.on_range(sender, message)
        self._want_named(sender)
        self.step(now)

    def on_payloads(self, sender: str, message: Range, now: Now) -> None:
        """Payloads that were asked for, of blocks whose headers are held. Raises PeerFault."""
        group = {box.id for box in self._witness.manifests.own.peers_of(self._own_id)}
        try:
            self.payloads.on_range(sender, message, group, now)
        finally:
            self.step(now)

    def _want_named(self, sender: str) -> None:
        """An epoch's start names what it continues: whoever sent it holds that too."""
        for head in self._witness.named:
            self.catchup.learn(sender, head.log, head.size)
        self._witness.named.clear()

    def _keeps_payloads_of(self, peer: str, box: str) -> bool:
        """A witness-only box has nobody's but its own."""
        newest = self._witness.manifests.newest
        return peer == box or not newest.lists(peer) or newest.box(peer).role is Role.MEMBER
