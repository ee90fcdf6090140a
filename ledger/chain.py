"""One live log being written: seals, hashes, links, signs and roots each block. A seq is sealed and signed once."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ledger.block import NO_LEAF, ClockQuality, Header, payload_hash, sign_header
from ledger.checkpoint import Checkpoint, sign_checkpoint
from ledger.errors import OurFault
from ledger.log import LogId
from ledger.messages import BlockMessage
from ledger.notices import Head, Notice
from ledger.sealing import TAG_BYTES, DataKey
from ledger.signing import SigningKey
from ledger.tree import Frontier, leaf_hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What the tick brings to a block: the encoded payload and the times. See ``Header`` for the units."""

    payload: bytes
    codec: int
    has_keyframe: bool
    opened_ns: int
    closed_ns: int
    boot_ns: int
    clock: ClockQuality
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True, slots=True)
class Block:
    """A closed block: what is stored, what is sent, and the head it makes."""

    log: LogId
    seq: int
    signed_header: bytes
    payload: bytes
    root: bytes
    checkpoint_signature: bytes

    def message(self) -> BlockMessage:
        """As it goes to the peers."""
        return BlockMessage(self.signed_header, self.payload, self.root, self.checkpoint_signature)


class Chain:
    """The writer's end of one log."""

    def __init__(self, site: str, log: LogId, key: SigningKey, data_key: DataKey, manifest_hash: bytes) -> None:
        self.log = log
        self.data_key = data_key
        self.manifest_hash = manifest_hash
        self.frontier = Frontier()
        self.keyframe_seq = 0
        self.keyframe_frontier = self.frontier.encode()
        self.case_id: bytes | None = None
        self.opened_ns = 0
        self._origin = log.origin(site)
        self._key = key
        self._last_leaf = NO_LEAF

    @property
    def size(self) -> int:
        """Number of blocks closed."""
        return self.frontier.size

    def head(self) -> Head:
        """The newest head; the log must have a block."""
        return Head(self.log, self.size, self.frontier.root(), self._last_leaf)

    def close_block(self, draft: Draft) -> Block:
        """Close the next block. Raises OurFault when block 0 brings no keyframe: it could not be restored."""
        seq = self.size
        if seq == 0:
            self.opened_ns = draft.opened_ns
        if draft.has_keyframe:
            self.keyframe_seq = seq
            self.keyframe_frontier = self.frontier.encode()
        elif seq == 0:
            raise OurFault("chain.no-keyframe", "the first block of a log must hold a keyframe")
        header = Header(
            log=self.log, seq=seq, opened_ns=draft.opened_ns, closed_ns=draft.closed_ns, boot_ns=draft.boot_ns,
            clock=draft.clock, previous_leaf=self._last_leaf, payload_hash=bytes(32),
            payload_bytes=len(draft.payload) + TAG_BYTES, key_id=self.data_key.key_id, codec=draft.codec,
            keyframe_seq=self.keyframe_seq, case_id=self.case_id, manifest_hash=self.manifest_hash,
            notices=draft.notices,
        )  # fmt: skip
        sealed = self.data_key.seal_payload(draft.payload, self.log.incarnation, seq, header.associated_data())
        signed = sign_header(replace(header, payload_hash=payload_hash(sealed)), self._key)
        self._last_leaf = leaf_hash(signed)
        self.frontier.append(self._last_leaf)
        root = self.frontier.root()
        signature = sign_checkpoint(self._key, Checkpoint(self._origin, self.size, root))
        return Block(self.log, seq, signed, sealed, root, signature)
