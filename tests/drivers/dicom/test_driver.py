"""The driver alone: success only after its record, a repeat recorded once, an instance that did not come whole."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.contract import Close, Emit, Message, Now, Send
from drivers.dicom.driver import Dicom, DicomOptions
from ledger.limits import LIMITS
from ledger.records import Event, Gap, LinkId, Object

NOW = Now(mono_ns=10, utc_ns=1_700_000_000_000_000_000)
LINK = LinkId(1)


def driver() -> Dicom:
    made = Dicom(DicomOptions())
    made.link_up(LINK, "CT1@10.0.0.7:4000", NOW)
    assert made.drain() == []
    return made


def stored(instance: str, content: str = "aa", request: str = "1") -> Message:
    record = Object(
        at_ns=NOW.utc_ns, sha256=request.encode().ljust(32, b"\0"), size=10, media_type="application/dicom",
        name=f"{instance}.dcm", meta={"sop_instance": instance, "data_set_sha256": content},
    )  # fmt: skip
    return Message("C-STORE", {"id": request}, b"", record)


def test_an_instance_is_recorded_and_its_success_waits_for_the_record() -> None:
    made = driver()
    made.receive(LINK, stored("1.2.3", request="7"), NOW)
    emit, send = made.drain()
    assert isinstance(emit, Emit)
    assert isinstance(emit.record, Object)
    assert send == Send(LINK, b"C-STORE-RSP 7 0000", emit.ticket)


@pytest.mark.parametrize("differing", ["class", "instance"])
def test_a_data_set_that_says_to_be_something_else_is_kept_and_its_sender_warned(differing: str) -> None:
    made = driver()
    message = stored("1.2.3", request="7")
    assert message.object is not None
    told = replace(message.object, meta={**message.object.meta, "sop_class": "1.2", differing: "1.9"})
    for answer in (b"C-STORE-RSP 7 B007", b"C-STORE-RSP 7 B007 discard"):
        made.receive(LINK, replace(message, object=told), NOW)
        send = made.drain()[-1]
        assert isinstance(send, Send)
        assert (send.data, send.after is not None) == (answer, True)


def test_the_same_again_is_recorded_once_and_its_object_is_not_wanted() -> None:
    made = driver()
    made.receive(LINK, stored("1.2.3", request="1"), NOW)
    ticket = made.drain()[0].ticket  # type: ignore[union-attr]
    made.receive(LINK, stored("1.2.3", request="2"), NOW)
    assert made.drain() == [Send(LINK, b"C-STORE-RSP 2 0000 discard", ticket)]


def test_the_same_name_with_another_content_is_recorded_beside_the_first() -> None:
    made = driver()
    made.receive(LINK, stored("1.2.3", "aa"), NOW)
    made.drain()
    made.receive(LINK, stored("1.2.3", "bb", request="2"), NOW)
    assert [type(action) for action in made.drain()] == [Emit, Send]


def test_what_cannot_be_recorded_is_said_and_may_be_sent_again() -> None:
    made = driver()
    made.receive(LINK, stored("1.2.3"), NOW)
    ticket = made.drain()[0].ticket  # type: ignore[union-attr]
    made.receive(LINK, stored("1.2.3", request="2"), NOW)
    made.drain()
    made.refused(ticket, "disk full", NOW)
    assert [action.data for action in made.drain() if isinstance(action, Send)] == [
        b"C-STORE-RSP 1 A700",
        b"C-STORE-RSP 2 A700",
    ]
    made.receive(LINK, stored("1.2.3", request="3"), NOW)
    assert [type(action) for action in made.drain()] == [Emit, Send]


def test_nothing_is_said_on_a_link_that_is_gone() -> None:
    made = driver()
    made.receive(LINK, stored("1.2.3"), NOW)
    ticket = made.drain()[0].ticket  # type: ignore[union-attr]
    made.link_down(LINK, "aborted", NOW)
    made.refused(ticket, "disk full", NOW)
    assert made.drain() == []


def test_what_did_not_come_whole_is_a_gap_without_a_word_of_the_patient() -> None:
    made = driver()
    meta = {"sop_instance": "1.2.3", "reason": "aborted", "bytes": "4096"}
    made.receive(LINK, Message("C-STORE-ABANDONED", meta), NOW)
    (emit,) = made.drain()
    assert isinstance(emit, Emit)
    gap = emit.record
    assert isinstance(gap, Gap)
    assert (gap.cause, gap.lost_bytes, gap.lost_items) == ("framing", 4_096, 1)
    assert "1.2.3" not in gap.detail


def test_what_this_box_could_not_keep_is_a_gap_of_its_own_making() -> None:
    made = driver()
    meta = {"sop_instance": "1.2.3", "reason": "the disk is full", "bytes": "4096", "status": "A700"}
    made.receive(LINK, Message("C-STORE-ABANDONED", meta), NOW)
    (emit,) = made.drain()
    assert isinstance(emit, Emit)
    assert isinstance(emit.record, Gap)
    assert (emit.record.cause, emit.record.detail) == ("store_refused", "an instance was refused: the disk is full")


@pytest.mark.parametrize("data", [b"bytes", Message("C-FIND", {}), Message("C-STORE", {}, b"", None)])
def test_what_it_does_not_know_harms_nothing(data: bytes | Message) -> None:
    made = driver()
    made.receive(LINK, data, NOW)
    (action,) = made.drain()
    assert isinstance(action, Close) or action == Send(LINK, b"C-STORE-RSP 0 C000")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xy"), st.integers(1, 2)), max_size=30))
def test_each_content_of_an_instance_is_acknowledged_after_a_record_of_its_own(
    sent: list[tuple[str, str, int]],
) -> None:
    """However it is repeated: a success stands behind a record of exactly what was sent."""
    made = driver()
    made.link_up(LinkId(2), "CT2@10.0.0.8:4000", NOW)
    recorded: dict[int, tuple[str, str]] = {}
    for number, (instance, content, link) in enumerate(sent):
        made.receive(LinkId(link), stored(instance, content, str(number)), NOW)
        for action in made.drain():
            if isinstance(action, Emit):
                assert isinstance(action.record, Object)
                recorded[action.ticket] = (instance, content)
            else:
                assert isinstance(action, Send)
                assert action.after is not None
                assert action.data.startswith(f"C-STORE-RSP {number} 0000".encode())
                assert action.link == link
                assert recorded[action.after] == (instance, content)


def test_what_it_remembers_is_bounded() -> None:
    made = driver()
    made.link_up(LinkId(2), "CT2@10.0.0.8:4000", NOW)
    for number in range(LIMITS.duplicates_remembered + 10):
        made.receive(LINK, stored(f"1.2.{number}", request=str(number)), NOW)
        made.drain()
    assert len(made._stored) == LIMITS.duplicates_remembered
    assert len(made._promises) <= LIMITS.held_sends
    first = stored("1.2.0", request="1")
    made.receive(LINK, replace(first), NOW)
    assert [type(action) for action in made.drain()] == [Emit, Send]  # long ago: kept twice rather than lost


def asked(status: str = "0000", request: str = "4") -> Message:
    meta = {"id": request, "transaction": "2.25.5", "asker": "CT1", "instances": "3", "status": status, "comment": "no"}
    return Message("N-ACTION", meta)


def test_commitment_is_promised_only_after_the_record_of_it() -> None:
    made = driver()
    made.receive(LINK, asked(), NOW)
    emit, send = made.drain()
    assert isinstance(emit, Emit)
    assert isinstance(emit.record, Event)
    assert (emit.record.kind, emit.record.source) == ("marker", "CT1")
    assert "2.25.5" in emit.record.alarm_id
    assert send == Send(LINK, b"N-ACTION-RSP 4 0000", emit.ticket)
    made.refused(emit.ticket, "disk full", NOW)
    assert made.drain() == [Send(LINK, b"N-ACTION-RSP 4 0110")]


def test_a_request_for_commitment_that_is_refused_is_recorded_and_answered_at_once() -> None:
    made = driver()
    made.receive(LINK, asked("0115"), NOW)
    emit, send = made.drain()
    assert isinstance(emit, Emit)
    assert isinstance(emit.record, Event)
    assert "status 0115: no" in emit.record.text
    assert send == Send(LINK, b"N-ACTION-RSP 4 0115")


def test_what_was_decided_is_reported_and_how_that_went_recorded() -> None:
    made = driver()
    meta = {"id": "9", "transaction": "2.25.5", "event_type": "2", "asker": "CT1", "committed": "2", "failed": "1"}
    made.receive(LINK, Message("COMMITMENT-DECIDED", meta), NOW)
    (send,) = made.drain()
    assert send == Send(LINK, b"N-EVENT-REPORT 9 2 2.25.5")
    assert made.spec.may_send(send.data)
    made.receive(LINK, Message("N-EVENT-REPORT-RSP", {**meta, "status": "0000"}), NOW)
    made.receive(LINK, Message("N-EVENT-REPORT-RSP", {**meta, "status": "no answer"}), NOW)
    texts = [
        action.record.text for action in made.drain() if isinstance(action, Emit) and isinstance(action.record, Event)
    ]
    assert ["acknowledged; 2 instances committed, 1 failed" in text for text in texts] == [True, False]
    assert "not acknowledged, no answer" in texts[1]
