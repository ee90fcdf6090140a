from __future__ import annotations

import itertools
from dataclasses import replace
from typing import ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.capture import CaptureItem
from drivers.contract import Message, Now, Outbox, Spec, Transport
from drivers.replay import Replay, replay_records
from ledger.limits import MS_NS, S_NS
from ledger.records import Event, Gap, Link, LinkId, Raw

T0_NS = 1_764_000_000 * S_NS
LINK = LinkId(1)


class NoOptions(msgspec.Struct, frozen=True):
    pass


class Poller(Outbox):
    """Asks at link up and every second, and tells of each line it hears."""

    spec: ClassVar[Spec[NoOptions]] = Spec("poller", (), (Transport.SERIAL,), NoOptions)

    def __init__(self) -> None:
        super().__init__()
        self.due_ns: int | None = None
        self.line = bytearray()

    def link_up(self, link: LinkId, peer: str, now: Now) -> None:
        self.link = link
        self.wake(now)

    def receive(self, link: LinkId, data: bytes | Message, now: Now) -> None:
        assert isinstance(data, bytes)
        self.line += data
        while b"\n" in self.line:
            text, _, rest = bytes(self.line).partition(b"\n")
            self.line = bytearray(rest)
            self.emit(
                Event(
                    at_ns=now.utc_ns, kind="marker", alarm_id="", phase="once", priority="none", code="C",
                    text=text.decode("latin-1"),
                )
            )  # fmt: skip

    def link_down(self, link: LinkId, reason: str, now: Now) -> None:
        self.due_ns = None

    def wake(self, now: Now) -> None:
        self.send(self.link, b"?")
        self.due_ns = now.mono_ns + S_NS

    def deadline_ns(self) -> int | None:
        return self.due_ns


def raw(after_ns: int, data: bytes, direction: str = "<") -> Raw:
    assert direction in "<>"
    return Raw(
        at_ns=T0_NS + after_ns, link=LINK, direction="<" if direction == "<" else ">", data=data,
        pieces=((0, len(data)),),
    )  # fmt: skip


UP = Link(at_ns=T0_NS, link=LINK, state="up", peer="port")
DOWN = Link(at_ns=T0_NS + 5 * S_NS, link=LINK, state="down", reason="unplugged")


def test_a_driver_is_woken_at_its_deadlines_in_virtual_time() -> None:
    replay = Replay(Poller(), T0_NS)
    steps = list(replay.steps([UP, raw(2_500 * MS_NS, b"x"), DOWN]))
    assert [step.now.utc_ns - T0_NS for step in steps] == [n * S_NS for n in range(6)]
    assert [step.now.mono_ns for step in steps] == [n * S_NS for n in range(6)]


def test_sent_bytes_are_compared_link_by_link() -> None:
    items: list[CaptureItem] = [UP, raw(1, b"?", ">"), raw(1_500 * MS_NS, b"?", ">")]
    replay = Replay(Poller(), T0_NS)
    list(replay.steps(items))
    assert replay.sent[LINK].differs_at is None
    replay = Replay(Poller(), T0_NS)
    list(replay.steps([*items, raw(1_600 * MS_NS, b"!", ">")]))
    assert replay.sent[LINK].differs_at == 2
    replay = Replay(Poller(), T0_NS)
    list(replay.steps([UP, raw(1, b"!", ">")]))
    assert replay.sent[LINK].differs_at == 0


@given(st.binary(max_size=60), st.lists(st.integers(0, 60)))
def test_how_the_bytes_are_cut_does_not_matter(data: bytes, cuts: list[int]) -> None:
    bounds = [0, *sorted(cuts), len(data)]
    pieces = [raw(10, data[a:b]) for a, b in itertools.pairwise(bounds)]
    whole = list(replay_records(Poller(), [UP, raw(10, data)], T0_NS))
    assert list(replay_records(Poller(), [UP, *pieces], T0_NS)) == whole
    assert len(whole) == data.count(b"\n")


def test_gaps_and_other_link_states_are_not_played() -> None:
    gap = Gap(at_ns=T0_NS, cause="silence", since_ns=T0_NS, until_ns=T0_NS)
    refused = replace(UP, state="refused")
    assert list(Replay(Poller(), T0_NS).steps([gap, refused])) == []


def test_a_clock_set_back_does_not_turn_back_the_steady_one() -> None:
    steps = list(Replay(Poller(), T0_NS).steps([UP, raw(0, b""), raw(-S_NS, b"x\n"), raw(0, b"y\n")]))
    assert [step.now.mono_ns for step in steps] == [0, 0, S_NS, S_NS]
    assert [step.now.utc_ns - T0_NS for step in steps] == [0, -S_NS, 0, 0]


class Impatient(Poller):
    def wake(self, now: Now) -> None:
        self.send(self.link, b"!")
        self.due_ns = now.mono_ns - S_NS


@pytest.mark.parametrize("wait_ms", [0, 5])
def test_a_deadline_left_in_the_past_does_not_hang(wait_ms: int) -> None:
    replay = Replay(Impatient(), T0_NS)
    list(replay.steps([UP, raw(wait_ms * MS_NS, b"x")]))
    assert len(replay.sent[LINK].replayed) == 2 + wait_ms
