from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.checksums import crc64_ecma_182
from drivers.openigtlink.content import VECTORS, children, parse_points, parse_status, parse_string
from drivers.openigtlink.frame import Bulk, Deframer, Fault, Frame, encode
from drivers.openigtlink.units import ucum_of_unit
from drivers.openigtlink.vectors import MATRIX as MATRIX_SHAPE
from drivers.openigtlink.vectors import NO_SAMPLE, quantised
from ledger.errors import DeviceFault
from tests.drivers.openigtlink.golden import MATRIX, SENSOR, TDATA, TRANSFORM, crc64, message

NAMES = st.text(st.characters(codec="ascii", min_codepoint=33, max_codepoint=126), max_size=20)
STREAM = TRANSFORM + SENSOR + TDATA


def feed(data: bytes) -> list[Frame | Bulk | Fault]:
    return Deframer().feed(data)


def test_the_messages_of_the_reference_library_are_read() -> None:
    transform, sensor, tdata = feed(STREAM)
    assert isinstance(transform, Frame)
    assert (transform.type, transform.device, transform.content) == ("TRANSFORM", "DeviceName", MATRIX)
    assert isinstance(sensor, Frame)
    (vector,) = VECTORS["SENSOR"](sensor.content)
    assert (vector.shape.unit, len(vector.shape.elements)) == ("m/s2", 6)
    assert vector.shape.values(vector.raw)[0] == pytest.approx(123456.78)
    assert isinstance(tdata, Frame)
    tools = VECTORS["TDATA"](tdata.content)
    assert [(tool.name, tool.kind, tool.raw) for tool in tools] == [
        (f"Tracker{place}", "6D instrument", MATRIX) for place in range(3)
    ]
    text = MATRIX_SHAPE.text(MATRIX)
    assert isinstance(text, str)
    assert [row.split()[3] for row in text.split("; ")] == ["46.0531", "19.4709", "46.0531"]


@settings(max_examples=40)
@given(st.binary(max_size=300))
def test_the_crc_is_that_of_ecma_182(data: bytes) -> None:
    assert crc64_ecma_182(data) == crc64(data)
    assert crc64_ecma_182(data[100:], crc64_ecma_182(data[:100])) == crc64(data)


@settings(max_examples=40)
@given(NAMES, st.binary(max_size=500), st.lists(st.tuples(st.text(max_size=8), st.text(max_size=20)), max_size=4))
def test_what_was_wrapped_comes_out(device: str, content: bytes, words: list[tuple[str, str]]) -> None:
    told = [(key.encode(), value.encode()) for key, value in words]
    index = struct.pack(">H", len(told)) + b"".join(struct.pack(">HHI", len(k), 106, len(v)) for k, v in told)
    text = b"".join(key + value for key, value in told)
    body = struct.pack(">HHII", 16, len(index), len(text), 7) + b"more" + content + index + text
    head = struct.pack(">H12s20sQQQ", 2, b"ANYTHING", device.encode(), 5 << 32 | 1 << 31, len(body), crc64(body))
    (frame,) = feed(head + body)
    assert isinstance(frame, Frame)
    assert (frame.version, frame.device, frame.told_ns) == (2, device.strip(), 5_500_000_000)
    assert (frame.content, frame.message_id, frame.extension) == (content, 7, b"more")
    assert frame.metadata == tuple((key, value.rstrip("\0")) for key, value in words)


@settings(max_examples=30)
@given(st.binary(max_size=100), st.lists(st.integers(1, 90), min_size=20, max_size=60))
def test_noise_before_costs_no_message_and_pieces_change_nothing(noise: bytes, sizes: list[int]) -> None:
    data = noise + STREAM + STREAM
    whole = feed(data)
    deframer, pieces, at = Deframer(), [], 0
    for size in [*sizes, len(data)]:
        pieces += deframer.feed(data[at : at + size])
        at += size
    assert pieces == whole
    assert [item.type for item in whole if isinstance(item, Frame)][-3:] == ["TRANSFORM", "SENSOR", "TDATA"]
    assert sum(item.lost_bytes for item in whole if isinstance(item, Fault)) == len(data) - sum(
        len(part) for part in (TRANSFORM, SENSOR, TDATA) for item in whole
        if isinstance(item, Frame) and part[2:14].rstrip(b"\0").decode() == item.type
    )  # fmt: skip


def test_a_wrong_crc_is_told_and_the_next_message_read() -> None:
    hurt = bytearray(TRANSFORM)
    hurt[80] ^= 1
    fault, frame = feed(bytes(hurt) + SENSOR)
    assert fault == Fault("checksum", len(TRANSFORM), "the CRC-64 of a message is wrong")
    assert isinstance(frame, Frame)


@pytest.mark.parametrize("damage", [0, 1])
def test_an_image_is_passed_over_and_its_crc_checked(damage: int) -> None:
    image = bytearray(message("IMAGE", "Probe", bytes(300_000)))
    image[1000] ^= damage
    deframer = Deframer()
    found = [item for at in range(0, len(image), 7000) for item in deframer.feed(bytes(image[at : at + 7000]))]
    assert [type(item) for item in found] == [Fault if damage else Bulk]
    assert [type(item) for item in deframer.feed(TRANSFORM)] == [Frame]


def test_endless_junk_is_told_in_bounded_pieces() -> None:
    deframer = Deframer()
    told = [item for _ in range(40) for item in deframer.feed(b"\0\x01A" * 2000)]
    assert {item.lost_bytes for item in told if isinstance(item, Fault)} == {65_536}
    rest = deframer.abandon()
    assert rest is not None
    assert rest.lost_bytes + 65_536 * len(told) == 40 * 6000


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("TRANSFORM", MATRIX[:-1]),
        ("POSITION", b"1234"),
        ("TDATA", b"x"),
        ("QTDATA", b"x"),
        ("SENSOR", b"\x02" + bytes(9)),
    ],
)
def test_a_content_of_another_size_is_refused(kind: str, content: bytes) -> None:
    with pytest.raises(DeviceFault):
        VECTORS[kind](content)


@pytest.mark.parametrize(
    ("field", "unit"),
    [
        (0x00443E0000000000, "m/s2"), (0x0B << 54 | 1 << 50, "N"), (0x0B << 54 | 1 << 50 | 1 << 44 | 1 << 40, "N.m"),
        (0xB << 60 | 1 << 54 | 1 << 50, "mm"), (0x3 << 60 | 2 << 54 | 1 << 50, "kg"), (0, "1"),
        (3 << 54 | 0xF << 50, "/s"),
        (0x3F << 54 | 1 << 50, "{0x0FC4000000000000}"), (0x0B << 54, "{0x02C0000000000000}"),
    ],
)  # fmt: skip
def test_the_unit_field_is_read_as_ucum(field: int, unit: str) -> None:
    assert ucum_of_unit(field) == unit


@settings(max_examples=60)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_samples_keep_what_a_float32_holds_of_the_largest(values: list[float]) -> None:
    samples, scale = quantised(values, -300)
    largest = max(map(abs, values))
    for value, sample in zip(values, struct.unpack(f"<{len(values)}i", samples), strict=True):
        assert abs(value - sample * scale) <= largest * 2.0**-27
        if largest > 2.0**-200 and abs(value) >= largest / 8:
            assert sample * scale == value


def test_what_is_no_number_is_a_sample_of_its_own() -> None:
    samples, scale = quantised([1.0, math.nan, math.inf], -28)
    assert struct.unpack("<3i", samples) == (1 / scale, NO_SAMPLE, NO_SAMPLE)


def test_bound_messages_come_out_one_by_one() -> None:
    names = b"Tip\0Force\0"
    body = struct.pack(">H12sQ12sQH", 2, b"TRANSFORM", 48, b"SENSOR", 18, len(names)) + names + MATRIX + bytes(18)
    (frame,) = feed(message("BIND", "Both", body, 3.0))
    assert isinstance(frame, Frame)
    assert [(child.type, child.device, len(child.content)) for child in children(frame)] == [
        ("TRANSFORM", "Tip", 48), ("SENSOR", "Force", 18)
    ]  # fmt: skip
    frame.content = body[:-1]
    with pytest.raises(DeviceFault):
        children(frame)


def test_words_and_points() -> None:
    status = parse_status(struct.pack(">Hq20s", 18, -5, b"Error") + b"joint 3\0")
    assert (status.code, status.sub_code, status.name, status.text) == (18, -5, "Error", "joint 3")
    assert parse_string(struct.pack(">HH", 106, 3) + "µm".encode()) == "µm"
    assert parse_string(struct.pack(">HH", 9999, 2) + b"a\xff") == "a\\xff"
    points = parse_points(struct.pack(">64s32s4s3ff20s", b"P", b"", b"\0" * 4, 1, 2, 3.5, 0, b"") * 2)
    assert [point.name for point in points] == ["P", "P#2"]


@settings(max_examples=40)
@given(st.sampled_from([*VECTORS, "STATUS"]), NAMES, st.binary(max_size=80))
def test_what_we_write_is_read(kind: str, device: str, body: bytes) -> None:
    content = body[:48] if kind in ("TRANSFORM", "QTRANS") else body
    (frame,) = feed(encode(kind, device, content[:28] if kind == "QTRANS" else content))
    assert isinstance(frame, Frame)
    assert (frame.type, frame.device, frame.told_ns) == (kind, device, None)
