"""Driver and simulated monitor share no code."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

import pytest

from drivers.capnostream import Capnostream, CapnostreamConfig
from drivers.capnostream.driver import ASK_REVISION, ENABLE, LINK_IS_ACTIVE, START_REAL_TIME, recognise
from drivers.capnostream.frame import encode
from drivers.contract import Emit, Now, Send
from firmware_sim.capnostream import CapnostreamMonitor
from firmware_sim.faults import FaultLine, parse_fault
from firmware_sim.patient import Patient
from ledger.limits import S_NS
from ledger.records import Event, Gap, Identity, LinkId, Numeric, Quality, Record, Setting, Wave

LINK = LinkId(1)
STEPS_A_SECOND = 20
T0_S = 1_790_000_000
VALUES = "59d3a1c0 26 00 0d 62 48 {slow} 000000 {co2} {spo2} 1e 32 1c 1e 05 08 64 5a 78 32 {unit} {extended}"


def values(*, slow: str = "00", co2: str = "00", spo2: str = "00", unit: str = "01", extended: str = "00") -> bytes:
    return encode(1, bytes.fromhex(VALUES.format(slow=slow, co2=co2, spo2=spo2, unit=unit, extended=extended)))


def session(seconds: int, *faults: str, scenario: str = "stable") -> tuple[list[Record], list[tuple[float, bytes]]]:
    monitor = CapnostreamMonitor(Patient(1, scenario), T0_S, FaultLine(tuple(map(parse_fault, faults))))
    driver, records, sent = Capnostream(CapnostreamConfig()), list[Record](), list[tuple[float, bytes]]()
    for step in range(seconds * STEPS_A_SECOND):
        at_s = step / STEPS_A_SECOND
        now = Now(round(at_s * S_NS), round((T0_S + at_s) * S_NS))
        if step == 0:
            driver.link_up(LINK, "sim", now)
        for frame in monitor.poll(at_s):
            driver.receive(LINK, frame, now)
        due = driver.deadline_ns()
        if due is not None and due <= now.mono_ns:
            driver.wake(now)
        waiting = driver.drain()
        while waiting:
            action = waiting.pop(0)
            if isinstance(action, Send):
                assert Capnostream.spec.may_send(action.data)
                sent.append((at_s, action.data))
                for frame in monitor.receive(action.data, at_s):
                    driver.receive(LINK, frame, now)
                waiting += driver.drain()
            elif isinstance(action, Emit):
                records.append(action.record)
    return records, sent


class Bench:
    def __init__(self) -> None:
        self.driver = Capnostream(CapnostreamConfig())
        self.driver.link_up(LINK, "bench", Now(0, S_NS))
        self.driver.drain()

    def hear(self, data: bytes, at_s: float) -> list[Record]:
        now = Now(round(at_s * S_NS), round((1 + at_s) * S_NS))
        self.driver.receive(LINK, data, now)
        self.driver.wake(now)
        return [action.record for action in self.driver.drain() if isinstance(action, Emit)]


def test_every_sample_and_the_patient_s_values_of_a_quiet_line() -> None:
    records, sent = session(20)
    assert not [record for record in records if isinstance(record, Gap | Event)]
    waves = [record for record in records if isinstance(record, Wave)]
    assert all(b.index == a.index + len(a.samples) // 4 for a, b in pairwise(waves))
    assert waves[-1].index >= 19 * 20 - 20
    assert {wave.unit for wave in waves} == {"mm[Hg]"}
    highest = max(int.from_bytes(w.samples[at : at + 4], "little") for w in waves for at in range(0, len(w.samples), 4))
    truth = Patient(1).at(18.0)
    last = {record.device_code: record.value for record in records if type(record) is Numeric}
    assert abs(highest / 256 - truth.etco2_mmhg) < 3
    assert truth.spo2 is not None
    for name, expected in (("EtCO2", truth.etco2_mmhg), ("SpO2", truth.spo2), ("RR", truth.resp_rate)):
        assert abs(float(last[name] or 0) - expected) < 2
    identity = [record for record in records if isinstance(record, Identity)][-1]
    assert (identity.serial, identity.software, identity.protocol) == ("B355987654", "04.54 02/24/2011", "B5")
    assert [data for _, data in sent[:4]] == [ENABLE, ASK_REVISION, LINK_IS_ACTIVE, START_REAL_TIME]
    assert {data for _, data in sent[4:]} == {LINK_IS_ACTIVE}


def test_a_monitor_that_restarted_is_begun_anew() -> None:
    records, sent = session(24, "reboot@8+4")
    assert [at_s for at_s, data in sent if data == START_REAL_TIME and at_s > 8]
    assert [record for record in records if isinstance(record, Wave) and record.at_ns > (T0_S + 18) * S_NS]
    identified = [record for record in records if isinstance(record, Identity)]
    assert len(identified) == 2  # nothing new is told


def test_a_monitor_that_falls_silent_shows_nothing_any_more() -> None:
    records, _ = session(30, "silence@8+16")
    rates = [record for record in records if type(record) is Numeric and record.device_code == "EtCO2"]
    assert [record.quality for record in rates if record.value is None] == [Quality.UNAVAILABLE]
    assert rates[-1].at_ns > (T0_S + 28) * S_NS


def test_an_identification_of_another_form_does_not_keep_the_driver_from_beginning() -> None:
    bench = Bench()
    for text in (b"Capnostream 35 V1", b"\xff\x00"):
        bench.driver.receive(LINK, encode(4, text), Now(S_NS, S_NS))
        sent = [action.data for action in bench.driver.drain() if isinstance(action, Send)]
        assert sent == [ASK_REVISION, LINK_IS_ACTIVE, START_REAL_TIME]


def test_missing_samples_leave_a_gap_and_a_jump() -> None:
    records, _ = session(20, "frame-lost@6+4:0.2")
    waves = [record for record in records if isinstance(record, Wave)]
    assert next(gap.cause for gap in records if isinstance(gap, Gap)) == "sequence"
    ends = waves[-1].index + len(waves[-1].samples) // 4
    held = sum(len(wave.samples) // 4 for wave in waves)
    assert 5 < ends - held < 40
    assert ends > 19 * 20 - 20


def test_a_filter_line_that_is_off_withdraws_the_values_of_the_gas() -> None:
    records, _ = session(20, "sensor-off@6+4:co2")
    told = [(record.code, record.phase) for record in records if isinstance(record, Event)]
    assert ("MDCX_ORIDION_FAST_STATUS_40", "start") in told
    assert ("MDCX_ORIDION_FAST_STATUS_40", "end") in told
    off = [record for record in records if isinstance(record, Wave) and record.quality & Quality.UNAVAILABLE]
    assert off
    assert set(off[0].samples) == {0xFF}
    et = [record for record in records if type(record) is Numeric and record.device_code == "EtCO2"]
    assert [record.quality for record in et if record.value is None] == [Quality.UNAVAILABLE]


@pytest.mark.parametrize(
    ("word", "code", "text", "source"),
    [
        ({"co2": "01"}, "CO2_ALARM_01", "no breath", "MDC_CO2_RESP_RATE"),
        ({"co2": "04"}, "CO2_ALARM_04", "EtCO2 low", "MDC_AWAY_CO2_ET"),
        ({"spo2": "40"}, "SPO2_ALARM_40", "SpO2 sensor disconnected", "MDC_PULS_OXIM_SAT_O2"),
        ({"extended": "80"}, "EXTENDED_STATUS_80", "battery low", ""),
        ({"extended": "10"}, "EXTENDED_STATUS_10", "", ""),
        ({"slow": "01"}, "SLOW_STATUS_01", "neonatal patient", ""),
    ],
)
def test_bits_are_alarms_with_their_names(word: dict[str, str], code: str, text: str, source: str) -> None:
    bench = Bench()
    bench.hear(values(), 1)
    (started,) = [record for record in bench.hear(values(**word), 2) if isinstance(record, Event)]
    assert (started.code, started.text, started.source, started.phase) == (
        f"MDCX_ORIDION_{code}",
        text,
        source,
        "start",
    )
    (ended,) = [record for record in bench.hear(values(), 3) if isinstance(record, Event)]
    assert ended.phase == "end"


def test_an_alarm_bears_its_limits_and_whether_it_is_silenced() -> None:
    bench = Bench()
    heard = bench.hear(values(co2="02", slow="02"), 1)
    (alarm,) = [record for record in heard if isinstance(record, Event) and "CO2_ALARM" in record.code]
    assert (alarm.limits, alarm.silence) == ((Decimal(28), Decimal(50)), "audio_paused")


def test_limits_are_settings_told_once() -> None:
    bench = Bench()
    told = {record.device_code: record for record in bench.hear(values(), 1) if isinstance(record, Setting)}
    assert (told["EtCO2 low limit"].value, told["EtCO2 low limit"].unit) == (Decimal(28), "mm[Hg]")
    assert (told["PR high limit"].value, told["CO2 units"].value) == (Decimal(120), "mmHg")
    assert not [record for record in bench.hear(values(), 2) if isinstance(record, Setting)]


def test_values_in_a_unit_whose_coding_is_not_published_have_none() -> None:
    heard = Bench().hear(values(unit="02"), 1)
    (et,) = [record for record in heard if type(record) is Numeric and record.device_code == "EtCO2"]
    assert (et.value, et.unit, et.quality) == (Decimal(38), "", Quality.QUESTIONABLE)


def test_answers_to_others_questions_are_left_alone_and_unknown_ones_told() -> None:
    bench = Bench()
    assert bench.hear(encode(2, b"\0" * 28), 1) == []
    assert [gap.cause for gap in (*bench.hear(encode(77, b"x"), 2), *bench.hear(b"", 4)) if isinstance(gap, Gap)] == [
        "undecodable"
    ]


@pytest.mark.parametrize("code", [c for c in range(256) if c not in (1, 4, 6, 9)])
def test_no_other_command_is_ever_allowed(code: int) -> None:
    assert not any(Capnostream.spec.may_send(encode(code, payload)) for payload in (b"", b"\x01", b"ORLEDGER"))


def test_it_is_recognised() -> None:
    heard = recognise(b"\x11\x12" + values() + encode(4, b"V45.67 02/24/2008 B355987654  ") + values()[:9])
    assert heard is not None
    assert (heard.frames, heard.device) == (2, "Oridion Capnostream B355987654")
    assert recognise(bytes(range(256)) * 4) is None
