"""Mends a block that this box's disk has damaged: fetched from a peer, proved, written anew.

What a peer sends is believed only when it is the block that stood there: its box signed it, it links to the block
before, and the block after it, the newest head in memory or a signed checkpoint commits to exactly its leaf.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from agent.pump import Pump, Wire
from ledger.block import Header, decode_signed_header, header_signature_is_valid, payload_hash
from ledger.certificate import Certificate
from ledger.checkpoint import checkpoint_signature_is_valid
from ledger.errors import BadInput, NoPeer, StoreFault, VerificationFailed
from ledger.limits import LIMITS, S_NS
from ledger.log import LogId
from ledger.member import RESTORE_REQUESTS_FROM, Member, RestoreReply
from ledger.messages import Get, Range, Want
from ledger.ops import ReplaceBlock
from ledger.store import Store, StoredBlock
from ledger.tree import Frontier, leaf_hash


@dataclass(frozen=True, slots=True)
class Mended:
    """Block ``seq`` of ``log`` is whole again, from ``peer``; or it was whole all along (``peer`` None)."""

    log: LogId
    seq: int
    peer: str | None


class Mender:
    """Mends one block at a time; shares the answers' queue with restores, hence the lock."""

    def __init__(self, member: Member, store: Store, pump: Pump, lock: asyncio.Lock) -> None:
        self._member = member
        self._store = store
        self._pump = pump
        self._lock = lock
        self._next_id = RESTORE_REQUESTS_FROM

    async def mend(self, log: LogId, seq: int) -> Mended:
        """Fetch, prove and write block ``seq``; returns once it is durable.

        Raises BadInput when no such block is held, NoPeer when no peer gives it whole, VerificationFailed when
        nothing here commits to what it must be.
        """
        if not self._store.first_held(log) <= seq < self._store.length(log):
            raise BadInput("mend.no-block", f"{log} has no block {seq:,} here", "orledger verify")
        async with self._lock:
            try:
                return await self._mend(log, seq)
            finally:
                self._pump.stop_listening()

    async def _mend(self, log: LogId, seq: int) -> Mended:
        expected = self._expected_leaf(log, seq)
        held = _read(self._store, log, seq)
        if held is not None and held.payload and self._fault(log, seq, expected, held) is None:
            return Mended(log, seq, None)
        peers = [box.id for box in self._member.manifest.peers_of(log.box)]
        peers = [peer for peer in (log.box, *peers) if peer != self._member.own_id]
        faults = []
        for peer in peers:
            block = await self._fetch(peer, log, seq)
            fault = "does not answer" if block is None else self._fault(log, seq, expected, block)
            if block is not None and fault is None:
                self._member.out.persist(ReplaceBlock(log, seq, block.signed_header, block.payload))
                await self._pump.make_durable()
                return Mended(log, seq, peer)
            faults.append(f"{peer} {fault}")
        text = f"no peer gave block {seq:,} of {log} whole: {'; '.join(faults) or 'there are no peers'}"
        raise NoPeer("mend.nobody", text, "try again when more peers are up: orledger status")

    async def _fetch(self, peer: str, log: LogId, seq: int) -> StoredBlock | None:
        self._next_id += 1
        get = Get(self._next_id, log, seq, seq + 1, Want.BLOCKS)
        replies = self._pump.listen()
        if not self._wire().send_to(peer, self._member.sign(get)):
            return None
        try:
            async with asyncio.timeout(LIMITS.range_timeout_ns / S_NS):
                while True:
                    block = _answer(await replies.get(), get)
                    if block is not None:
                        return block
        except TimeoutError:
            return None

    def _wire(self) -> Wire:
        if self._pump.wire is None:
            raise NoPeer("mend.no-network", "this box has no peers to ask", "add [replication] and enrol peers")
        return self._pump.wire

    def _fault(self, log: LogId, seq: int, expected: bytes, block: StoredBlock) -> str | None:
        """Why these bytes are not the whole block; None when they are."""
        if leaf_hash(block.signed_header) != expected:
            return "holds another header there"
        if not header_signature_is_valid(block.signed_header, self._public(log)):
            return f"holds a header that {log.box} did not sign"
        header = decode_signed_header(block.signed_header)
        if not block.payload:
            return "does not hold its payload"
        if len(block.payload) != header.payload_bytes or payload_hash(block.payload) != header.payload_hash:
            return "holds a damaged payload too"
        return None

    def _public(self, log: LogId) -> bytes:
        return self._member.manifest.box(log.box).signing_public

    # ---- what the block must be --------------------------------------------------------------------------------

    def _expected_leaf(self, log: LogId, seq: int) -> bytes:
        """The leaf hash that something signed, or this process's own memory, commits to."""
        following = self._signed_header(log, seq + 1)
        if following is not None:
            return following.previous_leaf
        remembered = self._remembered(log, seq)
        if remembered is not None:
            return remembered
        held = _read(self._store, log, seq)
        if held is not None and self._checkpoint_commits(log, seq, held.signed_header):
            return leaf_hash(held.signed_header)
        raise VerificationFailed(
            "mend.unproved", f"nothing whole here commits to block {seq:,} of {log}", "mend the block after it first"
        )

    def _signed_header(self, log: LogId, seq: int) -> Header | None:
        """The header held at ``seq`` if its box signed it."""
        block = _read(self._store, log, seq)
        if block is None or not header_signature_is_valid(block.signed_header, self._public(log)):
            return None
        header = decode_signed_header(block.signed_header)
        return header if (header.log, header.seq) == (log, seq) else None

    def _remembered(self, log: LogId, seq: int) -> bytes | None:
        live = self._member.writer.chain
        replica = live.replica if log == live.log else self._member.witness.replicas.get(log)
        return replica.leaf_at(seq) if replica is not None else None

    def _checkpoint_commits(self, log: LogId, seq: int, signed_header: bytes) -> bool:
        """True when a checkpoint that the box signed ends with this very header: only its payload is damaged."""
        stored = self._store.checkpoint(log, seq + 1)
        if stored is None:
            return False
        certificate = Certificate.decode(stored)
        checkpoint = certificate.checkpoint(self._member.manifest.site, log)
        if not checkpoint_signature_is_valid(self._public(log), checkpoint, certificate.log_signature):
            return False
        edge = Frontier()
        for header in self._store.headers(log, 0, seq):
            edge.append(leaf_hash(header))
        edge.append(leaf_hash(signed_header))
        return edge.root() == certificate.root


def _answer(reply: RestoreReply, get: Get) -> StoredBlock | None:
    """The block, when this reply is the answer to ``get``."""
    body = reply.body
    if not isinstance(body, Range) or (body.request_id, body.log, body.first) != (get.request_id, get.log, get.first):
        return None
    return StoredBlock(get.first, *body.blocks[0]) if body.blocks else None


def _read(store: Store, log: LogId, seq: int) -> StoredBlock | None:
    """The block as held; None when it is not held or its record cannot be read."""
    try:
        return store.block(log, seq)
    except StoreFault:
        return None
