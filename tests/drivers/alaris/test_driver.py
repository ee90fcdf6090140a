"""Driver and simulated pump share no code."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.alaris import AlarisAsena, AlarisAsenaConfig
from drivers.alaris.driver import QUESTIONS, recognise
from drivers.alaris.frame import encode
from drivers.contract import Emit, Now, Send
from firmware_sim.alaris_asena import AsenaPump
from firmware_sim.faults import FaultLine, parse_fault
from firmware_sim.patient import Patient
from ledger.limits import S_NS
from ledger.records import Event, Gap, Identity, LinkId, Numeric, Quality, Record, Setting

LINK = LinkId(1)
STEPS_A_SECOND = 20
T0_S = 1_790_000_000
HELD = b"!INF^8002-51733^A^HLD^0.00^ml/h^^0.969^ml^530.15^mmHg^00:04:09^EVENT^214725|DB9D\r"


def at(at_s: float) -> Now:
    return Now(round(at_s * S_NS), round((T0_S + at_s) * S_NS))


def session(seconds: int, *faults: str) -> tuple[list[Record], list[bytes]]:
    pump = AsenaPump(Patient(1), line=FaultLine(tuple(map(parse_fault, faults))))
    driver, records, sent = AlarisAsena(AlarisAsenaConfig()), list[Record](), list[bytes]()
    driver.link_up(LINK, "sim", at(0))
    for step in range(seconds * STEPS_A_SECOND):
        now = at(step / STEPS_A_SECOND)
        due = driver.deadline_ns()
        if due is not None and due <= now.mono_ns:
            driver.wake(now)
        waiting = driver.drain()
        while waiting:
            action = waiting.pop(0)
            if isinstance(action, Send):
                sent.append(action.data)
                for line in pump.receive(action.data, step / STEPS_A_SECOND):
                    driver.receive(LINK, line, now)
                waiting += driver.drain()
            elif isinstance(action, Emit):
                records.append(action.record)
    return records, sent


class Bench:
    def __init__(self) -> None:
        self.driver = AlarisAsena(AlarisAsenaConfig())
        self.driver.link_up(LINK, "bench", at(0))
        self.driver.drain()

    def hear(self, line: bytes, at_s: float = 1) -> list[Record]:
        self.driver.receive(LINK, line, at(at_s))
        return [action.record for action in self.driver.drain() if isinstance(action, Emit)]


def test_a_pump_is_asked_in_turn_and_read() -> None:
    records, sent = session(25)
    assert not [record for record in records if isinstance(record, Gap | Event)]
    (identity,) = [record for record in records if isinstance(record, Identity)]
    assert (identity.serial, identity.protocol) == ("8002-51740", "Asena Rev 2.1.5")
    volumes = [r.value for r in records if type(r) is Numeric and r.code == "MDC_VOL_INFUS_ACTUAL_TOTAL"]
    assert len(volumes) >= 20
    assert volumes == sorted(volumes, key=str)
    assert volumes[-1] > volumes[0]  # type: ignore[operator]
    settings = {record.device_code: record.value for record in records if isinstance(record, Setting)}
    assert settings["syringe"] == "BD PLASTIPAK"
    assert (settings["VTBI"], settings["syringe size"], settings["mode"]) == (Decimal("40.000"), Decimal(50), "SET")
    assert {data[1:].partition(b"|")[0].decode() for data in sent} == set(QUESTIONS)


def test_the_recorded_answer_of_a_pump_with_an_alarm() -> None:
    records = Bench().hear(HELD)
    told = {record.device_code: (record.value, record.unit) for record in records if isinstance(record, Numeric)}
    assert told["rate"] == (Decimal("0.00"), "mL/h")
    assert told["volume infused"] == (Decimal("0.969"), "mL")
    assert told["pressure"] == (Decimal("530.15"), "mm[Hg]")
    assert told["time remaining"] == (Decimal(249), "s")
    assert (told["mode"][0], told["log"][0]) == ("HLD", "EVENT 214725")
    (event,) = [record for record in records if isinstance(record, Event)]
    assert (event.device_code, event.phase) == ("INF.A", "start")


def test_an_occlusion_begins_and_ends_with_the_pump_s_own_text() -> None:
    records, _ = session(25, "sensor-off@6+4:line")
    phases = [(r.text, r.phase) for r in records if isinstance(r, Event) and r.device_code == "AL_OCCLU"]
    assert phases == [("OCCLUSION", "start"), ("OCCLUSION", "end")]
    assert [record.value for record in records if isinstance(record, Setting) and record.device_code == "mode"] == [
        "SET",
        "HLD",
        "SET",
    ]


def test_several_alarms_and_unknown_ones_keep_their_codes() -> None:
    bench = Bench()
    records = bench.hear(encode("ALARM^AL_LWBAT^LOW BATTERY^AL_QQQQQ^AL_NEOIN^NEAR END"))
    told = {record.device_code: record.text for record in records if isinstance(record, Event)}
    assert told == {"AL_LWBAT": "LOW BATTERY", "AL_QQQQQ": "", "AL_NEOIN": "NEAR END"}
    assert [r.phase for r in bench.hear(encode("ALARM^AL_NOALM^ ^ "), 2) if isinstance(r, Event)] == ["end"] * 3


def test_a_pump_that_falls_silent_shows_nothing_any_more_and_is_known_again() -> None:
    records, _ = session(40, "silence@10+12")
    gaps = [record for record in records if isinstance(record, Gap)]
    assert [gap.cause for gap in gaps] == ["device_gap"]
    assert gaps[0].until_ns - gaps[0].since_ns > 2 * S_NS
    rates = [record for record in records if type(record) is Numeric and record.device_code == "rate"]
    assert [record.quality for record in rates if record.value is None] == [Quality.UNAVAILABLE]
    assert rates[-1].at_ns > (T0_S + 38) * S_NS


def test_a_volume_that_is_not_to_be_infused_is_none() -> None:
    told = {
        r.device_code: (r.value, r.quality) for r in Bench().hear(encode("INF_VTBI^DEACT")) if isinstance(r, Setting)
    }
    assert told["VTBI state"][0] == "DEACT"
    assert told["VTBI"] == (None, Quality.UNAVAILABLE)


def test_an_answer_that_is_not_known_is_kept_as_it_is() -> None:
    (setting,) = Bench().hear(b"!COMMS_RESPONSE_MAX^4000^ms|DFDF\r")
    assert isinstance(setting, Setting)
    assert (setting.code, setting.value) == ("MDCX_ALARIS_COMMS_RESPONSE_MAX", "4000^ms")


@pytest.mark.parametrize("left", ["--:--:--", ">24h", "KVO"])
def test_a_time_left_that_is_none_costs_no_other_value(left: str) -> None:
    records = Bench().hear(encode(f"INF^8002-51733^-^INF^5.00^ml/h^^0.969^ml^-1.50^mmHg^{left}^EVENT^214725"))
    values = {record.code: record.value for record in records if isinstance(record, Numeric)}
    assert values["MDC_FLOW_FLUID_PUMP"] == Decimal("5.00")
    assert values["MDCX_ALARIS_PRESSURE"] == Decimal("-1.50")
    assert values["MDC_TIME_PD_REMAIN"] is None


def test_a_wrong_check_value_is_a_gap_and_no_value() -> None:
    bench = Bench()
    assert not bench.hear(HELD.replace(b"0.969", b"0.968"))
    bench.driver.wake(at(5))
    assert [a.record.cause for a in bench.driver.drain() if isinstance(a, Emit) and isinstance(a.record, Gap)] == [
        "checksum"
    ]


CONTROL = ["INF_START", "INF_STOP", "INF_RATE", "INF_VI_CLEAR", "INF_BOLUS", "REMOTE_CTRL", "REMOTE_CFG", "REMQUERY"]


@pytest.mark.parametrize("word", [*CONTROL, *QUESTIONS])
@given(argument=st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789^./ ", max_size=30))
def test_no_command_that_controls_can_ever_be_allowed(word: str, argument: str) -> None:
    assert not AlarisAsena.spec.may_send(encode(f"{word}^{argument}"))
    assert AlarisAsena.spec.may_send(encode(word)) is (word in QUESTIONS)


@given(st.binary(max_size=40))
def test_only_the_seven_questions_are_allowed(data: bytes) -> None:
    assert not AlarisAsena.spec.may_send(data)
    for published in (b"!INF_START|38F3\r", b"!INF_STOP|CD57\r", b"!REMOTE_CTRL^ENABLED^3CC1|B1F1\r"):
        assert not AlarisAsena.spec.may_send(published)
        assert not AlarisAsena.spec.may_send(b"!INF|4961\r" + published)


def test_it_is_recognised() -> None:
    heard = recognise(b"33^EVENT^214725|DB9D\r" + HELD + HELD)
    assert heard is not None
    assert (heard.frames, heard.device) == (2, "Alaris Asena 8002-51733")
    assert recognise(bytes(range(256)) * 4) is None


@pytest.mark.parametrize("poll_s", [0.4, 61, float("nan")])
def test_options_out_of_range_name_themselves(poll_s: float) -> None:
    with pytest.raises(msgspec.ValidationError, match="poll_s"):
        msgspec.convert({"poll_s": poll_s}, AlarisAsenaConfig)
