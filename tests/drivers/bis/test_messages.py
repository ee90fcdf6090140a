from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.bis.frame import Message
from drivers.bis.messages import parse_eeg, parse_processed, parse_revision, parse_text
from ledger.errors import DeviceFault

I16, I32 = st.integers(-32_768, 32_767), st.integers(-(2**31), 2**31 - 1)
TREND = st.tuples(*[I16] * 8, I32, st.integers(0, 2**32 - 1))


def processed(trends: list[tuple[int, ...]], extra: tuple[int, ...] | None = None, spectra: bytes = b"") -> bytes:
    data = struct.pack("<BBBBHH4i4H4I", 11, 1, 27, 1, 2, 0, 5, 100, -3234, 1, 21, 0, 34, 4, 0x010201, 2, 0, 0)
    for trend in trends:
        data += struct.pack("<8hiI", *trend) + (struct.pack("<6h", *extra) if extra else b"")
    return data + spectra


@pytest.mark.parametrize("spectra", [b"", bytes(244)])
@pytest.mark.parametrize("extra", [None, (3, 0, 0, 0, 0, 0)])
@given(trends=st.lists(TREND, min_size=3, max_size=3))
def test_all_four_forms(trends: list[tuple[int, ...]], extra: tuple[int, ...] | None, spectra: bytes) -> None:
    data = processed(trends, extra, spectra)
    assert len(data) == (156 if extra else 120) + len(spectra)
    told = parse_processed(Message(52, 0, data))
    assert [trend.values for trend in told.trends] == trends
    assert [trend.bursts_per_min for trend in told.trends] == [3 if extra else None] * 3
    assert (told.gain, told.offset) == (0.05, -3234.0)
    assert told.impedances == ((21, 0), (34, 4))
    assert (told.sensor_type, told.sensor_is_legal, told.amplifier_is_legal) == (2, True, True)


@given(st.binary(max_size=500))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for parse in (parse_processed, parse_eeg, parse_revision):
        try:
            parse(Message(52, 0, data))
        except DeviceFault:
            continue
    assert parse_text(Message(1101, 0, data)).isprintable()


@given(st.integers(1, 4), st.sampled_from((128, 256)), st.integers(1, 32), st.data())
def test_channels_come_apart(channels: int, rate_hz: int, count: int, data: st.DataObject) -> None:
    samples = data.draw(st.lists(I16, min_size=channels * count, max_size=channels * count))
    wire = struct.pack(f"<HH{len(samples)}h", channels, rate_hz, *samples)
    told = parse_eeg(Message(50, 0, wire))
    assert (told.rate_hz, told.count, len(told.channels)) == (rate_hz, count, channels)
    for number, channel in enumerate(told.channels):
        assert list(struct.unpack(f"<{count}h", channel)) == samples[number::channels]


@pytest.mark.parametrize(
    "wire", ["", "02008000", "0200800001", "02008000010002", "0500800001000200030004000500", "02000000010002"]
)
def test_eeg_that_cannot_be(wire: str) -> None:
    with pytest.raises(DeviceFault):
        parse_eeg(Message(50, 0, bytes.fromhex(wire)))


def test_who_it_is() -> None:
    versions = bytes((3, 22, 0, 0)) + bytes(8) + bytes((1, 9, 0, 0)) + bytes(8)
    told = parse_revision(Message(1102, 0, versions + bytes((0xD2, 0x04, 0x00, 0x56))))
    assert (told.serial, told.is_vista, told.system, told.protocol) == ("VT01234", True, "3.22", "1.09")
    told = parse_revision(Message(1102, 0, versions + bytes((0xD2, 0x04, 0x00, 0x41))))
    assert (told.serial, told.is_vista) == ("A1234", False)


def test_a_text_is_for_people() -> None:
    assert parse_text(Message(1101, 0, b"SENSOR  \x07OFF\r\n\0rest")) == "SENSOR OFF"
