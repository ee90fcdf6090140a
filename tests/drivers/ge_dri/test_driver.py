from __future__ import annotations

import random
import struct
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.contract import Emit, Message, Send
from drivers.ge_dri import GeDri, GeDriConfig
from drivers.ge_dri.request import CLASSES, AlarmCommand, alarm_request, numerics_request, wave_request
from ledger.errors import OurFault
from ledger.records import Clock, DeviceTime, Event, Gap, Identity, Link, LinkId, Numeric, Record, Wave
from tests.drivers.ge_dri.building import (
    LINK,
    T0_S,
    alarms,
    frame,
    now,
    physiological,
    put,
    record,
    shared_record,
    wave,
)

FULL = GeDriConfig(waves=("ECG1", "PLETH"), carescape=True)
NUMERICS = numerics_request(5, CLASSES)


def up(config: GeDriConfig = FULL) -> GeDri:
    driver = GeDri(config)
    driver.link_up(LINK, "/dev/monitor", now())
    driver.drain()
    return driver


def emitted(driver: GeDri) -> list[Record]:
    return [action.record for action in driver.drain() if isinstance(action, Emit)]


def feed(driver: GeDri, wire: bytes, at_s: float = 0) -> list[Record]:
    driver.receive(LINK, wire, now(at_s))
    return emitted(driver)


def wake(driver: GeDri, at_s: float) -> tuple[list[Record], list[bytes]]:
    driver.wake(now(at_s))
    actions = driver.drain()
    return (
        [action.record for action in actions if isinstance(action, Emit)],
        [action.data for action in actions if isinstance(action, Send)],
    )


def numerics_frame(temp: int = 3700, time_s: int = T0_S) -> bytes:
    return frame(record(0, [(1, bytes(put(physiological(time_s=time_s), 90, 3, 1, temp)))], time_s))


def waves_frame(time_s: int = T0_S) -> bytes:
    return frame(record(1, [(1, wave([5] * 60, label=2)), (8, wave([7] * 20))], time_s))


def alarms_frame(*lines: tuple[str, int]) -> bytes:
    return frame(record(4, [(1, alarms(*lines))]))


ALL_FRAMES = numerics_frame() + waves_frame() + alarms_frame(("APNEA", 3))


def test_link_up_asks_for_everything_on_that_link() -> None:
    driver = GeDri(FULL)
    driver.link_up(LINK, "/dev/monitor", now())
    assert driver.drain() == [
        Send(LINK, NUMERICS),
        Send(LINK, wave_request([1, 8])),
        Send(LINK, alarm_request(AlarmCommand.ENTER_DIFFERENTIAL)),
    ]


def test_a_monitor_is_identified_and_its_values_recorded() -> None:
    driver = up()
    identity, link, numeric, *_ = feed(driver, numerics_frame())
    assert isinstance(identity, Identity)
    assert isinstance(link, Link)
    assert isinstance(numeric, Numeric)
    assert (identity.protocol, identity.position) == ("DRI level 9 (2005)", "plug 4711, subnet 1")
    assert (link.link, link.state, link.peer) == (LINK, "identified", "/dev/monitor")
    assert (numeric.code, numeric.value) == ("MDC_TEMP_ESOPH", Decimal("37.00"))
    assert not any(isinstance(r, Identity | Link) for r in feed(driver, numerics_frame()))


def test_real_trend_frame() -> None:
    records = feed(up(), frame(shared_record("ge_s5_trend.hex")))
    values = {r.device_code.split(":")[0]: r for r in records if isinstance(r, Numeric)}
    assert (values["p1.sys"].value, values["p1.sys"].channel) == (Decimal("9.00"), "ART")
    assert (values["o2.fi"].value, values["o2.fi"].unit) == (Decimal("29.43"), "%")
    assert values["eeg_bis.sqi"].value == Decimal(92)
    assert values["p1.sys"].device_time == DeviceTime(1251973827 * 10**9, "local", 10**9)


def test_real_wave_frame() -> None:
    records = feed(up(), frame(shared_record("ge_s5_wave.hex")))
    waves = {r.channel or r.code: r for r in records if isinstance(r, Wave)}
    ecg, pleth = waves["ECG1"], waves["MDC_PULS_OXIM_PLETH"]
    (first_uv,) = struct.unpack_from("<h", ecg.samples)
    assert (first_uv * ecg.scale, ecg.unit, ecg.code) == (-177.0, "uV", "MDC_ECG_ELEC_POTL_II")
    assert struct.unpack_from("<h", pleth.samples)[0] * pleth.scale == pytest.approx(-3.6)


def test_bytes_one_by_one_are_bytes_at_once() -> None:
    wire = b"noise" + ALL_FRAMES + b"\x7ebroken" + ALL_FRAMES
    at_once, one_by_one = up(), up()
    at_once.receive(LINK, wire, now())
    for i in range(len(wire)):
        one_by_one.receive(LINK, wire[i : i + 1], now())
    at_once.wake(now(1))
    one_by_one.wake(now(1))
    assert at_once.drain() == one_by_one.drain()


def test_faults_become_one_gap_a_second_and_the_next_frame_is_read() -> None:
    driver = up(GeDriConfig())
    bad = bytearray(numerics_frame())
    bad[50] ^= 1
    records = feed(driver, bytes(bad) * 20 + numerics_frame())
    assert any(isinstance(r, Numeric) for r in records)
    assert not any(isinstance(r, Gap) for r in records)
    assert driver.deadline_ns() == now(1).mono_ns
    (gap,), _ = wake(driver, 1)
    assert isinstance(gap, Gap)
    assert (gap.cause, gap.lost_items, gap.lost_bytes) == ("checksum", 20, 20 * (len(bad) - 2))


def test_a_cut_frame_is_told_when_the_link_goes_down() -> None:
    driver = up()
    driver.receive(LINK, numerics_frame()[:100], now())
    driver.link_down(LINK, "unplugged", now(1))
    (gap,) = emitted(driver)
    assert isinstance(gap, Gap)
    assert (gap.cause, gap.lost_bytes) == ("framing", 99)
    assert driver.deadline_ns() is None


def test_a_record_whose_checksum_is_right_and_whose_content_is_not() -> None:
    driver = up(GeDriConfig())
    feed(driver, frame(record(0, [(1, bytes(10))]) + b"x") + frame(record(0, [(1, bytes(10))])))
    (gap,), _ = wake(driver, 1)
    assert isinstance(gap, Gap)
    assert (gap.cause, gap.lost_items) == ("undecodable", 2)


def test_what_is_not_read_is_told_once_a_connection() -> None:
    driver = up()
    unread = frame(record(5, [(1, bytes(10))])) + frame(record(0, [(2, bytes(physiological()))]))
    gaps = [r for r in feed(driver, unread * 3) if isinstance(r, Gap)]
    assert [gap.cause for gap in gaps] == ["undecodable", "undecodable"]


def test_waves_are_asked_for_again_after_two_silent_seconds_and_the_silence_is_told() -> None:
    driver = up(GeDriConfig(waves=("ECG1", "PLETH")))
    feed(driver, numerics_frame() + waves_frame())
    assert driver.deadline_ns() == now(2).mono_ns
    (gap,), sent = wake(driver, 2)
    assert isinstance(gap, Gap)
    assert (gap.cause, gap.since_ns, gap.until_ns) == ("silence", now(0).utc_ns, now(2).utc_ns)
    assert sent == [wave_request([1, 8])]
    gaps = [r for r in feed(driver, waves_frame(), 3) if isinstance(r, Gap)]
    assert [(g.cause, g.since_ns, g.until_ns) for g in gaps] == [("silence", now(2).utc_ns, now(3).utc_ns)]


def test_waves_that_never_come_are_named() -> None:
    driver = up(GeDriConfig(waves=("ECG1", "PLETH", "CO2")))
    gaps = []
    for i in range(12):
        gaps += [r for r in feed(driver, waves_frame(T0_S + i), i) if isinstance(r, Gap)]
    (gap,) = gaps
    assert gap.cause == "silence"
    assert "CO2" in gap.detail
    assert "ECG1" not in gap.detail


def test_a_clock_set_back_is_told_and_everything_asked_for_again() -> None:
    driver = up(GeDriConfig())
    feed(driver, numerics_frame())
    feed(driver, numerics_frame(time_s=T0_S + 6), 6)
    driver.receive(LINK, numerics_frame(time_s=100), now(12))
    assert NUMERICS in [action.data for action in driver.drain() if isinstance(action, Send)]
    (gap,), _ = wake(driver, 13)
    assert isinstance(gap, Gap)
    assert (gap.cause, gap.since_ns, gap.lost_bytes) == ("clock_jump", now(6).utc_ns, None)


def test_the_clock_offset_is_told_every_minute() -> None:
    driver = up(GeDriConfig())
    clocks = []
    for i in range(0, 130, 5):
        clocks += [r for r in feed(driver, numerics_frame(time_s=T0_S + i), i) if isinstance(r, Clock)]
    assert [clock.offset_ns for clock in clocks] == [now().utc_ns - T0_S * 10**9] * 2


def test_values_and_alarms_outlive_a_connection() -> None:
    driver = up()
    feed(driver, numerics_frame() + alarms_frame(("APNEA", 3)))
    driver.link_down(LINK, "unplugged", now(1))
    driver.link_up(LinkId(8), "/dev/monitor", now(2))
    driver.drain()
    driver.receive(LinkId(8), frame(record(0, [(1, bytes(physiological()))])) + alarms_frame(), now(3))
    records = emitted(driver)
    (gone,) = [r for r in records if isinstance(r, Numeric) and r.code == "MDC_TEMP_ESOPH"]
    assert gone.value is None
    (end,) = [r for r in records if isinstance(r, Event)]
    assert (end.phase, end.text) == ("end", "APNEA")


def test_bytes_of_a_link_that_is_gone_are_nothing() -> None:
    driver = up()
    driver.receive(LinkId(6), ALL_FRAMES, now())
    driver.link_down(LinkId(6), "late", now())
    assert driver.drain() == []
    assert feed(driver, ALL_FRAMES)


def test_a_framed_message_is_a_bug_of_ours() -> None:
    with pytest.raises(OurFault):
        up().receive(LINK, Message("hl7", {}), now())


@settings(max_examples=60)
@given(st.data())
def test_no_bytes_break_it_or_make_it_send_anything_else(data: st.DataObject) -> None:
    rng = random.Random(data.draw(st.integers(0, 2**32)))
    driver = up()
    at_s = 0.0
    for _ in range(30):
        piece = bytearray(ALL_FRAMES if rng.random() < 0.7 else rng.randbytes(rng.randrange(1, 400)))
        for _ in range(rng.choice([0, 1, 5])):
            piece[rng.randrange(len(piece))] = rng.randrange(256)
        # Half of the mutations get a right checksum, so that they reach what lies behind it.
        wire = frame(bytes(piece[1:-2])) if rng.random() < 0.5 else bytes(piece)
        at_s += rng.choice([0, 0.01, 1, 7])
        driver.receive(LINK, wire, now(at_s))
        driver.wake(now(at_s))
        for action in driver.drain():
            if isinstance(action, Send):
                assert driver.spec.may_send(action.data)
    session = driver._session
    assert session is not None
    assert len(session.unread) <= 32
    assert len(session.deframer._buffer) <= 10_000
