"""What goes wrong in one seed, when, and how it ends: an hour of bad luck in a minute, then calm, then convergence."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest

from ledger import catchup, payload_catchup, writer
from ledger.errors import PeerFault
from ledger.limits import LIMITS, MS_NS, S_NS
from ledger.log import LogId
from ledger.messages import Answer
from ledger.writer import State
from tests.sim.crypto import quick_signatures
from tests.sim.liar import Liar
from tests.sim.truth import Broken, Truth
from tests.sim.world import STEP_NS, Process, Weather, World

STORM_NS = 16 * S_NS
CALM_NS = 6 * S_NS
PATIENCE_NS = 4 * LIMITS.payload_retry_max_ns  # who refuses, or has nothing yet, is asked ever more seldom
CHECK_NS = 2 * S_NS
SECOND_WRITER_WAIT_NS = 12 * S_NS
NONCE = bytes(16)


@dataclass(frozen=True, slots=True)
class Result:
    """What one seed came to. ``failure`` None: every invariant held. ``digest`` names the story exactly."""

    seed: int
    failure: str | None
    story: tuple[str, ...]
    digest: str
    cosigned: int
    certified: int
    virtual_s: float


class Scenario:
    """One seed's world and the faults that come over it."""

    def __init__(self, seed: int) -> None:
        self.switches_cases = seed % 7 == 3
        self.truth = Truth(cases=self.switches_cases)
        rng_boxes = (2, 3, 3, 4, 4, 4, 5, 5)
        self.seed = seed
        self.changes_manifest = seed % 3 == 1
        boxes = rng_boxes[seed % len(rng_boxes)]
        has_witness = seed % 11 == 5 and boxes > 3 and not self.changes_manifest  # a role cannot be changed
        self.witness_only = "or-3" if has_witness else ""
        self.world = World(
            seed, boxes, spares=2 if self.changes_manifest else 0, watcher=self.truth, witness_only=self.witness_only
        )
        self.random = self.world.random
        self._note_manifests()
        self.liar: Liar | None = None
        if boxes >= 5 and not self.changes_manifest and self.random.random() < 0.7:
            name = self.random.choice(sorted(self.world.processes))
            self.liar = Liar(self.world, name)
            self.truth.liars.add(name)
        self.forgetful = self.random.choice(self._honest()) if self.random.random() < 0.5 else None
        self.faults = self._choose_faults()

    def _honest(self) -> list[str]:
        return [name for name in sorted(self.world.processes) if name not in self.truth.liars]

    def _note_manifests(self) -> None:
        self.truth.manifests = {manifest.hash: manifest for manifest in self.world.manifests}

    # ---- the storm ---------------------------------------------------------------------------------------------

    def _choose_faults(self) -> list[Callable[[], None]]:
        faults = [self._weather, self._weather, self._cut, self._cut, self._heal, self._crash, self._crash, self._clock,
                  self._slow_disk, self._crash_all, self._away]  # fmt: skip
        if self.forgetful is not None:
            faults += [self._roll_back, self._roll_back]
        elif self.random.random() < 0.4:
            faults += [self._clone]
        if self.changes_manifest:
            faults += [self._change_manifest] * 2
        if self.switches_cases:
            faults += [self._switch_case] * 6
        return faults

    def run(self) -> Result:
        """Storm, calm, convergence; the first broken invariant ends it."""
        failure = None
        try:
            self._plan_fault()
            self._plan_check()
            self.world.run(STORM_NS)
            self._calm()
            self._check_convergence()
            if self.switches_cases:
                self._erase()
        except Broken as broken:
            failure = str(broken)
        except Exception as error:  # noqa: BLE001 - whatever the rules raise is a finding with a seed
            failure = f"{type(error).__name__}: {error}"
        story = tuple(self.world.story)
        digest = hashlib.sha256("\n".join([*story, str(self.truth.certified), failure or ""]).encode()).hexdigest()
        certified = sum(self.truth.certified.values())
        return Result(self.seed, failure, story, digest, self.truth.cosigned, certified, self.world.now_ns / S_NS)

    def _plan_fault(self) -> None:
        delay_ns = self.random.randrange(100 * MS_NS, 2_500 * MS_NS)

        def strike() -> None:
            if self.world.now_ns < STORM_NS:
                self.random.choice(self.faults)()
                self._plan_fault()

        self.world.after(delay_ns, strike)

    def _weather(self) -> None:
        self.world.weather = Weather(
            self.random.choice([0.0, 0.02, 0.1, 0.4]),
            self.random.choice([0.0, 0.0, 0.3]),
            self.random.choice([2, 20, 200, 1_500]) * MS_NS,
        )
        self.world.tell(f"{self.world.weather}")

    def _cut(self) -> None:
        names = sorted(self.world.processes)
        one = self.random.choice(names)
        others = [name for name in names if name != one]
        chosen = others if self.random.random() < 0.4 else [self.random.choice(others)]
        way = self.random.choice(["from", "to", "both", "both"])
        self.world.tell(f"links cut: {one} {way} {', '.join(chosen)}")
        for other in chosen:
            if way != "to":
                self.world.cut_link(one, other)
            if way != "from":
                self.world.cut_link(other, one)

    def _heal(self) -> None:
        self.world.tell("links heal")
        for sender, receiver in sorted(self.world.cut):
            self.world.heal_link(sender, receiver)

    def _crash(self) -> None:
        running = self.world.everyone()
        if running:
            self._crash_and_restart(self.random.choice(running))

    def _crash_and_restart(self, process: Process) -> None:
        self.world.crash(process)
        if process.label != process.name:
            return  # a clone stays dead
        name = process.name

        def restart() -> None:
            if not self.world.alive(name):
                self._dress(self.world.boot(name))

        self.world.after(self.random.choice([10, 300, 3_000, 9_000]) * MS_NS, restart)

    def _away(self) -> None:
        """One box is off for most of the storm while the others go on: it has much to catch up with."""
        name = self.random.choice(sorted(self.world.processes))
        for process in self.world.alive(name):
            if process.label == process.name:
                self.world.crash(process)
                self.world.tell(f"{name} stays away")
                self.world.after(self.random.choice([4_000, 8_000, 14_000]) * MS_NS, lambda: self._boot_once(name))

    def _dress(self, process: Process) -> None:
        if self.liar is not None and process.name == self.liar.name:
            self.liar.possess(process)

    def _crash_all(self) -> None:
        if self.random.random() < 0.3:
            self.world.tell("the whole site loses power")
            for process in self.world.everyone():
                self._crash_and_restart(process)

    def _clock(self) -> None:
        process = self.random.choice(self.world.everyone() or [None])
        if process is not None:
            process.utc_offset_ns += self.random.choice([-5, 3, 3_600]) * S_NS
            self.world.tell(f"{process.label}'s clock steps to {process.utc_offset_ns / S_NS:+.0f} s")

    def _slow_disk(self) -> None:
        process = self.random.choice(self.world.everyone() or [None])
        if process is not None:
            process.commit_ns = self.random.choice([1, 20, 900]) * MS_NS
            self.world.tell(f"{process.label}'s commits take {process.commit_ns // MS_NS} ms")

    def _roll_back(self) -> None:
        """The box dies and comes back with an older image of its whole disk."""
        name = self.forgetful
        if name is None:
            return
        disk = self.world.disks[name]
        length = len(disk.history)
        back = self.random.choice([1, 3, 10, 40, length])
        older = disk.image(length - back)
        own = {log: size for log, size in self.truth.certified.items() if log.box == name}
        if all(older.length(log) >= size for log, size in own.items()):
            return  # nobody could tell: what shows that memory was lost is a block of the box's own that others hold
        for process in self.world.alive(name):
            self.world.crash(process)
        self.world.disks[name] = older
        self.world.tell(f"{name}'s disk is put back by {back} of {length} transactions")
        self.world.after(self.random.choice([10, 2_000]) * MS_NS, lambda: self._boot_once(name))

    def _boot_once(self, name: str) -> None:
        if not self.world.alive(name):
            self._dress(self.world.boot(name))

    def _clone(self) -> None:
        """A second process with one box's identity, over a copy of its disk, perhaps of some time ago."""
        name = self.random.choice(self._honest())
        if any(process.label != process.name for process in self.world.everyone()):
            return
        disk = self.world.disks[name]
        back = self.random.choice([0, 5, 50])
        copy = disk.image(len(disk.history) - back)
        self.world.boot(name, copy, f"{name}-clone")

    def _change_manifest(self) -> None:
        """The site replaces, adds or removes boxes; one box is told, gossip does the rest."""
        if len(self.world.manifests) > 2:
            return
        last = self.world.manifests[-1]
        now_in = [box.id for box in last.boxes]
        spare = [name for name in sorted(self.world.identities) if name not in self.world.processes]
        keep = self.random.sample(now_in, max(2, len(now_in) - self.random.randrange(0, 3)))
        joining = self.random.sample(spare, min(len(spare), self.random.randrange(0, 3)))
        moves = self.forgetful in now_in and len(spare) >= 2 and self.random.random() < 0.7
        if moves:  # one box gets all new peers and then loses its memory: only the old ones know its past
            keep, joining = [str(self.forgetful)], spare[:2]
            self.world.after(self.random.choice([50, 400, 2_000]) * MS_NS, self._roll_back)
        names = sorted([*keep, *joining])
        if len(names) < 2 or names == sorted(now_in):
            return
        signed = self.world.change_manifest(names)
        self._note_manifests()
        self.world.tell(f"manifest {len(self.world.manifests)}: {', '.join(names)}")
        for name in joining:
            self.world.enrol(name)
        told = [process for process in self.world.everyone() if process.name in (keep if moves else now_in)]
        if told:
            self._offer(self.random.choice(told), signed)

    def _offer(self, process: Process, signed: bytes) -> None:
        try:
            process.member.offer_manifest(signed)
        except PeerFault:
            return  # it knows an older one than the one before: gossip brings it what lies between
        self.world.pump(process)

    def _switch_case(self) -> None:
        """A patient leaves, perhaps the next one is there."""
        process = self.random.choice(self.world.everyone() or [None])
        if process is not None:
            case_id = self.random.choice([None, self.random.randbytes(16), self.random.randbytes(16)])
            self.world.tell(f"{process.label} enters {case_id.hex()[:8] if case_id else 'no case'}")
            self.world.switch_case(process, case_id)

    def _erase(self) -> None:
        """Every box destroys the key of a case: nothing of it can be read, and recording and vouching go on."""
        self.world.step_ns = STEP_NS  # nobody waits any more: blocks close often enough to be vouched for
        everyone = self.world.everyone()
        for process in everyone:
            self.world.switch_case(process, None)
        self.world.run(self.world.now_ns + 3 * S_NS)
        keys = self.truth.erasable({process.member.writer.chain.data_key.key_id for process in everyone})
        if not keys:
            return
        key_id = self.random.choice(keys)
        self.world.tell(f"key {key_id.hex()[:8]} is destroyed everywhere")
        for disk in self.world.disks.values():
            disk.keys.pop(key_id, None)
        before = dict(self.truth.certified)
        self.truth.erased.add(key_id)
        self.truth.check_erased(key_id, self.world.disks.values())
        self.world.run(self.world.now_ns + 4 * S_NS)
        self.truth.check_erased(key_id, self.world.disks.values())
        for process in self._settled():
            log = process.member.writer.chain.log
            if self.truth.certified.get(log, 0) <= before.get(log, 0):
                raise Broken(f"{log} is vouched for no further since a case was erased")

    # ---- restores ----------------------------------------------------------------------------------------------

    def _plan_check(self) -> None:
        def check() -> None:
            for name in self._honest():
                self._restore(name)
            if self.world.now_ns < STORM_NS + CALM_NS:
                self._plan_check()

        self.world.after(CHECK_NS, check)

    def _restore(self, box: str) -> None:
        """Some of the peers that can answer, answer; if they are enough, nothing certified may be missing."""
        manifests = [manifest for manifest in self.world.manifests if manifest.lists(box)]
        able = [
            process
            for process in self.world.everyone()
            if process.name != box and process.label == process.name and process.member.voids.may_vouch(box)
        ]
        self.random.shuffle(able)
        answers: dict[str, Answer] = {}
        for process in able:
            enough = all(
                len({peer.id for peer in manifest.peers_of(box)} & answers.keys()) >= manifest.quorum_of(box).fence
                for manifest in manifests
            )
            if enough:
                break
            answer = process.member.answer(NONCE, box, self.world.now_of(process))
            answers[process.name] = self.liar.answer(answer) if process.name in self.truth.liars else answer  # type: ignore[union-attr]
        else:
            return
        givers = [process.disk for process in able if process.name in answers and process.name not in self.truth.liars]
        if self.witness_only or self.forgetful in answers:  # who holds headers alone: another disk has the payload
            givers = [self.world.disks[name] for name in self._honest()]
        self.truth.check_restore(manifests[-1], box, answers, givers)

    # ---- the end -----------------------------------------------------------------------------------------------

    def _calm(self) -> None:
        """Everything is mended: the group must come to rest by itself."""
        self.world.tell("calm")
        self.world.weather = Weather()
        self._heal()
        for process in self.world.everyone():
            process.commit_ns = 2 * MS_NS
            if process.label != process.name:
                self.world.crash(process)
        for name in sorted(self.world.processes):
            self._boot_once(name)
        for manifest, signed in zip(self.world.manifests, self.world.signed_manifests, strict=True):
            for process in self.world.everyone():
                if manifest.version == process.member.manifest.version + 1:
                    self._offer(process, signed)  # the operator tries again: the box told first may have died
                    break
            else:  # the version before reached only a box that it removes
                for process in self.world.everyone():
                    if manifest.version == process.member.manifests.newest.version + 1:
                        self._offer(process, signed)
        self.world.run(STORM_NS + CALM_NS)
        self.world.step_ns *= 4  # what is left is waiting: for a fence after a second writer
        while self.world.now_ns < STORM_NS + CALM_NS + PATIENCE_NS and self._unsettled() is not None:
            self.world.run(self.world.now_ns + S_NS)

    def _check_convergence(self) -> None:
        wrong = self._unsettled()
        if wrong is not None:
            raise Broken(f"no convergence: {wrong}")

    def _settled(self) -> list[Process]:
        newest = self.world.manifests[-1]
        return [process for process in self.world.everyone()
                if process.name not in self.truth.liars and newest.lists(process.name)]  # fmt: skip

    def _unsettled(self) -> str | None:
        newest, honest = self.world.manifests[-1], self._settled()
        for process in honest:
            member = process.member
            if member.manifest.hash != newest.hash:
                return f"{process.label} works by manifest {member.manifest.version}"
            # What a liar's frozen log holds elsewhere can never be had here: a word on its box is owed to nobody.
            void = {box for box in member.voids.void if newest.lists(box)} - self.truth.liars
            if not member.voids.is_sure or void:
                return f"{process.label}'s word is void for {sorted(void)}"
            if member.writer.state is not State.FENCED:
                return f"{process.label} is {member.writer.state}"
            log, size = member.writer.chain.log, member.writer.chain.size
            if self.truth.certified.get(log, 0) < size - 8:
                return f"{process.label} wrote {size} blocks of {log}, {self.truth.certified.get(log, 0)} are certified"
            for peer in honest:
                if peer is not process and self._held(peer, log) < size - 8:
                    return f"{peer.label} holds {self._held(peer, log)} of {size} whole blocks of {log}"
        return self._lacking_payload(honest)

    def _held(self, peer: Process, log: LogId) -> int:
        """Blocks that are held as whole as this peer keeps any."""
        return peer.disk.length(log) if peer.name == self.witness_only else peer.disk.whole(log)

    def _lacking_payload(self, honest: list[Process]) -> str | None:
        """A payload that some honest box holds must come to every box that holds its header."""
        for process in [process for process in honest if process.name != self.witness_only]:
            for log, blocks in process.disk.logs.items():
                for seq in range(process.disk.whole(log), len(blocks) - 8):
                    givers = [peer.label for peer in honest if peer.disk.has_payload(log, seq)]
                    if not blocks[seq][1] and givers and not _is_frozen(process, log):
                        return f"{process.label} lacks the payload of block {seq} of {log}, {givers} hold it"
        return None


def _is_frozen(process: Process, log: LogId) -> bool:
    replica = process.member.witness.replicas.get(log)
    return replica is not None and replica.frozen


def run_seed(seed: int) -> Result:
    """The whole story of one seed."""
    with quick_signatures(), short_gaps():
        return Scenario(seed).run()


@contextmanager
def short_gaps() -> Iterator[None]:
    """Stories are short: what is hours of catching up elsewhere is a dozen blocks here, and a minute is seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "LIMITS", replace(LIMITS, second_writer_wait_ns=SECOND_WRITER_WAIT_NS))
        patch.setattr(catchup, "SHORT_GAP_BLOCKS", 4)
        patch.setattr(payload_catchup, "PIECE_BLOCKS", 5)
        yield
