from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.message_codec import decode_message, encode_plain
from ledger.messages import AskHoldings, GetObject, Holding, ObjectPiece, Signed
from ledger.objects.format import SEALED_CHUNK_BYTES
from ledger.ops import ObjectState, PrunePayloads
from ledger.quorum import Level
from ledger.store import Store
from tests.agent.object_group import QUICK, ObjectBox, ObjectGroup, record_of
from tests.ledger_strategies import signed_by_type

CONTENT = os.urandom(400_000)


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scenario())


def level(box: ObjectBox, sha256: bytes) -> Level:
    rows = box.box.store.objects_named(sha256)
    return box.keeper.vouching.level(rows[0].log, sha256) if rows else Level.LOCAL


def test_an_object_is_copied_to_every_peer_and_vouched_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with ObjectGroup(3, tmp_path) as group:
            own = group.boxes["or-1"]
            known, log = own.record(CONTENT)
            assert level(own, known.sha256) is Level.LOCAL
            await group.until(lambda: level(own, known.sha256) is Level.WITNESSED, "witnessed")
            for name in ("or-2", "or-3"):
                peer = group.boxes[name]
                assert peer.folder.file_of(known.sha256).read_bytes() == own.folder.file_of(known.sha256).read_bytes()
                assert peer.state(known.sha256) is ObjectState.HELD
                assert peer.content(known.sha256) == CONTENT
                assert list(peer.folder.parts()) == []
            kept = own.box.store.object_holdings(known.sha256)
            assert sorted(kept) == ["or-2", "or-3"]
            await group.until(lambda: level(group.boxes["or-2"], known.sha256) is not Level.LOCAL, "its own word")
            for sender, wire in kept.items():
                message = decode_message(wire)
                assert isinstance(message, Signed)
                assert message.body == Holding(known.sha256, known.sealed_bytes)
                assert message.is_signed_by(own.box.member.manifest.box(sender).signing_public)
            assert own.keeper.vouching.holders(log, known.sha256) == ["or-2", "or-3"]

    run(scenario)


def test_what_the_origin_lost_is_fetched_back_from_its_peers_and_through_a_third(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with ObjectGroup(3, tmp_path) as group:
            own, third = group.boxes["or-1"], group.boxes["or-3"]
            known, log = own.record(CONTENT)
            await group.until(lambda: level(own, known.sha256) is Level.WITNESSED, "witnessed")
            for name in ("or-1", "or-2"):
                group.boxes[name].folder.delete(known.sha256)
            row = own.box.store.objects_named(known.sha256)[0]
            own.box.member.out.persist(_marked(row.log, row.seq, known.sha256))
            own.box.pump.pump()
            await group.until(lambda: own.state(known.sha256) is ObjectState.HELD, "back")
            await group.until(lambda: own.folder.length(known.sha256) is not None, "back")
            assert own.content(known.sha256) == CONTENT
            assert third.keeper.exchange.counters.bytes_out > len(CONTENT)
            assert log == row.log

    run(scenario)


def _marked(log: Any, seq: int, sha256: bytes) -> Any:
    from ledger.ops import MarkObject

    return MarkObject(log, seq, sha256, ObjectState.WANTED)


def test_fetching_goes_on_after_a_restart_where_it_was(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with ObjectGroup(2, tmp_path) as group:
            own, peer = group.boxes["or-1"], group.boxes["or-2"]
            content = os.urandom(20 * SEALED_CHUNK_BYTES)
            known, _ = own.record(content)
            await group.until(lambda: any(part.sealed_bytes > 300_000 for part in peer.folder.parts()), "begun")
            before = own.keeper.exchange.counters.bytes_out
            peer = await group.restart("or-2")
            part = next(iter(peer.folder.parts()), None)
            await group.until(lambda: peer.state(known.sha256) is ObjectState.HELD, "whole")
            assert peer.content(known.sha256) == content
            if part is not None:
                again = own.keeper.exchange.counters.bytes_out - before
                assert again < known.sealed_bytes - part.sealed_bytes + 8 * SEALED_CHUNK_BYTES

    run(scenario)


def _lying(box: ObjectBox, spoil: Callable[[ObjectPiece], ObjectPiece]) -> None:
    """What this box gives of objects is spoilt on its way out."""
    wire = box.box.pump.wire
    assert wire is not None
    honest = wire.reply_to

    def reply_to(peer: str, data: bytes, *, bulk: bool = False) -> bool:
        message = decode_message(data)
        if isinstance(message, ObjectPiece):
            data = encode_plain(spoil(message))
        return honest(peer, data, bulk=bulk)

    wire.reply_to = reply_to  # type: ignore[method-assign]


def _flipped(piece: ObjectPiece) -> ObjectPiece:
    return replace(piece, data=bytes([piece.data[0] ^ 1]) + piece.data[1:]) if piece.data else piece


def _flipped_chunks(piece: ObjectPiece) -> ObjectPiece:
    return _flipped(piece) if len(piece.data) == SEALED_CHUNK_BYTES else piece


def test_a_lying_peer_is_counted_and_the_object_comes_from_another(tmp_path: Path) -> None:
    async def scenario() -> None:
        for number, spoil in enumerate((_flipped, lambda piece: replace(piece, data=piece.data[:-1]))):
            async with ObjectGroup(3, tmp_path / str(number)) as group:
                own, liar, peer = (group.boxes[name] for name in ("or-1", "or-2", "or-3"))
                known = own.accept(CONTENT)
                group.pumped.cut.add("or-3")
                own.box.tick(record_of(known))
                await group.until(lambda known=known, liar=liar: liar.state(known.sha256) is ObjectState.HELD, "copied")  # type: ignore[misc]
                _lying(liar, spoil)
                group.pumped.cut.clear()
                await group.until(lambda known=known, peer=peer: peer.state(known.sha256) is ObjectState.HELD, "whole")  # type: ignore[misc]
                assert peer.content(known.sha256) == CONTENT

    (tmp_path / "0").mkdir()
    (tmp_path / "1").mkdir()
    run(scenario)


def test_a_liar_alone_gives_nothing_that_is_believed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with ObjectGroup(2, tmp_path) as group:
            liar, peer = group.boxes["or-1"], group.boxes["or-2"]
            _lying(liar, _flipped_chunks)
            known, _ = liar.record(CONTENT)
            faults = peer.box.statistics.peer_faults
            await group.until(lambda: faults.get("or-1 object.bad-chunk", 0) >= 2, "counted")
            assert peer.state(known.sha256) is ObjectState.WANTED
            assert peer.folder.length(known.sha256) is None
            assert level(liar, known.sha256) is Level.LOCAL
            assert not peer.box.failures

    run(scenario)


def test_an_object_under_a_name_that_is_not_its_hash_is_given_up(tmp_path: Path) -> None:
    """The box that records it lies about the name, with an index that fits."""

    async def scenario() -> None:
        async with ObjectGroup(2, tmp_path) as group:
            liar, peer = group.boxes["or-1"], group.boxes["or-2"]
            known = liar.accept(CONTENT)
            false = bytes(32)
            liar.folder.file_of(known.sha256).rename(liar.folder.file_of(false))
            honest = liar.keeper.named
            liar.box.recorder.objects_named = lambda names: tuple(replace(each, sha256=false) for each in honest(names))
            liar.box.tick(record_of(known))
            await group.until(lambda: peer.state(false) is ObjectState.GONE, "given up")
            assert peer.box.statistics.peer_faults["or-1 object.bad-name"] == 1
            assert peer.folder.length(false) is None
            assert list(peer.folder.parts()) == []

    run(scenario)


def test_a_false_word_about_an_object_changes_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with ObjectGroup(2, tmp_path) as group:
            own, peer = group.boxes["or-1"], group.boxes["or-2"]
            group.pumped.cut.add("or-2")
            known, _ = own.record(CONTENT)
            await group.pumped.settle()
            for said in (Holding(bytes(32), 5), Holding(known.sha256, known.sealed_bytes + 1)):
                own.box.arrived("or-2", peer.box.member.sign(said), False)
            await group.pumped.settle()
            assert own.box.store.object_holdings(known.sha256) == {}
            assert own.box.store.object_holdings(bytes(32)) == {}
            assert own.box.statistics.peer_faults == {"or-2 object.holding": 1}

    run(scenario)


def test_objects_go_with_their_payloads_and_litter_after_a_day(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with ObjectGroup(2, tmp_path) as group:
            own, peer = group.boxes["or-1"], group.boxes["or-2"]
            known, log = own.record(CONTENT)
            await group.until(lambda: peer.state(known.sha256) is ObjectState.HELD, "copied")
            end = own.box.store.length(log)
            own.box.pump.when_idle([PrunePayloads(log, 0, end)])
            own.keeper.pruned(log, 0, end)
            await group.until(lambda: own.folder.length(known.sha256) is None, "removed")
            assert own.state(known.sha256) is ObjectState.GONE
            assert peer.content(known.sha256) == CONTENT
            old, young = own.accept(b"old"), own.accept(b"young")
            for litter in (old, young):
                own.intake._finished.pop(litter.sha256)
            file = own.folder.file_of(old.sha256)
            day_ago = file.stat().st_mtime - 25 * 3600
            os.utime(file, (day_ago, day_ago))
            await group.until(lambda: own.folder.length(old.sha256) is None, "swept")
            assert own.folder.length(young.sha256) is not None
            await group.until(lambda: own.keeper.survey.unreferenced == 1, "counted")
            assert own.keeper.survey.totals.gone[0] == 1

    run(scenario)


def test_a_rebuilt_box_fetches_the_objects_that_its_blocks_name(tmp_path: Path) -> None:
    """Its store came back block by block, its folder is empty; even a damaged file of the right name is replaced."""

    async def scenario() -> None:
        async with ObjectGroup(2, tmp_path) as group:
            own = group.boxes["or-1"]
            known, _ = own.record(CONTENT)
            other, _ = own.record(CONTENT[:1000])
            peer = group.boxes["or-2"]
            await group.until(
                lambda: {peer.state(each.sha256) for each in (known, other)} == {ObjectState.HELD}, "copied"
            )
            await own.keeper.stop()
            await own.box.close()
            _forget_held(tmp_path / "or-1" / "ledger", known.sha256, other.sha256)
            own.folder.delete(known.sha256)
            own.folder.file_of(other.sha256).write_bytes(b"damaged")
            own = await group.restart("or-1")
            await group.until(lambda: {own.state(each.sha256) for each in (known, other)} == {ObjectState.HELD}, "back")
            assert own.content(known.sha256) == CONTENT
            assert own.content(other.sha256) == CONTENT[:1000]

    run(scenario)


def _forget_held(ledger: Path, *names: bytes) -> None:
    store = Store.open(ledger)
    store.commit([_marked(row.log, row.seq, name) for name in names for row in store.objects_named(name)])
    store.close()


def test_blocks_go_first(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with ObjectGroup(2, tmp_path, QUICK) as group:
            own, peer = group.boxes["or-1"], group.boxes["or-2"]
            peer.box.pump.replicas_paused = True
            known, _ = own.record(CONTENT)
            await group.pumped.tick(3)
            await asyncio.sleep(0.1)
            assert own.keeper.exchange.counters.bytes_out == 0
            peer.box.pump.replicas_paused = False
            await group.until(lambda: peer.state(known.sha256) is ObjectState.HELD, "copied")

    run(scenario)


def test_an_object_waits_where_the_disk_has_no_room(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with ObjectGroup(2, tmp_path) as group:
            own, peer = group.boxes["or-1"], group.boxes["or-2"]
            peer.intake._keep_free_bytes = 1 << 60
            known, _ = own.record(CONTENT)
            await group.until(lambda: peer.state(known.sha256) is ObjectState.WANTED, "known")
            await asyncio.sleep(0.1)
            assert list(peer.folder.parts()) == []
            peer.intake._keep_free_bytes = 0
            await group.until(lambda: peer.state(known.sha256) is ObjectState.HELD, "copied")

    run(scenario)


ABOUT_OBJECTS = st.one_of(*(signed_by_type[kind] for kind in (GetObject, Holding, AskHoldings)))


@given(st.lists(ABOUT_OBJECTS, max_size=6), st.data())
@settings(max_examples=4, deadline=None)
def test_nothing_a_mad_box_says_of_objects_harms(said: list[Any], data: st.DataObject) -> None:
    async def scenario(path: Path) -> None:
        async with ObjectGroup(2, path) as group:
            own, mad = group.boxes["or-1"], group.boxes["or-2"]
            known, _ = own.record(b"image")
            await group.pumped.settle()
            names = st.sampled_from([known.sha256, bytes(32)])
            for body in said:
                if isinstance(body, GetObject | Holding):
                    body = replace(body, sha256=data.draw(names))  # noqa: PLW2901
                own.box.arrived("or-2", mad.box.member.sign(body), data.draw(st.booleans()))
            piece = ObjectPiece(data.draw(st.integers(0, 20)), data.draw(names), 0, b"x")
            own.box.arrived("or-2", encode_plain(piece), True)
            await group.until(lambda: mad.state(known.sha256) is ObjectState.HELD, "copied all the same")
            assert own.content(known.sha256) == b"image"
            assert not own.box.failures
            assert own.box.alerts.active() == []

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(scenario(Path(folder)))
