"""The feed shell with a fake driver, a fake transport and virtual time."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.feed import NO_LINK, Feed
from agent.intake import Batch, Intake
from drivers.contract import Message, Spec, Ticket
from ledger.limits import LIMITS, S_NS, Limits
from ledger.records import Gap, Identity, Link, LinkId, Numeric, Raw, Record
from tests.agent.feed_fakes import T0_NS, Codes, FakeTime, FakeTransport

LINK = LinkId(1)
MS = 1_000_000


@dataclass
class Rig:
    """One feed and all around it."""

    limits: Limits = LIMITS
    listens: bool = False
    keep_raw: bool = True
    driver_type: type[Codes] = Codes
    new_transport: Callable[..., FakeTransport] = FakeTransport
    time: FakeTime = field(default_factory=FakeTime)

    def __post_init__(self) -> None:
        self.drivers: list[Codes] = []
        self.transport = self.new_transport(listens=self.listens, reachable=self.listens)
        self.intake = Intake(self.limits)
        self.feed = Feed(
            "vent", self._new_driver, self.transport, self.intake, self.time.now, self.time.schedule,
            keep_raw=self.keep_raw, limits=self.limits,
        )  # fmt: skip
        self.feed.start()

    def _new_driver(self) -> Codes:
        self.drivers.append(self.driver_type())
        return self.drivers[-1]

    def up(self, link: LinkId = LINK, peer: str = "/dev/ttyUSB0") -> None:
        self.transport.reachable = True
        self.feed.on_up(link, peer, self.time.now())

    def down(self, reason: str = "hung up", link: LinkId = LINK) -> None:
        self.transport.reachable = self.listens
        self.feed.on_down(link, reason, self.time.now())

    def bytes(self, data: bytes, link: LinkId = LINK) -> None:
        self.feed.on_bytes(link, data, self.time.now())

    def take(self) -> list[Record]:
        return self.intake.take().groups.get("vent", [])

    def tick(self) -> list[Record]:
        """One tick whose block is durable at once."""
        batch = self.intake.take()
        self.intake.durable(batch.last_position)
        return batch.groups.get("vent", [])

    def count(self, name: str) -> int:
        return self.feed.status().counters.get(name, 0)


def values(records: list[Record]) -> str:
    return "".join(chr(int(record.value)) for record in records if isinstance(record, Numeric) and record.value)


def gaps(records: list[Record]) -> list[Gap]:
    return [record for record in records if isinstance(record, Gap)]


def test_bytes_become_raw_then_records_in_one_batch() -> None:
    rig = Rig()
    rig.up()
    rig.bytes(b"1")
    records = rig.take()
    assert [type(record) for record in records] == [Link, Raw, Numeric]
    assert records[0] == Link(at_ns=T0_NS + 5 * S_NS, link=LINK, state="up", peer="/dev/ttyUSB0")
    assert rig.drivers[0].links == [LINK]


def test_raw_records_keep_every_piece_to_the_microsecond_and_the_order_of_directions() -> None:
    rig = Rig()
    rig.up()
    passed: list[tuple[int, str, bytes]] = []
    for data, wait_ns in ((b" ", 1_500), (b"  ", 700_999), (b"?", 400), (b" ", 0), (b"?", 3_141_592)):
        rig.time.advance(wait_ns)
        rig.bytes(data)
        passed.append((rig.time.now().utc_ns // 1_000, "<", data))
        if data == b"?":
            passed.append((rig.time.now().utc_ns // 1_000, ">", b"!"))
    told: list[tuple[int, str, bytes]] = []
    for raw in (record for record in rig.take() if isinstance(record, Raw)):
        assert raw.at_ns % 1_000 == 0
        offset = 0
        for after_us, length in raw.pieces:
            told.append((raw.at_ns // 1_000 + after_us, raw.direction, raw.data[offset : offset + length]))
            offset += length
        assert offset == len(raw.data)
    assert told == passed


def test_a_run_of_one_direction_is_one_raw_record_per_tick() -> None:
    rig = Rig()
    rig.up()
    for _ in range(5):
        rig.bytes(b"  ")
        rig.time.advance(10 * MS)
    (raw,) = [record for record in rig.take() if isinstance(record, Raw)]
    assert raw.pieces == tuple((10_000 * index, 2) for index in range(5))
    rig.bytes(b" ")
    assert [len(record.data) for record in rig.take() if isinstance(record, Raw)] == [1]


def test_utc_set_back_ends_the_run_so_that_pieces_never_go_backwards() -> None:
    rig = Rig()
    rig.up()
    rig.bytes(b"  ")
    rig.time.utc_ahead_ns -= 10 * S_NS
    rig.bytes(b" ")
    raws = [record for record in rig.take() if isinstance(record, Raw)]
    assert [raw.pieces for raw in raws] == [((0, 2),), ((0, 1),)]


def test_a_chunk_larger_than_a_raw_record_is_cut_and_none_of_it_lost() -> None:
    rig = Rig(limits=replace(LIMITS, raw_record_bytes=10, raw_record_pieces=3))
    rig.up()
    rig.bytes(b" " * 25)
    for _ in range(7):
        rig.bytes(b" ")
    raws = [record for record in rig.take() if isinstance(record, Raw)]
    assert sum(len(raw.data) for raw in raws) == 32
    assert max(len(raw.data) for raw in raws) == 10
    assert max(len(raw.pieces) for raw in raws) == 3


@pytest.mark.parametrize("how", ["option", "spec"])
def test_raw_bytes_are_not_kept_where_they_must_not_be(how: str) -> None:
    class Routing(Codes):
        spec: ClassVar[Spec[Any]] = dataclasses.replace(Codes.spec, keeps_raw=how == "spec")

    rig = Rig(keep_raw=how == "spec", driver_type=Routing)
    rig.up()
    rig.bytes(b"1?")
    assert rig.transport.sent == [(1, b"!")]
    assert [type(record) for record in rig.take()] == [Link, Numeric]


def test_an_acknowledgement_leaves_only_after_its_block_is_durable() -> None:
    rig = Rig()
    rig.up()
    rig.bytes(b"a")
    assert rig.transport.sent == []
    batch = rig.intake.take()
    assert rig.transport.sent == []
    rig.intake.durable(batch.last_position)
    assert rig.transport.sent == [(1, b"a")]
    assert [record.data for record in rig.take() if isinstance(record, Raw)] == [b"a"], "the answer is kept as raw"


def test_the_tick_is_told_when_a_sender_waits_and_only_then() -> None:
    rig = Rig(listens=True)
    told: list[int] = []
    rig.intake.on_waited_for = lambda _for_object: told.append(rig.intake.waiting_records)
    rig.up()
    rig.bytes(b"?")
    assert told == [], "nobody waits for an answer that is not held"
    rig.bytes(b"a")
    assert len(told) == 1
    assert told[0] > 0


def test_ungated_answers_do_not_wait_but_never_overtake_on_their_link() -> None:
    rig = Rig(listens=True)
    rig.up()
    rig.up(LinkId(2), "other")
    rig.bytes(b"?")
    assert rig.transport.sent == [(1, b"!")]
    rig.bytes(b"a?")
    rig.bytes(b"?", LinkId(2))
    assert rig.transport.sent == [(1, b"!"), (2, b"!")]
    rig.tick()
    assert rig.transport.sent == [(1, b"!"), (2, b"!"), (1, b"a"), (1, b"!")]


def test_a_commit_that_fails_is_answered_and_recorded() -> None:
    rig = Rig()
    rig.up()
    rig.tick()
    rig.bytes(b"ab")
    batch = rig.intake.take()
    rig.bytes(b"c")
    rig.intake.refuse(batch.first_position, batch.last_position, "disk full")
    assert rig.transport.sent == [], "an answer never overtakes one that is held"
    assert rig.count("refused_sends") == 2
    records = rig.tick()
    (gap,) = gaps(records)
    assert (gap.cause, gap.lost_items, gap.lost_bytes) == ("store_refused", 3, 2)
    assert rig.transport.sent == [(1, b"c"), (1, b"Ea"), (1, b"Eb")]


def test_an_acknowledgement_held_behind_a_refused_one_still_leaves_in_order() -> None:
    rig = Rig()
    rig.up()
    rig.bytes(b"a")
    first = rig.intake.take()
    rig.bytes(b"b")
    second = rig.intake.take()
    rig.intake.refuse(first.first_position, first.last_position, "disk full")
    assert rig.transport.sent == []
    rig.intake.durable(second.last_position)
    assert rig.transport.sent == [(1, b"b"), (1, b"Ea")]


def test_when_the_intake_is_full_the_sender_hears_and_a_gap_counts() -> None:
    rig = Rig(limits=replace(LIMITS, intake_records=6), keep_raw=False)
    rig.up()
    rig.bytes(b"12abc")
    assert rig.transport.sent == [(1, b"Ea"), (1, b"Eb"), (1, b"Ec")]
    assert rig.count("records_lost") == 3
    assert dict(rig.feed.lost) == {"overflow": 3}
    assert set(rig.feed.newest_loss_ns) == {"overflow"}
    rig.tick()
    records = rig.tick()
    (gap,) = gaps(records)
    assert (gap.cause, gap.lost_items) == ("overflow", 3)
    rig.bytes(b"d")
    rig.tick()
    assert rig.transport.sent[-1] == (1, b"d"), "what came after the overflow is acknowledged again"


def test_a_gap_that_is_lost_itself_is_told_again() -> None:
    rig = Rig(limits=replace(LIMITS, intake_records=4), keep_raw=False)
    rig.up()
    rig.bytes(b"1234")
    rig.tick()
    batch = rig.intake.take()
    assert [gap.lost_items for gap in gaps(batch.groups["vent"])] == [3]
    rig.intake.refuse(batch.first_position, batch.last_position, "input/output error")
    told = gaps(rig.tick())
    assert [(gap.cause, gap.lost_items) for gap in told] == [("overflow", 3)]


def test_a_disk_that_stalls_leaves_the_sender_unanswered() -> None:
    rig = Rig(listens=True)
    rig.up()
    rig.bytes(b"a")
    rig.take()
    rig.time.advance(LIMITS.ack_timeout_ns - 1)
    assert rig.transport.closed == []
    rig.time.advance(MS)
    assert rig.transport.closed == [(1, "not durable within 10 s")]
    rig.bytes(b"b")
    rig.down("not durable within 10 s")
    rig.tick()
    assert rig.transport.sent == []
    assert rig.count("ack_timeouts") == 1
    assert rig.count("unanswered") == 1


def test_held_answers_are_bounded() -> None:
    rig = Rig(limits=replace(LIMITS, held_sends=3), listens=True)
    rig.up()
    rig.bytes(b"abcd")
    assert rig.transport.closed == [(1, "too many answers wait to be durable")]
    rig.tick()
    assert rig.transport.sent == []


def test_only_declared_bytes_leave() -> None:
    rig = Rig()
    rig.up()
    rig.bytes(b"$$?")
    assert rig.transport.sent == [(1, b"!")]
    assert rig.count("tx_blocked") == 2
    told = [record for record in rig.take() if isinstance(record, Link) and record.state == "refused"]
    assert len(told) == 1
    assert "16 bytes" in told[0].reason


def test_a_failing_driver_is_replaced_and_its_links_closed(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig()
    rig.up()
    with caplog.at_level(logging.ERROR):
        rig.bytes(b"1%2")
    assert rig.transport.closed == [(1, "the driver failed")]
    assert rig.feed.status().state == "error"
    assert len(rig.drivers) == 2
    rig.bytes(b"345")
    rig.down("the driver failed")
    rig.up(LinkId(2))
    rig.bytes(b"6", LinkId(2))
    assert rig.feed.status().state == "ok"
    records = rig.take()
    assert [gap.lost_bytes for gap in gaps(records) if gap.cause == "undecodable"] == [3, 3]
    assert b"".join(record.data for record in records if isinstance(record, Raw)) == b"1%23456"
    assert values(records) == "6"
    assert "ValueError at feed_fakes.py" in caplog.text
    assert "patient" not in caplog.text + repr(records), "no payload in the journal or in a gap"


def test_a_record_that_cannot_be_written_is_the_drivers_fault() -> None:
    rig = Rig()
    rig.up()
    rig.bytes(b"~")
    assert rig.count("driver_faults") == 1
    (gap,) = gaps(rig.take())
    assert "payload.bad-record" in gap.detail


def test_a_record_too_large_for_a_block_is_a_gap() -> None:
    rig = Rig()
    rig.up()
    rig.bytes(b"=1")
    records = rig.tick()
    assert [(gap.cause, gap.lost_items) for gap in gaps(records)] == [("oversize", 1)]
    assert values(records) == "1"


def test_a_driver_that_answers_refusals_with_refusals_is_stopped() -> None:
    class Stubborn(Codes):
        def refused(self, ticket: Ticket, reason: str, now: object) -> None:
            self.send(LINK, b"a", after=ticket)

    rig = Rig(limits=replace(LIMITS, intake_records=4), keep_raw=False, driver_type=Stubborn)
    rig.up()
    rig.bytes(b"123a")
    assert rig.count("driver_faults") == 1


def test_close_and_wake() -> None:
    rig = Rig()
    rig.up()
    rig.bytes(b"@")
    rig.time.advance(999 * MS)
    assert rig.transport.sent == []
    rig.time.advance(MS)
    assert rig.transport.sent == [(1, b"W")]
    rig.bytes(b"&")
    assert rig.transport.closed == [(1, "asked to")]
    rig.down("asked to")
    assert rig.drivers[0].links == []


def test_one_timer_and_a_deadline_in_the_past_does_not_spin() -> None:
    class Sleepy(Codes):
        woken = 0

        def wake(self, now: object) -> None:
            type(self).woken += 1

    rig = Rig(driver_type=Sleepy)
    rig.up()
    for _ in range(10):
        rig.bytes(b"@ ")
    assert len(rig.time.live_timers()) == 1
    rig.time.advance(S_NS + 100 * MS)
    assert 1 <= Sleepy.woken <= 101


def test_silence_is_a_gap_in_two_pieces_that_count_as_one() -> None:
    rig = Rig()
    rig.up()
    rig.time.advance(S_NS)
    rig.bytes(b"1")
    heard_ns = rig.time.now().utc_ns
    rig.time.advance(3 * S_NS - 1)
    assert rig.feed.status().state == "ok"
    rig.time.advance(1)
    status = rig.feed.status()
    assert (status.state, status.gaps, status.gap_total_ns) == ("silent", 1, 3 * S_NS)
    rig.time.advance(2 * S_NS)
    assert rig.feed.status().gap_total_ns == 5 * S_NS
    rig.bytes(b"2")
    status = rig.feed.status()
    assert (status.state, status.gaps, status.gap_total_ns, status.gap_causes) == ("ok", 1, 5 * S_NS, ("silence",))
    told = [(gap.since_ns - heard_ns, gap.until_ns - heard_ns) for gap in gaps(rig.take())]
    assert told == [(0, 3 * S_NS), (3 * S_NS, 5 * S_NS)]


def test_a_clock_set_during_silence_does_not_turn_the_gap_around() -> None:
    rig = Rig()
    rig.up()
    rig.bytes(b"1")
    rig.time.utc_ahead_ns -= 3600 * S_NS
    rig.time.advance(3 * S_NS)
    (gap,) = gaps(rig.take())
    assert gap.until_ns - gap.since_ns == 3 * S_NS


def test_a_link_that_is_down_is_a_gap_when_it_returns_and_not_also_silence() -> None:
    rig = Rig()
    assert rig.feed.status().state == "down"
    rig.up()
    rig.down("hung up")
    assert rig.feed.status().state == "down"
    rig.time.advance(20 * S_NS)
    for _ in range(50):
        rig.feed.on_refused("/dev/ttyUSB0", "No such file or directory", rig.time.now())
    rig.up(LinkId(2))
    links = [(record.link, record.state, record.reason) for record in rig.take() if isinstance(record, Link)]
    assert links == [
        (1, "up", ""), (1, "down", "hung up"), (NO_LINK, "refused", "No such file or directory"), (2, "up", ""),
    ]  # fmt: skip
    status = rig.feed.status()
    assert (status.gaps, status.gap_total_ns, status.gap_causes) == (1, 20 * S_NS, ("link_down",))
    assert status.counters["refused_links"] == 50


def test_the_same_failure_is_recorded_again_after_the_peer_was_up_and_strangers_are_bounded() -> None:
    rig = Rig(limits=replace(LIMITS, refusals_remembered=3), listens=True)
    for host in ("10.0.0.1", "10.0.0.11", "10.0.0.1", "10.0.0.2", "10.0.0.3"):
        rig.feed.on_refused(host, "not allowed", rig.time.now())
    rig.up(LINK, "10.0.0.1:4711")
    rig.feed.on_refused("10.0.0.1", "not allowed", rig.time.now())
    rig.feed.on_refused("10.0.0.11", "not allowed", rig.time.now())
    refused = [record.peer for record in rig.take() if isinstance(record, Link) and record.state == "refused"]
    assert refused == ["10.0.0.1", "10.0.0.11", "10.0.0.2", "10.0.0.1"]


def test_a_listening_feed_without_callers_is_silent_not_down() -> None:
    rig = Rig(listens=True)
    assert rig.feed.status().state == "ok"
    rig.time.advance(4 * S_NS)
    assert rig.feed.status().state == "silent"
    assert gaps(rig.take())[0].cause == "silence"
    rig.transport.reachable = False
    assert rig.feed.status().state == "down", "nobody can call"


def test_senders_that_can_wait_are_held_back_while_the_intake_is_crowded() -> None:
    rig = Rig(limits=replace(LIMITS, intake_records=40), keep_raw=False, listens=True)
    rig.up()
    rig.bytes(b"1" * 12)
    assert rig.transport.reading == [False]
    rig.tick()
    assert rig.transport.reading == [False, True]


def test_whole_messages_reach_the_driver() -> None:
    rig = Rig()
    rig.up()
    rig.feed.on_message(LINK, Message("test", {}, b"1"), rig.time.now())
    assert [type(record) for record in rig.take()] == [Link, Numeric]


def test_status_names_the_device() -> None:
    rig = Rig()
    rig.up()
    rig.bytes(b"#")
    rig.time.advance(S_NS)
    status = rig.feed.status()
    assert (status.name, status.driver, status.device, status.devices) == ("vent", "codes", "Acme One", 1)
    assert status.last_record_ns == rig.time.now().utc_ns - S_NS
    assert any(isinstance(record, Identity) for record in rig.take())


def test_gaps_older_than_a_day_are_not_counted() -> None:
    rig = Rig()
    rig.up()
    rig.time.advance(3 * S_NS)
    rig.bytes(b"1")
    assert rig.feed.status().gaps == 1
    rig.down()
    rig.time.advance(24 * 3600 * S_NS + 1)
    assert rig.feed.status().gaps == 0


def test_stop_leaves_the_last_records() -> None:
    rig = Rig()
    rig.up()
    rig.bytes(b"1 ")
    asyncio.run(rig.feed.stop())
    records = rig.tick()
    assert [type(record) for record in records] == [Link, Raw, Numeric, Link]
    assert isinstance(records[-1], Link)
    assert records[-1].reason == "the recorder stopped"
    assert rig.time.live_timers() == []
    assert rig.transport.stopped


# ---- any order of events

OPS = st.lists(
    st.one_of(
        st.tuples(st.just("receive"), st.integers(0, 2), st.integers(1, 5)),
        st.tuples(st.just("fall"), st.integers(0, 2), st.just(0)),
        st.tuples(st.sampled_from(["take", "commit", "refuse"]), st.just(0), st.just(0)),
    ),
    max_size=60,
)
LETTERS = str.maketrans("0123456789", "ghijklmnop")
DIGITS = str.maketrans("ghijklmnop", "0123456789")


class Numbered(Codes):
    """Every byte is recorded and acknowledged with a running number, so that answers can be told apart."""

    spec: ClassVar[Spec[Any]] = dataclasses.replace(Codes.spec, silence_s=0.0)
    made: ClassVar[int] = 0

    def _one(self, link: LinkId, code: bytes, now: Any) -> None:
        type(self).made += 1
        name = f"{self.made:04x}".translate(LETTERS)
        ticket = self.emit(Numeric(at_ns=now.utc_ns, code="MDC_X", value=name, unit="1"))
        self.send(link, name.encode(), after=ticket)

    def refused(self, ticket: Ticket, reason: str, now: Any) -> None:
        """Unanswered here: the test wants to see only acknowledgements."""


class Storm:
    """A feed under any order of events, and what must hold at each moment."""

    def __init__(self, room: int) -> None:
        self.rig = Rig(
            limits=replace(LIMITS, intake_records=room, held_sends=8),
            listens=True,
            keep_raw=False,
            driver_type=Numbered,
        )
        self.links = [LinkId(1), LinkId(2), LinkId(3)]
        self.newest = self.expected = 3
        self.batches: list[Batch] = []
        self.durable: list[Record] = []
        self.checked = 0
        for link in self.links:
            self.rig.up(link)

    def do(self, op: str, which: int, size: int) -> None:
        self.rig.time.advance(MS)
        if op == "receive":
            made = Numbered.made
            self.rig.bytes(b"1" * size, self.links[which])
            self.expected += Numbered.made - made
        elif op == "fall":
            self.rig.down("fell", self.links[which])
            self.newest += 1
            self.links[which] = LinkId(self.newest)
            self.rig.up(self.links[which])
            self.expected += 2
        elif op == "take":
            self.batches.append(self.rig.intake.take())
        elif self.batches:
            batch = self.batches.pop(0)
            if op == "commit":
                self.durable += batch.groups.get("vent", [])
                self.rig.intake.durable(batch.last_position)
            else:
                self.rig.intake.refuse(batch.first_position, batch.last_position, "disk")
        self.check()

    def check(self) -> None:
        recorded = {record.value for record in self.durable if isinstance(record, Numeric)}
        fresh = self.rig.transport.sent[self.checked :]
        assert {data.decode() for _, data in fresh} <= recorded, "acknowledged before it was durable"
        self.checked += len(fresh)
        assert len(self.rig.feed._held) <= 8

    def finish(self) -> None:
        """Commit all that is left, with room to tell every loss."""
        for _ in range(3):
            self.do("take", 0, 0)
        while self.batches:
            self.do("commit", 0, 0)


@settings(max_examples=200, deadline=None)
@given(OPS, st.integers(4, 30))
def test_no_acknowledgement_is_early_false_or_out_of_order(ops: list[tuple[str, int, int]], room: int) -> None:
    storm = Storm(room)
    for op in ops:
        storm.do(*op)
    storm.finish()
    for link in range(1, storm.newest + 1):
        numbers = [int(data.decode().translate(DIGITS), 16) for to, data in storm.rig.transport.sent if to == link]
        assert numbers == sorted(set(numbers))


@settings(max_examples=200, deadline=None)
@given(OPS, st.integers(4, 30))
def test_every_record_is_durable_or_counted_in_a_gap(ops: list[tuple[str, int, int]], room: int) -> None:
    storm = Storm(room)
    for op in ops:
        storm.do(*op)
    storm.finish()
    told = [record for record in gaps(storm.durable) if record.detail == "records lost"]
    assert len(storm.durable) - len(told) + sum(gap.lost_items or 0 for gap in told) == storm.expected


def test_storms_do_acknowledge() -> None:
    storm = Storm(30)
    for op in ("receive", "take", "commit", "receive", "take", "refuse", "receive"):
        storm.do(op, 0, 2)
    storm.finish()
    assert len(storm.rig.transport.sent) == 4


@dataclass
class PacedFake(FakeTransport):
    """Lets one piece wait for the beat."""

    waiting: bytes = b""
    rig: Rig | None = None

    def read_waiting(self) -> None:
        data, self.waiting = self.waiting, b""
        if data and self.rig is not None:
            self.rig.bytes(data)


def paced_rig() -> tuple[Rig, PacedFake]:
    transport = PacedFake(listens=False, reachable=False)
    rig = Rig(new_transport=lambda **_: transport)
    transport.rig = rig
    rig.up()
    return rig, transport


def test_what_waits_for_a_beat_is_in_the_block_that_takes_next() -> None:
    rig, transport = paced_rig()
    transport.waiting = b"7"
    assert values(rig.take()) == "7"


def test_a_device_whose_bytes_wait_is_not_silent() -> None:
    rig, transport = paced_rig()
    rig.bytes(b"1")
    transport.waiting = b"2"
    rig.time.advance(int(rig.drivers[0].spec.silence_s * S_NS) + MS)
    records = rig.take()
    assert values(records) == "12"
    assert not gaps(records)


def test_what_waits_when_the_recorder_stops_is_recorded() -> None:
    rig, transport = paced_rig()
    transport.waiting = b"9"
    asyncio.run(rig.feed.stop())
    assert values(rig.take()) == "9"
