"""Stories that chance would hardly tell: each once contradicted or lost what was certified."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ledger import writer
from ledger.lacking import lacking
from ledger.limits import S_NS
from ledger.manifest import Role
from ledger.manifests import Manifests
from tests.sim.crypto import quick_signatures
from tests.sim.scenario import short_gaps
from tests.sim.truth import Broken, Truth
from tests.sim.world import Process, World

BOX = "or-1"


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    with quick_signatures(), short_gaps():
        yield


class Told(World):
    """A world whose faults are told, not drawn."""

    def __init__(self, boxes: int, spares: int) -> None:
        self.truth = Truth()
        super().__init__(5, boxes, spares, self.truth)
        self._note()

    def _note(self) -> None:
        self.truth.manifests = {manifest.hash: manifest for manifest in self.manifests}

    def pass_s(self, seconds: int) -> None:
        self.run(self.now_ns + seconds * S_NS)

    def isolate(self, *together: str) -> None:
        """These speak to each other alone from now on; so do the others."""
        for sender, receiver in sorted(self.cut):
            self.heal_link(sender, receiver)
        for inside in together:
            for outside in self.identities.keys() - {*together}:
                self.cut_link(inside, outside)
                self.cut_link(outside, inside)

    def adopt(self, names: list[str]) -> None:
        """A new manifest, told to the box; gossip does the rest."""
        self.change_manifest(names)
        self._note()
        for name in names:
            if name not in self.processes:
                self.enrol(name)
        self.tell_newest()

    def tell_newest(self) -> None:
        """An operator brings the newest manifest to the box."""
        self.the(BOX).member.offer_manifest(self.signed_manifests[-1])
        self.pump(self.the(BOX))

    def the(self, name: str) -> Process:
        (process,) = self.alive(name)
        return process

    def put_back(self, name: str, transactions: int) -> None:
        self.crash(self.the(name))
        self.disks[name] = self.disks[name].image(transactions)
        self.boot(name)

    def restart(self, name: str) -> None:
        self.crash(self.the(name))
        self.boot(name)


def forgets_its_newest_manifest(before: list[str], after: list[str], reached: list[str]) -> None:
    """The box gets new peers, loses its memory of them, and begins several epochs under its old manifest, within reach
    of ``reached`` alone: then it meets everybody again.
    """
    world = Told(len(before), len(set(after) - set(before)))
    world.pass_s(4)
    image = len(world.disks[BOX].history)
    world.isolate(*(world.identities.keys() - {*reached}))
    world.adopt(after)
    world.pass_s(8)
    of_the_new = world.the(BOX).member.writer.chain
    assert of_the_new.manifest_hash == world.manifests[1].hash
    assert world.truth.certified.get(of_the_new.log, 0) > 5
    world.isolate(BOX, *reached)
    world.put_back(BOX, image - 2)
    while world.the(BOX).member.writer.chain.log.counter <= of_the_new.log.counter:
        world.restart(BOX)
        world.pass_s(3)
    astray = world.the(BOX).member.writer.chain
    assert astray.manifest_hash == world.manifests[0].hash
    assert astray.log.fenced
    world.isolate()
    world.pass_s(8)
    world.tell_newest()  # who had no peers under its old manifest hears nobody
    world.pass_s(8)
    process = world.the(BOX)
    log = process.member.writer.chain.log
    assert log.counter > astray.log.counter
    assert world.truth.certified.get(log, 0) > 5, "it is vouched for again"


STORIES = [
    pytest.param([BOX, "or-2", "or-3"], [BOX, "or-4", "or-5"], ["or-3"], id="two-peers"),
    pytest.param([BOX], [BOX, "or-2", "or-3", "or-4"], [], id="alone"),
]


@pytest.mark.parametrize(("before", "after", "reached"), STORIES)
def test_epochs_under_a_forgotten_manifest_contradict_nothing(
    before: list[str], after: list[str], reached: list[str]
) -> None:
    forgets_its_newest_manifest(before, after, reached)


def test_a_box_that_forgot_two_manifests_is_vouched_for_again_without_a_restart() -> None:
    """Its epoch under the first one is followed by one under the third, which continues what it recorded under the
    second: that one's group must promise, too.
    """
    world = Told(1, 3)
    world.pass_s(4)
    image = len(world.disks[BOX].history)
    world.adopt([BOX, "or-2", "or-3", "or-4"])
    world.pass_s(8)
    of_the_second = world.the(BOX).member.writer.chain
    world.isolate(BOX)
    world.put_back(BOX, image - 2)
    while world.the(BOX).member.writer.chain.log.counter <= of_the_second.log.counter:
        world.restart(BOX)
        world.pass_s(3)
    world.adopt([BOX, "or-2", "or-3"])
    process = world.the(BOX)
    for signed in world.signed_manifests[1:]:
        process.member.offer_manifest(signed)
    world.pump(process)
    assert process.member.manifests.newest.version == 3
    world.isolate()
    world.pass_s(40)
    assert world.the(BOX) is process
    log = process.member.writer.chain.log
    assert log.fenced
    assert process.member.writer.chain.manifest_hash == world.manifests[2].hash
    assert world.truth.certified.get(log, 0) > 5, "it is vouched for again"


@pytest.mark.parametrize(("before", "after", "reached"), STORIES)
def test_and_would_if_the_manifest_did_not_count_first(
    before: list[str], after: list[str], reached: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Manifests, "version_of", lambda _self, _hash: 0)
    monkeypatch.setattr(writer.Writer, "_version_of", lambda _self, _log: 0)
    with pytest.raises(Broken, match="does not continue"):
        forgets_its_newest_manifest(before, after, reached)


def test_a_witness_only_box_vouches_for_headers_and_restores_come_from_the_others() -> None:
    world = Told(3, 1)
    world.identities["or-4"].role = Role.WITNESS
    world.pass_s(2)
    world.adopt([BOX, "or-2", "or-3", "or-4"])
    world.pass_s(6)
    world.crash(world.the("or-3"))
    log, before = world.the(BOX).member.writer.chain.log, world.the(BOX).member.writer.chain.size
    world.pass_s(5)
    assert world.truth.certified[log] > before, "or-2 and the witness-only box are enough"
    witness = world.the("or-4")
    held = witness.disk.logs[log]
    assert len(held) > before
    assert not any(payload for _, payload in held)
    assert lacking(witness.member) == {}
    assert world.faults.get("wrap.absent", 0) == 0
    world.put_back("or-4", len(witness.disk.history) - 20)
    world.boot("or-3")
    world.pass_s(6)
    again = world.the("or-4").member
    assert again.voids.is_sure
    assert not again.voids.void
    assert lacking(again) == {}
    assert len(world.the("or-4").disk.logs[log]) > len(held)
    world.crash(world.the(BOX))
    world.pass_s(2)
    peers = [world.the(name) for name in ("or-2", "or-4")]
    answers = {peer.name: peer.member.answer(bytes(16), BOX, world.now_of(peer)) for peer in peers}
    world.truth.check_restore(world.manifests[-1], BOX, answers, [peer.disk for peer in peers])
