from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.block import ClockQuality, ClockState, Header, sign_header
from ledger.case_rows import CaseRow
from ledger.errors import StoreFault
from ledger.limits import LIMITS, S_NS
from ledger.log import LogId
from ledger.notices import StoredObject, StoredObjects
from ledger.ops import AppendBlock, ObjectState, Op, OpenLog, PrunePayloads, PutCase, PutSelf
from ledger.retention import DAY_NS, Moment, Retention, Room
from ledger.signing import SigningKey
from ledger.store import Store

KEY = SigningKey(bytes(32))
RETENTION_NS = 3 * DAY_NS
NOW_NS = 100 * DAY_NS
STEP_NS = DAY_NS // 4
CASES = (None, bytes(16), b"\x01" * 16)
LOGS = tuple(LogId(box, counter, hashlib.sha256(f"{box}{counter}".encode()).digest()[:16], True)
             for box in ("or-1", "or-2") for counter in (1, 2))  # fmt: skip


def header(log: LogId, seq: int, closed_ns: int, *, boot_ns: int | None = None, right: bool = True,
           case_id: bytes | None = None) -> Header:  # fmt: skip
    return Header(
        log=log, seq=seq, opened_ns=closed_ns, closed_ns=closed_ns, boot_ns=closed_ns if boot_ns is None else boot_ns,
        clock=ClockQuality(ClockState.SYNCHRONISED if right else ClockState.UNSYNCHRONISED, 0),
        previous_leaf=bytes(32), payload_hash=bytes(32), payload_bytes=64, key_id=bytes(32), codec=1, keyframe_seq=0,
        case_id=case_id, manifest_hash=bytes(32),
    )  # fmt: skip


@dataclass
class Memory:
    """``PayloadSource`` of headers; carries the planner's operations out."""

    blocks: dict[LogId, list[Header]]
    gone: dict[LogId, set[int]] = field(default_factory=dict)
    facts: dict[str, bytes] = field(default_factory=dict)
    damaged: set[LogId] = field(default_factory=set)
    cases: dict[bytes, list[CaseRow]] = field(default_factory=dict)

    def logs(self, box: str | None = None) -> list[tuple[LogId, bytes]]:
        return [(log, b"") for log in self.blocks if box in (None, log.box)]

    def length(self, log: LogId) -> int:
        return len(self.blocks[log])

    def headers(self, log: LogId, first: int, end: int) -> Iterator[bytes]:
        if log in self.damaged:
            raise StoreFault("store.corrupt", "a page is gone")
        return (sign_header(each, KEY) for each in self.blocks[log][first:end])

    def self_value(self, name: str) -> bytes | None:
        return self.facts.get(name)

    def case_values(self, case_id: bytes) -> list[bytes]:
        return [row.encode() for row in self.cases.get(case_id, ())]

    def commit(self, ops: Iterable[Op]) -> None:
        for op in ops:
            if isinstance(op, PrunePayloads):
                assert 0 < op.end - op.first <= LIMITS.prune_blocks
                wanted = set(range(op.first, op.end))
                assert not wanted & self.gone.setdefault(op.log, set()), "pruned twice"
                self.gone[op.log] |= wanted
            else:
                assert isinstance(op, PutSelf)
                self.facts[op.name] = op.value

    def run(self, moment: Moment, planner: Retention | None = None) -> list[PrunePayloads]:
        """Step until nothing is due."""
        planner = planner or Retention(self, RETENTION_NS)
        planner.survey()
        done = []
        while ops := planner.step(moment):
            self.commit(ops)
            done += [op for op in ops if isinstance(op, PrunePayloads)]
        return done


def moment(*, right: bool = True, pressed: bool = False, open_cases: frozenset[bytes] = frozenset()) -> Moment:
    return Moment(NOW_NS, right, pressed, open_cases)


@st.composite
def sources(draw: st.DrawFn) -> Memory:
    """Logs with gaps in time, cases, and clocks that were wrong or stepped."""
    blocks: dict[LogId, list[Header]] = {}
    for log in draw(st.lists(st.sampled_from(LOGS), unique=True)):
        boot_ns = draw(st.integers(0, 20)) * STEP_NS
        utc_ns = NOW_NS - draw(st.integers(0, 24)) * STEP_NS
        steps = draw(st.lists(st.tuples(st.integers(0, 3), st.sampled_from((0, 0, 0, -30, 40)), st.booleans(),
                                        st.sampled_from(CASES)), max_size=12))  # fmt: skip
        made = blocks[log] = []
        for seq, (later, stepped, right, case_id) in enumerate(steps):
            boot_ns += later * STEP_NS
            utc_ns = max(0, utc_ns + (later + stepped) * STEP_NS)
            made.append(header(log, seq, utc_ns, boot_ns=boot_ns, right=right, case_id=case_id))
    return Memory(blocks, cases=draw(st.dictionaries(st.sampled_from(CASES[1:]), st.lists(case_rows, max_size=2))))


times = st.none() | st.integers(-6, 24).map(lambda steps: NOW_NS - steps * STEP_NS)
case_rows = st.builds(CaseRow, st.just(bytes(32)), st.just(0), st.just(0), times, st.just(0), times)


moments = st.builds(
    Moment,
    utc_ns=st.just(NOW_NS),
    clock_is_right=st.booleans(),
    pressed=st.booleans(),
    open_cases=st.frozensets(st.sampled_from([case for case in CASES if case is not None])),
)


def closed_with(source: Memory, each: Header, at: Moment) -> int:
    """When the case closed in which a block was recorded, said plainly; 0 for none."""
    rows = source.cases.get(each.case_id, []) if each.case_id is not None else []
    opened = min((row.opened_ns for row in rows if row.opened_ns is not None), default=None)
    closed = max((row.closed_ns for row in rows if row.closed_ns is not None), default=None)
    known = opened is not None and closed is not None and closed <= at.utc_ns
    return closed if known and opened <= each.closed_ns <= closed else 0  # type: ignore[operator, return-value]


def expected(source: Memory, headers: list[Header], at: Moment, went: frozenset[int] = frozenset()) -> frozenset[int]:
    """What may go of one log, said plainly: the longest front of it in which every block ``went``, or may go."""
    gone = set(went)
    for each in headers[len(went) :]:
        newest = headers[-1]
        age_ns = at.utc_ns - newest.closed_ns + (newest.boot_ns - each.boot_ns)
        known = at.clock_is_right and newest.clock.state is ClockState.SYNCHRONISED
        too_old = known and min(age_ns, at.utc_ns - closed_with(source, each, at)) > RETENTION_NS
        early = at.pressed and age_ns > DAY_NS
        if each.case_id in at.open_cases or not (too_old or early):
            break
        gone.add(each.seq)
    return frozenset(gone)


@given(sources(), moments)
def test_exactly_what_is_due_goes(source: Memory, at: Moment) -> None:
    source.run(at)
    for log, headers in source.blocks.items():
        assert source.gone.get(log, set()) == expected(source, headers, at)


@given(sources(), moments)
def test_keys_may_go_of_old_logs_without_a_payload_alone(source: Memory, at: Moment) -> None:
    planner = Retention(source, RETENTION_NS)
    source.run(at, planner)
    planner.survey()
    for log, headers in source.blocks.items():
        is_empty = bool(headers) and source.gone.get(log, set()) == set(range(len(headers)))
        newest = headers[-1] if headers else None
        is_old = newest is not None and at.utc_ns - newest.closed_ns > RETENTION_NS
        is_right = newest is not None and newest.clock.state is ClockState.SYNCHRONISED and at.clock_is_right
        assert (log in planner.spent(at)) is (is_empty and is_old and is_right)


@given(sources(), moments, moments)
def test_a_restart_goes_on_where_it_was_and_prunes_nothing_twice(source: Memory, at: Moment, then: Moment) -> None:
    first = Retention(source, RETENTION_NS)
    first.survey()
    source.commit(first.step(at))
    source.run(at)
    source.run(then)
    for log, headers in source.blocks.items():
        went = expected(source, headers, at)
        assert source.gone.get(log, set()) == expected(source, headers, then, went)


def aged(log: LogId, *ages_days: float, case_id: bytes | None = None) -> list[Header]:
    return [header(log, seq, NOW_NS - int(age * DAY_NS), case_id=case_id) for seq, age in enumerate(ages_days)]


def test_the_oldest_payloads_go_first() -> None:
    a, b = LOGS[0], LOGS[2]
    source = Memory({a: aged(a, 5, 4), b: aged(b, 6, 2)})
    assert source.run(moment()) == [PrunePayloads(b, 0, 1), PrunePayloads(a, 0, 2)]


def test_a_case_goes_as_a_whole_once_it_is_closed_for_so_long() -> None:
    """A booking under its id from before has its own age; a full disk asks for no case."""
    log, case_id = LOGS[0], b"\x07" * 16
    closed = CaseRow(bytes(32), 1, 0, NOW_NS - int(3.4 * DAY_NS), 3, NOW_NS - int(2.9 * DAY_NS))
    ages = aged(log, 5, 3.4, 3.2, 2.9, case_id=case_id)
    assert Memory({log: ages}, cases={case_id: [closed]}).run(moment()) == [PrunePayloads(log, 0, 1)]
    assert Memory({log: ages}, cases={case_id: [closed]}).run(moment(pressed=True)) == [PrunePayloads(log, 0, 4)]
    earlier = replace(closed, closed_ns=NOW_NS - int(3.1 * DAY_NS))
    assert Memory({log: ages}, cases={case_id: [earlier]}).run(moment()) == [PrunePayloads(log, 0, 3)]
    unclosed = replace(closed, closed_seq=None, closed_ns=None)
    assert Memory({log: ages}, cases={case_id: [unclosed]}).run(moment()) == [PrunePayloads(log, 0, 3)]


def test_a_case_that_closes_between_two_surveys_stays_as_long_as_one_that_closed_before() -> None:
    log, case_id = LOGS[0], b"\x07" * 16
    row = CaseRow(bytes(32), 0, 0, NOW_NS - 4 * DAY_NS)
    source = Memory({log: aged(log, 3.4, 2.99, 0, case_id=case_id)}, cases={case_id: [row]})
    planner = Retention(source, RETENTION_NS)
    assert source.run(moment(), planner) == [PrunePayloads(log, 0, 1)]
    assert planner.step(moment()) == ()
    source.cases[case_id] = [replace(row, closed_seq=2, closed_ns=NOW_NS)]
    assert planner.step(replace(moment(), utc_ns=NOW_NS + DAY_NS // 50)) == ()
    assert planner.step(replace(moment(), utc_ns=NOW_NS + int(3.1 * DAY_NS))) != ()


def test_a_case_that_goes_on_in_another_log_goes_with_it() -> None:
    first, second, case_id = LOGS[0], LOGS[1], b"\x07" * 16
    rows = [
        CaseRow(bytes(32), 0, 0, NOW_NS - 4 * DAY_NS),
        CaseRow(bytes(32), 0, 0, NOW_NS - 3 * DAY_NS, 1, NOW_NS - DAY_NS),
    ]
    source = Memory({first: aged(first, 4, 3.5, case_id=case_id), second: aged(second, 3, 1, case_id=case_id)},
                    cases={case_id: rows})  # fmt: skip
    assert source.run(moment()) == []
    later = replace(moment(), utc_ns=NOW_NS + int(2.1 * DAY_NS))
    assert source.run(later) == [PrunePayloads(first, 0, 2), PrunePayloads(second, 0, 2)]


def test_a_long_log_goes_in_small_steps() -> None:
    log = LOGS[0]
    source = Memory({log: [header(log, seq, seq) for seq in range(2 * LIMITS.prune_blocks + 7)]})
    assert [op.end - op.first for op in source.run(moment())] == [LIMITS.prune_blocks, LIMITS.prune_blocks, 7]


def test_a_full_disk_never_takes_the_last_day_nor_an_open_case() -> None:
    a, b = LOGS[0], LOGS[2]
    case_id = b"\x07" * 16
    source = Memory({a: aged(a, 2, 0.99, 0.5), b: aged(b, 9, 8, case_id=case_id)})
    at = moment(right=False, pressed=True, open_cases=frozenset({case_id}))
    assert source.run(at) == [PrunePayloads(a, 0, 1)]
    assert source.run(moment(pressed=True)) == [PrunePayloads(b, 0, 2)]


def test_blocks_from_before_the_clock_was_set_are_as_young_as_they_are() -> None:
    log = LOGS[0]
    set_late = [header(log, 0, 0, boot_ns=S_NS, right=False), header(log, 1, NOW_NS, boot_ns=60 * S_NS)]
    assert Memory({log: set_late}).run(moment(pressed=True)) == []


def test_a_clock_that_is_not_right_prunes_nothing_by_age() -> None:
    log = LOGS[0]
    assert Memory({log: aged(log, 50, 40)}).run(moment(right=False)) == []
    never_right = [header(log, 0, 0, right=False)]
    assert Memory({log: never_right}).run(moment()) == []


def test_a_damaged_log_is_named_and_does_not_hold_up_the_others() -> None:
    a, b = LOGS[0], LOGS[2]
    source = Memory({a: aged(a, 9), b: aged(b, 8)})
    planner = Retention(source, RETENTION_NS)
    planner.survey()
    source.damaged.add(a)
    assert planner.step(moment())[0] == PrunePayloads(b, 0, 1)
    assert list(planner.unreadable) == [a]
    source.damaged.clear()
    assert source.run(moment(), planner) == [PrunePayloads(a, 0, 1)]
    assert not planner.unreadable


def test_a_log_that_grows_is_gone_on_with() -> None:
    log = LOGS[0]
    source = Memory({log: aged(log, 9)})
    planner = Retention(source, RETENTION_NS)
    assert source.run(moment(), planner) == [PrunePayloads(log, 0, 1)]
    assert planner.oldest_ns is None
    source.blocks[log].append(header(log, 1, NOW_NS - 8 * DAY_NS))
    assert source.run(moment(), planner) == [PrunePayloads(log, 1, 2)]


@pytest.mark.parametrize(
    ("free", "below", "pressed"), [(100, False, False), (16, False, False), (14, False, True), (9, True, True)]
)
def test_room_is_short_below_the_reserve_or_at_85_percent(free: int, below: bool, pressed: bool) -> None:
    room = Room(free, 100, 10)
    assert (room.is_below_reserve, room.is_pressed) == (below, pressed)


@pytest.mark.parametrize("payload_bytes", [600, 5_000])
def test_pruning_a_store_frees_room_inside_its_file(tmp_path: Path, payload_bytes: int) -> None:
    log, count = LOGS[0], 3_000
    with_payloads = Store.open(tmp_path / "ledger")
    with_payloads.commit([OpenLog(log, b"")])
    for first in range(0, count, 500):
        with_payloads.commit(
            [
                AppendBlock(log, seq, sign_header(header(log, seq, seq), KEY), bytes(payload_bytes))
                for seq in range(first, first + 500)
            ]
        )
    before = with_payloads.usage()
    planner = Retention(with_payloads, RETENTION_NS)
    planner.survey()
    while ops := planner.step(moment()):
        with_payloads.commit(ops)
    after = with_payloads.usage()
    assert [block.payload for block in with_payloads.blocks(log, 0, count)] == [b""] * count
    assert len(list(with_payloads.headers(log, 0, count))) == count
    assert before.live_bytes - after.live_bytes > count * payload_bytes * 2 // 3
    assert after.file_bytes < before.file_bytes + LIMITS.store_grow_bytes
    assert list(with_payloads.self_values().values()) == [count.to_bytes(8, "big")]
    planner = Retention(with_payloads, RETENTION_NS)
    planner.survey()
    assert planner.step(moment()) == ()
    with_payloads.close()


def test_an_object_stays_in_a_store_until_its_case_is_closed_for_so_long(tmp_path: Path) -> None:
    log, case_id = LOGS[0], b"\x07" * 16
    named = StoredObjects((StoredObject(b"\x01" * 32, 1_000, b"\x02" * 32),))
    first, last = aged(log, 4, 2, case_id=case_id)
    row = CaseRow(bytes(32), 0, first.closed_ns, first.closed_ns, 1, last.closed_ns)
    store = Store.open(tmp_path / "ledger")
    store.commit([
        OpenLog(log, b""), AppendBlock(log, 0, sign_header(replace(first, notices=(named,)), KEY), bytes(64)),
        AppendBlock(log, 1, sign_header(last, KEY), bytes(64)), PutCase(case_id, log, row.encode()),
        PutCase(b"\x08" * 16, log, bytes(1)),
    ])  # fmt: skip
    assert store.case_values(case_id) == [row.encode()]
    assert store.case_values(b"\x09" * 16) == []
    for later_ns, state in ((0, ObjectState.WANTED), (int(1.1 * DAY_NS), ObjectState.GONE)):
        planner = Retention(store, RETENTION_NS)
        planner.survey()
        store.commit(planner.step(replace(moment(), utc_ns=NOW_NS + later_ns)))
        assert [each.state for each in store.objects()] == [state]
    store.close()
