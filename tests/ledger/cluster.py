"""A group of boxes over the real state machines, with disks, a network and a clock made of memory."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ledger.block import ClockQuality, ClockState
from ledger.chain import Block, Draft
from ledger.instant import Now
from ledger.limits import MS_NS
from ledger.log import LogId
from ledger.manifest import Box, Manifest, Role
from ledger.member import Member, Secrets
from ledger.ops import AppendBlock, FillPayload, Op, PutDerived, PutPromise, PutProof, PutSelf
from ledger.payload import CODEC_ZSTD, encode_payload
from ledger.records import Keyframe, Numeric, Record
from ledger.replica import Replica
from ledger.sealing import BoxKey, DataKey
from ledger.signing import SigningKey
from ledger.state import RoomState, encode_state
from ledger.writer import OwnPast

SITE = "st-mary"


class MemoryDisk:
    """Executes operations; ``Disk`` for reading."""

    def __init__(self) -> None:
        self.logs: dict[LogId, list[tuple[bytes, bytes]]] = {}
        self.promises: dict[str, bytes] = {}
        self.facts: dict[str, bytes] = {}
        self.derived: dict[LogId, PutDerived] = {}
        self.proofs: dict[bytes, bytes] = {}

    def commit(self, ops: Iterable[Op]) -> None:
        for op in ops:
            if isinstance(op, AppendBlock):
                blocks = self.logs.setdefault(op.log, [])
                assert op.seq == len(blocks), f"{op.log}: {op.seq} appended after {len(blocks)} blocks"
                blocks.append((op.signed_header, op.payload))
            elif isinstance(op, FillPayload):
                header, held = self.logs[op.log][op.seq]
                assert held in (b"", op.payload), f"{op.log}: block {op.seq} has another payload"
                self.logs[op.log][op.seq] = (header, op.payload)
            elif isinstance(op, PutPromise):
                self.promises[op.box] = op.value
            elif isinstance(op, PutSelf):
                self.facts[op.name] = op.value
            elif isinstance(op, PutProof):
                self.proofs[op.hash] = op.value
            elif isinstance(op, PutDerived):
                self.derived[op.log] = op

    def length(self, log: LogId) -> int:
        return len(self.logs.get(log, []))

    def signed_header(self, log: LogId, seq: int) -> bytes | None:
        blocks = self.logs.get(log, [])
        return blocks[seq][0] if seq < len(blocks) else None

    def blocks(self, log: LogId, first: int, end: int) -> Iterable[tuple[bytes, bytes]]:
        return iter(self.logs.get(log, [])[first:end])

    def keyframe_frontier(self, log: LogId, seq: int) -> bytes | None:
        return None


class MemoryKeys:
    def __init__(self) -> None:
        self.held: dict[bytes, tuple[DataKey, Mapping[str, bytes]]] = {}

    def wraps(self, key_id: bytes) -> Mapping[str, bytes]:
        return self.held[key_id][1] if key_id in self.held else {}

    def get(self, key_id: bytes) -> DataKey | None:
        return self.held[key_id][0] if key_id in self.held else None


@dataclass
class BoxUnderTest:
    name: str
    secrets: Secrets
    disk: MemoryDisk = field(default_factory=MemoryDisk)
    keys: MemoryKeys = field(default_factory=MemoryKeys)
    state: RoomState = field(default_factory=RoomState)
    member: Member = field(init=False)
    ticks: int = 0


class Cluster:
    """``n`` boxes; messages take no time unless a link is cut."""

    def __init__(self, n: int, seed: int = 0, disk: type[MemoryDisk] = MemoryDisk) -> None:
        self.random = random.Random(seed)
        self.now_ns = 1_700_000_000 * 10**9
        self.cut: set[tuple[str, str]] = set()
        names = [f"or-{i + 1}" for i in range(n)]
        secrets = {name: Secrets(SigningKey(self.bytes(32)), BoxKey(self.bytes(32))) for name in names}
        boxes = tuple(
            Box(
                name, name.upper(), "theatre", Role.MEMBER, s.signing.public, s.receiving.public, b"cert", "127.0.0.1:1"
            )
            for name, s in secrets.items()
        )
        self.site_key = SigningKey(self.bytes(32))
        self.manifest = Manifest(SITE, 1, bytes(32), boxes, None, 1, (self.site_key.public,), 1, None)
        self.boxes = {name: BoxUnderTest(name, secrets[name], disk()) for name in names}
        for name in names:
            self.boot(name)
        for name in names:
            self.link_up(name)

    @property
    def now(self) -> Now:
        return Now(self.now_ns, self.now_ns)

    def bytes(self, count: int) -> bytes:
        return self.random.randbytes(count)

    def boot(self, name: str) -> None:
        box = self.boxes[name]
        box.member = Member(name, box.secrets, self.manifest, self.bytes(16), box.disk, box.keys, self.bytes)
        replicas = []
        for log, blocks in box.disk.logs.items():
            replicas.append(rebuild(log, blocks))
        own = [r.head_at(r.size) for r in replicas if r.log.box == name]
        counter = int.from_bytes(box.disk.facts.get("counter", b""), "big")
        past = OwnPast(counter, tuple(head for head in own if head is not None))
        box.member.start(past, replicas, box.disk.promises, list(box.keys.held),
                         proofs=box.disk.proofs.values())  # fmt: skip
        box.state = RoomState()

    def link_up(self, name: str) -> None:
        for other in self.boxes:
            if other != name and (name, other) not in self.cut:
                self.boxes[name].member.peer_up(other)
                self.boxes[other].member.peer_up(name)

    def tick(self, name: str, records: Mapping[str, list[Record]] | None = None) -> Block:
        box = self.boxes[name]
        groups: dict[str, list[Record]] = dict(records or {})
        if not groups:
            groups["monitor"] = [
                Numeric(at_ns=self.now_ns, code="MDC_ECG_HEART_RATE", value=str(box.ticks), unit="/min")
            ]
        keyframe = box.member.writer.wants_keyframe or box.ticks % 50 == 0
        if keyframe:
            groups[""] = [Keyframe(at_ns=self.now_ns, state=encode_state(box.state))]
        box.state.fold_groups(groups)
        box.ticks += 1
        return box.member.close_block(Draft(
            payload=encode_payload(groups), codec=CODEC_ZSTD, has_keyframe=keyframe,
            opened_ns=self.now_ns - 100 * MS_NS, closed_ns=self.now_ns, boot_ns=self.now_ns,
            clock=ClockQuality(ClockState.SYNCHRONISED, 1),
        ))  # fmt: skip

    def run(self, ticks: int, *, only: Iterable[str] | None = None, recording: bool = True) -> None:
        """``ticks`` ticks of every box in ``only``, with all messages delivered in between."""
        names = list(only if only is not None else self.boxes)
        for _ in range(ticks):
            self.now_ns += 100 * MS_NS
            for name in names:
                self.boxes[name].member.step(self.now)
                if recording:
                    self.tick(name)
            self.settle(names)

    def settle(self, names: list[str]) -> None:
        """Commit and deliver until nothing moves."""
        for _ in range(100):
            moved = False
            for name in names:
                moved |= self._turn(name, names)
            if not moved:
                return
        raise AssertionError("the cluster never comes to rest")

    def _turn(self, name: str, names: list[str]) -> bool:
        box = self.boxes[name]
        for kept in box.member.take_keys():
            box.keys.held[kept.key.key_id] = (kept.key, kept.wraps)
            box.member.key_kept(kept.key.key_id, self.now)
        ops, position = box.member.take_ops()
        box.disk.commit(ops)
        box.member.committed(position, self.now)
        wires = box.member.take_wire()
        for message in wires:
            for other in names if message.to == "*" else [message.to]:
                if other != name and other in names and (name, other) not in self.cut:
                    self.boxes[other].member.on_wire(name, message.wire, self.now)
        return bool(ops or wires)


def rebuild(log: LogId, blocks: list[tuple[bytes, bytes]]) -> Replica:
    """The replica of a log from its blocks alone, as a start from a disk without a tip does."""
    from ledger.block import decode_signed_header
    from ledger.replica import extend

    replica = Replica(log, decode_signed_header(blocks[0][0]).manifest_hash)
    extend(replica, ((header, bool(payload)) for header, payload in blocks))
    return replica
