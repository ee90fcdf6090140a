from __future__ import annotations

import random

from agent.intake import Batch
from agent.recorder import Recorder
from ledger.block import ClockQuality, ClockState, decode_signed_header
from ledger.chain import Block
from ledger.instant import Now
from ledger.limits import KIB, LIMITS, MS_NS, S_NS
from ledger.notices import ClockStep, Drill, Start
from ledger.payload import decode_payload, encode_record
from ledger.records import Gap, Keyframe, LinkId, Numeric, Raw, Record
from ledger.state import LEDGER_FEED, RoomState, decode_state
from tests.ledger.cluster import Cluster

UTC_NS = 1_700_000_000 * S_NS
QUALITY = ClockQuality(ClockState.SYNCHRONISED, 1_000)


class Bench:
    """A box alone, ticked by hand."""

    def __init__(self) -> None:
        self.member = Cluster(1).boxes["or-1"].member
        self.recorder = Recorder(self.member, RoomState(), lambda: QUALITY)
        self.mono_ns = S_NS
        self.utc_ns = UTC_NS

    def tick(self, *records: Record, step_ms: int = 100, utc_ms: int | None = None) -> Block | None:
        self.mono_ns += step_ms * MS_NS
        self.utc_ns += (step_ms if utc_ms is None else utc_ms) * MS_NS
        groups = {"monitor": [encode_record(record) for record in records]} if records else {}
        closed = self.recorder.tick(Now(self.mono_ns, self.utc_ns), Batch(groups, 1, len(records), 0))
        return closed.block if closed is not None else None

    def records(self, block: Block) -> dict[str, tuple[Record, ...]]:
        header = decode_signed_header(block.signed_header)
        key = self.member.writer.chain.data_key
        return decode_payload(
            key.open_payload(block.payload, block.log.incarnation, block.seq, header.associated_data()), header.codec
        )


def heart_rate(value: str, at_ns: int = UTC_NS) -> Numeric:
    return Numeric(at_ns=at_ns, code="MDC_ECG_HEART_RATE", value=value, unit="/min")


def test_the_first_block_holds_a_keyframe_and_the_start() -> None:
    bench = Bench()
    block = bench.tick()
    assert block is not None
    assert block.seq == 0
    header = decode_signed_header(block.signed_header)
    assert isinstance(header.notices[0], Start)
    assert isinstance(bench.records(block)[LEDGER_FEED][0], Keyframe)
    assert header.clock == QUALITY


def test_silence_is_recorded_once_a_second_and_records_at_once() -> None:
    bench = Bench()
    bench.tick()
    quiet = [bench.tick() is not None for _ in range(20)]
    assert quiet.count(True) == 2
    assert bench.tick(heart_rate("72")) is not None


def test_a_keyframe_comes_every_five_seconds_and_holds_what_was_before_its_block() -> None:
    bench = Bench()
    bench.tick(heart_rate("70"))
    keyframes = []
    for number in range(120):
        block = bench.tick(heart_rate(str(100 + number)))
        assert block is not None
        first = bench.records(block).get(LEDGER_FEED, ())
        if first:
            assert isinstance(first[0], Keyframe)
            ((_, value),) = decode_state(first[0].state).values()
            keyframes.append((number, value.value))
            assert decode_signed_header(block.signed_header).keyframe_seq == block.seq
    assert [number for number, _ in keyframes] == [49, 99]
    assert [value for _, value in keyframes] == [str(100 + number - 1) for number, _ in keyframes]


def test_after_much_data_a_keyframe_comes_sooner_but_no_more_than_once_a_second() -> None:
    bench = Bench()
    bench.tick()
    keyframes, since_bytes = [], 0
    for number in range(1, 26):
        data = random.Random(number).randbytes(240 * KIB)
        block = bench.tick(Raw(at_ns=UTC_NS, link=LinkId(1), direction="<", data=data, pieces=((0, len(data)),)))
        assert block is not None
        if decode_signed_header(block.signed_header).keyframe_seq == block.seq:
            assert since_bytes >= LIMITS.keyframe_every_bytes
            keyframes.append(number)
            since_bytes = 0
        since_bytes += len(block.payload)
    assert keyframes == [10, 20]


def test_folding_the_blocks_gives_the_recorders_state() -> None:
    bench = Bench()
    state = RoomState()
    for number in range(60):
        block = bench.tick(heart_rate(str(number)))
        assert block is not None
        state.fold_groups(bench.records(block))
    assert list(state.values()) == list(bench.recorder.state.values())


def test_a_block_is_folded_into_the_state_once_it_has_left_or_when_somebody_asks() -> None:
    bench = Bench()

    def folded() -> list[str]:
        return [str(value.value) for _, value in bench.recorder._state.values()]

    bench.tick(heart_rate("60"))
    assert folded() == []
    bench.recorder.settle()
    assert folded() == ["60"]
    bench.tick(heart_rate("61"))
    assert folded() == ["60"]
    assert [str(value.value) for _, value in bench.recorder.state.values()] == ["61"]
    bench.tick(heart_rate("62"))
    bench.tick(step_ms=1_000)
    assert folded() == ["62"]


def test_a_step_of_utc_closes_a_block_with_a_notice_and_a_gap() -> None:
    bench = Bench()
    bench.tick()
    block = bench.tick(utc_ms=100 + 3_000)
    assert block is not None
    assert ClockStep(3_000 * MS_NS) in decode_signed_header(block.signed_header).notices
    (gap,) = bench.records(block)[LEDGER_FEED]
    assert isinstance(gap, Gap)
    assert gap.cause == "clock_jump"
    assert gap.until_ns - gap.since_ns == 3_000 * MS_NS


def test_notices_beyond_one_header_wait_for_the_next_and_none_is_lost() -> None:
    bench = Bench()
    bench.tick()
    drills = [Drill(f"or-{number}", verified=True) for number in range(150)]
    for drill in drills:
        bench.recorder.notice(drill)
    said = []
    while (block := bench.tick(step_ms=1)) is not None:
        said += list(decode_signed_header(block.signed_header).notices)
    assert said == drills
