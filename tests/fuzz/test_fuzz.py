"""Every driver against a small number of damaged inputs; ``make fuzz`` gives it as many as wanted."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec
import pytest

from drivers import registry
from drivers.built_in import BUILT_IN
from drivers.capture import CaptureHeader
from drivers.contract import Message, Now, Outbox, Sendable, Spec, Transport
from drivers.ge_dri import GeDri, GeDriConfig
from ledger.records import LinkId
from tests.captures.conversation import driver_of
from tests.fuzz import __main__ as command
from tests.fuzz import campaign
from tests.fuzz.campaign import Input, Run, execute, planned, tracks
from tests.fuzz.minimise import failure, told
from tests.fuzz.shell import Shell, Violation

SUITE_INPUTS = 500


@pytest.mark.parametrize("driver", BUILT_IN)
def test_no_damage_harms_a_driver_for_longer_than_a_frame(driver: str) -> None:
    damaged = planned(driver, "suite", SUITE_INPUTS)
    if failure(damaged) is not None:
        pytest.fail(told(damaged))


@pytest.mark.parametrize("driver", BUILT_IN)
def test_what_is_declared_as_sendable_is_not_just_anything(driver: str) -> None:
    rng = random.Random(driver)
    spec = registry.get(driver).spec
    for size in (0, 64, 256):
        assert not any(spec.may_send(rng.randbytes(size)) for _ in range(200))


class Fragile(Outbox):
    """Has one fault for each letter."""

    spec: ClassVar[Spec[Any]] = Spec(
        name="fragile",
        devices=("none",),
        transports=(Transport.SERIAL,),
        config=msgspec.Struct,
        tx_allowed=(Sendable(re.compile(rb"ok"), "all is well"),),
        longest_frame_bytes=64,
    )

    def __init__(self, config: object = None) -> None:
        super().__init__()
        self.hoard: list[bytes] = []

    def link_up(self, link: LinkId, peer: str, now: Now) -> None:
        self.send(link, b"ok")

    def link_down(self, link: LinkId, reason: str, now: Now) -> None: ...

    def receive(self, link: LinkId, data: bytes | Message, now: Now) -> None:
        assert isinstance(data, bytes)
        if b"\xffR" in data:
            raise ValueError("raised")
        if b"\xffS" in data:
            self.send(link, b"STOP")
        if b"\xffH" in data:
            self.hoard.append(bytes(64 << 20))


def _run_with(monkeypatch: pytest.MonkeyPatch, inputs: Sequence[bytes]) -> str:
    monkeypatch.setattr("tests.fuzz.campaign.driver_of", lambda header: Fragile())
    monkeypatch.setattr("tests.fuzz.campaign._often", lambda driver, number: (frozenset(), 0))
    return told(Run("meta", tracks("ge-dri")[0], tuple(Input("receive", data=data) for data in inputs)))


@pytest.mark.parametrize(
    ("fault", "word"), [(b"R", "ValueError: raised"), (b"S", "never declared: b'STOP'"), (b"H", "bytes more than")]
)
def test_a_driver_with_a_fault_is_found_out_and_the_shortest_input_told(
    monkeypatch: pytest.MonkeyPatch, fault: bytes, word: str
) -> None:
    text = _run_with(monkeypatch, [b"harmless", b"before\xff" + fault + b"after", b"harmless too"])
    assert word in text
    assert repr(b"\xff" + fault) in text
    assert "harmless" not in text
    assert "seed 'meta'" in text


class Stuck(GeDri):
    """Reads nothing any more after a certain byte; ``for_good``: not even on a new link."""

    for_good = False
    deaf = False

    def link_up(self, link: LinkId, peer: str, now: Now) -> None:
        self.deaf = self.deaf and self.for_good
        super().link_up(link, peer, now)

    def receive(self, link: LinkId, data: bytes | Message, now: Now) -> None:
        self.deaf = self.deaf or data == b"\xff"
        if not self.deaf:
            super().receive(link, data, now)


class StuckForGood(Stuck):
    for_good = True


@pytest.mark.parametrize(
    ("kind", "what", "word"),
    [(Stuck, "receive", "does not find its way back"), (StuckForGood, "reconnect", "no longer reads")],
)
def test_a_driver_that_stays_confused_is_found_out(
    monkeypatch: pytest.MonkeyPatch, kind: type[Stuck], what: str, word: str
) -> None:
    track = tracks("ge-dri")[0]
    codes = campaign._often("ge-dri", 0)
    made: list[Stuck] = []

    def first_is_stuck(header: CaptureHeader) -> GeDri:
        config = msgspec.convert(header.options, GeDriConfig)
        made.append(kind(config))
        return made[0] if len(made) == 1 else GeDri(config)

    monkeypatch.setattr(campaign, "driver_of", first_is_stuck)
    monkeypatch.setattr(campaign, "_often", lambda driver, number: codes)
    if what == "reconnect":
        monkeypatch.setattr(campaign, "_resynchronise", lambda shell, track, tail: None)
    with pytest.raises(Violation, match=word):
        execute(Run("stuck", track, (Input("receive", data=b"\xff"), Input("sound"), Input("receive", data=b"more"))))


@pytest.mark.parametrize("driver", ["servo-i", "medibus", "intellivue"])
def test_damage_falls_on_dialogues_that_have_come_so_far_that_values_are_read(driver: str) -> None:
    run = planned(driver, "begun", 400)
    begun = next(given for given in run.inputs if given.what == "begin")
    shell = Shell(driver_of(run.track.header), run.track.header.t0_ns)
    campaign._begin(shell, run.track, begun)
    assert shell.codes


def test_a_fault_that_only_another_case_brings_out_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mixed(GeDri):
        def case_changed(self, facts: Mapping[str, str] | None) -> None:
            raise ValueError("cases mixed up")

    track = tracks("ge-dri")[0]
    codes = campaign._often("ge-dri", 0)
    monkeypatch.setattr(campaign, "driver_of", lambda header: Mixed(msgspec.convert(header.options, GeDriConfig)))
    monkeypatch.setattr(campaign, "_often", lambda driver, number: codes)
    fault = failure(Run("mixed", track, (Input("receive", data=b"x"), Input("case"))))
    assert isinstance(fault, ValueError)


def test_a_damaged_object_is_another_object_whose_waves_are_read_again() -> None:
    inputs = [given for seed in range(8) for given in planned("dicom", f"objects/{seed}", 50).inputs]
    messages = [given.data for given in inputs if isinstance(given.data, Message) and given.data.body]
    objects = [message.object for message in messages if message.object is not None]
    assert len({stored.meta["data_set_sha256"] for stored in objects}) == len(objects) > 50
    assert len({message.body for message in messages}) > 50


@pytest.mark.parametrize("driver", BUILT_IN)
def test_nothing_that_is_not_declared_leaves_in_any_capture(driver: str) -> None:
    for track in tracks(driver):
        execute(Run("sound", track, ()))  # raises for whatever is not


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_the_command_tells_its_seed_what_it_did_and_that_all_withstood(
    capsys: pytest.CaptureFixture[str], jobs: str
) -> None:
    assert command.main(["--driver", "line", "--inputs", "2500", "--seed", "s", "--jobs", jobs]) == 0
    told = capsys.readouterr().out
    assert "seed s" in told
    assert "line: 4000 damaged inputs" in told
    assert "total: 4000 of 4000" in told
    assert "failed: none" in told


def test_the_command_fails_with_the_driver_and_tells_how_to_see_it_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails_once(run: Run) -> Exception | None:
        return ValueError("raised") if run.seed == "s/1" else None

    monkeypatch.setattr(command, "failure", fails_once)
    monkeypatch.setattr(command, "told", lambda run: f"the shortest of {run.seed}")
    assert command.main(["--driver", "line", "--inputs", "8000", "--seed", "s", "--jobs", "1"]) == 1
    told = capsys.readouterr().out
    assert "the shortest of s/1\nagain: python -m tests.fuzz --driver line --seed s --run 1\n" in told
    assert "line: 4000 damaged inputs" in told  # it stops at the fault
    assert "failed: line" in told
    assert command.main(["--driver", "line", "--seed", "s", "--run", "1", "--jobs", "1"]) == 1
    assert command.main(["--driver", "line", "--seed", "s", "--run", "2", "--jobs", "1"]) == 0
