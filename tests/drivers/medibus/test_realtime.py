from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.medibus.realtime import (
    MAX_STREAMS,
    Offer,
    RealtimeFault,
    RealtimeReader,
    RealtimeRecord,
    StreamConfig,
    enable_streams,
    parse_config,
)
from firmware_sim.medibus import HostReader, RealtimeWriter
from ledger.errors import DeviceFault
from tests.drivers.medibus.feeding import OFFER

PAW = StreamConfig("00", 16_000, Decimal(-10), Decimal(100), 0x370)
CO2 = StreamConfig("06", 16_000, Decimal(-20), Decimal(100), 0x460)
FAST = st.binary(max_size=40).map(lambda data: bytes(byte | 0x80 for byte in data))


def test_the_configuration_of_the_manual() -> None:
    assert parse_config(OFFER) == Offer((PAW, CO2))
    assert parse_config(OFFER.replace(b"   16000", b"16000   ")) == Offer((PAW, CO2))


@pytest.mark.parametrize(
    ("wire", "samples", "marks"),
    [
        ("D391818D83", ((0, 81), (1, 205)), ()),
        ("D19481", ((0, 84),), ()),
        ("D28E83", ((1, 206),), ()),
        ("D3C6C090818A83", ((0, 80), (1, 202)), ("inspiration",)),
        ("D3C6C190818A83", ((0, 80), (1, 202)), ("expiration",)),
        ("D3CFC090818A83", ((0, None), (1, None)), ()),
    ],
)
def test_the_records_of_the_manual(wire: str, samples: object, marks: object) -> None:
    (record,) = RealtimeReader().feed(bytes.fromhex(wire))
    assert isinstance(record, RealtimeRecord)
    assert (record.samples, record.marks) == (samples, marks)


def test_bins_are_values_as_the_manual_says() -> None:
    for config, value, expected in ((PAW, 81, 0.125), (CO2, 205, 1.96)):
        scale = (config.maximum - config.minimum) / config.max_bin
        assert float(config.minimum + value * scale) == pytest.approx(expected, abs=0.005)


@given(
    st.lists(
        st.tuples(st.dictionaries(st.integers(0, 11), st.integers(0, 4095), min_size=1), st.none() | st.integers(0, 1)),
        max_size=8,
    )
)
def test_what_a_device_writes_is_read(records: list[tuple[dict[int, int], int | None]]) -> None:
    writer, reader = RealtimeWriter(), RealtimeReader()
    wire = b"".join(writer.build(bins, cycle) for bins, cycle in records)
    names = {0: ("inspiration",), 1: ("expiration",), None: ()}
    assert reader.feed(wire) == [RealtimeRecord(tuple(sorted(bins.items())), names[cycle]) for bins, cycle in records]


@given(FAST, st.data())
def test_cut_anywhere_it_is_the_same(wire: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(wire)))
    reader = RealtimeReader()
    assert reader.feed(wire[:at]) + reader.feed(wire[at:]) == RealtimeReader().feed(wire)


@given(FAST)
def test_after_any_noise_two_records_set_it_right(noise: bytes) -> None:
    reader = RealtimeReader()
    reader.feed(noise)
    # C4 C0 and C5 C0: none of streams 5 to 12.
    assert reader.feed(bytes.fromhex("D3C4C0C5C091818D83D39181 8D83"))[-1] == RealtimeRecord(((0, 81), (1, 205)))


def test_a_lost_byte_costs_one_record_and_keeps_its_place() -> None:
    found = RealtimeReader().feed(bytes.fromhex("D391818DD391818D83"))
    assert found == [
        RealtimeFault(4),
        RealtimeRecord(((0, None), (1, None))),
        RealtimeRecord(((0, 81), (1, 205))),
    ]


def test_a_mark_without_samples_waits_for_the_next() -> None:
    (record,) = RealtimeReader().feed(bytes.fromhex("D0C6C0D19481"))
    assert record == RealtimeRecord(((0, 84),), ("inspiration",))


@pytest.mark.parametrize("count", range(1, MAX_STREAMS + 1))
def test_a_device_understands_which_streams_may_flow(count: int) -> None:
    reader = HostReader()
    assert list(reader.feed(enable_streams(count))) == []
    assert reader.enabled_streams() == set(range(count))


def test_one_to_four_streams_are_enabled_as_in_the_manual() -> None:
    assert enable_streams(2) == bytes.fromhex("D0C1C3C0C0")


def test_a_configuration_that_is_cut_is_refused() -> None:
    with pytest.raises(DeviceFault):
        parse_config(OFFER[:-1])


def test_a_wave_that_makes_no_sense_costs_no_other() -> None:
    """A device may offer what it has no module for, with a range or an interval of nothing."""
    for empty in (b"07       0   0   0000", b"07   16000   0   0370", b"07   16000  xx  yy370"):
        offer = parse_config(empty.ljust(23) + OFFER)
        assert offer.streams == (PAW, CO2)
        assert [text.split("wave ")[1][:4] for text in offer.faults] == ["'07'"]


@pytest.mark.parametrize(
    "body",
    [OFFER.replace(b"  10", b"  1x"), OFFER.replace(b"16000", b"    0"), OFFER.replace(b"370", b"000"),
     OFFER.replace(b"  100370", b"-  20370"), OFFER.replace(b"  100370", b"  NaN370"), b"\xff" * 23],
)  # fmt: skip
def test_a_configuration_that_makes_no_sense_is_told(body: bytes) -> None:
    assert parse_config(body).faults


@given(st.binary(max_size=69))
def test_no_configuration_raises_anything_else(body: bytes) -> None:
    try:
        parse_config(body)
    except DeviceFault:
        return
