"""Sharing a log's ranges out between sources, and what a rebuilt log takes and refuses."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.block import ClockQuality, ClockState, decode_signed_header
from ledger.chain import Block, Chain, Draft
from ledger.checkpoint import Checkpoint, cosign
from ledger.errors import PeerFault, VerificationFailed
from ledger.log import LogId
from ledger.manifest import Box, Manifest, Role
from ledger.messages import HeadReport
from ledger.notices import Head, Start
from ledger.ops import AppendRun, OpenLog, PutDerived
from ledger.payload import CODEC_ZSTD, encode_payload
from ledger.rebuild import Found, Holders, LogBuilder, prove_heads
from ledger.rebuild_shares import PIECES_AHEAD, Blocks, Shares
from ledger.replica import Replica
from ledger.sealing import DataKey
from ledger.signing import SigningKey

SITE, BOX = "lab", "or-1"
KEYS = {name: SigningKey(secrets.token_bytes(32)) for name in (BOX, "or-2", "or-3")}
MANIFEST = Manifest(
    SITE, 1, bytes(32),
    tuple(Box(name, name, "main", Role.MEMBER, key.public, bytes(32), b"", "h:1") for name, key in KEYS.items()),
    None, 1, (KEYS[BOX].public,), 1, None,
)  # fmt: skip
LOG = LogId(BOX, 0, bytes(range(16)), fenced=False)


def _write(count: int, log: LogId = LOG, shift_ns: int = 0) -> list[Block]:
    """A provisional log; ``shift_ns`` makes another history of it."""
    chain = Chain(SITE, log, KEYS[BOX], DataKey(bytes(32)), MANIFEST.hash)
    return [
        chain.close_block(
            Draft(
                payload=encode_payload({}), codec=CODEC_ZSTD, has_keyframe=seq % 5 == 0, opened_ns=seq,
                closed_ns=seq + 1 + shift_ns * (seq > 0), boot_ns=seq, clock=ClockQuality(ClockState.SYNCHRONISED, 1),
                notices=(Start(bytes(16), (), None, ()),) if seq == 0 else (),
            )
        )
        for seq in range(count)
    ]  # fmt: skip


LONG = _write(40)
OTHER = _write(40, shift_ns=1)


def _pairs(blocks: Sequence[Block]) -> list[tuple[bytes, bytes]]:
    return [(block.signed_header, block.payload) for block in blocks]


def _report(block: Block, by: str) -> HeadReport:
    size = block.seq + 1
    checkpoint = Checkpoint(LOG.origin(SITE), size, block.root)
    head = Head(LOG, size, block.root, bytes(32))
    return HeadReport(head, 7, cosign(KEYS[by], checkpoint, 7), block.checkpoint_signature, 0)


def _builder(holders: Holders | None = None) -> LogBuilder:
    return LogBuilder(
        Replica(LOG, MANIFEST.hash), {MANIFEST.hash: MANIFEST}, prove_heads(MANIFEST, LOG, holders or Holders())
    )


# ---- shares ----------------------------------------------------------------------------------------------------------


@given(
    sizes=st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), st.integers(1, 60), min_size=1),
    liars=st.sets(st.sampled_from(["a", "b", "c", "d"])),
    have=st.integers(0, 20),
    piece=st.integers(1, 9),
    data=st.data(),
)
def test_all_that_an_honest_source_holds_arrives_in_order_and_once(
    sizes: dict[str, int], liars: set[str], have: int, piece: int, data: st.DataObject
) -> None:
    shares = Shares(have, sizes, piece)
    under_way: list[tuple[str, int, int]] = []
    kept: list[int] = list(range(have))
    while not (shares.is_whole or shares.is_stuck):
        for source in sorted(sizes):
            wanted = shares.take(source)
            if wanted is not None:
                assert wanted[1] <= sizes[source]
                under_way.append((source, *wanted))
        assert len(under_way) <= PIECES_AHEAD
        if under_way:
            at = data.draw(st.integers(0, len(under_way) - 1))
            source, first, end = under_way.pop(at)
            given_count = data.draw(st.integers(1, end - first))
            mark = b"lie" if source in liars else b"true"
            shares.gave(source, first, [(mark, b"")] * given_count)
        while (ready := shares.ready()) is not None:
            _, first, blocks = ready
            if blocks[0][0] == b"lie":
                shares.rejected()
                continue
            assert first == len(kept)
            kept += range(first, first + len(blocks))
            shares.accepted()
    honest = max((size for source, size in sizes.items() if source not in liars), default=0)
    assert kept == list(range(max(have, honest)))
    assert shares.next_seq == max(have, honest)


@given(
    holes=st.dictionaries(st.sampled_from(["a", "b", "c"]), st.sets(st.integers(0, 39)), min_size=1),
    piece=st.integers(1, 9),
    data=st.data(),
)
def test_payloads_come_from_whoever_holds_them_all_and_else_from_who_holds_most(
    holes: dict[str, set[int]], piece: int, data: st.DataObject
) -> None:
    shares = Shares(0, dict.fromkeys(holes, 40), piece, wants_payloads=True)
    under_way: list[tuple[str, int, int]] = []
    lacking: list[int] = []
    at = 0
    while not shares.is_whole:
        assert not shares.is_stuck
        for source in sorted(holes):
            wanted = shares.take(source)
            under_way += [] if wanted is None else [(source, *wanted)]
        if under_way:
            source, first, end = under_way.pop(data.draw(st.integers(0, len(under_way) - 1)))
            shares.gave(source, first, [(b"h", b"" if seq in holes[source] else b"p") for seq in range(first, end)])
        while (ready := shares.ready()) is not None:
            _, first, blocks = ready
            assert first == at
            own = [seq for seq, (_, payload) in enumerate(blocks, first) if not payload]
            fewest = min(len(held & set(range(first, first + len(blocks)))) for held in holes.values())
            assert len(own) == fewest
            at += len(blocks)
            lacking += own
            shares.accepted()
    assert at == 40


def test_who_lacks_payloads_is_asked_for_the_next_pieces_after_the_others() -> None:
    shares = Shares(0, {"thin": 40, "whole": 40}, 10, wants_payloads=True)
    assert shares.take("thin") == (0, 10)
    shares.gave("thin", 0, [(b"h", b"")] * 10)
    assert shares.take("thin") is None
    assert shares.take("whole") == (0, 10)
    shares.gone("thin")
    shares.gave("whole", 0, [])
    assert shares.ready() == ("thin", 0, [(b"h", b"")] * 10)


def test_a_liar_without_payloads_does_not_hide_who_is_honest() -> None:
    shares = Shares(0, {"honest": 10, "liar": 10}, 10, wants_payloads=True)
    assert shares.take("honest") == (0, 10)
    shares.gave("honest", 0, [(b"h", b"p")] + [(b"h", b"")] * 9)
    assert shares.take("liar") == (0, 10)
    shares.gave("liar", 0, [(b"lie", b"p")] * 2 + [(b"h", b"")] * 8)
    assert shares.ready() is not None
    shares.rejected()
    assert shares.take("liar") is None
    assert shares.take("honest") == (0, 10)
    shares.gave("honest", 0, [(b"h", b"p")] + [(b"h", b"")] * 9)
    ready = shares.ready()
    assert ready is not None
    assert ready[0] == "honest"


def test_a_source_that_gives_nothing_is_not_asked_again_for_that_piece() -> None:
    shares = Shares(0, {"a": 10, "b": 10}, 10)
    assert shares.take("a") == (0, 10)
    assert shares.take("b") is None
    shares.gave("a", 0, [])
    assert shares.take("a") is None
    assert shares.take("b") == (0, 10)
    shares.gave("b", 0, [])
    assert shares.is_stuck
    assert not shares.is_whole


def test_a_source_that_is_gone_leaves_its_share_to_the_others() -> None:
    shares = Shares(0, {"a": 20, "b": 10}, 10)
    assert shares.take("a") == (0, 10)
    shares.gave("a", 0, [])
    shares.gone("a")
    assert shares.take("b") == (0, 10)
    shares.gave("b", 0, [(b"", b"")] * 10)
    assert shares.ready() is not None
    shares.accepted()
    assert shares.is_stuck
    assert shares.next_seq == 10


def test_a_length_that_a_liar_claims_costs_nothing() -> None:
    shares = Shares(0, {"a": 30, "liar": 1 << 63}, 10)
    while not shares.is_stuck:
        for source in ("a", "liar"):
            wanted = shares.take(source)
            if wanted is not None:
                first, end = wanted
                shares.gave(source, first, [(b"", b"")] * (end - first) if source == "a" else ())
        if shares.ready() is not None:
            shares.accepted()
    assert shares.next_seq == 30


def test_an_answer_to_something_not_asked_changes_nothing() -> None:
    shares = Shares(0, {"a": 10}, 5)
    shares.gave("a", 0, [(b"", b"")])
    shares.gave("b", 5, [(b"", b"")])
    assert shares.ready() is None
    assert shares.take("a") == (0, 5)


# ---- proof -----------------------------------------------------------------------------------------------------------


def test_pieces_become_a_log_with_its_tip_keyframes_and_certificate() -> None:
    holders = Holders(reports=[("or-2", _report(LONG[-1], "or-2")), ("or-3", _report(LONG[-1], "or-3"))])
    builder = _builder(holders)
    first = builder.take(0, _pairs(LONG[:17]))
    second = builder.take(17, _pairs(LONG[17:]))
    assert isinstance(first[0], OpenLog)
    appended = [op for op in (*first, *second) if isinstance(op, AppendRun)]
    assert [(seq, *block) for op in appended for seq, block in enumerate(op.blocks, op.first)] == [
        (block.seq, block.signed_header, block.payload) for block in LONG
    ]
    assert [op.with_notices for op in appended] == [
        frozenset(block.seq for block in part if decode_signed_header(block.signed_header).notices)
        for part in (LONG[:17], LONG[17:])
    ]
    derived = second[-1]
    assert isinstance(derived, PutDerived)
    assert [row.size for row in derived.checkpoints] == [40]
    assert builder.roots == 1
    resumed = Replica.from_tip(LOG, derived.tip)
    assert (resumed.size, resumed.frontier.root()) == (40, LONG[-1].root)
    assert resumed.keyframe_seq == 35


def test_the_newest_word_on_a_case_that_is_only_announced_is_known_whatever_pieces_it_came_in() -> None:
    chain, case_id, key = (
        Chain(SITE, LOG, KEYS[BOX], DataKey(bytes(32)), MANIFEST.hash),
        bytes([7]) * 16,
        DataKey(b"k" * 32),
    )
    blocks = []
    for seq in range(12):
        chain.enter(*((case_id, key) if seq in (3, 8) else (None, DataKey(bytes(32)))))
        blocks.append(chain.close_block(
            Draft(
                payload=encode_payload({}), codec=CODEC_ZSTD, has_keyframe=seq == 0, opened_ns=seq, closed_ns=seq + 1,
                boot_ns=seq, clock=ClockQuality(ClockState.SYNCHRONISED, 1),
                notices=(Start(bytes(16), (), None, ()),) if seq == 0 else (),
            )
        ))  # fmt: skip
    assert chain.replica.cases.rows[case_id].told_seq == 8
    for size in (12, 6, 1):
        builder = _builder()
        for first in range(0, 12, size):
            builder.take(first, _pairs(blocks[first : first + size]))
        assert builder.replica.cases.rows == chain.replica.cases.rows


def _broken(blocks: Blocks, at: int, kind: str) -> list[tuple[bytes, bytes]]:
    found = list(blocks)
    header, payload = found[at]
    match kind:
        case "header":
            found[at] = (header[:40] + bytes([header[40] ^ 1]) + header[41:], payload)
        case "payload":
            found[at] = (header, bytes([payload[0] ^ 1]) + payload[1:])
        case "signature":
            found[at] = (header[:-1] + bytes([header[-1] ^ 1]), payload)
        case "left out":
            del found[at]
        case "other history":
            found[at] = _pairs(OTHER)[at]
    return found


@pytest.mark.parametrize("kind", ["header", "payload", "signature", "left out", "other history"])
@pytest.mark.parametrize("at", [1, 7, 8])
def test_a_liars_piece_is_refused_whole_and_the_true_one_is_taken_after_it(kind: str, at: int) -> None:
    builder = _builder()
    with pytest.raises((VerificationFailed, PeerFault)):
        builder.take(0, _broken(_pairs(LONG[:10]), at, kind))
    assert builder.replica.size == 0
    assert builder.lacking == []
    builder.take(0, _pairs(LONG[:10]))
    assert builder.replica.frontier.root() == LONG[9].root


def test_another_history_does_not_follow_what_is_kept() -> None:
    builder = _builder()
    builder.take(0, _pairs(LONG[:10]))
    with pytest.raises(VerificationFailed, match="does not link"):
        builder.take(10, _pairs(OTHER[10:20]))


def test_a_history_that_peers_did_not_cosign_is_refused() -> None:
    holders = Holders(reports=[("or-2", _report(LONG[9], "or-2")), ("or-3", _report(LONG[9], "or-3"))])
    builder = _builder(holders)
    with pytest.raises(VerificationFailed, match="root"):
        builder.take(0, _pairs(OTHER[:20]))
    builder.take(0, _pairs(LONG[:20]))


def test_words_that_do_not_verify_bind_nothing() -> None:
    report = _report(OTHER[9], "or-2")
    forged = HeadReport(report.head, report.cosigned_s + 1, report.cosignature, bytes(64), 0)
    proven = prove_heads(MANIFEST, LOG, Holders(reports=[("or-2", forged), ("or-3", forged)]))
    assert proven.roots == {}
    assert proven.certificates == {}
    assert proven.witnessed_size == 0


def test_a_log_must_begin_with_a_start() -> None:
    chain = Chain(SITE, LOG, KEYS[BOX], DataKey(bytes(32)), MANIFEST.hash)
    block = chain.close_block(
        Draft(
            payload=b"", codec=CODEC_ZSTD, has_keyframe=True, opened_ns=0, closed_ns=1, boot_ns=0,
            clock=ClockQuality(ClockState.SYNCHRONISED, 1), notices=(),
        )
    )  # fmt: skip
    with pytest.raises(VerificationFailed, match="lawful start"):
        _builder().take(0, [(block.signed_header, block.payload)])


def test_pruned_payloads_are_kept_as_headers_and_told() -> None:
    builder = _builder()
    builder.take(0, [(header, b"" if seq in {2, 3} else payload) for seq, (header, payload) in enumerate(_pairs(LONG))])
    assert builder.lacking == [2, 3]


# ---- which logs ------------------------------------------------------------------------------------------------------


def test_what_a_start_names_is_looked_for_at_everybody() -> None:
    parent, tail = LogId(BOX, 3, bytes(16), fenced=True), LogId(BOX, 0, bytes([1] * 16), fenced=False)
    chain = Chain(SITE, LogId(BOX, 4, bytes([2] * 16), fenced=True), KEYS[BOX], DataKey(bytes(32)), MANIFEST.hash)
    start = Start(bytes(16), (), Head(parent, 9, bytes(32), bytes(32)), (Head(tail, 5, bytes(32), bytes(32)),))
    block = chain.close_block(
        Draft(
            payload=b"", codec=CODEC_ZSTD, has_keyframe=True, opened_ns=0, closed_ns=1, boot_ns=0,
            clock=ClockQuality(ClockState.SYNCHRONISED, 1), notices=(start,),
        )
    )  # fmt: skip
    found = Found(BOX)
    found.hold("or-2", block.log, 1)
    found.begins(decode_signed_header(block.signed_header), ["or-2", "or-3"])
    assert found.logs[parent].sizes == {"or-2": 9, "or-3": 9}
    assert found.logs[tail].sizes == {"or-2": 5, "or-3": 5}
    assert sorted(found.unread()) == sorted([parent, tail])
    assert found.in_order() == [block.log]
