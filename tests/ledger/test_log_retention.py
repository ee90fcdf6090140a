"""Which whole logs go at their retention, and that nothing is forgotten with them that only they told."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.block import Header, sign_header
from ledger.errors import StoreFault
from ledger.limits import LIMITS
from ledger.log import LogId
from ledger.log_retention import LogRetention, expired_name
from ledger.notices import Head, Start
from ledger.ops import DropBlocks, Op, PutSelf
from ledger.replica import Replica
from ledger.retention import DAY_NS, Moment
from tests.ledger.test_retention import KEY, header

RETENTION_NS = 365 * DAY_NS
NOW_NS = 1_000 * DAY_NS
CASE = b"\x01" * 16
SMALL_STEPS = replace(LIMITS, drop_blocks=2)
AT = Moment(NOW_NS, clock_is_right=True, pressed=False, open_cases=frozenset())


def log_id(box: str, number: int) -> LogId:
    return LogId(box, number, hashlib.sha256(f"{box}{number}".encode()).digest()[:16], number % 3 != 0)


@dataclass
class HeldLog:
    """A log as it is held: whom its start names, and what decides over it."""

    log: LogId
    length: int
    age_days: float
    names: list[LogId]
    right: bool = True
    case_id: bytes | None = None
    pruned: bool = True
    tip_lags: bool = False
    frozen: bool = False
    live: bool = False
    damaged: bool = False
    first_held: int = 0

    def header(self, seq: int) -> Header:
        closed_ns = NOW_NS - int(self.age_days * DAY_NS) - (self.length - 1 - seq)
        made = header(self.log, seq, closed_ns, right=self.right, case_id=self.case_id)
        if seq:
            return made
        tails = tuple(Head(log, 1, bytes(32), bytes(32)) for log in self.names)
        return replace(made, notices=(Start(bytes(16), (), None, tails),))


@dataclass
class Memory:
    """``LogSource`` of such logs; carries the planner's operations out and checks them."""

    held: dict[LogId, HeldLog]
    facts: dict[str, bytes] = field(default_factory=dict)

    def logs(self, box: str | None = None) -> list[tuple[LogId, bytes]]:
        return [(log, b"") for log in self.held if box in (None, log.box)]

    def length(self, log: LogId) -> int:
        return self.held[log].length

    def first_held(self, log: LogId) -> int:
        return self.held[log].first_held

    def headers(self, log: LogId, first: int, end: int) -> Iterator[bytes]:
        one = self.held[log]
        if one.damaged:
            raise StoreFault("store.corrupt", "a page is gone")
        assert first >= one.first_held
        return (sign_header(one.header(seq), KEY) for seq in range(first, min(end, one.length)))

    def tip(self, log: LogId) -> bytes | None:
        one = self.held[log]
        replica = Replica(log, bytes(32), frozen=one.frozen)
        for seq in range(one.length - one.tip_lags):
            replica.append_one(sign_header(one.header(seq), KEY), with_root=False, has_payload=True)
        return replica.derived(None).tip

    def self_value(self, name: str) -> bytes | None:
        for one in self.held.values():
            if name == f"pruned/{one.log.box}/{one.log.incarnation.hex()}":
                return (one.length if one.pruned else one.length - 1).to_bytes(8, "big")
        return self.facts.get(name)

    def commit(self, ops: Iterable[Op]) -> None:
        for op in ops:
            if isinstance(op, DropBlocks):
                one = self.held[op.log]
                assert op.first == one.first_held
                assert op.first < op.end <= min(one.length - 1, op.first + SMALL_STEPS.drop_blocks)
                assert self.is_expired(op.log), "dropped before it was marked"
                one.first_held = op.end
            else:
                assert isinstance(op, PutSelf)
                self.facts[op.name] = op.value

    def is_expired(self, log: LogId) -> bool:
        return expired_name(log) in self.facts

    def live(self) -> set[LogId]:
        return {one.log for one in self.held.values() if one.live}

    def loose(self) -> set[LogId]:
        """What a start would take for ends that no epoch has named."""
        named = {each for one in self.held.values() if one.first_held == 0 for each in one.names}
        return {log for log in self.held if log not in named and not self.is_expired(log)}

    def run(self, at: Moment = AT, retention_ns: int | None = RETENTION_NS, restart_every: int = 1_000) -> None:
        """Step until nothing is due, restarting now and then."""
        loose = self.loose()
        while True:
            planner = LogRetention(self, retention_ns, SMALL_STEPS)
            planner.survey(self.live())
            for _ in range(restart_every):
                ops = planner.step(at)
                if not ops:
                    assert planner.expired == {log for log in self.held if self.is_expired(log)}
                    return
                self.commit(ops)
                assert self.loose() == loose


def expected(source: Memory, at: Moment) -> set[LogId]:
    """What goes, said plainly."""
    named = {each for one in source.held.values() if not one.damaged for each in one.names}
    due = {
        one.log: one for one in source.held.values()
        if one.log in named and one.pruned and one.right and at.clock_is_right and one.age_days > 365
        and one.case_id not in at.open_cases
        and not (one.live or one.frozen or one.tip_lags or one.damaged)
    }  # fmt: skip
    gone: set[LogId] = set()
    while True:
        more = {log for log, one in due.items() if all(each in gone or each not in source.held for each in one.names)}
        if more <= gone:
            return gone
        gone |= more


@st.composite
def sources(draw: st.DrawFn) -> Memory:
    """Chains of epochs: each names some of the ends that were loose before it."""
    held: dict[LogId, HeldLog] = {}
    rarely = st.sampled_from([False] * 9 + [True])
    for box in ("or-1", "or-2"):
        loose: list[LogId] = [log_id(box, 99)] if draw(rarely) else []  # one that is not held here
        for number in range(draw(st.integers(0, 6))):
            names = draw(st.lists(st.sampled_from(loose), unique=True)) if loose else []
            one = HeldLog(
                log_id(box, number), draw(st.integers(1, 6)), 900 - 100 * number - draw(st.integers(0, 50)), names,
                right=not draw(rarely), case_id=CASE if draw(rarely) else None, pruned=not draw(rarely),
                tip_lags=draw(rarely), frozen=draw(rarely), live=draw(rarely), damaged=draw(rarely),
            )  # fmt: skip
            held[one.log] = one
            loose = [*(log for log in loose if log not in names), one.log]
    return Memory(held)


moments = st.builds(
    Moment, utc_ns=st.just(NOW_NS), clock_is_right=st.sampled_from([True] * 9 + [False]), pressed=st.booleans(),
    open_cases=st.sampled_from([frozenset[bytes](), frozenset({CASE})]),
)  # fmt: skip


@given(sources(), moments, st.integers(1, 4))
def test_exactly_what_is_due_goes_and_no_end_becomes_loose(source: Memory, at: Moment, restart_every: int) -> None:
    due = expected(source, at)
    source.run(at, restart_every=restart_every)
    for log, one in source.held.items():
        assert source.is_expired(log) is (log in due)
        assert one.first_held == (one.length - 1 if log in due else 0)


def test_a_log_without_a_block_is_passed_over() -> None:
    """Its box ended between opening it and its first block."""
    source = chain(900, 800, 700)
    empty = log_id("or-1", 50)
    source.held[empty] = HeldLog(empty, 0, 0, [])
    source.run()
    first, second, last, _ = source.held
    assert source.is_expired(first)
    assert source.is_expired(second)
    assert not source.is_expired(last)
    assert not source.is_expired(empty)


@given(sources())
def test_without_a_setting_nothing_goes(source: Memory) -> None:
    source.run(retention_ns=None)
    assert source.facts == {}


def chain(*ages_days: float) -> Memory:
    """One box's epochs, each naming the one before."""
    logs = [log_id("or-1", 3 * number + 1) for number in range(len(ages_days))]
    return Memory({
        log: HeldLog(log, 5, age, logs[number - 1 : number] if number else [])
        for number, (log, age) in enumerate(zip(logs, ages_days, strict=True))
    })  # fmt: skip


def test_the_newest_epoch_stays_however_old_for_nobody_names_it() -> None:
    source = chain(900, 800, 700)
    source.run()
    assert [one.first_held for one in source.held.values()] == [4, 4, 0]


@pytest.mark.parametrize(
    "change", [{"frozen": True}, {"live": True}, {"case_id": CASE}, {"pruned": False}, {"tip_lags": True},
               {"right": False}, {"damaged": True}, {"age_days": 364.0}]
)  # fmt: skip
def test_what_must_stay_stays_and_keeps_what_names_it(change: dict[str, object]) -> None:
    source = chain(900, 800, 700, 600)
    second = list(source.held)[1]
    source.held[second] = replace(source.held[second], **change)  # type: ignore[arg-type]
    source.run(replace(AT, open_cases=frozenset({CASE})))
    # a damaged start is not known to name the first one, which therefore stays too
    first = 0 if change == {"damaged": True} else 4
    assert [one.first_held for one in source.held.values()] == [first, 0, 0, 0]


def test_a_log_that_was_begun_is_ended_whatever_the_clock_says_then() -> None:
    source = chain(900, 800)
    planner = LogRetention(source, RETENTION_NS, SMALL_STEPS)
    planner.survey(source.live())
    source.commit(planner.step(AT))
    source.run(replace(AT, clock_is_right=False), retention_ns=None)
    assert [one.first_held for one in source.held.values()] == [4, 0]
