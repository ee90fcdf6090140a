"""Boxes, a network and time, all made of one seed. The rules are the real ``Member``; everything under it is worse.

Time jumps from event to event. Every choice comes from ``World.random``, so that a seed is a whole story: who sent
what when, what was lost, which disk was torn. ``World.story`` tells it.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from ledger.block import ClockQuality, ClockState
from ledger.chain import Block, Draft
from ledger.errors import PeerFault, VerificationFailed
from ledger.instant import Now
from ledger.limits import MS_NS
from ledger.manifest import Box, Manifest, Role, sign_manifest
from ledger.member import Member, Secrets, WireMessage
from ledger.notices import CaseBoundary, Head, StoredObjects
from ledger.outbox import EVERYBODY
from ledger.payload import CODEC_ZSTD, encode_payload
from ledger.records import Keyframe, Numeric
from ledger.replica import Replica
from ledger.sealing import BoxKey
from ledger.signing import SigningKey
from ledger.start import linked_logs
from ledger.state import RoomState, encode_state
from ledger.writer import COUNTER, OwnPast
from tests.sim.disk import SimDisk

SITE = "st-mary"
EPOCH_UTC_NS = 1_700_000_000 * 10**9
STEP_NS = 300 * MS_NS
KEYFRAME_EVERY = 8
_NUMERIC = encode_payload({"monitor": [Numeric(at_ns=1, code="MDC_ECG_HEART_RATE", value="60", unit="/min")]})
_KEYFRAME = encode_payload({"": [Keyframe(at_ns=1, state=encode_state(RoomState()))]})


@dataclass
class Weather:
    """The network's present mood: shares of messages, and the longest delay."""

    loss: float = 0.0
    doubling: float = 0.0
    delay_ns: int = 5 * MS_NS


@dataclass(eq=False)
class Process:
    """One running agent of a box: its member, its disk, its clock. A clone is a second process of one box."""

    name: str
    label: str
    disk: SimDisk
    member: Member
    commit_ns: int
    utc_offset_ns: int = 0
    running: bool = True
    committing: bool = False
    closed: int = 0
    is_boundary: bool = False
    notices: list[CaseBoundary] = field(default_factory=list)
    outgoing: Callable[[WireMessage], list[WireMessage]] | None = None


@dataclass
class Identity:
    """A box's keys, in the order the site enrolled them."""

    name: str
    secrets: Secrets
    group: str = "theatre"
    role: Role = Role.MEMBER

    def row(self) -> Box:
        keys = self.secrets
        return Box(self.name, self.name, self.group, self.role, keys.signing.public, keys.receiving.public, b"c", "h:1")


@dataclass(order=True)
class _Event:
    at_ns: int
    number: int
    action: Callable[[], None] = field(compare=False)


class Watcher:
    """What looks on: the simulation's truth. All hooks are called before anybody else can react."""

    def closed(self, process: Process, block: Block) -> None: ...

    def sent(self, process: Process, message: WireMessage) -> None: ...

    def stepped(self, process: Process) -> None: ...


class World:
    """Everything of one seed. ``boxes`` names who is enrolled at first; ``spares`` may be enrolled later."""

    def __init__(
        self, seed: int, boxes: int, spares: int = 0, watcher: Watcher | None = None, witness_only: str = ""
    ) -> None:
        self.random = random.Random(seed)
        self.now_ns = 0
        self.story: list[str] = []
        self.watcher = watcher or Watcher()
        self.weather = Weather()
        self.step_ns = STEP_NS
        self.cut: set[tuple[str, str]] = set()
        self.faults: dict[str, int] = {}
        self.processes: dict[str, list[Process]] = {}
        self.disks: dict[str, SimDisk] = {}
        self._events: list[_Event] = []
        self._event_number = 0
        names = [f"or-{number + 1}" for number in range(boxes + spares)]
        self.identities = {name: Identity(name, self._secrets()) for name in names}
        if witness_only:
            self.identities[witness_only].role = Role.WITNESS
        self._site_key = SigningKey(self.random.randbytes(32))
        self.manifests = [Manifest(SITE, 1, bytes(32), self._rows(names[:boxes]), None, 1, (self._site_key.public,), 1,
                                   None)]  # fmt: skip
        self.signed_manifests = [sign_manifest(self.manifests[0], [self._site_key]).encode()]
        for name in names[:boxes]:
            self.enrol(name)

    def _secrets(self) -> Secrets:
        return Secrets(SigningKey(self.random.randbytes(32)), BoxKey(self.random.randbytes(32)))

    def _rows(self, names: list[str]) -> tuple[Box, ...]:
        return tuple(self.identities[name].row() for name in names)

    # ---- time --------------------------------------------------------------------------------------------------

    def after(self, delay_ns: int, action: Callable[[], None]) -> None:
        """Have something happen later."""
        self._event_number += 1
        heapq.heappush(self._events, _Event(self.now_ns + delay_ns, self._event_number, action))

    def run(self, until_ns: int) -> None:
        """Let time pass."""
        while self._events and self._events[0].at_ns <= until_ns:
            event = heapq.heappop(self._events)
            self.now_ns = event.at_ns
            event.action()
        self.now_ns = until_ns

    def tell(self, what: str) -> None:
        """Add to the story."""
        self.story.append(f"{self.now_ns / 1e9:9.3f} s  {what}")

    def now_of(self, process: Process) -> Now:
        return Now(self.now_ns, EPOCH_UTC_NS + self.now_ns + process.utc_offset_ns)

    # ---- manifests ---------------------------------------------------------------------------------------------

    def change_manifest(self, names: list[str]) -> bytes:
        """The site signs its next manifest; it still has to be brought to a box."""
        last = self.manifests[-1]
        following = Manifest(SITE, last.version + 1, last.hash, self._rows(names), None, 1, last.site_keys, 1, None)
        signed = sign_manifest(following, [self._site_key]).encode()
        self.manifests.append(following)
        self.signed_manifests.append(signed)
        return signed

    # ---- processes ---------------------------------------------------------------------------------------------

    def enrol(self, name: str) -> None:
        """A new box with an empty disk and the manifests of today."""
        self.disks[name] = self.new_disk(name)
        self.processes[name] = []
        self.boot(name)

    def new_disk(self, name: str) -> SimDisk:
        """An empty disk of a box that is enrolled now."""
        return SimDisk(enumerate(self.signed_manifests, 1))

    def boot(self, name: str, disk: SimDisk | None = None, label: str = "") -> Process:
        """A new process of a box; with ``disk``, of a clone of it."""
        disk = disk if disk is not None else self.disks[name]
        secrets = self.identities[name].secrets
        manifest = [each for each in self.manifests if each.version in disk.manifests and each.lists(name)][-1]
        member = Member(name, secrets, manifest, self.random.randbytes(16), disk, disk, self.random.randbytes)
        process = Process(name, label or name, disk, member, self.random.choice([1, 1, 4, 40, 400]) * MS_NS)
        replicas = disk.replicas()
        member.start(
            _own_past(name, disk, replicas), replicas, dict(disk.promises), list(disk.keys),
            sorted(disk.manifests.items()), disk.facts.get("quota"), disk.proofs.values(),
        )  # fmt: skip
        self.processes[name].append(process)
        self.tell(f"{process.label} starts; a commit takes {process.commit_ns // MS_NS} ms")
        self.started(process)
        for other in sorted(self.processes):
            if other != name:
                self._link(process, other)
                for peer in self.alive(other):
                    self._link(peer, name)
        self.after(self.random.randrange(STEP_NS), lambda: self._step(process))
        return process

    def started(self, process: Process) -> None:
        """For worlds in which a process has more than a member."""

    def linked(self, process: Process, other: str, *, is_up: bool) -> None:
        """As ``started``: a peer can be reached from now on, or no more."""

    def named(self, process: Process) -> tuple[StoredObjects, ...]:
        """As ``started``: the notices of a block that closes now."""
        return ()

    def recorded(self, process: Process, block: Block, named: tuple[StoredObjects, ...]) -> None:
        """As ``started``: it closed."""

    def _link(self, process: Process, other: str) -> None:
        if (process.name, other) not in self.cut:
            process.member.peer_up(other)
            self.linked(process, other, is_up=True)
            self.pump(process)

    def alive(self, name: str) -> list[Process]:
        return [process for process in self.processes.get(name, ()) if process.running]

    def everyone(self) -> list[Process]:
        """Every running process, in one order always."""
        return [process for name in sorted(self.processes) for process in self.alive(name)]

    def crash(self, process: Process) -> None:
        """The process is gone with all it had not committed."""
        if process.running:
            process.running = False
            self.processes[process.name].remove(process)
            self.tell(f"{process.label} dies{' while committing' if process.committing else ''}")

    # ---- one box -----------------------------------------------------------------------------------------------

    def _step(self, process: Process) -> None:
        if not process.running:
            return
        process.member.step(self.now_of(process))
        self.pump(process)
        if self.random.random() < 0.8 or process.member.writer.wants_keyframe:
            self.close_block(process)
        self.pump(process)
        self.watcher.stepped(process)
        self.after(self.step_ns, lambda: self._step(process))

    def close_block(self, process: Process) -> Block:
        """Record, whatever the network does."""
        keyframe = process.member.writer.wants_keyframe or process.is_boundary or process.closed % KEYFRAME_EVERY == 0
        process.closed += 1
        now, named = self.now_of(process), self.named(process)
        boundaries, process.notices, process.is_boundary = tuple(process.notices), [], False
        block = process.member.close_block(Draft(
            payload=_KEYFRAME if keyframe else _NUMERIC, codec=CODEC_ZSTD, has_keyframe=keyframe,
            opened_ns=now.utc_ns, closed_ns=now.utc_ns, boot_ns=now.mono_ns,
            clock=ClockQuality(ClockState.SYNCHRONISED, 1), notices=(*boundaries, *named),
        ))  # fmt: skip
        self.recorded(process, block, named)
        self.watcher.closed(process, block)
        return block

    def switch_case(self, process: Process, case_id: bytes | None) -> None:
        """As the case desk: the last block of the old case says so, the first of the new one holds a keyframe."""
        old = process.member.writer.case_id
        if old is not None:
            process.notices.append(CaseBoundary("close", old))
            self.close_block(process)
        process.member.enter_case(case_id)
        process.is_boundary = True
        if case_id is not None:
            process.notices.append(CaseBoundary("open", case_id))
        self.close_block(process)
        self.pump(process)

    def pump(self, process: Process) -> None:
        """Do what the member asks for, as the agent does."""
        if not process.running:
            return
        for kept in process.member.take_keys():
            process.disk.keep((kept.key.key_id, kept.key, kept.wraps))
            process.member.key_kept(kept.key.key_id, self.now_of(process))
        self._begin_commit(process)
        for message in process.member.take_wire():
            self.say(process, message)
        process.member.take_warnings()
        process.member.events.clear()

    def _begin_commit(self, process: Process) -> None:
        if process.committing:
            return
        ops, position = process.member.take_ops()
        if not ops:
            return
        process.committing = True

        def done() -> None:
            if not process.running:
                return  # died before the fsync: nothing of it is there
            process.disk.commit(ops)
            process.committing = False
            process.member.committed(position, self.now_of(process))
            self.pump(process)

        self.after(process.commit_ns // 2 + self.random.randrange(process.commit_ns), done)

    # ---- the network -------------------------------------------------------------------------------------------

    def say(self, process: Process, message: WireMessage) -> None:
        """Send what a process says, or what it says instead if it lies."""
        for changed in process.outgoing(message) if process.outgoing else [message]:
            self._send(process, changed)

    def _send(self, process: Process, message: WireMessage) -> None:
        self.watcher.sent(process, message)
        for other in sorted(self.processes) if message.to == EVERYBODY else [message.to]:
            if other != process.name and (process.name, other) not in self.cut:
                self._carry(process.name, other, message.wire, bulk=message.bulk)

    def _carry(self, sender: str, receiver: str, wire: bytes, *, bulk: bool) -> None:
        if self.random.random() < self.weather.loss:
            return
        copies = 2 if self.random.random() < self.weather.doubling else 1
        for _ in range(copies):
            delay_ns = self.random.randrange(self.weather.delay_ns)
            self.after(delay_ns, lambda: self.deliver(sender, receiver, wire, bulk=bulk))

    def deliver(self, sender: str, receiver: str, wire: bytes, *, bulk: bool = False) -> None:
        """A message arrives; of two processes with one identity, one gets it."""
        there = self.alive(receiver)
        if not there or (sender, receiver) in self.cut:
            return
        process = there[0] if len(there) == 1 else self.random.choice(there)
        try:
            process.member.on_wire(sender, wire, self.now_of(process), bulk=bulk)
        except (PeerFault, VerificationFailed) as fault:
            self.faults[fault.id] = self.faults.get(fault.id, 0) + 1
        self.pump(process)

    def cut_link(self, sender: str, receiver: str) -> None:
        """One direction goes dead; the sender notices a little later."""
        self.cut.add((sender, receiver))
        for process in self.alive(sender):
            process.member.peer_down(receiver)
            self.linked(process, receiver, is_up=False)

    def heal_link(self, sender: str, receiver: str) -> None:
        self.cut.discard((sender, receiver))
        for process in self.alive(sender):
            self._link(process, receiver)


def _own_past(name: str, disk: SimDisk, replicas: list[Replica]) -> OwnPast:
    own = [replica for replica in replicas if replica.log.box == name]
    named = set()
    for replica in own:
        from ledger.block import decode_signed_header

        named |= linked_logs(decode_signed_header(disk.logs[replica.log][0][0]))
    ends: list[Head] = [replica.newest_head() for replica in own]
    highest = max((head for head in ends if head.log.fenced), key=lambda h: (h.log.counter, h.size), default=None)
    loose = tuple(head for head in ends if head.log not in named or head == highest)
    return OwnPast(int.from_bytes(disk.facts.get(COUNTER, b""), "big"), loose)
