"""One live log being written: seals, hashes, links, signs and roots each block. A seq is sealed and signed once."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ledger.block import ClockQuality, Header, payload_hash, sign_header
from ledger.checkpoint import Checkpoint, sign_checkpoint
from ledger.errors import OurFault
from ledger.log import LogId
from ledger.messages import BlockMessage
from ledger.notices import Head, Notice
from ledger.ops import PutCase
from ledger.replica import Recent, Replica
from ledger.sealing import TAG_BYTES, DataKey
from ledger.signing import SigningKey
from ledger.tree import leaf_hash


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
    """The writer's end of one log. ``data_key`` seals the next block; it is that of ``case_id``."""

    def __init__(self, site: str, log: LogId, key: SigningKey, data_key: DataKey, manifest_hash: bytes) -> None:
        self.log = log
        self.data_key = data_key
        self.manifest_hash = manifest_hash
        self.replica = Replica(log, manifest_hash)
        self.case_id: bytes | None = None
        self.case_rows: list[PutCase] = []
        self.origin = log.origin(site)
        self._key = key

    @property
    def size(self) -> int:
        """Number of blocks closed."""
        return self.replica.size

    def enter(self, case_id: bytes | None, data_key: DataKey) -> None:
        """What is recorded from here on is of this case (None: of none), under its own key."""
        self.case_id = case_id
        self.data_key = data_key

    def head(self) -> Head:
        """The newest head; the log must have a block."""
        return self.replica.newest_head()

    def close_block(self, draft: Draft) -> Block:
        """Close the next block. Raises OurFault when block 0 brings no keyframe: it could not be restored."""
        seq = self.size
        if seq == 0 and not draft.has_keyframe:
            raise OurFault("chain.no-keyframe", "the first block of a log must hold a keyframe")
        header = Header(
            log=self.log, seq=seq, opened_ns=draft.opened_ns, closed_ns=draft.closed_ns, boot_ns=draft.boot_ns,
            clock=draft.clock, previous_leaf=self.replica.last_leaf, payload_hash=bytes(32),
            payload_bytes=len(draft.payload) + TAG_BYTES, key_id=self.data_key.key_id, codec=draft.codec,
            keyframe_seq=seq if draft.has_keyframe else self.replica.keyframe_seq, case_id=self.case_id,
            manifest_hash=self.manifest_hash, notices=draft.notices,
        )  # fmt: skip
        sealed = self.data_key.seal_payload(draft.payload, self.log.incarnation, seq, header.associated_data())
        header = replace(header, payload_hash=payload_hash(sealed))
        signed = sign_header(header, self._key)
        leaf = leaf_hash(signed)
        frontier = self.replica.frontier.copy()
        frontier.append(leaf)
        root = frontier.root()
        signature = sign_checkpoint(self._key, Checkpoint(self.origin, seq + 1, root))
        self.replica.append(header, frontier, Recent(seq + 1, root, leaf, signature, header.keyframe_seq))
        self.case_rows += self.replica.cases.note(header)
        return Block(self.log, seq, signed, sealed, root, signature)
