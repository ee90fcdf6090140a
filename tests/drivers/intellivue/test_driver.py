from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.contract import Message
from drivers.intellivue import IntelliVue, IntelliVueConfig
from drivers.intellivue.frame import encode
from drivers.intellivue.probe import recognise
from drivers.intellivue.session import ABORT, RELEASE_RESPONSE, association_request
from ledger.errors import OurFault
from ledger.records import Gap, Identity, Link, Numeric, Record, Setting, Wave
from tests.drivers.intellivue.building import (
    ALERTS,
    LINK,
    MDS_CREATE_RESULT,
    NUMERIC,
    PATIENT,
    REFUSE,
    RELEASE_REQUEST,
    WAVE,
    accept,
    alarm,
    attributes,
    counted,
    data,
    drained,
    mds_create,
    now,
    numeric,
    poll_result,
    samples,
    string,
    u16,
    u32,
)

MODEL = (0x0928, u16(8) + b"Philips\0" + u16(6) + b"M8004A")
ADDRESS = "10.20.3.40:24105"


def driver(**options: object) -> IntelliVue:
    found = IntelliVue(IntelliVueConfig(**options))  # type: ignore[arg-type]
    found.link_up(LINK, ADDRESS, now())
    return found


def heard(found: IntelliVue, *messages: bytes, at_s: float = 0) -> tuple[list[Record], list[bytes]]:
    for message in messages:
        found.receive(LINK, message, now(at_s))
    return drained(found)


def associated(**options: object) -> IntelliVue:
    found = driver(**options)
    heard(found, accept(), mds_create(MODEL))
    return found


def woken(found: IntelliVue, until_s: float, from_s: float = 0, alive: bytes = b"") -> tuple[list[Record], list[bytes]]:
    records, sent = [], []
    for tenth in range(round(from_s * 10), round(until_s * 10)):
        if alive and tenth % 10 == 0:
            found.receive(LINK, alive, now(tenth / 10))
        found.wake(now(tenth / 10))
        more, said = drained(found)
        records += more
        sent += said
    return records, sent


def test_on_the_lan_messages_are_bare_and_on_the_line_framed() -> None:
    _, sent = drained(driver())
    assert sent == [association_request(1_364)]
    on_line = IntelliVue(IntelliVueConfig())
    on_line.link_up(LINK, "/dev/serial/by-path/pci-0000:00:14.0-usb-0:2:1.0-port0", now())
    assert drained(on_line)[1] == [encode(association_request(1_000))]


def test_a_datagram_on_a_link_thought_to_be_a_line_is_believed() -> None:
    found = IntelliVue(IntelliVueConfig())
    found.link_up(LINK, "simulated", now())
    found.receive(LINK, accept(), now())
    _, sent = heard(found, mds_create(MODEL))
    assert MDS_CREATE_RESULT in sent


def test_the_creation_is_answered_and_identifies_the_monitor() -> None:
    found = driver()
    drained(found)
    records, sent = heard(found, accept(), mds_create(MODEL))
    assert sent == [MDS_CREATE_RESULT]
    _, identity, link = records
    assert isinstance(identity, Identity)
    assert (identity.make, identity.model) == ("Philips", "M8004A")
    assert isinstance(link, Link)
    assert (link.state, link.peer) == ("identified", ADDRESS)


def test_a_repeated_creation_is_answered_again_and_recorded_once() -> None:
    found = associated()
    records, sent = heard(found, mds_create(MODEL, invoke_id=2))
    assert records == []
    assert sent == [MDS_CREATE_RESULT[:8] + b"\0\2" + MDS_CREATE_RESULT[10:]]


def test_an_accept_and_a_creation_that_come_twice_change_nothing() -> None:
    found = associated()
    woken(found, 1)
    label = poll_result(NUMERIC, (1, ((0x0924, u32(0x00024182)), (0x0927, string("HR")), numeric(0x4182, 70))))
    heard(found, label, accept(), mds_create(MODEL), at_s=1)
    (hr,), _ = heard(found, poll_result(NUMERIC, (1, (numeric(0x4182, 71),))), at_s=2)
    assert getattr(hr, "device_code", "") == "00024182 HR"
    _, sent = woken(found, 8, from_s=1, alive=label)
    assert [message for message in sent if message[32:34] == u16(ALERTS)]


def test_a_creation_that_wants_no_answer_gets_none() -> None:
    found = driver()
    heard(found, accept())
    event = mds_create(MODEL)
    _, sent = heard(found, event[:10] + b"\0\0" + event[12:])
    assert sent == []


def test_what_others_asked_for_is_recorded_from_the_middle_of_an_association() -> None:
    found = driver()
    (hr, wave), _ = heard(
        found,
        poll_result(NUMERIC, (1, (numeric(0x4182, 70),)), invoke_id=77, sequence=400),
        poll_result(WAVE, (2, (samples(0x0102, [1] * 64),)), invoke_id=78, sequence=4_000),
    )
    assert isinstance(hr, Numeric)
    assert hr.value == 70
    assert isinstance(wave, Wave)
    assert wave.rate == (250, 1)


@given(st.integers(0, 300))
def test_a_line_heard_from_the_middle_of_anything_is_read_from_the_next_frame_on(cut: int) -> None:
    frames = [encode(poll_result(NUMERIC, (n, (numeric(0x4182 + 8 * n, n),)), sequence=n)) for n in range(1, 8)]
    found = IntelliVue(IntelliVueConfig())
    found.link_up(LINK, "/dev/ttyS0", now())
    found.receive(LINK, b"".join(frames)[cut:], now())
    lost = next(n for n in range(len(frames)) if sum(map(len, frames[:n])) >= cut)
    values = [record.value for record in drained(found)[0] if isinstance(record, Numeric)]
    assert values == list(range(lost + 1, 8))


def test_a_refusal_is_told_once_and_tried_again() -> None:
    found = driver()
    drained(found)
    (link,), _ = heard(found, REFUSE)
    assert isinstance(link, Link)
    assert link.state == "refused"
    _, sent = woken(found, 6)
    assert sent == [association_request(1_364)]
    records, _ = heard(found, REFUSE, at_s=6)
    assert records == []


@pytest.mark.parametrize("message", [ABORT, RELEASE_REQUEST])
def test_an_association_that_ends_is_asked_for_anew(message: bytes) -> None:
    found = associated()
    _, answers = heard(found, message, at_s=1)
    assert answers == ([RELEASE_RESPONSE] if message == RELEASE_REQUEST else [])
    records, sent = woken(found, 3, from_s=1)
    assert sent == [association_request(1_364)]
    (gap,) = records
    assert isinstance(gap, Gap)
    assert gap.cause == "link_down"


def test_everything_is_polled_and_nothing_else_is_ever_sent() -> None:
    found = associated(wave_list=("MDC_ECG_ELEC_POTL_II",), demographics="all")
    _, sent = woken(found, 700, alive=poll_result(NUMERIC, (1, (numeric(0x4182, 70),))))
    classes = {message[32:34] for message in sent if message[20:22] in (b"\x0c\x16", b"\xf1\x3b") or len(message) > 30}
    assert {u16(NUMERIC), u16(WAVE), u16(ALERTS), u16(PATIENT)} <= classes
    assert all(IntelliVue.spec.may_send(message) for message in sent)


def test_without_waves_none_are_asked_for() -> None:
    found = associated(waves=False, enumerations=False, demographics="none")
    _, sent = woken(found, 30, alive=poll_result(NUMERIC, (1, (numeric(0x4182, 70),))))
    assert not [message for message in sent if message[32:34] in (u16(WAVE), u16(PATIENT))]


@pytest.mark.parametrize(
    ("extensions", "granted", "gaps"),
    [
        (0x8E000000, "numerics every second, waves, enumerations", []),
        (0x8A000000, "numerics every second, waves", []),
        (0x80000000, "numerics every second", ["the monitor does not grant waves here"]),
        (0, "single polls only", ["the monitor does not grant waves here"]),
    ],
)
def test_what_is_granted_is_told(extensions: int, granted: str, gaps: list[str]) -> None:
    found = driver()
    records, _ = heard(found, accept(extensions=extensions), mds_create(MODEL))
    settings = [record for record in records if isinstance(record, Setting)]
    assert [(record.code, record.value) for record in settings] == [
        ("MDCX_PHILIPS_poll_profile", f"{extensions:08X}: {granted}")
    ]
    told = [record.detail for record in woken(found, 3)[0] if isinstance(record, Gap)]
    assert told == gaps


def test_waves_that_are_not_granted_are_not_asked_for() -> None:
    found = driver()
    heard(found, accept(extensions=0x80000000), mds_create(MODEL))
    _, sent = woken(found, 3)
    assert not [message for message in sent if message[32:34] == u16(WAVE)]


def refused(found: IntelliVue, number: int, until_s: float) -> list[str]:
    """Every request of this poll number is answered by error 9; what gaps tell of it."""
    details = []
    for tenth in range(round(until_s * 10)):
        found.receive(LINK, poll_result(NUMERIC, (1, (numeric(0x4182, 70),))), now(tenth / 10))
        found.wake(now(tenth / 10))
        records, sent = drained(found)
        details += [record.detail for record in records if isinstance(record, Gap)]
        for message in sent:
            if message[4:6] == b"\0\1" and message[28:30] == u16(number):
                found.receive(LINK, data(3, int.from_bytes(message[8:10], "big"), 9, b""), now(tenth / 10))
    return details


def test_a_poll_that_is_refused_is_told_once() -> None:
    assert refused(associated(), 2, 400) == ["the monitor answers error 9 when asked: waves"]


@pytest.mark.parametrize("number", [7, 8, 9])
def test_what_need_not_be_answered_may_be_refused(number: int) -> None:
    assert refused(associated(), number, 30) == []


def test_an_error_that_answers_nothing_of_ours_is_nothing() -> None:
    found = associated()
    heard(found, data(3, 0x7777, 9, b""))
    assert not [record for record in woken(found, 3)[0] if isinstance(record, Gap)]


def test_the_waves_exported_are_recorded_and_compared() -> None:
    found = associated(wave_list=("MDC_ECG_ELEC_POTL_II", "MDC_PULS_OXIM_PLETH"))
    exported = attributes((0xF23A, counted(u32(0x00020102), u32(0x80155402))))
    (setting,), _ = heard(found, data(2, 9, 3, u16(0x21, 0, 0) + exported))
    assert isinstance(setting, Setting)
    assert setting.value == "MDC_ECG_ELEC_POTL_II MDCX_PHILIPS_80155402"
    (gap,) = [record for record in woken(found, 3)[0] if isinstance(record, Gap)]
    assert "MDC_PULS_OXIM_PLETH" in gap.detail


def test_results_left_out_are_a_gap_and_repeated_ones_are_recorded_once() -> None:
    found = associated()
    one, three = (poll_result(NUMERIC, (1, (numeric(0x4182, n),)), sequence=n, ticks=n * 8_192) for n in (1, 3))
    records, _ = heard(found, one, one, three)
    assert [record.value for record in records if isinstance(record, Numeric)] == [1, 3]
    (gap,) = [record for record in woken(found, 3)[0] if isinstance(record, Gap)]
    assert (gap.cause, gap.detail) == ("sequence", "1 poll results are missing by their numbers")


PLETH = (
    (1832, 1830, 1825, 1819, 1811, 1802, 1794, 1787, 1780, 1773, 1768, 1762, 1755, 1749, 1743, 1737,
     1733, 1730, 1727, 1725, 1721, 1715, 1708, 1699, 1689, 1679, 1671, 1665, 1660, 1656, 1654, 1652),
    (1648, 1642, 1634, 1625, 1619, 1619, 1630, 1658, 1709, 1788, 1894, 2024, 2173, 2334, 2496, 2650,
     2788, 2905, 2999, 3068, 3113, 3136, 3139, 3127, 3103, 3071, 3034, 2996, 2960, 2927, 2899, 2877),
)  # fmt: skip


def test_a_real_monitor_s_ecg_comes_twice_under_one_handle() -> None:
    """A compound of half the rate beside the lead itself, as published with patient-monitor-datalogger."""
    found = associated()
    waves: list[Wave] = []
    for block, pleth in enumerate(PLETH):
        compound = (0x0967, counted(u16(0x0102, 0x8000, 128) + u16(*[8186] * 64)))
        message = poll_result(
            WAVE, (2107, (compound,)), (2107, (samples(0x0102, [8191] * 128, 0x8000),)),
            (1977, (samples(0x4BB4, list(pleth)),)), (2119, (samples(0x5000, [1023] * 16, 0x8000),)),
            ticks=88_563_712 + 2_048 * block, sequence=12 + block, invoke_id=3,
        )  # fmt: skip
        records, _ = heard(found, message, at_s=0.256 * block)
        assert not [record for record in records if isinstance(record, Gap)]
        waves += [record for record in records if isinstance(record, Wave)]
    told = [(wave.code, wave.channel, wave.rate, wave.index) for wave in waves]
    assert told[:4] == [
        ("MDC_ECG_ELEC_POTL_II", "compound", (250, 1), 0),
        ("MDC_ECG_ELEC_POTL_II", "", (500, 1), 0),
        ("MDC_PULS_OXIM_PLETH", "", (125, 1), 0),
        ("MDC_RESP", "", (125, 2), 0),
    ]
    assert [index for *_, index in told[4:]] == [64, 128, 32, 16]
    assert struct.unpack("<32h", waves[6].samples) == PLETH[1]


def linked(*counts: int, end: bool = True) -> list[bytes]:
    parts = [
        poll_result(NUMERIC, (n, (numeric(0x4182 + n, n),)), sequence=5, linked=(1 if n == 1 else 2 if n < 3 else 3, n))
        for n in counts
    ]
    return [*parts, poll_result(NUMERIC, sequence=5)] if end else parts


def test_linked_results_are_one() -> None:
    found = associated()
    records, _ = heard(found, *linked(1, 2, 3))
    assert [record.value for record in records if isinstance(record, Numeric)] == [1, 2, 3]
    assert not [record for record in woken(found, 3)[0] if isinstance(record, Gap)]


def test_linked_results_without_their_plain_end_and_of_one_invoke_id_are_whole_too() -> None:
    found = associated()
    other = poll_result(WAVE, (2, (samples(0x0102, [1] * 64),)))
    first, *rest = linked(1, 2, 3, end=False)
    heard(found, first, other, *rest, *linked(1, 2, 3))
    assert not [record for record in woken(found, 3)[0] if isinstance(record, Gap)]


@pytest.mark.parametrize("counts", [(1, 3), (2, 3), (1, 2)])
def test_a_missing_part_of_linked_results_is_a_gap(counts: tuple[int, ...]) -> None:
    found = associated()
    heard(found, *linked(*counts))
    (gap,) = [record for record in woken(found, 3)[0] if isinstance(record, Gap)]
    assert (gap.cause, gap.detail) == ("sequence", "a part of a linked poll result is missing")


def test_a_broken_object_is_a_gap_and_the_others_are_recorded() -> None:
    found = associated()
    records, _ = heard(found, poll_result(NUMERIC, (1, ((0x0950, b"12"),)), (2, (numeric(0x4182, 70),)), sequence=1))
    assert [record.value for record in records if isinstance(record, Numeric)] == [70]
    (gap,) = [record for record in woken(found, 3)[0] if isinstance(record, Gap)]
    assert (gap.cause, gap.lost_bytes) == ("undecodable", 6)


def test_after_a_silence_its_bounds_are_told() -> None:
    found = associated()
    result = poll_result(NUMERIC, (1, (numeric(0x4182, 70),)))
    heard(found, result, at_s=1)
    records, _ = heard(found, result, at_s=31)
    gap = records[0]
    assert isinstance(gap, Gap)
    assert (gap.cause, gap.since_ns, gap.until_ns) == ("silence", now(1).utc_ns, now(31).utc_ns)


def test_alarms_that_ended_while_nothing_was_heard_end_afterwards() -> None:
    found = associated()
    heard(found, poll_result(ALERTS, (1, ((0x0902, counted(alarm(0x4BB8, 0x3E, 0x0200))),))))
    found.link_down(LINK, "unplugged", now(5))
    found.link_up(LINK, ADDRESS, now(60))
    heard(found, accept(), mds_create(MODEL), at_s=60)
    (event,), _ = heard(found, poll_result(ALERTS, (1, ((0x0902, counted()),))), at_s=61)
    assert getattr(event, "phase", "") == "end"


def test_a_patients_name_is_in_no_gap_and_no_link() -> None:
    found = associated(demographics="all")
    name = string("Koniglich")
    broken = poll_result(PATIENT, (1, ((0x095C, name), (0x0962, b"\1"))))
    records, _ = heard(found, broken, poll_result(PATIENT, (1, ((0x095C, name),)))[:-4])
    records += woken(found, 3)[0]
    assert [record for record in records if isinstance(record, Gap)]
    assert not [record for record in records if isinstance(record, Gap | Link) and "Koniglich" in repr(record)]


def test_a_framed_message_is_our_fault() -> None:
    with pytest.raises(OurFault):
        driver().receive(LINK, Message("hl7", {}), now())


def test_bytes_of_another_link_and_after_its_end_are_nothing() -> None:
    found = associated()
    found.link_down(LINK, "unplugged", now())
    drained(found)
    assert heard(found, poll_result(NUMERIC, (1, (numeric(0x4182, 70),)))) == ([], [])


def test_the_protocol_is_recognised() -> None:
    stream = b"noise" + encode(accept()) + encode(mds_create(MODEL)) + b"\xc0"
    found = recognise(stream)
    assert found is not None
    assert (found.frames, found.device) == (2, "Philips M8004A")
    datagram = recognise(accept())
    assert datagram is not None
    assert datagram.frames == 1
    assert recognise(b"\x7e\x31\x00" * 40) is None


PIECES = st.lists(
    st.one_of(
        st.binary(max_size=60),
        st.sampled_from(
            [
                encode(message)
                for message in (
                    accept(),
                    mds_create(MODEL),
                    REFUSE,
                    ABORT,
                    poll_result(NUMERIC, (1, (numeric(0x4182, 70),)), sequence=3),
                    poll_result(WAVE, (2, (samples(0x0102, [1] * 64),)), sequence=3),
                    poll_result(ALERTS, (1, ((0x0902, counted(alarm(0x4BB8, 0x3E, 0x0200))),))),
                )
            ]
        ),
    ),
    max_size=8,
)


@given(PIECES, st.integers(1, 30))
def test_any_bytes_raise_nothing_send_nothing_forbidden_and_may_be_cut(pieces: list[bytes], size: int) -> None:
    stream = b"".join(pieces)
    results = []
    for step in (len(stream) or 1, size):
        found = IntelliVue(IntelliVueConfig(interface="rs232"))
        found.link_up(LINK, "/dev/ttyS0", now())
        for at in range(0, len(stream), step):
            found.receive(LINK, stream[at : at + step], now(1))
        records, sent = drained(found)
        found.wake(now(30))
        found.link_down(LINK, "end", now(31))
        more, said = drained(found)
        assert all(IntelliVue.spec.may_send(message) for message in sent + said)
        results.append((records + more, sent + said))
    assert results[0] == results[1]
