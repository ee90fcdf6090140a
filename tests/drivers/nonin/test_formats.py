"""Serial data formats as published: which one it is, and those without a wave."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.contract import Emit, Now
from drivers.fixed_frames import Skipped
from drivers.nonin import Nonin, NoninConfig
from drivers.nonin.driver import recognise
from drivers.nonin.finder import finder
from drivers.nonin.spot import parse_spot
from ledger.limits import S_NS
from ledger.records import Event, Gap, Identity, LinkId, Numeric, Quality, Record, Wave

LINK = LinkId(1)
Format = Literal["auto", 1, 2, 7, 8]

OF_A_9560 = bytes.fromhex(
    "01804900CA0180464A1101804400C501804300C401814300C50180434A0E0180436024018043945801804300C401804100C2"
    "01803E17D601803C04C1018039601A018036601701803560160180340"
    "0B501803400B501803400B50180354A0001803660170180376018"
    "01803A00BB01804000C101804A00CB0180574A2201806900EA01807C4A4701809000110180A100220181AF0031"
)
"""Format 2 as a Nonin 9560 sent it (public source): 74 a minute, 96 %, firmware 94 hex."""


def hear(data: bytes, data_format: Format = "auto", *, seconds: float = 1 / 75, size: int = 5) -> list[Record]:
    """What a driver records of these bytes, ``size`` of them at a time and so far apart."""
    driver = Nonin(NoninConfig(data_format=data_format))
    driver.link_up(LINK, "test", Now(0, 1_790_000_000 * S_NS))
    records: list[Record] = []
    for step, at in enumerate(range(0, len(data), size)):
        moment_ns = round(step * seconds * S_NS)
        now = Now(moment_ns, 1_790_000_000 * S_NS + moment_ns)
        driver.receive(LINK, data[at : at + size], now)
        due_ns = driver.deadline_ns()
        if seconds >= 1 and due_ns is not None:
            driver.wake(Now(due_ns, 1_790_000_000 * S_NS + due_ns))
        records += [action.record for action in driver.drain() if isinstance(action, Emit)]
    return records


def shown(records: list[Record]) -> dict[str, Decimal | str | None]:
    return {record.device_code: record.value for record in records if isinstance(record, Numeric)}


@pytest.mark.parametrize("data_format", ["auto", 2])
def test_what_a_9560_sent(data_format: Format) -> None:
    records = hear(OF_A_9560, data_format)
    assert (shown(records)["HR"], shown(records)["SpO2"]) == (Decimal(74), Decimal(96))
    assert not [record for record in records if isinstance(record, Gap | Event)]
    (identity,) = [record for record in records if isinstance(record, Identity)]
    assert (identity.software, identity.protocol) == ("revision 148", "serial data format 2")
    samples = [len(record.samples) // 2 for record in records if isinstance(record, Wave)]
    assert samples == [4, 25]  # the last frame begins the next packet


def format_7(packets: int) -> bytes:
    values = [0x00, 72, 97, 27, *[0] * 9, 0x00, 72, 97, 97, 0, 0, 0x00, 72, 0x00, 72, 0, 0]
    frames = b""
    for _ in range(packets):
        for at, value in enumerate(values):
            body = bytes((0x80 | (at == 0), 0x80, at, value))
            frames += body + bytes((sum(body) & 0xFF,))
    return frames


def test_format_7_is_found_out_too() -> None:
    records = hear(format_7(4))
    assert (shown(records)["HR"], shown(records)["SpO2"]) == (Decimal(72), Decimal(97))
    assert [r.protocol for r in records if isinstance(r, Identity)] == ["serial data format 7"]


FORMAT_8 = bytes((0x81, 72, 97, 0x20))  # 200 a minute, SmartPoint
FORMAT_1 = bytes((0x80, 72, 97))


@pytest.mark.parametrize(
    ("frame", "data_format", "rate"),
    [(FORMAT_8, "auto", 200), (FORMAT_8, 8, 200), (FORMAT_1, "auto", 72), (FORMAT_1, 1, 72)],
)
def test_a_frame_a_second(frame: bytes, data_format: Format, rate: int) -> None:
    records = hear(frame * 12, data_format, seconds=1, size=len(frame))
    values = [(r.device_code, r.value, r.quality) for r in records if isinstance(r, Numeric)]
    assert {value for value in values if value[0] == "HR"} == {("HR", Decimal(rate), Quality.UNCHECKED)}
    assert {value for value in values if value[0] == "SpO2"} == {("SpO2", Decimal(97), Quality.UNCHECKED)}
    assert not [record for record in records if isinstance(record, Gap | Wave | Event)]
    last = [record for record in records if isinstance(record, Numeric)][-1]
    assert last.at_ns == (1_790_000_000 + 11) * S_NS  # the last frame too, though nothing follows it


@pytest.mark.parametrize(
    ("frame", "texts"),
    [
        (bytes((0xC0 | 0x03, 0x7F, 0x7F, 0x00)), ["sensor disconnected"]),
        (bytes((0xA0, 72, 97, 0x00)), ["out of track: no good pulses in a row"]),
        (bytes((0x90, 72, 97, 0x00)), ["low perfusion"]),
        (bytes((0x88, 72, 97, 0x00)), ["marginal perfusion"]),
        (bytes((0x84, 72, 97, 0x09)), ["sensor alarm", "artifact", "low battery"]),
    ],
)
def test_the_status_of_format_8(frame: bytes, texts: list[str]) -> None:
    records = hear(frame * 6, 8, seconds=1, size=4)
    assert [record.text for record in records if isinstance(record, Event)] == texts
    packet, _ = parse_spot(frame)
    expected = None if frame[2] == 0x7F else Decimal(97)
    assert {reading.name: reading.value for reading in packet.readings}["SpO2"] == expected


@given(st.integers(0, 1 << 32))
def test_noise_before_it_does_not_hide_the_format(seed: int) -> None:
    noise = random.Random(seed).randbytes(300)
    frames = finder(None)
    frames.feed(noise + format_7(2))
    assert frames.form == 7


def test_frames_of_formats_without_a_checksum_are_recognised_only_in_numbers() -> None:
    assert recognise(random.Random(4).randbytes(6_000)) is None
    for frame in (FORMAT_1, FORMAT_8):
        heard = recognise(frame * 12)
        assert heard is not None
        assert heard.device.endswith("format 1" if frame is FORMAT_1 else "format 8")


@pytest.mark.parametrize("size", [1, 5, 7, 20])
def test_an_oximeter_of_another_format_at_the_same_cable_is_read_too(size: int) -> None:
    records = hear(OF_A_9560 + FORMAT_8 * 20 + format_7(3), seconds=size / 375, size=size)
    told = [record.protocol for record in records if isinstance(record, Identity)]
    assert told == [f"serial data format {each}" for each in (2, 8, 7)]
    waves = [record for record in records if isinstance(record, Wave)]
    assert [wave.offset for wave in waves if len(wave.samples) == 50] == [0.0, 32_768.0, 32_768.0]


@given(st.lists(st.sampled_from([b"\x01\x02\x81", OF_A_9560, format_7(1), FORMAT_1 * 9, FORMAT_8 * 9]), max_size=8))
def test_every_byte_is_accounted_for_whatever_forms_come(parts: list[bytes]) -> None:
    frames, told = finder(None), 0
    for part in parts:
        for at in range(0, len(part), 4):
            told += sum(
                item.lost_bytes if isinstance(item, Skipped) else len(item) for item in frames.feed(part[at : at + 4])
            )
    assert told + frames.abandon() == sum(map(len, parts))


@given(st.lists(st.integers(1, 7), min_size=1, max_size=60))
def test_however_the_line_is_cut_the_same_is_found(sizes: list[int]) -> None:
    whole, cut = finder(None), finder(None)
    data, found, at = b"\x81\x05" + format_7(1), [], 0
    for size in sizes:
        found += cut.feed(data[at : at + size])
        at += size
    assert whole.feed(data) == [*found, *cut.feed(data[at:])]
