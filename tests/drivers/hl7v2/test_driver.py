from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers import mllp
from drivers.contract import Emit, Message, Now, Send, Ticket, Transport
from drivers.hl7v2 import Hl7Config, Hl7v2, er7, structure
from ledger.limits import LIMITS
from ledger.payload import encode_payload
from ledger.records import Event, Gap, Identity, LinkId, Numeric, Quality, Raw
from tests.drivers.hl7v2.feeding import HEART_RATE, LINK, NOW, UTC_NS, Fed, config, framed, message, up

_OBR = "OBR|1|||182777000^monitoring of patient^SCT|||20260101115959"
_BED = "PV1||I|ST-MARY^OR^3"
_STRANGER = "PV1||I|ST-MARY^OR^4"
_ROUTED = config(beds=[{"match": "ST-MARY^OR^3", "feed": "anaesthesia"}])
_GARBLED = "OBX|1|XX|1^MDC_A^MDC|1.1.1.1|?|||||||R"
_OTHER_LINK = LinkId(2)


def test_what_the_driver_declares() -> None:
    spec = Hl7v2.spec
    assert (spec.name, spec.transports, spec.config) == ("hl7", (Transport.MLLP,), Hl7Config)
    assert spec.keeps_raw


# -- acknowledged only when durable ------------------------------------------------------------------------------------


def test_the_answer_waits_for_the_last_record() -> None:
    fed = up().give(framed(_BED, _OBR, HEART_RATE, accept="AL", application="NE"))
    (send,) = fed.sends
    assert fed.codes == ["CA"]
    assert send.after == fed.last_ticket
    assert isinstance(fed.actions[0], Emit)
    assert isinstance(fed.actions[0].record, Raw)
    assert fed.actions[-1] is send


def test_a_message_without_observations_is_kept_and_acknowledged_once_durable() -> None:
    data = framed("PID|||1", kind="MDM^T02^MDM_T02")
    fed = up().give(data)
    assert [raw.data for raw in fed.of(Raw)] == [data]
    assert [(send.after, code) for send, code in zip(fed.sends, fed.codes, strict=True)] == [(1, "AA")]
    assert fed.of(Gap) == []


def test_both_answers_of_the_enhanced_mode_wait() -> None:
    fed = up().give(framed(_OBR, HEART_RATE, accept="AL", application="AL"))
    assert fed.codes == ["CA", "AA"]
    assert {send.after for send in fed.sends} == {fed.last_ticket}


def test_what_asks_for_no_answer_gets_none_and_is_recorded() -> None:
    fed = up().give(framed(_OBR, HEART_RATE, accept="NE", application="NE"))
    assert fed.sends == []
    assert len(fed.of(Numeric)) == 1


def test_an_answer_from_the_other_side_is_kept_and_not_answered() -> None:
    fed = up().give(framed("MSA|AA|1", kind="ACK^R01^ACK"))
    assert fed.sends == []
    assert len(fed.of(Raw)) == 1


@pytest.mark.parametrize(("mode", "code"), [(("", ""), "AE"), (("AL", "NE"), "CE"), (("NE", "ER"), "AE")])
def test_records_refused_by_the_store_are_an_error_to_the_sender(mode: tuple[str, str], code: str) -> None:
    fed = up().give(framed(_OBR, HEART_RATE, accept=mode[0], application=mode[1]))
    last = fed.last_ticket
    fed.actions.clear()
    fed.driver.refused(Ticket(last), "disk full", NOW)
    fed.driver.refused(Ticket(last), "disk full", NOW)
    fed.drain()
    assert fed.codes == [code]
    assert fed.sends[0].after is None
    assert b"ERR|||207^^HL70357|E||||Message could not be stored" in fed.sends[0].data


def test_any_record_of_the_message_refused_is_enough() -> None:
    fed = up().give(framed(_OBR, HEART_RATE))
    fed.actions.clear()
    fed.driver.refused(Ticket(1), "disk full", NOW)
    assert fed.drain().codes == ["AE"]


def test_a_refused_message_is_new_when_it_comes_again() -> None:
    data = framed(_OBR, HEART_RATE)
    fed = up().give(data)
    fed.driver.refused(Ticket(fed.last_ticket), "disk full", NOW)
    fed.give(data)
    assert fed.codes == ["AA", "AE", "AA"]
    assert len(fed.of(Numeric)) == 2


def test_nobody_is_told_when_the_connection_is_gone() -> None:
    fed = up().give(framed(_OBR, HEART_RATE))
    last = fed.last_ticket
    fed.driver.link_down(LINK, "reset", NOW)
    fed.drain().actions.clear()
    fed.driver.refused(Ticket(last), "disk full", NOW)
    assert fed.drain().actions == []


def test_promises_are_bounded() -> None:
    fed = up()
    for number in range(LIMITS.held_sends + 10):
        fed.give(framed(id=str(number)))
    assert len(fed.driver._promises) == LIMITS.held_sends


# -- repeats -----------------------------------------------------------------------------------------------------------


def test_a_repeat_is_recorded_once_and_answered_after_the_original() -> None:
    data = framed(_OBR, HEART_RATE)
    fed = up().give(data)
    original = fed.last_ticket
    fed.driver.link_up(_OTHER_LINK, "peer", NOW)
    fed.give(framed(_OBR, HEART_RATE, id="43")).give(data, link=_OTHER_LINK)
    assert len(fed.of(Numeric)) == len(fed.of(Raw)) == 2
    repeat = fed.sends[-1]
    assert (repeat.link, repeat.after) == (_OTHER_LINK, original)
    assert fed.codes == ["AA", "AA", "AA"]


def test_a_repeat_of_a_refused_message_is_refused_too() -> None:
    data = framed(_OBR, HEART_RATE)
    fed = up().give(data).give(data)
    last = fed.last_ticket
    fed.actions.clear()
    fed.driver.refused(Ticket(last), "disk full", NOW)
    assert fed.drain().codes == ["AE", "AE"]


def test_the_same_id_with_other_content_is_recorded_and_told_once() -> None:
    fed = up()
    for value in ("72", "73", "74"):
        fed.give(framed(_OBR, HEART_RATE.replace("|72|", f"|{value}|")))
    assert [int(str(record.value)) for record in fed.of(Numeric)] == [72, 73, 74]
    assert [event.code for event in fed.of(Event)] == ["MDCX_HL7_CONTROL_ID_REUSED"]
    assert fed.codes == ["AA"] * 3


# -- whose message it is -----------------------------------------------------------------------------------------------


def test_nothing_of_another_bed_is_kept() -> None:
    fed = up(_ROUTED)
    for number in range(3):
        fed.give(framed("PID|||STRANGER", _STRANGER, _OBR, HEART_RATE, id=str(number), accept="AL", application="NE"))
    assert fed.codes == ["CR"] * 3
    assert {send.after for send in fed.sends} == {None}
    assert [type(action.record) for action in fed.actions if isinstance(action, Emit)] == [Event]
    assert b"STRANGER" not in repr(fed.actions).encode()


def test_this_bed_is_recorded_under_its_name() -> None:
    fed = up(_ROUTED).give(framed(_BED, _OBR, HEART_RATE))
    assert {record.sub for record in [*fed.of(Numeric), *fed.of(Raw)]} == {"anaesthesia"}
    assert fed.codes == ["AA"]


def test_a_message_with_a_stranger_in_it_is_rejected_whole() -> None:
    fed = up(_ROUTED).give(framed("PID|||1", _BED, _OBR, HEART_RATE, "PID|||2", _STRANGER, _OBR, HEART_RATE))
    assert fed.codes == ["AR"]
    assert fed.of(Raw) == []
    assert fed.of(Numeric) == []


def test_other_beds_may_be_kept() -> None:
    options = config(beds=[{"match": "ST-MARY^OR^3", "feed": "anaesthesia"}], other_beds="keep")
    fed = up(options).give(framed(_STRANGER, _OBR, HEART_RATE))
    assert [record.sub for record in fed.of(Numeric)] == ["bed-ST-MARY^OR^4"]


# -- what cannot be read -----------------------------------------------------------------------------------------------


def test_undecodable_is_accepted_once_its_bytes_are_durable() -> None:
    fed = up().give(framed(_OBR, _GARBLED))
    assert fed.codes == ["AA"]
    assert fed.sends[0].after == fed.last_ticket
    assert [gap.cause for gap in fed.of(Gap)] == ["undecodable"]
    assert len(fed.of(Raw)) == 1


def test_undecodable_may_be_an_error_to_the_sender_and_is_kept_all_the_same() -> None:
    fed = up(config(undecodable="reject")).give(framed(_OBR, _GARBLED)).give(framed(_OBR, _GARBLED))
    assert fed.codes == ["AE", "AE"]
    assert b"ERR|||102^" in fed.sends[1].data
    assert len(fed.of(Raw)) == 1


def test_lines_that_are_no_segments_are_told() -> None:
    fed = up().give(framed(_OBR, "OBX|1|TX|1^MDC_A^MDC|1.1.1.1|first", "second||||||R", HEART_RATE))
    assert [gap.lost_items for gap in fed.of(Gap)] == [1]
    assert len(fed.of(Numeric)) == 2


def test_a_message_that_goes_on_in_another_is_told() -> None:
    fed = up().give(framed(_OBR, HEART_RATE, "DSC|4711|F")).give(framed("ADD|rest of an observation", id="43"))
    assert [gap.cause for gap in fed.of(Gap)] == ["undecodable", "undecodable"]
    assert len(fed.of(Numeric)) == 1
    assert up().give(framed(_OBR, HEART_RATE, "DSC||")).of(Gap) == []


def test_letters_outside_the_declared_set_are_told() -> None:
    data = mllp.frame(
        message(_OBR, HEART_RATE, "NTE|1||Gr\xfc\xdfe", charset="UNICODE UTF-8").decode().encode("latin-1")
    )
    fed = up().give(data)
    assert [(gap.cause, gap.lost_items) for gap in fed.of(Gap)] == [("undecodable", None)]
    assert fed.codes == ["AA"]
    assert len(fed.of(Numeric)) == 1


@pytest.mark.parametrize(
    ("options", "code", "kept"),
    [
        (Hl7Config(), "AA", 1),
        (config(undecodable="reject"), "AR", 1),
        (_ROUTED, "AR", 0),
        (config(beds=[{"match": "A", "feed": "a"}], other_beds="keep"), "AA", 1),
    ],
)
def test_without_a_header_nobody_knows_whose_it_is(options: Hl7Config, code: str, kept: int) -> None:
    fed = up(options).give(mllp.frame(b"<ClinicalDocument>"))
    assert fed.codes == [code]
    assert len(fed.of(Raw)) == kept
    assert [gap.cause for gap in fed.of(Gap)] == ["undecodable"]
    assert b"\rMSA|" + code.encode() + b"|\r" in fed.sends[0].data


def test_a_broken_message_with_a_whole_header_is_answered_by_its_id() -> None:
    fed = up().give(mllp.frame(message(id="77", accept="AL") + b"OBX\r" * er7.MAX_SEGMENTS))
    assert fed.codes == ["CA"]
    assert b"MSA|CA|77\r" in fed.sends[0].data


# -- the stream --------------------------------------------------------------------------------------------------------


def test_an_oversize_message_is_rejected_by_its_id_and_the_next_is_taken() -> None:
    huge = framed("NTE|1||" + "x" * LIMITS.hl7_message_bytes, id="77")
    fed = up().give(huge).give(framed(_OBR, HEART_RATE))
    assert [(gap.cause, gap.lost_bytes) for gap in fed.of(Gap)] == [("oversize", len(huge) - 3)]
    assert fed.codes == ["AR", "AA"]
    assert b"MSA|AR|77\r" in fed.sends[0].data
    assert len(fed.of(Raw)) == 1


def test_a_message_without_end_closes_the_connection() -> None:
    fed = up()
    fed.give(b"\x0bMSH|^~\\&|")
    for _ in range(18):
        fed.give(b"x" * LIMITS.hl7_message_bytes)
    assert [close.link for close in fed.closes][:1] == [LINK]


def test_the_largest_message_is_kept_in_pieces_that_fit_a_block() -> None:
    body = message("NTE|1||")
    data = mllp.frame(body[:-1] + b"x" * (LIMITS.hl7_message_bytes - len(body)) + b"\r")
    raws = up().give(data).of(Raw)
    assert b"".join(raw.data for raw in raws) == data
    assert max(len(raw.data) for raw in raws) == LIMITS.raw_record_bytes


def test_junk_and_a_restart_are_gaps() -> None:
    fed = up().give(b"junk\x0bhalf" + framed(_OBR, HEART_RATE))
    assert [(gap.cause, gap.lost_bytes) for gap in fed.of(Gap)] == [("framing", 4), ("framing", 4)]
    assert fed.codes == ["AA"]


def test_a_vertical_tab_in_a_text_costs_no_message() -> None:
    data = framed(_OBR, "OBX|1|TX|1^Note^L||first line\\X0A\\second||||||R", HEART_RATE).replace(b"\\X0A\\", b"\x0b")
    fed = up().give(data)
    assert fed.codes == ["AA"]
    assert b"".join(raw.data for raw in fed.of(Raw)) == data
    assert [numeric.value for numeric in fed.of(Numeric)] == ["first line\x0bsecond", 72]
    assert fed.of(Gap) == []


def test_a_connection_cut_inside_a_message_is_a_gap_and_no_answer() -> None:
    fed = up().give(framed(_OBR, HEART_RATE)[:-8])
    fed.driver.link_down(LINK, "reset", Now(9, UTC_NS + 5))
    fed.driver.link_down(LINK, "reset", Now(9, UTC_NS + 5))
    (gap,) = fed.drain().of(Gap)
    assert (gap.cause, gap.since_ns, gap.until_ns) == ("framing", UTC_NS, UTC_NS + 5)
    assert fed.sends == []


def test_bytes_of_an_unknown_connection_close_it() -> None:
    fed = up().give(b"\x0b", link=_OTHER_LINK)
    assert [close.link for close in fed.closes] == [_OTHER_LINK]


def test_one_message_delivered_whole_is_the_same() -> None:
    fed = up()
    fed.driver.receive(LINK, Message("hl7", {}, message(_OBR, HEART_RATE)), NOW)
    assert fed.drain().actions == up().give(framed(_OBR, HEART_RATE)).actions


@given(st.data())
@settings(max_examples=50)
def test_cut_anywhere_is_the_same_as_at_once(data: st.DataObject) -> None:
    stream = b"??" + framed(_OBR, HEART_RATE, id="1") + b"\r\n" + framed(_OBR, _GARBLED, id="2") + b"\x0bcut"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    fed = up()
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        fed.give(stream[start:stop])
    assert fed.actions == up().give(stream).actions


def test_one_by_one_is_the_same_as_at_once() -> None:
    stream = framed(_BED, _OBR, HEART_RATE, accept="AL", application="AL") + framed(_OBR, HEART_RATE)
    fed = up()
    for byte in stream:
        fed.give(bytes([byte]))
    assert fed.actions == up().give(stream).actions
    assert len(fed.of(Numeric)) == 2


# -- anything at all ---------------------------------------------------------------------------------------------------

_SEEDS = (
    framed(_BED, _OBR, HEART_RATE, accept="AL", application="AL"),
    framed(
        "OBR|1|7^GW|8^GW|196616^MDC_EVT_ALARM^MDC" + "|" * 25 + "^6&GW",
        "OBX|1|ST|196670^MDC_EVT_LO^MDC|1.3.1.1.1|Low|||L~PM~SP|||F",
        "OBX|2|NM|150456^MDC_PULS_OXIM_SAT_O2^MDC|1.3.1.1.2|88|262688^MDC_DIM_PERCENT^MDC|90-96||||F",
        kind="ORU^R40",
    ),
    framed(
        _OBR,
        "OBX|1||70049^MDC_DEV_PUMP_MDS^MDC|1.0.0.0|||||||X|||||||SN^A",
        "OBX|2|NA|131330^MDC_ECG_ELEC_POTL_II^MDC|1.1.1.7|0.1^0.2~0.3|266418^MDC_DIM_MILLI_VOLT^MDC",
        "OBX|3|NM|0^MDC_ATTR_SAMP_RATE^MDC|1.1.1.7.1|250",
        charset="8859/1",
    ),
)
_BITS = st.sampled_from(
    [b"|", b"^", b"~", b"\\", b"&", b"\r", b"\x0b", b"\x1c\r", b"\xff", b"\x00", b"9" * 30, b".", b"MSH"]
)


@st.composite
def _mutated(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(_SEEDS)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        stop = draw(st.integers(at, min(len(data), at + 12)))
        data[at:stop] = draw(st.one_of(_BITS, st.binary(max_size=6)))
    return bytes(data)


def test_a_place_between_separators_that_only_python_takes_for_blanks() -> None:
    assert structure.path_of("\x1f8.1\x1c ") == (8, 1)


def _check(fed: Fed) -> None:
    tickets = [action.ticket for action in fed.actions if isinstance(action, Emit)]
    assert tickets == list(range(1, len(tickets) + 1))
    for number, action in enumerate(fed.actions):
        if isinstance(action, Send):
            assert Hl7v2.spec.may_send(action.data), action.data
            before = [a.ticket for a in fed.actions[:number] if isinstance(a, Emit)]
            assert action.after is None or action.after in before
            if b"MSA|AA" in action.data or b"MSA|CA" in action.data:
                assert action.after is not None
    encode_payload({"gateway": [action.record for action in fed.actions if isinstance(action, Emit)]})
    kinds = {type(action.record).__name__.lower() for action in fed.actions if isinstance(action, Emit)}
    assert kinds <= Hl7v2.spec.records


@given(
    st.lists(_mutated(), min_size=1, max_size=3), st.sampled_from([Hl7Config(), _ROUTED, config(undecodable="reject")])
)
@settings(max_examples=300)
def test_mutated_messages_raise_nothing_and_only_answers_leave(streams: list[bytes], options: Hl7Config) -> None:
    fed = up(options)
    for stream in streams:
        fed.give(stream)
    fed.driver.link_down(LINK, "reset", NOW)
    _check(fed.drain())


@given(st.binary(max_size=300), st.booleans())
@settings(max_examples=200)
def test_random_bytes_raise_nothing(data: bytes, in_frame: bool) -> None:
    fed = up().give(b"\x0b" + data + b"\x1c\r" if in_frame else data)
    fed.driver.link_down(LINK, "reset", NOW)
    _check(fed.drain())


@pytest.mark.parametrize(
    "filler", ["|", "^", "~", "&", "\\", "1", "-", ".", " ", "\r", "OBX\r", "\\X41\\", "1^", "^1~"]
)
def test_a_megabyte_of_anything_is_taken_in_bounds(filler: str) -> None:
    row = "OBX|1|NM|{0}|{0}|{0}|{0}|{0}|{0}|||R|||{0}||||{0}"
    part = filler * (100_000 // len(filler))
    fed = up().give(framed(_OBR, row.format(part) if "|" not in filler and "\r" not in filler else part))
    _check(fed)
    for record in fed.of(Numeric):
        assert len(record.code) + len(record.channel) + len(record.unit) + len(record.device_code) < 20_000
    for identity in fed.of(Identity):
        assert len(identity.serial) < 5_000
        assert identity.quality is Quality.GOOD


def test_a_flood_of_strays_leaves_few_gaps_that_account_for_every_byte() -> None:
    fed = up().give(b"\x0bMSH" * 5_000)
    assert 1 <= len(fed.of(Gap)) <= 16
    fed.driver.link_down(LINK, "gone", NOW)
    fed.drain()
    gaps = fed.of(Gap)
    assert len(gaps) <= 18
    assert sum(gap.lost_bytes or 0 for gap in gaps) == 15_000
    assert sum(gap.lost_items or 1 for gap in gaps) == 5_000
