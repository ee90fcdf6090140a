"""Raw records give back every piece: link, direction, bytes, microsecond, order."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from agent.raw_run import Direction, RawRun
from ledger.limits import LIMITS
from ledger.records import LinkId, Raw

Piece = tuple[int, Direction, bytes, int]

PIECES = st.lists(
    st.tuples(
        st.integers(1, 2), st.sampled_from(["<", ">"]), st.binary(min_size=1, max_size=9), st.integers(-2_000, 90_000)
    ),
    max_size=40,
)


def pieces_of(raws: list[Raw]) -> list[Piece]:
    pieces: list[Piece] = []
    for raw in raws:
        start = 0
        for after_us, length in raw.pieces:
            pieces.append((raw.link, raw.direction, raw.data[start : start + length], raw.at_ns // 1_000 + after_us))
            start += length
        assert start == len(raw.data)
    return pieces


@given(PIECES)
def test_every_piece_comes_back(steps: list[tuple[int, Direction, bytes, int]]) -> None:
    run = RawRun(replace(LIMITS, raw_record_bytes=16, raw_record_pieces=4))
    utc_ns, passed, raws = 1_800_000_000_000_000_000, [], list[Raw]()
    for link, direction, data, wait_ns in steps:
        utc_ns += wait_ns  # UTC may be set back
        passed.append((link, direction, data, utc_ns // 1_000))
        raws += run.add(LinkId(link), direction, data, utc_ns)
    raws += run.end()
    assert pieces_of(raws) == passed
    assert all(after_us >= 0 for raw in raws for after_us, _ in raw.pieces)
    assert all(len(raw.data) <= 16 and len(raw.pieces) <= 4 for raw in raws)
    assert list(run.end()) == []


def test_one_run_is_one_record() -> None:
    run = RawRun()
    assert list(run.add(LinkId(1), "<", b"ab", 1_999)) == []
    assert list(run.add(LinkId(1), "<", b"c", 5_000)) == []
    (ended,) = run.add(LinkId(1), ">", b"d", 5_000)
    assert ended == Raw(at_ns=1_000, link=LinkId(1), direction="<", data=b"abc", pieces=((0, 2), (4, 1)))
