from __future__ import annotations

import csv
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_sim.ge_dri import (
    ECG_EXTRA,
    GROUPS,
    INVALID,
    AlarmLine,
    MainType,
    PhysSubrecord,
    RecordWriter,
    RequestReader,
    alarm_subrecord,
    aux_subrecord,
    frame,
    scaled,
    wave_subrecord,
)

FIELDS = Path(__file__).parents[2].parent / "shared" / "tables" / "ge_dri_fields.csv"

# Request for displayed values every 10 s of all classes, as it stands in GE's description, checksum 49.
DISPLAYED_10_S = bytes.fromhex(
    "7e 31 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 ff 00 00 00 00 00 00 00 00 00 00 00 00 00 00"
    "00 00 00 00 01 0a 00 0e 00 00 00 00 00 49 7e"
)


def request(main_type: int, body: bytes) -> bytes:
    """A request record as a computer writes it, without flags and checksum."""
    header = struct.pack("<h12xh", 40 + len(body), main_type) + b"\0\0\0" + b"\0\0\xff"
    return header.ljust(40, b"\0") + body


def test_the_published_request_is_read_and_framed_byte_for_byte() -> None:
    (record,) = RequestReader().feed(DISPLAYED_10_S)
    assert record.main_type == MainType.PHYSIOLOGICAL
    assert record.subrecords == ((0, 0),)
    assert record.body == bytes.fromhex("01 0a00 0e000000 0000")
    assert frame(request(0, record.body)) == DISPLAYED_10_S


@pytest.mark.parametrize(
    ("main_type", "body", "ending"),
    [
        (0, b"\x01" + bytes(8), "31 7e"),  # stop
        (0, bytes.fromhex("03 3c00 0e000000 0000"), "7d 5d 7e"),  # 60 s trend: checksum 7d is escaped
        (1, bytes.fromhex("0000 0000 01 ff") + bytes(26), "48 7e"),  # ECG1 alone
    ],
)
def test_published_checksums(main_type: int, body: bytes, ending: str) -> None:
    assert frame(request(main_type, body)).hex(" ").endswith(ending)


@given(st.lists(st.tuples(st.integers(0, 8), st.binary(max_size=60)), max_size=4), st.binary(max_size=30))
def test_requests_survive_framing_whatever_bytes_they_hold(requests: list[tuple[int, bytes]], noise: bytes) -> None:
    stream = noise.replace(b"\x7e", b"") + b"".join(frame(request(t, b)) for t, b in requests)
    whole, single = RequestReader(), RequestReader()
    found = whole.feed(stream)
    assert [(r.main_type, r.body) for r in found] == requests
    assert [r for byte in stream for r in single.feed(bytes((byte,)))] == found
    assert whole.bad_frames == single.bad_frames == 0


@given(st.integers(1, len(DISPLAYED_10_S) - 2), st.integers(1, 255))
def test_a_damaged_request_is_never_taken(position: int, flip: int) -> None:
    damaged = bytearray(DISPLAYED_10_S)
    damaged[position] ^= flip
    reader = RequestReader()
    assert reader.feed(bytes(damaged)) == []
    assert len(reader.feed(DISPLAYED_10_S)) == 1


def test_endless_rubbish_after_a_flag_is_bounded() -> None:
    reader = RequestReader()
    reader.feed(b"\x7e" + bytes(100_000))
    assert reader.bad_frames == 1
    assert len(reader.feed(DISPLAYED_10_S)) == 1


def test_records_carry_length_number_time_and_offsets() -> None:
    writer = RecordWriter(plug_id=35537, dri_level=8)
    writer.build(MainType.WAVEFORM, [], 1)
    record = writer.build(MainType.WAVEFORM, [(1, b"abcd"), (8, b"ef")], 1_251_973_976)
    assert struct.unpack_from("<hBBHI", record) == (46, 2, 8, 35537, 1_251_973_976)
    assert struct.unpack_from("<h", record, 14) == (1,)
    assert struct.unpack_from("<hBhBhB", record, 16) == (0, 1, 4, 8, 0, 0xFF)
    assert record[40:] == b"abcdef"


def test_eight_subrecords_need_no_end_mark_and_nine_do_not_fit() -> None:
    writer = RecordWriter(1)
    record = writer.build(MainType.WAVEFORM, [(n, b"x") for n in range(8)], 0)
    assert record[16:40] == b"".join(struct.pack("<hB", n, n) for n in range(8))
    with pytest.raises(ValueError, match="do not fit"):
        writer.build(MainType.WAVEFORM, [(n, b"x") for n in range(9)], 0)
    with pytest.raises(ValueError, match="do not fit"):
        writer.build(MainType.WAVEFORM, [(1, bytes(1451))], 0)


@pytest.mark.skipif(not FIELDS.exists(), reason="the published field table is not here")
def test_every_group_lies_where_the_published_table_says() -> None:
    with FIELDS.open() as f:
        published = {
            (int(r["class"]), r["group"], r["field"]): int(r["offset_in_subrecord"]) for r in csv.DictReader(f)
        }
    for class_number, groups in enumerate(GROUPS):
        for group, (offset, fields) in groups.items():
            assert published[class_number, group, "status"] == offset
            assert published[class_number, group, "label"] == offset + 4
            for i, field in enumerate(fields):
                assert published[class_number, group, field] == offset + 6 + 2 * i, (group, field)
    for i, field in enumerate(ECG_EXTRA[1]):
        assert published[0, "ecg_extra", field] == ECG_EXTRA[0] + 2 * i


@pytest.mark.parametrize("class_number", range(4))
def test_a_subrecord_is_278_bytes_and_names_its_class(class_number: int) -> None:
    data = PhysSubrecord(class_number, 1, 8, 77).build()
    assert len(data) == 278
    assert struct.unpack_from("<I", data) == (77,)
    assert struct.unpack_from("<BBH", data, 274) == (0, 0, class_number << 8 | 0x81)


def test_values_not_set_are_invalid_and_set_ones_stand_at_their_offset() -> None:
    sub = PhysSubrecord(0, 1, 8, 0)
    sub.group("p1", 0x0B, 1, sys=12000, mean=9000)
    data = sub.build()
    assert struct.unpack_from("<IH4h", data, 20) == (0x0B, 1, 12000, INVALID, 9000, INVALID)
    assert struct.unpack_from("<IH4h", data, 76) == (0, 0, INVALID, INVALID, INVALID, INVALID)


def test_aux_wave_and_alarm_subrecords() -> None:
    assert struct.unpack_from("<IhIIh", aux_subrecord(1234)) == (1234, INVALID, 0, 0, INVALID)
    assert wave_subrecord([-1, 5], 1, 2) == struct.pack("<hHHhh", 2, 1, 2, -1, 5)
    message = alarm_subrecord([AlarmLine("ASYSTOLE", 3, text_changed=True)], sound=True)
    assert len(message) == 10 + 5 * 98 + 10
    assert struct.unpack_from("<5h", message) == (0, 1, 0, 0, 0)
    assert message[10:90].rstrip(b"\0") == b"ASYSTOLE"
    assert struct.unpack_from("<3h", message, 90) == (1, 3, 0)
    assert not any(message[108:])


@pytest.mark.parametrize(
    ("value", "factor", "raw"),
    [(None, 1, INVALID), (36.61, 100, 3661), (-2.5, 100, -250), (400.0, 100, -32763), (-400.0, 100, -32764)],
)
def test_scaling(value: float | None, factor: float, raw: int) -> None:
    assert scaled(value, factor) == raw
