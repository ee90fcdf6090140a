from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ledger.errors import VerificationFailed
from ledger.payload import decode_records, encode_records, pack
from ledger.record_check import holds_keyframe, rows_at_once
from ledger.records import Clock, Keyframe, Numeric, Object, Record, Wave
from tests import record_strategies

AT_NS = 1_764_000_000_000_000_000
NUMERIC = Numeric(at_ns=AT_NS, code="MDC_PULS_RATE", value=Decimal("7.10"), unit="/min")
WAVE = Wave(
    at_ns=AT_NS, code="MDC_ECG_ELEC_POTL_II", unit="mV", rate=(300, 1), index=0, width=2, samples=b"\0\1\2\3",
    scale=0.01, offset=0, marks=((1, "pacer"),),
)  # fmt: skip
ROW = (1, AT_NS, "", None, 0, "MDC_PULS_RATE", (710, -2), "/min", "", "")


def agree(plain: bytes) -> None:
    """The check refuses exactly what the decoder refuses, and never accepts at once what the decoder refuses."""
    try:
        groups = decode_records(plain)
    except VerificationFailed:
        assert rows_at_once(plain) is None
        with pytest.raises(VerificationFailed):
            holds_keyframe(plain)
    else:
        assert holds_keyframe(plain) is any(type(record) is Keyframe for record in groups.get("", ()))


@settings(max_examples=40)
@given(record_strategies.groups)
def test_what_is_written_is_accepted(groups: dict[str, list[Record]]) -> None:
    agree(encode_records(groups))


@pytest.mark.parametrize("record_type", record_strategies.by_type, ids=lambda cls: cls.__name__)
@settings(max_examples=15)
@given(data=st.data())
def test_every_record_type_is_checked_at_once(record_type: type[Record], data: st.DataObject) -> None:
    """Else the check would be right, but slow."""
    record = data.draw(record_strategies.by_type[record_type])
    plain = encode_records({"": [record]})
    tree = msgpack.unpackb(plain, use_list=False)
    holds_extension = "ExtType" in repr(tree)
    assert (rows_at_once(plain) is None) is holds_extension
    assert holds_keyframe(plain) is (record_type is Keyframe)


@settings(max_examples=80)
@given(record_strategies.groups.filter(bool), st.data())
def test_changed_bytes_are_judged_as_the_decoder_judges_them(
    groups: dict[str, list[Record]], data: st.DataObject
) -> None:
    plain = bytearray(encode_records(groups))
    for _ in range(data.draw(st.integers(1, 3))):
        plain[data.draw(st.integers(0, len(plain) - 1))] = data.draw(st.integers(0, 255))
    agree(bytes(plain))


@settings(max_examples=40)
@given(record_strategies.groups.filter(bool), st.data())
def test_longer_and_shorter_bytes_are_judged_as_the_decoder_judges_them(
    groups: dict[str, list[Record]], data: st.DataObject
) -> None:
    plain = encode_records(groups)
    at = data.draw(st.integers(0, len(plain)))
    agree(plain[:at] + data.draw(st.binary(max_size=3)) + plain[at + data.draw(st.integers(0, 3)) :])


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from(["<", "utc", "start", "low", "advisory", "checksum", "up", "on", 2, 4, 10**18, -(10**18), 6_145])
    | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=200)
@given(st.sampled_from(list(record_strategies.by_type)), st.data())
def test_any_value_in_any_field_is_judged_as_the_decoder_judges_it(
    record_type: type[Record], data: st.DataObject
) -> None:
    plain = encode_records({"f": [data.draw(record_strategies.by_type[record_type])]})
    tree = msgpack.unpackb(plain, use_list=True, strict_map_key=True)
    row = tree["f"][0]
    row[data.draw(st.integers(0, len(row) - 1))] = data.draw(values)
    agree(msgpack.packb(tree))


@given(st.binary(max_size=200))
@example(b"")
@example(b"\x80")
@example(b"\x80\xc0")
@example(b"\x81\xa0\x90")
@example(b"\x81\xa0\x91\x90")
@example(b"\x81\xa0" + b"\x91" * 600)
@example(b"\x81\xa1\xff\x90")
@example(b"\x82\xa1b\x90\xa1a\x90")
@example(b"\x82\xa1a\x90\xa1a\x90")
@example(b"\x81\xd9\x01a\x90")
@example(b"\x81\xc4\x01a\x90")
def test_any_bytes_are_judged_as_the_decoder_judges_them(plain: bytes) -> None:
    agree(plain)


@pytest.mark.parametrize(
    "item",
    [
        (0, True), (0, 12), (1, 1 << 63), (1, 1.0), (1, -1), (3, (1, "utc", 1)), (3, (1, "sidereal", 1)), (4, 16_384),
        (4, 16_383), (6, (10**18, 0)), (6, (10**18 - 1, 6_144)), (6, (1, 6_145)), (6, (1, 2, 3)), (6, "high"), (6, 7.1),
        (6, None), (5, b"MDC"),
    ],
    ids=repr,
)  # fmt: skip
def test_limits_are_the_decoder_s(item: tuple[int, object]) -> None:
    agree(pack({"": ((*ROW[: item[0]], item[1], *ROW[item[0] + 1 :]),)}))


@pytest.mark.parametrize(
    "record",
    [
        replace(WAVE, scale=float("1e300")),
        replace(NUMERIC, at_ns=1 << 70),
        replace(NUMERIC, value=Decimal("9" * 40)),
        replace(NUMERIC, value=Decimal("-0.0")),
        Clock(at_ns=1, offset_ns=-1, error_ns=1, drift_ppm=-0.0, samples=1),
        Object(at_ns=1, sha256=b"", size=0, media_type="", name="", meta={"b": "1", "a": "2"}),
        Keyframe(at_ns=1, state=b""),
    ],
    ids=repr,
)
def test_rare_forms_are_the_decoder_s(record: Record) -> None:
    agree(encode_records({"": [NUMERIC, record]}))


@pytest.mark.parametrize(
    "change",
    [
        {"rate": (0, 1)}, {"rate": (1, 1, 1)}, {"width": 3}, {"samples": b"\0"}, {"scale": float("nan")},
        {"offset": float("inf")}, {"marks": ((1, 2),)}, {"marks": (("1", "a"),)},
    ],
    ids=repr,
)  # fmt: skip
def test_a_wave_that_is_none_is_refused(change: dict[str, object]) -> None:
    names = ["tag", "at_ns", "sub", "device_time", "quality", *list(Wave.__dataclass_fields__)[4:]]
    (row,) = msgpack.unpackb(encode_records({"": [WAVE]}), use_list=False)[""]
    held = dict(zip(names, row, strict=True)) | change
    plain = pack({"": (tuple(held.values()),)})
    with pytest.raises(VerificationFailed):
        holds_keyframe(plain)
    agree(plain)
