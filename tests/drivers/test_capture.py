from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.capture import (
    CapturedMessage,
    CaptureHeader,
    CaptureItem,
    CaptureReader,
    CaptureWriter,
    capture_items,
    export_feed,
    item_of,
    lines_of,
    t0_text,
)
from drivers.contract import Message
from ledger.errors import BadInput, OurFault
from ledger.limits import LIMITS
from ledger.records import Gap, Link, LinkId, Numeric, Object, Raw, Record
from tests import record_strategies

HEADER = CaptureHeader(
    orcap=1, driver="medibus", feed="vent", transport="serial", line="19200 8E1", t0="2026-11-23T08:14:02.100000Z",
    clock="synced", source="st-mary/or-3/17-9f3c", blocks=(5120, 8190), scrubbed=True, licence="CC0-1.0",
)  # fmt: skip
T0_NS = HEADER.t0_ns
# As the contract's page shows it.
EXAMPLE_LINES = (
    rb'[0,1,"up","/dev/ttyUSB0"]',
    rb'[1200,1,">","t","\u001bQ6C\r"]',
    rb'[812000,1,"<","x","d391818d83"]',
    rb'[3900000,0,"gap",{"cause":"silence","lost_bytes":null}]',
    rb'[3900000,1,"down","no character for 3 s"]',
)
SENT = Raw(at_ns=T0_NS + 1_200_000, link=LinkId(1), direction=">", data=b"\x1bQ6C\r", pieces=((0, 5),))
GAP_NS = T0_NS + 3_900_000_000
EXAMPLE_ITEMS = (
    Link(at_ns=T0_NS, link=LinkId(1), state="up", peer="/dev/ttyUSB0"),
    SENT,
    replace(SENT, at_ns=T0_NS + 812_000_000, direction="<", data=bytes.fromhex("d391818d83")),
    Gap(at_ns=GAP_NS, cause="silence", since_ns=GAP_NS, until_ns=GAP_NS),
    Link(at_ns=GAP_NS, link=LinkId(1), state="down", reason="no character for 3 s"),
)


def written(items: list[CaptureItem], header: CaptureHeader = HEADER) -> bytes:
    stream = io.BytesIO()
    writer = CaptureWriter(stream, header)
    for item in items:
        writer.write(item)
    writer.finish()
    return stream.getvalue()


def read(data: bytes) -> list[CaptureItem]:
    return list(CaptureReader(io.BytesIO(data)))


def exported(records: Sequence[Record]) -> bytes:
    return written(list(capture_items(records)))


def in_window(record: Record) -> Record:
    """JSON numbers carry 64 bits, which is 292,000 years of microseconds."""
    span = {
        name: T0_NS + getattr(record, name) % 10**15
        for name in ("at_ns", "since_ns", "until_ns")
        if hasattr(record, name)
    }
    return replace(record, **span)


stored_objects = st.builds(
    Object,
    at_ns=st.just(0),
    sha256=st.binary(min_size=32, max_size=32),
    size=st.integers(0, 1 << 40),
    media_type=record_strategies.texts,
    name=record_strategies.texts,
    meta=st.dictionaries(record_strategies.texts, record_strategies.texts, max_size=3),
)
captured_messages = st.builds(
    CapturedMessage,
    at_ns=st.integers(T0_NS, T0_NS + 10**12),
    link=st.integers(1, 9),
    message=st.builds(
        Message,
        kind=record_strategies.texts,
        meta=st.dictionaries(
            record_strategies.texts.filter(lambda key: key != "kind"), record_strategies.texts, max_size=3
        ),
        body=st.binary(max_size=30),
        object=st.none() | stored_objects,
    ),
)
recorded = st.sampled_from([Raw, Link, Gap]).flatmap(lambda cls: record_strategies.by_type[cls]).map(in_window)
items: st.SearchStrategy[CaptureItem] = st.one_of(recorded, captured_messages)


def test_the_examples_of_the_format_read_as_they_say() -> None:
    assert tuple(item_of(line, T0_NS) for line in EXAMPLE_LINES) == EXAMPLE_ITEMS
    assert tuple(line for item in EXAMPLE_ITEMS for line in lines_of(item, T0_NS)) == EXAMPLE_LINES


def test_a_whole_file_is_header_lines_and_the_hash_of_them() -> None:
    header = (
        b'{"orcap":1,"driver":"medibus","feed":"vent","transport":"serial","line":"19200 8E1",'
        b'"t0":"2026-11-23T08:14:02.100000Z","clock":"synced","source":"st-mary/or-3/17-9f3c","blocks":[5120,8190],'
        b'"scrubbed":true,"licence":"CC0-1.0"}'
    )
    body = b"".join(line + b"\n" for line in (header, *EXAMPLE_LINES))
    end = b'{"end":5,"sha256":"' + hashlib.sha256(body).hexdigest().encode() + b'"}\n'
    assert written(list(EXAMPLE_ITEMS)) == body + end
    assert CaptureReader(io.BytesIO(body + end)).header == HEADER


@given(st.lists(items, max_size=8))
def test_writing_reading_and_writing_again_is_the_same(things: list[CaptureItem]) -> None:
    first = written(things)
    assert written(read(first)) == first


@given(st.lists(record_strategies.records.map(in_window), max_size=8))
def test_an_export_of_records_survives_a_replay_into_records(records: list[Record]) -> None:
    first = exported(records)
    replayed = [item for item in read(first) if isinstance(item, Record)]
    assert exported(replayed) == first


def test_an_object_comes_back_with_its_message_and_is_of_its_time() -> None:
    stored = Object(
        at_ns=T0_NS + 5_000, sha256=bytes(32), size=7, media_type="a/b", name="n", meta={"z": "1", "a": "2"}
    )
    item = CapturedMessage(T0_NS + 5_000, LinkId(1), Message("C-STORE", {"id": "1"}, b"", stored))
    (line,) = lines_of(item, T0_NS)
    assert item_of(line, T0_NS) == item


@given(record_strategies.raws().map(in_window))
def test_a_raw_record_has_a_line_for_each_piece_and_keeps_every_byte(record: Record) -> None:
    assert isinstance(record, Raw)
    back = read(written([record]))
    assert len(back) == len(record.pieces)
    pieces = [piece for piece in back if isinstance(piece, Raw)]
    assert b"".join(piece.data for piece in pieces) == record.data
    at_us = record.at_ns // 1000
    assert [piece.at_ns // 1000 - at_us for piece in pieces] == [after for after, _ in record.pieces]


@given(st.binary(max_size=20))
def test_bytes_are_text_if_every_byte_is_of_the_set_else_hex(data: bytes) -> None:
    text_set = set(b"\t\n\r\x02\x03\x04\x05\x06\x0b\x17\x1b\x1c\x1e") | set(range(0x20, 0x7F))
    (line,) = lines_of(replace(SENT, data=data, pieces=((0, len(data)),)), T0_NS)
    assert msgspec.json.decode(line)[3] == ("t" if set(data) <= text_set else "x")


def test_a_lost_link_tells_its_peer_after_its_reason() -> None:
    down = Link(at_ns=T0_NS, link=LinkId(2), state="down", peer="10.0.0.7:4001", reason="closed")
    (line,) = lines_of(down, T0_NS)
    assert line == b'[0,2,"down","closed","10.0.0.7:4001"]'
    assert item_of(line, T0_NS) == down


def test_a_gap_keeps_its_bounds() -> None:
    gap = Gap(
        at_ns=T0_NS + 5_000, cause="checksum", since_ns=T0_NS - 1_000, until_ns=T0_NS + 2_000, lost_bytes=7,
        lost_items=1, detail="d",
    )  # fmt: skip
    (line,) = lines_of(gap, T0_NS)
    assert line == (
        b'[5,0,"gap",{"cause":"checksum","lost_bytes":7,"lost_items":1,"since_us":-1,"until_us":2,"detail":"d"}]'
    )
    assert item_of(line, T0_NS) == gap


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"null",
        b'[0,1,"up"]',
        b'[0, 1,"up","x"]',
        b'[0,1,"up","x","y","z"]',
        b'[0,1,"up","x",""]',
        b'[0,1,"sideways","x"]',
        b'[0.0,1,"up","x"]',
        b'[0,true,"up","x"]',
        b'[0,1,["up"],"x"]',
        b'[0,1,"<","t"]',
        b'[0,1,"<","x","zz"]',
        b'[0,1,"<","x","AB"]',
        b'[0,1,"<","x","6162"]',
        b'[0,1,"<","t","\\u0061"]',
        b'[0,1,"<","t","\\u0000"]',
        '[0,1,"<","t","ä"]'.encode(),
        b'[0,1,"<","t","\xff"]',
        b'[0,1,"gap",{"cause":"silence","lost_bytes":null}]',
        b'[0,0,"gap",{"lost_bytes":null,"cause":"silence"}]',
        b'[0,0,"gap",{"cause":"boredom","lost_bytes":null}]',
        b'[0,0,"gap",{"cause":"silence","lost_bytes":"7"}]',
        b'[0,0,"gap",{"cause":"silence","lost_bytes":null,"since_us":null}]',
        b'[0,0,"gap",{"cause":"silence","lost_bytes":null,"since_us":0}]',
        b'[0,0,"gap",{"cause":"silence","lost_bytes":null,"detail":1}]',
        b'[0,0,"gap",7]',
        b'[0,1,"msg",{"kind":1},"t",""]',
        b'[0,1,"msg",{"b":"","kind":"k"},"t",""]',
        b'[0,1,"msg"]',
        b'[0,1,"msg",{"kind":"k"},"t","",null]',
        b'[0,1,"msg",{"kind":"k"},"t","",{"name":"n"}]',
        b'[0,1,"msg",{"kind":"k"},"t","",{"name":"","media_type":"","sha256":"","size":0,"meta":{}},7]',
    ],
)
def test_a_line_in_any_other_form_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the reader adds file and line
        item_of(line, T0_NS)


@given(st.binary(max_size=60))
def test_nothing_but_bad_input_comes_out_of_reading(data: bytes) -> None:
    first = written([SENT]).split(b"\n")[0] + b"\n"
    for candidate in (data, first + data, first + b'[0,1,"' + data + b'"]\n'):
        with pytest.raises(BadInput):
            read(candidate)


@given(st.data())
def test_any_change_is_noticed(data: st.DataObject) -> None:
    changed = bytearray(written(list(EXAMPLE_ITEMS)))
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BadInput):
        read(bytes(changed))


@given(st.data())
def test_a_file_cut_off_anywhere_is_noticed(data: st.DataObject) -> None:
    whole = written(list(EXAMPLE_ITEMS))
    with pytest.raises(BadInput, match="line"):
        read(whole[: data.draw(st.integers(0, len(whole) - 1))])


def test_nothing_may_follow_the_end() -> None:
    with pytest.raises(BadInput, match="follows"):
        read(written([SENT]) + b"\n")


def test_an_endless_line_is_not_read_whole() -> None:
    first = written([SENT]).split(b"\n")[0] + b"\n"
    with pytest.raises(BadInput, match="too long"):
        read(first + b"[" * (LIMITS.capture_line_bytes + 2))


@pytest.mark.parametrize(
    "header",
    [
        b'{"orcap":2,"driver":"d","feed":"f","transport":"serial","t0":"2026-11-23T08:14:02.100000Z"}',
        b'{"orcap":1,"driver":"d","feed":"f","transport":"serial","t0":"2026-11-23T08:14:02.1Z"}',
        b'{"orcap":1,"driver":"d","feed":"f","transport":"serial","t0":"yesterday"}',
        b'{"orcap":1,"driver":"d","feed":"f","transport":"serial"}',
        b'{"orcap":1,"driver":"d","feed":"f","transport":"serial","t0":"2026-11-23T08:14:02.100000Z","x":1}',
        b'{"driver":"d","orcap":1,"feed":"f","transport":"serial","t0":"2026-11-23T08:14:02.100000Z"}',
        b'{"orcap":1,"driver":"d","feed":"f","transport":"serial","t0":"2026-11-23T08:14:02.100000Z","line":""}',
    ],
)
def test_a_header_in_any_other_form_is_refused(header: bytes) -> None:
    with pytest.raises(BadInput, match="line 1"):
        CaptureReader(io.BytesIO(header + b"\n"))


def test_a_raw_record_that_does_not_add_up_is_our_fault() -> None:
    with pytest.raises(OurFault):
        written([replace(SENT, pieces=((0, 4),))])


def test_a_message_whose_meta_hides_its_kind_is_our_fault() -> None:
    with pytest.raises(OurFault):
        written([CapturedMessage(T0_NS, LinkId(1), Message("report", {"kind": "other"}))])


def test_t0_is_cut_to_the_microsecond() -> None:
    assert t0_text(T0_NS + 999) == HEADER.t0


def test_the_blocks_of_a_log_become_a_capture_of_one_feed() -> None:
    numeric = Numeric(at_ns=T0_NS, code="MDC_PULS_RATE", value=None, unit="/min")
    blocks: list[dict[str, list[Record]]] = [
        {"monitor": [EXAMPLE_ITEMS[0]]},
        {"vent": [numeric, *EXAMPLE_ITEMS[:3]], "": []},
        {"vent": list(EXAMPLE_ITEMS[3:])},
    ]
    stream = io.BytesIO()
    header = export_feed(blocks, msgspec.structs.replace(HEADER, t0=t0_text(0)), stream)
    assert header == HEADER
    assert stream.getvalue() == written(list(EXAMPLE_ITEMS))


def test_blocks_without_anything_of_the_feed_are_said_to_be_so() -> None:
    stream = io.BytesIO()
    with pytest.raises(BadInput, match="'vent'"):
        export_feed([{"monitor": [SENT]}, {}], HEADER, stream)
    assert not stream.getvalue()
