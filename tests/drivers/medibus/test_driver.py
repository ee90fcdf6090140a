from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.contract import Message
from drivers.medibus import Medibus, MedibusConfig
from ledger.errors import OurFault
from ledger.records import Clock, Event, Gap, Identity, Link, Numeric, Quality, Setting, Wave
from tests.drivers.medibus.feeding import (
    CHOSEN,
    ICC,
    IDENTIFY,
    IDENTITY,
    LINK,
    NOP,
    OFFER,
    OFFERED,
    Line,
    command,
    identified,
    now,
    response,
)

OUR_ID = response(b"R0161'orledger'01.00:04.03")
WAVES = MedibusConfig(waves=("PAW", "CO2"))


def flowing(config: MedibusConfig = WAVES) -> Line:
    """A line whose device has confirmed the waves and answered all else with nothing."""
    line = identified(config)
    line.answer()
    return line


# Beginning ----------------------------------------------------------------------------------------------------


def test_it_begins_as_in_the_manual() -> None:
    line = Line()
    assert line.sent == [b"\x1bQ6C\r"]
    assert line.hear(b"\x01Q52\r") == [b"\x1bR6D\r"]
    assert line.hear(b"\x1bR6D\r") == [OUR_ID]
    assert line.hear(response(IDENTIFY + IDENTITY)) == []
    assert line.of(Identity) == [
        Identity(
            at_ns=now().utc_ns,
            make="Dräger",
            model="Evita4",
            software="04.22",
            protocol="MEDIBUS 04.03, device id 8210",
        )
    ]
    assert line.of(Link) == [Link(at_ns=now().utc_ns, link=LINK, state="identified", peer="/dev/vent")]
    assert line.pass_time(0.19) == []
    assert line.pass_time(0.02) == [command(b"'")]


def test_questions_wait_200_ms_after_the_device_was_told_who_we_are() -> None:
    line = Line()
    line.hear(response(ICC))
    line.hear(response(IDENTIFY + IDENTITY))
    assert line.hear(command(IDENTIFY), after_s=0.15) == [OUR_ID]
    assert line.pass_time(0.19) == []
    assert line.pass_time(0.02) == [command(b"'")]


def test_a_device_that_calls_first_is_answered_and_asked_who_it_is() -> None:
    line = Line()
    assert line.hear(command(ICC)) == [response(ICC), command(IDENTIFY)]


def test_when_both_call_at_once_the_device_is_told_once() -> None:
    line = Line()
    line.hear(command(ICC), response(ICC), response(IDENTIFY + IDENTITY), response(IDENTIFY + IDENTITY))
    assert len(line.of(Identity)) == len(line.of(Link)) == 1


def test_after_a_loss_the_device_is_told_again() -> None:
    line = identified()
    for identity, state in ((IDENTITY, "identified"), (IDENTITY.replace(b"Evita4", b"Savina"), "changed")):
        line.hear(command(ICC))
        line.hear(response(IDENTIFY + identity))
        link = line.of(Link)[-1]
        assert isinstance(link, Link)
        assert link.state == state
    assert len(line.of(Identity)) == 3


def test_nobody_answers_so_it_calls_every_3_s() -> None:
    line = Line()
    assert line.pass_time(9.5) == [command(ICC)] * 3
    assert line.records == []


def test_a_device_without_a_name_is_asked_all_the_same() -> None:
    line = Line()
    line.hear(response(ICC))
    line.hear(response(IDENTIFY))
    assert line.pass_time(0.3) == [command(b"'")]
    (gap,) = line.of(Gap)
    assert isinstance(gap, Gap)
    assert "does not say who it is" in gap.detail


# Answering ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [c for c in range(0x20, 0x7F) if chr(c) not in "QRUV"])
def test_every_command_is_answered_if_only_with_its_echo(code: int) -> None:
    line = identified()
    assert response(bytes((code,))) in line.hear(command(bytes((code,)) + b"12"))


def test_a_command_that_cannot_be_read_is_told_so() -> None:
    assert identified().hear(b"\x1b0FF\r") == [b"\x01\x1516\r"]


def test_a_command_inside_a_response_is_answered_and_both_are_read() -> None:
    line = identified()
    wire = response(b"'")
    assert line.hear(wire[:1] + command(NOP) + wire[1:])[0] == response(NOP)
    assert line.sent[1] == command(b".")


def test_a_lost_answer_is_asked_for_again_after_10_s_and_then_all_begins_anew() -> None:
    line = identified()
    sent = []
    for _ in range(16):
        line.hear(command(NOP))
        sent += [frame for frame in line.pass_time(2) if frame != response(NOP)]
    assert sent == [command(b"'"), command(b"'"), command(ICC)]
    (gap,) = line.of(Gap)
    assert isinstance(gap, Gap)
    assert gap.cause == "silence"


def test_a_question_that_is_never_answered_is_given_up_and_the_others_go_on() -> None:
    line = identified(MedibusConfig(alarms_s=60, numerics_s=2, settings_s=60, limits_s=60, clock_s=60))
    for _ in range(400):
        line.answer(never=b".")
        line.hear(command(NOP), after_s=0.5)
    assert line.said.count(command(ICC)) == 2
    last = [frame for frame in line.said[-100:] if frame[:1] == b"\x1b"]
    assert command(b"$") in last
    assert command(b".") not in last
    assert any(isinstance(gap, Gap) and "does not answer command 2E" in gap.detail for gap in line.records)


def test_a_question_that_the_device_calls_corrupt_three_times_is_given_up() -> None:
    line = identified()
    said = [line.hear(b"\x01\x1516\r") for _ in range(3)]
    assert said == [[command(b"'")], [command(b"'")], [command(b".")]]
    assert any(isinstance(gap, Gap) and "does not answer command 27" in gap.detail for gap in line.records)


def test_a_garbled_answer_does_not_hold_up_the_others() -> None:
    assert identified().hear(b"\x01'00\r") == [command(b".")]


def test_what_the_device_could_not_read_is_said_again() -> None:
    assert identified().hear(b"\x01\x1516\r") == [command(b"'")]


def test_when_idle_it_says_something_every_2_s() -> None:
    config = MedibusConfig(alarms_s=60, numerics_s=60, settings_s=60, limits_s=60, clock_s=60)
    line = identified(config)
    for _ in range(20):
        if not (sent := line.hear(*(response(frame[1:2]) for frame in line.sent[-1:]))):
            break
    assert sent == []
    assert line.pass_time(1.9) == []
    assert line.pass_time(0.2) == [command(NOP)]


def test_on_a_slow_line_every_question_has_its_turn() -> None:
    line = identified(MedibusConfig(alarms_s=0.5, numerics_s=0.5))
    for _ in range(60):
        line.hear(response(line.said[-1][1:2]), after_s=0.4)
    asked = {frame[1:2] for frame in line.said if frame[:1] == b"\x1b"}
    assert asked >= {bytes((code,)) for code in b"$%&'()*+,-."}


def test_a_device_that_restarts_while_we_were_suspended_is_answered() -> None:
    line = identified()
    line.hear(b"\x11", command(NOP))
    assert line.hear(command(ICC)) == [response(ICC), command(IDENTIFY)]


def test_3_s_without_a_slow_character_and_all_begins_anew_though_waves_flow() -> None:
    line = flowing()
    for _ in range(40):
        line.hear(bytes.fromhex("D391818D83"), after_s=0.1)
    assert command(ICC) not in line.sent
    gaps = [gap for gap in line.of(Gap) if isinstance(gap, Gap) and "called anew" in gap.detail]
    assert len(gaps) == 1
    assert line.hear(response(ICC)) == [command(IDENTIFY)]


def test_dc1_suspends_and_dc3_resumes() -> None:
    line = identified()
    assert line.hear(b"\x11") == []
    assert line.hear(command(NOP), response(b"'")) == []
    assert line.pass_time(1) == []
    assert line.hear(b"\x13") == [response(NOP), command(b".")]


def test_who_does_not_resume_within_3_s_is_lost() -> None:
    line = identified()
    line.hear(b"\x11")
    line.hear(command(NOP))
    assert line.pass_time(3.1)[0] == command(ICC)


def test_can_aborts_what_was_held() -> None:
    line = identified()
    line.hear(b"\x11", command(NOP), b"\x18")
    assert line.sent == []
    assert line.hear(command(NOP)) == [response(NOP)]


def test_a_device_that_stops_is_called_again_after_3_s() -> None:
    line = identified()
    assert line.hear(command(b"U")) == [response(b"U")]
    assert line.pass_time(2.9) == []
    assert line.pass_time(0.2) == [command(ICC)]
    (gap,) = line.of(Gap)
    assert isinstance(gap, Gap)
    assert "ended the communication" in gap.detail


# Values, limits, settings -------------------------------------------------------------------------------------


def test_the_values_of_the_manual() -> None:
    line = identified()
    line.hear(b"\x01$EB 98 E1 70 7A\r")
    saturation, pulse = line.of(Numeric)
    assert isinstance(saturation, Numeric)
    assert isinstance(pulse, Numeric)
    assert (saturation.code, saturation.value, saturation.unit) == ("MDC_PULS_OXIM_SAT_O2", Decimal(98), "%")
    assert (pulse.code, pulse.value, pulse.device_code) == ("MDC_PULS_OXIM_PULS_RATE", Decimal(70), "24:E1")


def test_what_is_absent_has_no_value_now_and_that_is_told_once() -> None:
    line = identified()
    for body in (b"$EB 98 E1 70 ", b"$EB 97 ", b"$EB 97 ", b"$EB 97 E1 71 "):
        line.hear(response(body))
    told = [(n.device_code, n.value, n.quality) for n in line.of(Numeric) if isinstance(n, Numeric)]
    assert told == [
        ("24:EB", Decimal(98), Quality.GOOD),
        ("24:E1", Decimal(70), Quality.GOOD),
        ("24:EB", Decimal(97), Quality.GOOD),
        ("24:E1", None, Quality.UNAVAILABLE),
        ("24:EB", Decimal(97), Quality.GOOD),
        ("24:EB", Decimal(97), Quality.GOOD),
        ("24:E1", Decimal(71), Quality.GOOD),
    ]


def test_unknown_codes_keep_their_number() -> None:
    line = identified()
    line.hear(response(b"$A9 1.5"), response(b"+FE  12"), response(b")F0   7 "))
    assert [(r.code, r.value, r.unit) for r in line.records if isinstance(r, Numeric)] == [
        ("MDCX_DRAEGER_24_A9", Decimal("1.5"), ""),
        ("MDCX_DRAEGER_2B_FE", Decimal(12), ""),
        ("MDCX_DRAEGER_29_F0", Decimal(7), ""),
    ]


def test_settings_and_limits_are_told_when_they_change() -> None:
    line = identified()
    for body in (b")0B  5.0", b")0B  5.0", b")0B  8.0", b"&7D 27 ", b"&7D 27 ", b"&"):
        line.hear(response(body))
    assert [(r.code, r.value, r.unit) for r in line.of(Setting) if isinstance(r, Setting)] == [
        ("MDCX_DRAEGER_29_0B", Decimal("5.0"), "mbar"),
        ("MDCX_DRAEGER_29_0B", Decimal("8.0"), "mbar"),
        ("MDCX_DRAEGER_26_7D", Decimal(27), "mbar"),
        ("MDCX_DRAEGER_26_7D", None, "mbar"),
    ]


def test_in_a_new_case_settings_limits_and_alarms_are_told_again() -> None:
    line = identified()
    lists = [response(body) for body in (b")0B  5.0", b"&7D 27 ", b"'" + bytes((0x30 + 30,)) + b"10PAW HIGH    ")]
    line.hear(*lists)
    line.records.clear()
    line.hear(*lists)
    assert not line.records
    line.driver.case_changed(None)
    line.hear(*lists, *lists)
    assert [r.value for r in line.of(Setting) if isinstance(r, Setting)] == [Decimal("5.0"), Decimal(27)]
    assert [(r.alarm_id, r.phase) for r in line.of(Event) if isinstance(r, Event)] == [("27:10", "continue")]


def test_a_medibus_x_device_means_something_else_by_some_codes() -> None:
    line = Line()
    line.hear(response(ICC))
    line.hear(response(b"R8414'Perseus A500'02.00:06.00"))
    line.pass_time(0.3)
    line.hear(response(b"$06 5.2"))
    (numeric,) = line.of(Numeric)
    assert isinstance(numeric, Numeric)
    assert (numeric.code, numeric.unit) == ("MDC_VOL_MINUTE_AWAY_INSP", "L/min")
    line.answer()
    assert command(b"#") in line.said


# Alarms and texts ---------------------------------------------------------------------------------------------


def test_an_alarm_starts_changes_and_ends_when_it_is_absent() -> None:
    line = identified()
    line.hear(response(b"&7D 27 "))
    high, low = bytes((0x30 + 30,)), bytes((0x30 + 8,))
    for body in (high + b"10PAW HIGH    ", high + b"10PAW HIGH    ", low + b"10PAW HIGH    ", b""):
        line.hear(response(b"'" + body))
    events = [event for event in line.of(Event) if isinstance(event, Event)]
    assert [(e.phase, e.priority, e.device_priority) for e in events] == [
        ("start", "high", "30"),
        ("change", "low", "8"),
        ("end", "low", "8"),
    ]
    assert {(e.alarm_id, e.code, e.kind, e.source) for e in events} == {
        ("27:10", "MDCX_DRAEGER_27_10", "physiological_alarm", "MDC_PRESS_AWAY_INSP_PEAK")
    }
    assert events[0].limits == (None, Decimal(27))


def test_code_pages_do_not_end_each_others_alarms() -> None:
    line = identified()
    line.hear(response(b"'K98APNEA EVITA "), response(b".398NEBULIZER ON"), response(b"'"))
    ended = [e.alarm_id for e in line.of(Event) if isinstance(e, Event) and e.phase == "end"]
    assert ended == ["27:98"]


@pytest.mark.parametrize(
    ("number", "priority"),
    [
        (0, "unknown"),
        (1, "low"),
        (10, "low"),
        (11, "medium"),
        (25, "medium"),
        (26, "high"),
        (31, "high"),
        (32, "unknown"),
    ],
)
def test_priorities(number: int, priority: str) -> None:
    line = identified()
    line.hear(response(b"'" + bytes((0x30 + number,)) + b"10PAW HIGH    "))
    (event,) = line.of(Event)
    assert isinstance(event, Event)
    assert event.priority == priority


def test_a_text_message_is_a_mode_until_it_is_absent() -> None:
    line = identified()
    line.hear(response(b"*064SIMV\x03"), response(b"*0E5BIPAP\x03"))
    told = [(e.kind, e.code, e.phase, e.text) for e in line.of(Event) if isinstance(e, Event)]
    assert told == [
        ("mode", "MDCX_DRAEGER_2A_06", "start", "SIMV"),
        ("mode", "MDCX_DRAEGER_2A_06", "end", "SIMV"),
        ("mode", "MDCX_DRAEGER_2A_0E", "start", "BIPAP"),
    ]


def test_the_device_clock_is_followed_and_its_steps_told() -> None:
    line = identified()
    for minute in range(3):
        line.hear(response(b"(10:%02d:0011-NOV-26" % minute), command(NOP), after_s=0)
        line.at_s += 60
    line.hear(response(b"(11:03:0011-NOV-26"))
    line.pass_time(1.1)
    assert line.of(Clock)
    assert any(isinstance(gap, Gap) and gap.cause == "clock_jump" for gap in line.records)


# Waves --------------------------------------------------------------------------------------------------------


def test_waves_are_set_up_as_in_the_manual() -> None:
    line = identified(MedibusConfig(waves=("PAW", "CO2"), wave_multiplier=3))
    assert line.sent == [b"\x1bS6E\r"]
    assert line.hear(response(OFFERED + OFFER)) == [command(b"T00030603")]
    assert bytes.fromhex("D0C1C3C0C0") in line.hear(response(CHOSEN))


def test_waves_are_let_flow_again_and_again() -> None:
    line = flowing()
    for _ in range(60):
        line.hear(bytes.fromhex("D391818D83"), command(NOP), after_s=0.2)
    assert line.said.count(bytes.fromhex("D0C1C3C0C0")) == 1 + 2


def test_samples_become_waves_in_the_units_of_the_device() -> None:
    line = flowing()
    for number in range(32):
        line.hear(bytes.fromhex("D3C6C091818D83" if number == 20 else "D391818D83"), after_s=0.016)
    waves = [wave for wave in line.of(Wave) if isinstance(wave, Wave)]
    assert [(w.code, w.unit, w.index, len(w.samples) // 2) for w in waves] == [
        ("MDC_PRESS_AWAY", "mbar", 0, 15), ("MDC_AWAY_CO2", "mm[Hg]", 0, 15),
        ("MDC_PRESS_AWAY", "mbar", 15, 15), ("MDC_AWAY_CO2", "mm[Hg]", 15, 15),
    ]  # fmt: skip
    assert waves[0].rate == (125, 2)
    assert waves[0].scale * 81 + waves[0].offset == pytest.approx(0.125)
    assert waves[1].scale * 205 + waves[1].offset == pytest.approx(1.96, abs=0.005)
    assert waves[2].marks == ((5, "inspiration"),)
    assert waves[0].at_ns == now(0.2 + 0.016).utc_ns


def test_the_unit_of_co2_changes_and_waves_are_set_up_anew() -> None:
    line = flowing()
    line.hear(bytes.fromhex("D391818D83"))
    assert line.hear(command(b"V")) == [response(b"V"), command(OFFERED)]
    kpa = OFFER.replace(b"06   16000-  20  100460", b"07   16000-   2   14460")
    assert command(b"T00010701") in line.hear(response(OFFERED + kpa))
    line.hear(response(CHOSEN))
    for _ in range(15):
        line.hear(bytes.fromhex("D391818D83"), after_s=0.016)
    assert {wave.unit for wave in line.of(Wave) if isinstance(wave, Wave)} == {"mbar", "mm[Hg]", "kPa"}


def test_waves_that_stop_are_asked_for_again_and_their_index_jumps() -> None:
    line = flowing()
    for _ in range(15):
        line.hear(bytes.fromhex("D391818D83"), after_s=0.016)
    for _ in range(30):
        line.answer()
        line.pass_time(0.1)
    assert line.said.count(command(OFFERED)) == 2
    for _ in range(15):
        line.hear(bytes.fromhex("D391818D83"), after_s=0.016)
    silences = [gap.detail for gap in line.of(Gap) if isinstance(gap, Gap)]
    assert silences == ["no waves came; asked again", "waves came again"]
    indices = [w.index for w in line.of(Wave) if isinstance(w, Wave) and w.code == "MDC_PRESS_AWAY"]
    assert indices[0] == 0
    assert 15 + 2.9 * 62.5 < indices[-1] < 15 + 3.3 * 62.5


def test_a_wave_that_the_device_has_not_is_told_once() -> None:
    line = flowing(MedibusConfig(waves=("PAW", "PLETH")))
    (gap,) = line.of(Gap)
    assert isinstance(gap, Gap)
    assert gap.detail.startswith("PLETH was asked for")


def test_a_device_without_waves_is_asked_no_more() -> None:
    line = identified(WAVES)
    assert line.hear(response(OFFERED)) == [command(b"'")]


# Listening only -----------------------------------------------------------------------------------------------


def test_who_only_listens_says_nothing_and_reads_all() -> None:
    line = Line(MedibusConfig(listen_only=True))
    assert line.sent == []
    said = line.hear(
        command(ICC), response(IDENTIFY + IDENTITY), b"\x1b0FF\r", response(b"$EB 98 "), response(OFFERED + OFFER),
        command(b"T06010001"), response(CHOSEN), *[bytes.fromhex("D38D839181")] * 15,
    )  # fmt: skip
    assert said == line.pass_time(60) == []
    assert line.of(Identity)
    assert line.of(Numeric)
    co2, paw = line.of(Wave)
    assert isinstance(co2, Wave)
    assert isinstance(paw, Wave)
    assert (co2.code, paw.code) == ("MDC_AWAY_CO2", "MDC_PRESS_AWAY")


def test_waves_overheard_without_their_order_are_only_kept_raw() -> None:
    line = Line(MedibusConfig(listen_only=True))
    line.hear(*[bytes.fromhex("D391818D83")] * 3)
    (gap,) = line.records
    assert isinstance(gap, Gap)
    assert gap.cause == "undecodable"


def test_what_another_computer_was_told_is_read_whatever_we_had_asked() -> None:
    """A dump of the device's side of somebody else's session: our questions are never answered in it."""
    line = Line(MedibusConfig(waves=("PAW", "CO2")))
    line.hear(response(ICC), response(IDENTIFY + IDENTITY), response(OFFERED + OFFER), response(CHOSEN))
    for second in range(90):
        line.hear(response(b"$EB %2d " % second), *[bytes.fromhex("D391818D83")] * 4, after_s=1)
    saturation = [n.value for n in line.of(Numeric) if isinstance(n, Numeric)]
    assert saturation == list(range(90))
    samples = sum(len(w.samples) // 2 for w in line.of(Wave) if isinstance(w, Wave) and w.code == "MDC_AWAY_CO2")
    assert samples >= 4 * 90 - 15
    assert command(ICC) in line.said[1:]


# Always -------------------------------------------------------------------------------------------------------


def test_the_end_of_a_connection_is_told_whole() -> None:
    line = flowing()
    line.hear(bytes.fromhex("D391818D83"), b"\x01$EB")
    line.driver.link_down(LINK, "unplugged", now(1))
    line._take()
    assert len(line.of(Wave)) == 2
    assert [gap.lost_bytes for gap in line.of(Gap) if isinstance(gap, Gap)] == [4]
    line.driver.wake(now(60))  # what it showed is withdrawn
    assert line.driver.deadline_ns() is None


def test_a_framed_message_is_our_fault() -> None:
    driver = Medibus(MedibusConfig())
    with pytest.raises(OurFault):
        driver.receive(LINK, Message("x", {}), now())


PIECES = st.one_of(
    st.binary(max_size=30),
    st.sampled_from(
        [
            response(ICC), command(ICC), command(IDENTIFY), response(IDENTIFY + IDENTITY), response(OFFERED + OFFER),
            response(CHOSEN), response(b"$EB 98 "), response(b"'M10PAW HIGH    "), response(b"*064SIMV\x03"), b"\x11",
            b"\x13", b"\x18", bytes.fromhex("D391818D83"), command(b"U"), command(b"V"), b"\x01\x1516\r",
            response(b"(11:11:1911-NOV-93"), response(b")0B  5.0"),
        ]
    ),
)  # fmt: skip


@settings(max_examples=60)
@given(st.lists(st.tuples(PIECES, st.sampled_from([0.0, 0.02, 0.3, 2.5, 4.0])), max_size=25))
def test_whatever_comes_it_says_only_what_it_may_and_does_not_fall(pieces: list[tuple[bytes, float]]) -> None:
    line = Line(WAVES)
    for wire, after_s in pieces:
        line.hear(wire, after_s=after_s)
    deadline_ns = line.driver.deadline_ns()
    assert deadline_ns is not None
    assert deadline_ns >= now(line.at_s).mono_ns


@settings(max_examples=30)
@given(st.lists(PIECES, max_size=15).map(b"".join))
def test_byte_by_byte_is_all_at_once(wire: bytes) -> None:
    whole, single = flowing(), flowing()
    whole.hear(wire)
    single.hear(*(wire[at : at + 1] for at in range(len(wire))))
    assert (single.sent, single.records) == (whole.sent, whole.records)
