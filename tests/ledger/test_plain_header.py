from __future__ import annotations

from dataclasses import fields, replace

import msgpack
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.block import Header, decode_signed_header, sign_header
from ledger.canonical import pack
from ledger.errors import PeerFault
from ledger.log import LogId
from ledger.plain_header import PlainHeader, plain_header, plain_run
from ledger.signing import SIGNATURE_BYTES, SigningKey
from tests.ledger_strategies import headers

KEY = SigningKey(bytes([7]) * 32)
COMMON = [each.name for each in fields(Header) if each.name not in ("log", "clock")]


def agree(signed: bytes) -> None:
    """Nothing is accepted that the decoder refuses, or with other values."""
    plain = plain_header(signed)
    try:
        header = decode_signed_header(signed)
    except PeerFault:
        assert plain is None
        return
    assert (plain is None) is bool(header.notices)
    if plain is not None:
        for name in COMMON:
            assert getattr(plain, name) == getattr(header, name)
        assert plain.clock == (header.clock.state, header.clock.error_ns)
        assert plain.stands_at(header.log, header.seq)
        assert plain.associated_data() == header.associated_data()


@given(headers())
def test_a_header_is_read_as_the_decoder_reads_it(header: Header) -> None:
    agree(sign_header(header, KEY))
    agree(sign_header(replace(header, notices=()), KEY))


@settings(max_examples=200)
@given(headers(), st.data())
def test_changed_bytes_are_judged_as_the_decoder_judges_them(header: Header, data: st.DataObject) -> None:
    signed = bytearray(sign_header(replace(header, notices=()), KEY))
    at = data.draw(st.integers(0, len(signed) - SIGNATURE_BYTES - 1))
    signed[at] = data.draw(st.integers(0, 255))
    agree(bytes(signed))
    agree(bytes(signed[: data.draw(st.integers(0, len(signed)))]))


values = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.integers(-1, 256)
    | st.floats()
    | st.text(max_size=65)
    | st.binary(max_size=33)
    | st.sampled_from([bytes(16), bytes(32), [], [1], [2, 0], [3, 0], [2, 1 << 63], [0, 0, 0], 1 << 63, (1 << 63) - 1])
)


@settings(max_examples=300)
@given(headers(), st.data())
def test_any_value_in_any_field_is_judged_as_the_decoder_judges_it(header: Header, data: st.DataObject) -> None:
    fields_ = msgpack.unpackb(replace(header, notices=()).encode())
    at = data.draw(st.integers(0, len(fields_) - 1))
    fields_[at] = data.draw(values)
    agree(pack(fields_) + bytes(SIGNATURE_BYTES))
    agree(pack([*fields_, 0]) + bytes(SIGNATURE_BYTES))
    agree(pack(fields_[:-1]) + bytes(SIGNATURE_BYTES))


@given(headers())
def test_it_stands_only_at_its_own_place(header: Header) -> None:
    plain = plain_header(sign_header(replace(header, notices=()), KEY))
    assert isinstance(plain, PlainHeader)
    log = header.log
    others = [
        replace(log, box=log.box + "x"),
        replace(log, counter=log.counter + 1),
        replace(log, incarnation=bytes(15) + bytes([log.incarnation[15] ^ 1])),
        LogId(log.box, log.counter, log.incarnation, not log.fenced),
    ]
    assert not any(plain.stands_at(other, header.seq) for other in others)
    assert not plain.stands_at(log, header.seq + 1)


@st.composite
def runs(draw: st.DrawFn) -> tuple[list[Header], int]:
    """Headers of one log in a row, one of them perhaps not what it should be."""
    first, count = draw(st.integers(0, 1 << 20)), draw(st.integers(1, 4))
    base = replace(draw(headers()), notices=())
    run = [replace(base, seq=seq, keyframe_seq=min(base.keyframe_seq, seq)) for seq in range(first, first + count)]
    at = draw(st.integers(0, count - 1))
    other = draw(headers())
    changed = [
        run[at],
        replace(run[at], seq=run[at].seq + 1),
        replace(run[at], manifest_hash=other.manifest_hash),
        replace(run[at], log=other.log),
        replace(run[at], log=replace(base.log, fenced=not base.log.fenced)),
        replace(run[at], notices=other.notices),
    ]
    run[at] = draw(st.sampled_from(changed))
    return run, first


@settings(max_examples=200)
@given(runs(), st.data())
def test_a_run_is_read_as_its_headers_one_by_one(made: tuple[list[Header], int], data: st.DataObject) -> None:
    run, first = made
    signed = [sign_header(header, KEY) for header in run]
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(signed) - 1))
        damaged = bytearray(signed[at])
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        signed[at] = bytes(damaged)
    log, manifest_hash = run[0].log, run[0].manifest_hash
    alone = [plain_header(each) for each in signed]
    fits = [
        header is not None and header.stands_at(log, seq) and header.manifest_hash == manifest_hash
        for seq, header in enumerate(alone, first)
    ]
    assert plain_run(signed, log, first, manifest_hash) == (alone if all(fits) else None)


def test_an_oversize_header_is_in_no_run() -> None:
    assert plain_run([bytes(1 << 16)], LogId("or-1", 0, bytes(16), fenced=False), 0, bytes(32)) is None
