"""The book of storage commitments: no word too early, one report until acknowledged, nothing lost at a restart."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.dicom.commitment import (
    INVALID_ARGUMENT,
    PROCESSING_FAILURE,
    RESOURCE_LIMITATION,
    Asked,
    CommitmentBook,
    Key,
    Reference,
    Refusal,
    Standing,
    Transaction,
)
from ledger.errors import PeerFault, StoreFault
from ledger.instant import Now
from ledger.limits import LIMITS, S_NS, Limits

CT = "1.2.840.10008.5.1.4.1.1.2"
START_NS = 1_700_000_000 * S_NS
SMALL = Limits(commitments=3, commitment_instances=3, commitments_instances=6)


def at(seconds: float) -> Now:
    return Now(int(seconds * S_NS), START_NS + int(seconds * S_NS))


def asked(
    uid: str = "2.25.1", *instances: str, asker: str = "CT1", decide_s: int = 100, report_s: int = 1_000
) -> Asked:
    references = tuple(Reference(CT, each) for each in instances or ("1.2.3",))
    return Asked("imaging", asker, uid, references, START_NS, START_NS + decide_s * S_NS, report_s * S_NS)


def begun(book: CommitmentBook, request: Asked) -> Transaction:
    taken = book.ask(request)
    assert isinstance(taken, Transaction)
    book.begin(request.key)
    return taken


def judge(book: CommitmentBook, **standings: Standing) -> None:
    """By the last part of the instance's UID, ``i3=…``."""
    for key, number, reference in book.to_look_up(100):
        book.judge(key, number, standings.get("i" + reference.sop_instance.rpartition(".")[2], Standing.PENDING))


def test_it_is_reported_once_everything_is_decided_and_until_that_is_acknowledged() -> None:
    book = CommitmentBook()
    taken = begun(book, asked("2.25.1", "1.2.3", "1.2.4"))
    judge(book, i3=Standing.WITNESSED)
    assert book.decide(at(1)) == []
    assert list(book.due(at(1))) == []
    judge(book, i4=Standing.WITNESSED)
    assert book.decide(at(2)) == [taken]
    assert book.decide(at(2)) == []
    assert list(book.due(at(2))) == [taken]
    book.reporting(taken.asked.key)
    assert list(book.due(at(3))) == []
    book.not_delivered(taken.asked.key, at(3))
    assert list(book.due(at(7))) == []
    assert list(book.due(at(8))) == [taken]
    assert (taken.report.event_type, taken.report.committed, taken.report.failed) == (1, taken.asked.references, ())
    book.acknowledged(taken.asked.key)
    assert not book.open
    assert list(book.due(at(900))) == []


def test_what_is_not_here_or_of_another_class_or_too_late_fails_with_its_reason() -> None:
    book = CommitmentBook()
    taken = begun(book, asked("2.25.1", "1.2.1", "1.2.2", "1.2.3", "1.2.4"))
    judge(book, i1=Standing.WITNESSED, i2=Standing.ABSENT, i3=Standing.OTHER_CLASS)
    assert book.decide(at(99)) == []
    assert book.decide(at(100)) == [taken]
    report = taken.report
    assert report.event_type == 2
    assert [each.sop_instance for each in report.committed] == ["1.2.1"]
    assert {each.sop_instance: reason for each, reason in report.failed} == {
        "1.2.2": 0x0112, "1.2.3": 0x0119, "1.2.4": PROCESSING_FAILURE,
    }  # fmt: skip
    judge(book, i4=Standing.WITNESSED)
    assert taken.report == report


def test_nothing_happens_before_the_request_is_answered() -> None:
    book = CommitmentBook()
    request = asked()
    book.ask(request)
    judge(book, i3=Standing.WITNESSED)
    assert book.decide(at(500)) == []
    assert book.withdraw(request.key)
    assert not book.open
    begun(book, request)
    assert not book.withdraw(request.key)


def test_the_same_request_again_is_the_same_transaction_and_another_under_its_uid_is_refused() -> None:
    book = CommitmentBook()
    taken = begun(book, asked("2.25.1", "1.2.3", "1.2.4"))
    assert book.ask(asked("2.25.1", "1.2.4", "1.2.3")) is taken
    clash = book.ask(asked("2.25.1", "1.2.5"))
    assert isinstance(clash, Refusal)
    assert clash.status == INVALID_ARGUMENT
    assert isinstance(book.ask(asked("2.25.1", "1.2.5", asker="CT2")), Transaction)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (asked("", "1.2.3"), INVALID_ARGUMENT),
        (asked("1.02.3", "1.2.3"), INVALID_ARGUMENT),
        (replace(asked(), references=()), INVALID_ARGUMENT),
        (asked("2.25.1", "1.2.3", "1.2.3"), INVALID_ARGUMENT),
        (asked("2.25.1", "Doe^Jane"), INVALID_ARGUMENT),
        (asked("2.25.1", "1." * 40 + "1"), INVALID_ARGUMENT),
        (asked("2.25.1", "1.1", "1.2", "1.3", "1.4"), RESOURCE_LIMITATION),
    ],
)
def test_a_request_that_cannot_be_kept_is_refused(request_: Asked, status: int) -> None:
    book = CommitmentBook(SMALL)
    refused = book.ask(request_)
    assert isinstance(refused, Refusal)
    assert refused.status == status
    assert not book.open


def test_how_much_is_open_is_bounded_and_what_is_over_makes_room() -> None:
    book = CommitmentBook(SMALL)
    for number in range(2):
        begun(book, asked(f"2.25.{number}", "1.1", "1.2", "1.3"))
    full = book.ask(asked("2.25.9", "1.1"))
    assert isinstance(full, Refusal)
    assert full.status == RESOURCE_LIMITATION
    book.acknowledged(("imaging", "CT1", "2.25.0"))
    for number in range(2, 4):
        begun(book, asked(f"2.25.{number}", "1.1"))
    assert isinstance(book.ask(asked("2.25.9", "1.1")), Refusal)


def test_a_report_that_nobody_takes_is_tried_later_and_later_then_given_up() -> None:
    book = CommitmentBook()
    taken = begun(book, asked(report_s=50_000))
    judge(book, i3=Standing.WITNESSED)
    book.decide(at(0))
    now_s, waits = 0.0, []
    while not book.give_up(at(now_s)):
        if list(book.due(at(now_s))):
            book.reporting(taken.asked.key)
            book.not_delivered(taken.asked.key, at(now_s))
            waits.append((taken.retry_ns - int(now_s * S_NS)) // S_NS)
        now_s = max(now_s + 1, min(taken.retry_ns / S_NS, 50_000))
    assert waits[:3] == [5, 10, 20]
    assert set(waits[7:]) == {600}
    assert now_s >= 50_000
    assert not book.open


def test_after_an_outage_longer_than_its_time_each_report_is_tried_once_more() -> None:
    book = CommitmentBook()
    uids = [f"2.25.{number}" for number in range(5)]
    for uid in uids:
        begun(book, asked(uid, report_s=100))
        judge(book, i3=Standing.WITNESSED)
        book.decide(at(1))
    again = CommitmentBook()  # a new process, long after
    for each in book.open.values():
        again.take_up(Transaction.decode(each.encode()))
    given_up: list[str] = []
    for now_s in range(1_000, 1_000 + len(uids)):
        assert given_up == uids[: now_s - 1_000]
        tried = next(again.due(at(now_s)))
        again.reporting(tried.asked.key)
        assert again.give_up(at(now_s)) == []
        again.not_delivered(tried.asked.key, at(now_s))
        given_up += [each.asked.uid for each in again.give_up(at(now_s))]
    assert given_up == uids
    assert not again.open


def test_who_opens_an_association_is_told_at_once() -> None:
    book = CommitmentBook()
    taken = begun(book, asked())
    judge(book, i3=Standing.ABSENT)
    book.decide(at(1))
    book.reporting(taken.asked.key)
    book.not_delivered(taken.asked.key, at(1))
    book.can_be_reached("imaging", "CT2")
    assert list(book.due(at(2))) == []
    book.can_be_reached("imaging", "CT1")
    assert list(book.due(at(2))) == [taken]


def test_looking_up_goes_round_so_that_none_waits_behind_another() -> None:
    book = CommitmentBook()
    begun(book, asked("2.25.1", *(f"1.1.{number}" for number in range(50))))
    begun(book, asked("2.25.2", "1.2.1"))
    seen = {reference.sop_instance for _ in range(6) for _, _, reference in book.to_look_up(10)}
    assert len(seen) == 51


UIDS = st.integers(0, 10**30).map(lambda number: f"2.25.{number}")
TITLES = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=16)


@settings(max_examples=30)
@given(
    TITLES, TITLES, UIDS, st.lists(st.tuples(UIDS, UIDS), min_size=1, max_size=20, unique_by=lambda pair: pair[1]),
    st.data(),
)  # fmt: skip
def test_what_is_kept_is_read_back(
    feed: str, asker: str, uid: str, pairs: list[tuple[str, str]], data: st.DataObject
) -> None:  # fmt: skip
    references = tuple(Reference(*pair) for pair in pairs)
    outcomes = data.draw(st.lists(st.sampled_from([-1, 0, 0x0112]), min_size=len(pairs), max_size=len(pairs)))
    kept = Transaction(Asked(feed, asker, uid, references, 1, 2, 3), outcomes, data.draw(st.integers(0, 1 << 60)))
    assert Transaction.decode(kept.encode()) == kept


@given(st.binary(max_size=200))
def test_what_is_no_row_is_refused(noise: bytes) -> None:
    with pytest.raises((PeerFault, StoreFault)):
        Transaction.decode(noise)


class Life:
    """The book as its desk uses it: what is durable, what is true of the instances, what the asker got."""

    def __init__(self) -> None:
        self.book = CommitmentBook(replace(LIMITS, commitments=3))
        self.kept: dict[Key, bytes] = {}
        self.standing = {f"1.2.{number}": Standing.PENDING for number in range(5)}
        self.now_s = 0.0
        self.acknowledged: list[Key] = []
        self.reported: dict[Key, set[object]] = {}
        self.answered: set[Key] = set()

    def ask(self, number: int, instances: list[str]) -> None:
        request = replace(
            asked(f"2.25.{number}", *instances, decide_s=10_000),
            at_ns=at(self.now_s).utc_ns, decide_by_ns=at(self.now_s + 300).utc_ns,
        )  # fmt: skip
        taken = self.book.ask(request)
        if isinstance(taken, Transaction):
            self.kept[request.key] = taken.encode()
            self.book.begin(request.key)
            self.answered.add(request.key)

    def look(self) -> None:
        for key, number, reference in self.book.to_look_up(3):
            self.book.judge(key, number, self.standing[reference.sop_instance])
        for decided in self.book.decide(at(self.now_s)):
            self.kept[decided.asked.key] = decided.encode()

    def report(self, *, taken: bool) -> None:
        for each in self.book.due(at(self.now_s)):
            key, report = each.asked.key, each.report
            for reference in report.committed:
                assert self.standing[reference.sop_instance] is Standing.WITNESSED
            assert {*report.committed, *(reference for reference, _ in report.failed)} == {*each.asked.references}
            for reference, reason in report.failed:
                if reason == PROCESSING_FAILURE:
                    assert each.decided_ns >= each.asked.decide_by_ns
                else:
                    assert (reason, self.standing[reference.sop_instance]) == (0x0112, Standing.ABSENT)
            self.reported.setdefault(key, set()).add(report)
            self.book.reporting(key)
            if taken:
                self.book.acknowledged(key)
                self.acknowledged.append(key)
                del self.kept[key]
                self.answered.discard(key)
            else:
                self.book.not_delivered(key, at(self.now_s))

    def restart(self) -> None:
        self.book = CommitmentBook(self.book.limits)
        for row in self.kept.values():
            self.book.take_up(Transaction.decode(row))


STEPS = st.one_of(
    st.tuples(st.just("ask"), st.integers(0, 99), st.lists(st.integers(0, 4), min_size=1, max_size=5, unique=True)),
    st.tuples(st.just("becomes"), st.integers(0, 4), st.sampled_from([Standing.WITNESSED, Standing.ABSENT])),
    st.tuples(st.just("look")), st.tuples(st.just("look")), st.tuples(st.just("restart")),
    st.tuples(st.just("report"), st.booleans()),
    st.tuples(st.just("wait"), st.integers(1, 200)),
)  # fmt: skip


@settings(max_examples=150)
@given(st.lists(STEPS, max_size=40))
def test_no_success_for_less_than_witnessed_and_every_transaction_is_reported_until_acknowledged(
    steps: list[tuple[object, ...]],
) -> None:
    """Whatever happens in whatever order; one decision for each transaction, restarts or not."""
    life, numbers = Life(), iter(range(1_000))
    for step in steps:
        match step:
            case ("ask", int(), list(instances)):
                life.ask(next(numbers), [f"1.2.{instance}" for instance in instances])
            case ("becomes", int(number), Standing() as standing):
                if life.standing[f"1.2.{number}"] is Standing.PENDING:
                    life.standing[f"1.2.{number}"] = standing
                    life.look()
            case ("look",):
                life.look()
                life.look()
            case ("report", bool(taken)):
                life.report(taken=taken)
            case ("restart",):
                life.restart()
            case ("wait", int(seconds)):
                life.now_s += seconds
        assert set(life.kept) == set(life.book.open) == life.answered
    life.now_s += 1_000
    for _ in range(20):
        life.look()
    life.report(taken=True)
    assert not life.book.open
    assert len(life.acknowledged) == len(set(life.acknowledged))
    assert all(len(reports) == 1 for reports in life.reported.values())
