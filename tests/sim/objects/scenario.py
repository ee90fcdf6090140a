"""One seed of objects: they are brought, copied and vouched for while messages are lost, boxes die and a peer lies."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest

from ledger.chain import Block
from ledger.limits import MS_NS, S_NS
from ledger.member import WireMessage
from ledger.message_codec import decode_message, encode_plain
from ledger.messages import AskHoldings, Holding, ObjectPiece
from ledger.notices import StoredObjects
from ledger.objects import SealedObject
from ledger.ops import ObjectState
from ledger.quorum import Level
from tests.sim.crypto import quick_signatures
from tests.sim.disk import SimDisk
from tests.sim.objects.box import ObjectBox
from tests.sim.objects.disk import ROOMY_BYTES, ObjectDisk, Row, SimFolder
from tests.sim.objects.truth import ObjectTruth, Taken
from tests.sim.truth import Broken
from tests.sim.world import STEP_NS, Process, Weather, World

STORM_NS = 8 * S_NS
PATIENCE_NS = 60 * S_NS
STORM_STEP_NS = 500 * MS_NS
CALM_STEP_NS = 900 * MS_NS
BOXES = (3, 4, 3, 5)
MOST_CONTENT = 450_000
LITTLE_ROOM = 200_000


@dataclass(frozen=True, slots=True)
class Result:
    """What one seed came to. ``failure`` None: every invariant held. ``digest`` names the story exactly."""

    seed: int
    failure: str | None
    story: tuple[str, ...]
    digest: str
    recorded: int
    words: int
    pulled_back: int
    virtual_s: float


class ObjectWorld(World):
    """A world whose boxes have objects."""

    def __init__(self, seed: int, boxes: int, truth: ObjectTruth) -> None:
        self.boxes: dict[Process, ObjectBox] = {}
        self.truth = truth
        super().__init__(seed, boxes, watcher=truth)

    def new_disk(self, name: str) -> SimDisk:
        return ObjectDisk(enumerate(self.signed_manifests, 1), SimFolder(self.random))

    def started(self, process: Process) -> None:
        assert isinstance(process.disk, ObjectDisk)
        folder = process.disk.folder
        process.disk.on_commit = lambda ops: self.truth.committed(process, folder, ops)
        box = self.boxes[process] = ObjectBox(self, process, lambda dead: self.end(dead, power=True))
        self.after(self.random.randrange(STEP_NS), lambda: self._step_objects(process, box))

    def _step_objects(self, process: Process, box: ObjectBox) -> None:
        if process.running:
            box.step()
            self.truth.check_bounds(box)
            self.pump(process)
            self.after(self.step_ns, lambda: self._step_objects(process, box))

    def linked(self, process: Process, other: str, *, is_up: bool) -> None:
        turns = self.boxes[process].turns
        if is_up:
            turns.peer_up(other)
        else:
            turns.peer_down(other)

    def named(self, process: Process) -> tuple[StoredObjects, ...]:
        return self.boxes[process].named()

    def recorded(self, process: Process, block: Block, named: tuple[StoredObjects, ...]) -> None:
        self.boxes[process].recorded(block.log, block.seq, named)

    def end(self, process: Process, *, power: bool) -> None:
        """A process dies, with or without the power of its box."""
        if process.running:
            box = self.boxes.pop(process)
            self.crash(process)
            for pulling in box.pulls:
                pulling.pull.close()
            box.folder.crash(power=power)


class ObjectLiar:
    """Changes what one box says of objects. ``claims``: it may also say that it holds what it does not."""

    def __init__(self, world: ObjectWorld, name: str, *, claims: bool) -> None:
        self._world = world
        habits = ["spoils", "withholds", "cuts"] + ["claims"] * 2 * claims
        self.habits = {world.random.choice(habits), world.random.choice(habits)}
        self.name = name
        self._names: dict[bytes, int] = {}
        world.tell(f"{name} lies: {', '.join(sorted(self.habits))}")

    def possess(self, process: Process) -> None:
        process.outgoing = lambda message: self._change(process, message)
        honest = process.member.on_object

        def hear(sender: str, body: object, wire: bytes) -> None:
            if isinstance(body, AskHoldings) and "claims" in self.habits:
                for name in body.names:
                    self._claim(process, sender, name)
            honest(sender, body, wire)  # type: ignore[arg-type]

        process.member.on_object = hear

    def _claim(self, process: Process, sender: str, name: bytes) -> None:
        known = self._world.truth.taken.get(name)
        if known is not None:
            wire = process.member.sign(Holding(name, known.known.sealed_bytes))
            self._world.say(process, WireMessage(sender, wire, Holding, bulk=False))

    def _change(self, process: Process, message: WireMessage) -> list[WireMessage]:
        if message.kind is not ObjectPiece:
            return [message]
        piece = decode_message(message.wire)
        assert isinstance(piece, ObjectPiece)
        luck = self._world.random.random()
        if "withholds" in self.habits and luck < 0.4:
            return [] if luck < 0.2 else [replace(message, wire=encode_plain(replace(piece, data=b"")))]
        if "spoils" in self.habits and piece.data and luck < 0.8:
            data = bytes([piece.data[0] ^ 1]) + piece.data[1:]
            return [replace(message, wire=encode_plain(replace(piece, data=data)))]
        if "cuts" in self.habits and piece.data and luck < 0.9:
            return [replace(message, wire=encode_plain(replace(piece, data=piece.data[:-1])))]
        return [message]


class ObjectScenario:
    """One seed's world and the faults that come over it."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.truth = ObjectTruth()
        boxes = BOXES[seed % len(BOXES)]
        self.world = ObjectWorld(seed, boxes, self.truth)
        self.random = self.world.random
        self.world.step_ns = STORM_STEP_NS
        self.liar: ObjectLiar | None = None
        if self.random.random() < 0.7:
            name = self.random.choice(sorted(self.world.processes))
            claims = boxes >= 5
            self.liar = ObjectLiar(self.world, name, claims=claims)
            (self.truth.liars if claims else self.truth.spoilers).add(name)
            for process in self.world.alive(name):
                self.liar.possess(process)

    def run(self) -> Result:
        """Storm, calm, convergence; the first broken invariant ends it."""
        failure = None
        try:
            self._plan(self._strike, 300, 2_000)
            self._plan(self._bring, 200, 1_200)
            self._plan(self._pull_back, 500, 1_500)
            self.world.run(STORM_NS)
            self._calm()
            self._check_end()
        except Broken as broken:
            failure = str(broken)
        except Exception as error:  # noqa: BLE001 - whatever the rules raise is a finding with a seed
            failure = f"{type(error).__name__}: {error}"
        story, truth = tuple(self.world.story), self.truth
        told = "\n".join([*story, *(name.hex() for name in truth.taken), str(truth.words), failure or ""])
        digest = hashlib.sha256(told.encode()).hexdigest()
        return Result(self.seed, failure, story, digest, truth.recorded, truth.words, truth.pulled_back,
                      self.world.now_ns / S_NS)  # fmt: skip

    def _plan(self, what: Callable[[], None], least_ms: int, most_ms: int) -> None:
        def due() -> None:
            if self.world.now_ns < STORM_NS:
                what()
                self._plan(what, least_ms, most_ms)

        self.world.after(self.random.randrange(least_ms, most_ms) * MS_NS, due)

    # ---- the storm ---------------------------------------------------------------------------------------------

    def _bring(self) -> None:
        running = self.world.everyone()
        if not running:
            return
        process = self.random.choice(running)
        content = self.random.randbytes(self.random.choice([0, 1, 65_280, 65_281, self.random.randrange(MOST_CONTENT)]))

        def finished(known: SealedObject) -> None:
            self.truth.taken[known.sha256] = Taken(known, content)
            self.world.tell(f"{process.label} took in object {known.sha256.hex()[:8]}, {len(content)} bytes")

        self.world.boxes[process].put(content, abort=self.random.random() < 0.2, finished=finished)

    def _strike(self) -> None:
        running = self.world.everyone()
        if not running:
            return
        process = self.random.choice(running)
        fault = self.random.choice(
            ["weather", "weather", "cut", "heal", "kill", "power", "step", "step", "full", "slow"]
        )
        if fault == "weather":
            self.world.weather = Weather(
                self.random.choice([0.0, 0.05, 0.3]), self.random.choice([0.0, 0.2]),
                self.random.choice([2, 50, 700]) * MS_NS,
            )  # fmt: skip
        elif fault == "cut":
            other = self.random.choice([name for name in sorted(self.world.processes) if name != process.name])
            self.world.cut_link(process.name, other)
            self.world.cut_link(other, process.name)
        elif fault == "heal":
            self._heal()
        elif fault in {"kill", "power"}:
            self.world.end(process, power=fault == "power")
            self._restart_later(process.name)
        elif fault == "step":  # in the middle of a write, an fsync or a rename
            self.world.boxes[process].folder.die_at = self.random.randrange(12)
            self._restart_later(process.name)
        elif fault == "full":
            folder = self.world.boxes[process].folder
            free, capacity = folder.room()
            folder.capacity = capacity - free + self.random.randrange(LITTLE_ROOM)
            self.world.after(self.random.choice([800, 3_000]) * MS_NS, lambda: setattr(folder, "capacity", ROOMY_BYTES))
        else:
            process.commit_ns = self.random.choice([1, 40, 700]) * MS_NS
        self.world.tell(f"{process.label}: {fault}")

    def _heal(self) -> None:
        for sender, receiver in sorted(self.world.cut):
            self.world.heal_link(sender, receiver)

    def _restart_later(self, name: str) -> None:
        self.world.after(self.random.choice([50, 900, 2_500]) * MS_NS, lambda: self._boot(name))

    def _boot(self, name: str) -> None:
        if self.world.alive(name):
            return
        process = self.world.boot(name)
        if self.liar is not None and name == self.liar.name:
            self.liar.possess(process)

    # ---- checks ------------------------------------------------------------------------------------------------

    def _pull_back(self) -> None:
        """Of one box, an object that it says is witnessed; some of its peers answer, as few as promise to suffice."""
        manifest = self.world.manifests[-1]
        for process in self.world.everyone():
            rows = self.truth.witnessed(self.world.boxes[process]) if process.name not in self.truth.liars else []
            if not rows:
                continue
            peers = [box.id for box in manifest.peers_of(process.name)]
            asked = self.random.sample(peers, manifest.quorum_of(process.name).fence)
            self.truth.check_pull_back(
                self.random.choice(rows), {name: self._folder(name) for name in asked}, self.random
            )

    def _folder(self, name: str) -> SimFolder:
        disk = self.world.disks[name]
        assert isinstance(disk, ObjectDisk)
        return disk.folder

    def _calm(self) -> None:
        self.world.tell("calm")
        self.world.weather = Weather()
        self._heal()
        for name in sorted(self.world.processes):
            folder = self._folder(name)
            folder.die_at, folder.capacity = None, ROOMY_BYTES
            for process in self.world.alive(name):
                process.commit_ns = 2 * MS_NS
            self._boot(name)
        self.world.step_ns = CALM_STEP_NS
        while self.world.now_ns < STORM_NS + PATIENCE_NS and (
            self.world.now_ns < STORM_NS + 2 * S_NS or self._unsettled() is not None
        ):
            self.world.run(self.world.now_ns + S_NS)

    def _check_end(self) -> None:
        wrong = self._unsettled()
        if wrong is not None:
            raise Broken(f"no convergence: {wrong}")
        for process in self._honest():
            box = self.world.boxes[process]
            for row in box.disk.objects():
                if row.state is ObjectState.HELD and row.stored.sha256 in self.truth.taken:
                    self.truth.check_content(box, row)
            wanted = {row.stored.sha256 for row in box.disk.objects_wanted()}  # of a liar's, that nobody gives whole
            if box.folder.unfinished() or any(part.sha256 not in wanted for part in box.folder.parts()):
                raise Broken(f"{process.label} leaves parts of objects behind")

    def _honest(self) -> list[Process]:
        return [process for process in self.world.everyone() if process.name not in self.truth.liars]

    def _unsettled(self) -> str | None:
        """An object that a box holds which gives it unspoilt must come to all; then it is vouched for."""
        honest = self._honest()
        givers = [peer.name for peer in honest if peer.name not in self.truth.spoilers]
        for process in honest:
            for row in self.world.boxes[process].disk.objects():
                name = row.stored.sha256
                if row.state is not ObjectState.HELD and any(self._folder(giver).holds(name) for giver in givers):
                    return f"{process.label} does not hold object {name.hex()[:8]} of {row.log.box}: {row.state.name}"
        for process in honest:
            wrong = self._not_vouched_for(process) if process.name in givers else None
            if wrong is not None:
                return wrong
        return None

    def _not_vouched_for(self, process: Process) -> str | None:
        box = self.world.boxes[process]
        for row in box.disk.objects():
            if row.log.box == process.name and row.state is ObjectState.HELD:
                level = box.vouching.level(row.log, row.stored.sha256)
                if level < Level.WITNESSED and self._known_to_peers(row):
                    return f"object {row.stored.sha256.hex()[:8]} of {process.label} is {level.name}"
        return None

    def _known_to_peers(self, row: Row) -> bool:
        """Its block reached every honest box."""
        return all(self.world.boxes[peer].disk.objects_named(row.stored.sha256) for peer in self._honest())


def run_object_seed(seed: int) -> Result:
    """The whole story of one seed."""
    with quick_signatures(), _salts() as set_source:
        scenario = ObjectScenario(seed)
        set_source(scenario.random.randbytes)
        return scenario.run()


@contextmanager
def _salts() -> Iterator[Callable[[Callable[[int], bytes]], None]]:
    """Salts of objects are of the seed too."""
    with pytest.MonkeyPatch.context() as patch:
        yield lambda source: patch.setattr(secrets, "token_bytes", source)
