"""The intake: bounded, in order, and honest about what became durable."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.intake import Intake, RecordTooLarge
from agent.losses import Loss
from ledger.errors import OurFault
from ledger.limits import LIMITS, MIB
from ledger.payload import encode_records
from ledger.records import Gap, LinkId, Raw, Record
from tests.agent.feed_fakes import number


def raw(size: int, at_ns: int = 1_000) -> Raw:
    return Raw(at_ns=at_ns, link=LinkId(1), direction="<", data=bytes(size), pieces=((0, size),))


@dataclass
class Listener:
    """What one feed heard."""

    heard: list[tuple[str, int]] = field(default_factory=list)
    losses: list[tuple[int, int, Loss | None, str]] = field(default_factory=list)

    def flush(self) -> None:
        self.heard.append(("flush", 0))

    def durable(self, position: int) -> None:
        self.heard.append(("durable", position))

    def refused(self, first: int, last: int, loss: Loss | None, reason: str) -> None:
        self.losses.append((first, last, loss, reason))


def test_positions_count_every_record_of_every_feed() -> None:
    intake = Intake()
    assert intake.offer("a", [number(1, 1), number(2, 1)]) == 2
    assert intake.offer("b", [number(3, 1)]) == 3
    assert intake.offer("a", [number(4, 1)]) == 4
    batch = intake.take()
    assert (batch.first_position, batch.last_position) == (1, 4)
    assert batch.groups == {"a": [number(1, 1), number(2, 1), number(4, 1)], "b": [number(3, 1)]}
    empty = intake.take()
    assert (empty.groups, empty.first_position, empty.last_position) == ({}, 5, 4)
    assert intake.waiting_records == intake.waiting_bytes == 0


def test_all_or_none_when_full() -> None:
    intake = Intake(replace(LIMITS, intake_records=8))
    assert intake.offer("a", [number(1, 1)] * 5) is None
    assert intake.waiting_records == 0
    assert intake.offer("a", [number(1, 1)] * 4) == 4
    assert intake.offer("a", [number(1, 1)]) is None
    assert intake.offer("b", [number(1, 1)] * 4) == 8, "half of the intake is kept for the others"
    assert intake.offer("c", [number(1, 1)]) is None
    intake.take()
    assert intake.offer("a", [number(1, 1)] * 4) == 12


def test_bytes_are_bounded_as_they_will_be_written() -> None:
    intake = Intake(replace(LIMITS, intake_bytes=4_000))
    assert intake.offer("a", [raw(1_500)]) == 1
    assert intake.offer("a", [raw(500)]) is None
    assert intake.offer("b", [raw(1_500)]) == 2
    assert intake.waiting_bytes == 2 * len(encode_records({"": (raw(1_500),)}))


def test_a_record_for_no_block_is_refused_at_once() -> None:
    intake = Intake()
    for size in (LIMITS.batch_bytes, 2 * MIB):
        with pytest.raises(RecordTooLarge):
            intake.offer("a", [raw(size)])
    with pytest.raises(OurFault, match="cannot be written"):
        intake.offer("a", [number(1.5, 1)])
    assert intake.waiting_records == 0
    assert intake.offer("a", [raw(LIMITS.raw_record_bytes)]) == 1


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 700_000)), max_size=12))
def test_every_batch_fits_a_block_and_nothing_is_lost_or_reordered(offers: list[tuple[str, int]]) -> None:
    intake = Intake()
    accepted: dict[str, list[Record]] = {}
    for feed, size in offers:
        if intake.offer(feed, [raw(size)]) is not None:
            accepted.setdefault(feed, []).append(raw(size))
    taken: dict[str, list[Record]] = {}
    for _ in range(len(offers) + 1):
        batch = intake.take()
        assert len(encode_records(batch.groups)) <= LIMITS.payload_plain_bytes
        for feed, records in batch.groups.items():
            taken.setdefault(feed, []).extend(records)
    assert taken == accepted
    assert intake.waiting_bytes == 0


def test_feeds_hear_flush_before_and_durable_after() -> None:
    intake, listener = Intake(), Listener()
    intake.register("a", listener)
    intake.offer("a", [number(1, 1)])
    first = intake.take()
    intake.offer("b", [number(2, 1)])
    second = intake.take()
    assert listener.heard == [("flush", 0)] * 2
    intake.durable(0)
    assert listener.heard == [("flush", 0)] * 2, "an empty block at the start makes nothing durable"
    intake.durable(second.last_position)
    intake.durable(first.last_position)
    intake.durable(second.last_position)
    assert listener.heard[2:] == [("durable", 2)]


def test_half_a_batch_is_not_durable() -> None:
    intake, listener = Intake(), Listener()
    intake.register("a", listener)
    for count in (2, 3):
        intake.offer("a", [number(1, 1)] * count)
        intake.take()
    intake.durable(1)
    intake.durable(4)
    intake.durable(5)
    assert listener.heard[2:] == [("durable", 2), ("durable", 5)]


def test_durable_before_taken_is_a_bug() -> None:
    intake = Intake()
    intake.offer("a", [number(1, 1)])
    with pytest.raises(OurFault):
        intake.durable(1)


def test_two_feeds_of_one_name_are_a_bug() -> None:
    intake = Intake()
    intake.register("a", Listener())
    with pytest.raises(OurFault):
        intake.register("a", Listener())
    intake.unregister("a")
    intake.register("a", Listener())


def test_a_refused_batch_tells_each_feed_what_it_lost() -> None:
    intake, ours, idle = Intake(), Listener(), Listener()
    intake.register("a", ours)
    intake.register("c", idle)
    gap = Gap(at_ns=9_000, cause="silence", since_ns=500, until_ns=8_000)
    intake.offer("a", [raw(7, 2_000), number(1, 3_000)])
    intake.offer("b", [number(1, 1)])
    first = intake.take()
    intake.offer("a", [gap])
    second = intake.take()
    intake.offer("a", [number(5, 1)])
    intake.refuse(0, 99, "disk full")
    assert ours.losses == [
        (1, 4, Loss("store_refused", since_ns=500, until_ns=8_000, items=3, raw_bytes=7), "disk full")
    ]
    assert idle.losses == [(1, 4, None, "disk full")]
    intake.refuse(first.first_position, second.last_position, "again")
    assert len(ours.losses) == 1
    assert intake.take().first_position == 5, "what was not taken yet is not lost"
    intake.durable(second.last_position)
    assert ("durable", 4) not in ours.heard


def test_crowded_from_a_quarter_on() -> None:
    intake = Intake(replace(LIMITS, intake_records=8))
    intake.offer("a", [number(1, 1)])
    assert not intake.crowded("a")
    intake.offer("a", [number(1, 1)])
    assert intake.crowded("a")
    assert not intake.crowded("b")
    intake.take()
    assert not intake.crowded("a")
