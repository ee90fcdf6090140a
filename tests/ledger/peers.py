"""One writer's logs and one witness, by hand: what tests of single rules need, without a group around them."""

from __future__ import annotations

from dataclasses import replace

from ledger.block import ClockQuality, ClockState, decode_signed_header, sign_header
from ledger.chain import Block, Chain, Draft
from ledger.checkpoint import Checkpoint, sign_checkpoint
from ledger.instant import Now
from ledger.log import LogId
from ledger.manifest import Manifest
from ledger.message_codec import decode_message, encode_signed
from ledger.messages import BlockMessage, Body, Fence, Promise, Signed, SignedBody
from ledger.notices import Head, Notice, Start
from ledger.outbox import Outbox
from ledger.sealing import DataKey
from ledger.witness import Witness
from tests.ledger.cluster import MemoryDisk
from tests.ledger_strategies import KEYS, SITE, make_manifest

NOW = Now(10**9, 1_700_000_000 * 10**9)
DATA_KEY = DataKey(bytes([77]) * 32)
MANIFEST = make_manifest(4)


def log_of(counter: int, *, box: str = "or-1", fenced: bool = True, incarnation: int = 0) -> LogId:
    return LogId(box, counter, bytes([incarnation or counter % 256]) * 16, fenced)


def signed(body: SignedBody, sender: str, manifest: Manifest = MANIFEST) -> Signed:
    message = decode_message(encode_signed(body, SITE, manifest.hash, sender, KEYS[sender]))
    assert isinstance(message, Signed)
    return message


def promise_wire(giver: str, log: LogId, *fenced: Head, manifest: Manifest = MANIFEST) -> bytes:
    promise = Promise(log.box, log.counter, log.incarnation, bytes(16), fenced, ())
    return encode_signed(promise, SITE, manifest.hash, giver, KEYS[giver])


def fence(log: LogId, manifest: Manifest = MANIFEST) -> Signed:
    return signed(Fence(log.counter, log.incarnation, bytes(16)), log.box, manifest)


def draft(
    *notices: Notice, keyframe: bool = False, closed_ns: int = NOW.utc_ns, payload: bytes = b"payload", boot_ns: int = 1
) -> Draft:
    return Draft(
        payload=payload, codec=1, has_keyframe=keyframe, opened_ns=closed_ns - 1, closed_ns=closed_ns, boot_ns=boot_ns,
        clock=ClockQuality(ClockState.SYNCHRONISED, 1), notices=notices,
    )  # fmt: skip


def start_of(log: LogId, manifest: Manifest = MANIFEST) -> Start:
    promises = tuple(promise_wire(giver, log, manifest=manifest) for giver in ("or-2", "or-3")) if log.fenced else ()
    return Start(bytes(16), promises, None, ())


class Recording:
    """A log of or-1 as its writer closes it."""

    def __init__(
        self, log: LogId, start: Start | None = None, data_key: DataKey = DATA_KEY, manifest: Manifest = MANIFEST
    ) -> None:
        self.chain = Chain(SITE, log, KEYS[log.box], data_key, manifest.hash)
        self.start = start or start_of(log)
        self.blocks: list[Block] = []
        self.boot_ns = 1

    def grow(self, count: int) -> list[BlockMessage]:
        for _ in range(count):
            first = self.chain.size == 0
            notices = (self.start,) if first else ()
            self.blocks.append(
                self.chain.close_block(
                    draft(*notices, keyframe=first or self.chain.size % 10 == 0, boot_ns=self.boot_ns)
                )
            )
        return [block.message() for block in self.blocks[-count:]]

    def resigned(self, seq: int, **changes: object) -> BlockMessage:
        """Another block in that place, signed by the same box; its root is not stated."""
        block = self.blocks[seq]
        header = replace(decode_signed_header(block.signed_header), **changes)  # type: ignore[arg-type]
        return BlockMessage(sign_header(header, KEYS[self.chain.log.box]), block.payload, bytes(32), bytes(64))

    def checkpoint_signature(self, size: int, root: bytes) -> bytes:
        log = self.chain.log
        return sign_checkpoint(KEYS[log.box], Checkpoint(log.origin(SITE), size, root))


class PeerUnderTest:
    """or-2's witness over a disk in memory; commits happen when the test says so."""

    def __init__(self, disk: MemoryDisk | None = None, manifest: Manifest = MANIFEST) -> None:
        self.disk = disk or MemoryDisk()
        self.out = Outbox()
        self.witness = Witness("or-2", KEYS["or-2"], manifest, self.disk, self.out)
        self.witness.cosigner.keys_held.add(DATA_KEY.key_id)

    def commit(self) -> list[Body]:
        """Make durable all that was asked for; what may be said then."""
        ops, position = self.out.take_ops()
        self.disk.commit(ops)
        self.out.committed(position)
        self.witness.committed(position, NOW)
        return self.said()

    def said(self) -> list[Body]:
        return [tell.body for tell in self.out.take_tells()]

    def take(self, *messages: BlockMessage) -> list[Body]:
        """Blocks arrive live and are committed at once."""
        for message in messages:
            self.witness.on_block("or-1", message, NOW)
        return self.commit()
