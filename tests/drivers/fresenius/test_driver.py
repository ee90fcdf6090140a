"""Driver and simulated base share no code."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.contract import Emit, Now, Send
from drivers.fresenius import Fresenius, FreseniusConfig
from drivers.fresenius.driver import ALIVE, RECEIVED, WRONG_CHECK, recognise
from drivers.fresenius.frame import encode
from firmware_sim.faults import FaultLine, parse_fault
from firmware_sim.orchestra import OrchestraBase
from firmware_sim.patient import Patient
from ledger.limits import S_NS
from ledger.records import Event, Gap, Identity, LinkId, Numeric, Quality, Record, Setting

LINK = LinkId(1)
STEPS_A_SECOND = 20
T0_S = 1_790_000_000
DRUG, RATE, VOLUME = "MDC_DRUG_NAME_LABEL", "MDC_FLOW_FLUID_PUMP", "MDC_VOL_INFUS_ACTUAL_TOTAL"


def at(at_s: float) -> Now:
    return Now(round(at_s * S_NS), round((T0_S + at_s) * S_NS))


def session(
    seconds: int, *faults: str, connection: Literal["base", "pump"] = "base"
) -> tuple[list[Record], list[bytes]]:
    base = OrchestraBase(Patient(1), base=connection == "base", line=FaultLine(tuple(map(parse_fault, faults))))
    driver, records, sent = Fresenius(FreseniusConfig(connection=connection)), list[Record](), list[bytes]()
    driver.link_up(LINK, "sim", at(0))
    for step in range(seconds * STEPS_A_SECOND):
        now = at(step / STEPS_A_SECOND)
        for frame in base.poll(step / STEPS_A_SECOND):
            driver.receive(LINK, frame, now)
        due = driver.deadline_ns()
        if due is not None and due <= now.mono_ns:
            driver.wake(now)
        waiting = driver.drain()
        while waiting:
            action = waiting.pop(0)
            if isinstance(action, Send):
                assert Fresenius.spec.may_send(action.data), action.data
                sent.append(action.data)
                for frame in base.receive(action.data, step / STEPS_A_SECOND):
                    driver.receive(LINK, frame, now)
                waiting += driver.drain()
            elif isinstance(action, Emit):
                records.append(action.record)
    return records, sent


class Bench:
    """A driver that has opened the session with a base of one module, whose LE is asked next."""

    def __init__(self) -> None:
        self.driver = Fresenius(FreseniusConfig())
        self.driver.link_up(LINK, "bench", at(0))
        self.sent = list[bytes]()
        for answer in (encode("0", "C"), encode("0", "C;b01"), encode("1", "C"), encode("1", "C;bAGILIA"),
                       encode("1", "C;PROPOFOL")):  # fmt: skip
            self.hear(answer)

    def hear(self, data: bytes, at_s: float = 0.5) -> list[Record]:
        self.driver.receive(LINK, data, at(at_s))
        actions = self.driver.drain()
        self.sent = [action.data for action in actions if isinstance(action, Send)]
        return [action.record for action in actions if isinstance(action, Emit)]


def last(records: list[Record], code: str) -> dict[str, Decimal | str | None]:
    return {record.sub: record.value for record in records if isinstance(record, Numeric) and record.code == code}


def test_the_modules_of_a_base_are_devices_of_their_own() -> None:
    records, sent = session(20)
    assert not [record for record in records if isinstance(record, Gap | Event)]
    assert last(records, DRUG) == {
        "module-1": "PROPOFOL 1%",
        "module-2": "REMIFENTANIL",
        "module-3": "NORADRENALINE",
    }
    assert last(records, RATE) == {"module-1": Decimal("18.0"), "module-2": Decimal("9.6"), "module-3": Decimal("2.4")}
    identities = {record.sub: record.model for record in records if isinstance(record, Identity)}
    assert identities == {"": "Orchestra base", **dict.fromkeys(("module-1", "module-2", "module-3"), "AGILIA SP")}
    assert {ALIVE, RECEIVED, encode("2", "E")} <= set(sent)


def test_a_pump_without_a_base() -> None:
    records, sent = session(10, connection="pump")
    assert last(records, DRUG) == {"": "PROPOFOL 1%"}
    assert last(records, RATE) == {"": Decimal("18.0")}
    assert encode("", "DC") in sent


def test_an_occlusion_is_told_at_once_by_its_module() -> None:
    records, _ = session(20, "sensor-off@5+4:line2")
    alarms = [(r.sub, r.device_code, r.phase) for r in records if isinstance(r, Event)]
    assert alarms == [("module-2", "a0010", "start"), ("module-2", "a0010", "end")]
    rates = [r.value for r in records if isinstance(r, Numeric) and (r.sub, r.code) == ("module-2", RATE)]
    assert Decimal("0.0") in rates
    assert rates[-1] == Decimal("9.6")


def test_a_module_that_is_taken_out_shows_nothing_and_comes_back() -> None:
    records, _ = session(40, "sensor-off@8+10:module3")
    rates = [r for r in records if isinstance(r, Numeric) and (r.sub, r.code) == ("module-3", RATE)]
    assert [r.quality for r in rates if r.value is None] == [Quality.UNAVAILABLE]
    assert rates[-1].at_ns > (T0_S + 35) * S_NS


def test_a_base_that_falls_silent_or_restarts_is_opened_again() -> None:
    for fault in ("silence@8+8", "reboot@8+8"):
        records, sent = session(30, fault)
        assert "device_gap" in [record.cause for record in records if isinstance(record, Gap)]
        assert sent.count(encode("0", "DC")) >= 2
        rates = [r for r in records if isinstance(r, Numeric) and (r.sub, r.code) == ("module-1", RATE)]
        assert [r.quality for r in rates if r.value is None] == [Quality.UNAVAILABLE]
        assert rates[-1].at_ns > (T0_S + 27) * S_NS


def test_a_wrong_check_is_answered_so_and_gives_no_value() -> None:
    bench = Bench()
    assert not bench.hear(encode("1", "C;d0064").replace(b"64", b"65", 1))
    assert bench.sent == [WRONG_CHECK]


def test_a_pump_that_knows_fewer_variables_is_asked_after_fewer() -> None:
    bench = Bench()
    assert bench.sent[-1:] == [encode("1", "LE;daemrks")]
    bench.hear(encode("1", "I;0A"))
    assert encode("1", "LE;daemr") in bench.sent or encode("1", "DE;daemr") in bench.sent


def test_a_session_that_is_open_already_is_used() -> None:
    bench = Bench()
    bench.driver.link_up(LINK, "bench", at(1))
    bench.driver.drain()
    bench.hear(encode("0", "I;1F"), 1.1)
    assert bench.sent == [RECEIVED, encode("0", "LE;b")]


def test_a_change_told_unasked_is_acknowledged_and_read() -> None:
    bench = Bench()
    (numeric,) = bench.hear(encode("1", "E;r0003E8"))
    assert isinstance(numeric, Numeric)
    assert (numeric.sub, numeric.code, numeric.value) == ("module-1", VOLUME, Decimal("1.000"))
    assert bench.sent[:2] == [RECEIVED, encode("1", "E")]


def test_variables_that_come_too_late_are_read_and_are_no_other_answer() -> None:
    driver = Fresenius(FreseniusConfig())
    driver.link_up(LINK, "bench", at(0))
    driver.drain()
    for answer in (encode("3", "C;d0064;r0003E8"), encode("0", "C;d0001;r0001")):
        driver.receive(LINK, answer, at(0.1))
    actions = driver.drain()
    told = {(a.record.sub, a.record.code) for a in actions if isinstance(a, Emit) and isinstance(a.record, Numeric)}
    assert {("module-3", RATE), ("module-3", VOLUME)} <= told
    assert not [action for action in actions if isinstance(action, Send) and action.data == encode("0", "LE;b")]


def test_values_that_come_when_the_type_is_asked_are_no_type() -> None:
    driver = Fresenius(FreseniusConfig())
    driver.link_up(LINK, "bench", at(0))
    for answer in (encode("0", "C"), encode("0", "C;b01"), encode("1", "C"), encode("1", "C;d0060;a0000;r0013A0")):
        driver.receive(LINK, answer, at(0.1))
    records = [action.record for action in driver.drain() if isinstance(action, Emit)]
    assert [record.sub for record in records if isinstance(record, Identity)] == [""]
    assert last(records, RATE) == {"module-1": Decimal("9.6")}
    driver.receive(LINK, encode("1", "C;bAGILIA"), at(0.2))
    (identity,) = [a.record for a in driver.drain() if isinstance(a, Emit) and isinstance(a.record, Identity)]
    assert identity.model == "AGILIA"


def test_a_type_or_a_name_that_comes_late_or_again_is_not_taken_for_the_other() -> None:
    driver = Fresenius(FreseniusConfig())
    driver.link_up(LINK, "bench", at(0))
    told: list[Record] = []
    for answer in ("C;b01", "C", "C;bAGILIA", "C;bAGILIA", "C;bupivacaine"):
        module = "0" if answer == "C;b01" else "1"
        for text in ("C", answer) if answer == "C;b01" else (answer,):
            driver.receive(LINK, encode(module, text), at(0.1))
        told += [action.record for action in driver.drain() if isinstance(action, Emit)]
    assert [r.value for r in told if isinstance(r, Setting) and r.code == DRUG] == ["bupivacaine"]
    assert [r.model for r in told if isinstance(r, Identity) and r.sub] == ["AGILIA"]
    driver.wake(at(31))  # the type is asked again
    for answer in ("C;bupivacaine", "C;bAGILIA"):
        driver.receive(LINK, encode("1", answer), at(31.1))
    told = [action.record for action in driver.drain() if isinstance(action, Emit)]
    assert not [record for record in told if isinstance(record, Identity)]


def test_modules_may_be_told_with_four_digits() -> None:
    driver = Fresenius(FreseniusConfig())
    driver.link_up(LINK, "bench", at(0))
    for answer in (encode("0", "C"), encode("0", "C;b0004")):
        driver.receive(LINK, answer, at(0.1))
    assert encode("3", "DC") in [action.data for action in driver.drain() if isinstance(action, Send)]


def test_a_base_may_leave_its_number_out() -> None:
    driver = Fresenius(FreseniusConfig())
    driver.link_up(LINK, "bench", at(0))
    for answer in (encode("", "C"), encode("", "C;b01")):
        driver.receive(LINK, answer, at(0.1))
    sent = [action.data for action in driver.drain() if isinstance(action, Send)]
    assert encode("0", "LE;b") in sent
    assert encode("1", "DC") in sent


def test_digits_that_are_none_are_an_invalid_value_and_spoil_no_other() -> None:
    told = {r.code: (r.value, r.quality) for r in Bench().hear(encode("1", "E;d--;r0003E8")) if isinstance(r, Numeric)}
    assert told == {RATE: (None, Quality.INVALID), VOLUME: (Decimal("1.000"), Quality.GOOD)}


def test_what_is_not_known_keeps_its_letter_and_digits() -> None:
    (setting,) = Bench().hear(encode("1", "E;z00FF"))
    assert isinstance(setting, Setting)
    assert (setting.code, setting.value, setting.device_code) == ("MDCX_FRESENIUS_Z", "00FF", "z")


CONTROL = ["FC", "MO", "RZ", "OF", "SI", "EP", "AP", "EN", "LN", "AE", "DM", "AM", "LM", "PR", "PO", "PB", "PF", "PV",
           "RV", "PP", "PS"]  # fmt: skip


@pytest.mark.parametrize("command", CONTROL)
@given(module=st.sampled_from(["", *"0123456789"]), argument=st.text("0123456789ABCDEFabcdr;", max_size=12))
def test_no_command_that_sets_or_controls_can_ever_be_allowed(command: str, module: str, argument: str) -> None:
    assert not Fresenius.spec.may_send(encode(module, command))
    assert not Fresenius.spec.may_send(encode(module, f"{command};{argument}"))


@given(st.binary(max_size=40))
def test_nothing_else_is_allowed(data: bytes) -> None:
    assert not Fresenius.spec.may_send(data) or data in (ALIVE, RECEIVED, WRONG_CHECK)
    assert not Fresenius.spec.may_send(encode("1", "DC") + data + encode("1", "PR;0064"))


def test_it_is_recognised() -> None:
    heard = recognise(b"xx\x03" + encode("1", "C;d0064") + b"\x05" + encode("2", "E;r01"))
    assert heard is not None
    assert heard.frames == 2
    assert recognise(bytes(range(256)) * 4) is None


@pytest.mark.parametrize("options", [{"poll_s": 0.1}, {"poll_s": float("nan")}, {"connection": "rack"}])
def test_options_out_of_range_name_themselves(options: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError, match=next(iter(options))):
        msgspec.convert(options, FreseniusConfig)
