"""A rebuild over real stores: liars are found out and their ranges fetched elsewhere, what is pruned is told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from agent.rebuild import Rebuild
from agent.rebuild_sources import OwnStore, Source
from agent.rebuild_summary import Summary
from agent.rebuild_target import Target
from ledger.block import decode_signed_header
from ledger.case_rows import NO_CASE
from ledger.errors import NoPeer, OperatorFault
from ledger.log import LogId
from ledger.ops import PrunePayloads
from ledger.rebuild import Found
from ledger.rebuild_shares import Blocks
from ledger.records import Numeric
from ledger.selection import Selection
from ledger.store import Store
from tests.agent.pumped import PumpedGroup

HEART_RATE = Numeric(at_ns=1, code="MDC_ECG_HEART_RATE", value=Decimal(62), unit="/min")
EVERYTHING = Selection()
Twist = Callable[[Blocks], Blocks]


class Twisted:
    """A source that gives something else than it holds."""

    def __init__(self, name: str, true: Source, twist: Twist) -> None:
        self.name = name
        self._true = true
        self._twist = twist

    def blocks(self, log: LogId, first: int, end: int, *, headers_only: bool) -> Blocks:
        return self._twist(self._true.blocks(log, first, end, headers_only=headers_only))


def _silent(_blocks: Blocks) -> Blocks:
    raise NoPeer("peer.silent", "or-2 does not answer")


def _damage(blocks: Blocks) -> Blocks:
    return [(header, payload[:-1] + bytes([payload[-1] ^ 1]) if payload else b"") for header, payload in blocks]


def _forge(blocks: Blocks) -> Blocks:
    return [(header[:-1] + bytes([header[-1] ^ 1]), payload) for header, payload in blocks]


async def _record(group: PumpedGroup) -> None:
    await group.tick(60, HEART_RATE)


def _rebuild(group: PumpedGroup, out: Path, twists: dict[str, Twist], selection: Selection = EVERYTHING) -> Summary:
    found = Found("or-1")
    sources: list[Source] = []
    for name in ("or-2", "or-3"):
        store = group.boxes[name].store
        true = OwnStore(name, store)
        sources.append(Twisted(name, true, twists[name]) if name in twists else true)
        for log, _ in store.logs("or-1"):
            found.hold(name, log, store.length(log))
    target = Target(out, "or-1")
    with closing(target):
        work = Rebuild("or-1", target, sources, {group.manifest.hash: group.manifest}, lambda _done, _total: None)
        return work.run(found, lambda _log: (), selection)


def _headers(store: Store) -> dict[LogId, list[bytes]]:
    return {log: held for log, _ in store.logs("or-1") if (held := list(store.headers(log, 0, store.length(log))))}


@pytest.mark.parametrize("twist", [_silent, _damage, _forge])
def test_what_one_liar_gives_is_fetched_from_the_other(tmp_path: Path, twist: Twist) -> None:
    async def main() -> None:
        async with PumpedGroup(3, tmp_path) as group:
            await _record(group)
            liar_was_asked = threading.Event()

            def lie(blocks: Blocks) -> Blocks:
                if any(payload for _, payload in blocks):
                    liar_was_asked.set()
                return twist(blocks)

            def be_second(blocks: Blocks) -> Blocks:
                if any(payload for _, payload in blocks):
                    assert liar_was_asked.wait(60)
                return blocks

            summary = _rebuild(group, tmp_path / "out", {"or-2": lie, "or-3": be_second})
            assert summary.missing == []
            assert {refused.source for refused in summary.refused} <= {"or-2"}
            with closing(Store.open(tmp_path / "out" / "ledger", readonly=True)) as rebuilt:
                assert _headers(rebuilt) == _headers(group.boxes["or-3"].store)
            assert summary.given["or-3"] == summary.blocks
            assert summary.refused

    asyncio.run(main())


def test_a_second_rebuild_fetches_only_what_is_new(tmp_path: Path) -> None:
    async def main() -> None:
        async with PumpedGroup(3, tmp_path) as group:
            await _record(group)
            first = _rebuild(group, tmp_path / "out", {})
            await group.tick(20, HEART_RATE)
            second = _rebuild(group, tmp_path / "out", {})
            assert sum(built.had for built in second.logs) == first.blocks
            assert sum(second.given.values()) == second.blocks - first.blocks > 0
            with pytest.raises(OperatorFault, match="no rebuild of or-2"):
                Target(tmp_path / "out", "or-2")

    asyncio.run(main())


@pytest.mark.parametrize("pruned_at", [("or-2",), ("or-2", "or-3")])
def test_pruned_payloads_come_from_whoever_still_holds_them(tmp_path: Path, pruned_at: tuple[str, ...]) -> None:
    async def main() -> None:
        async with PumpedGroup(3, tmp_path) as group:
            await _record(group)
            log = max((log for log, _ in group.boxes["or-2"].store.logs("or-1")), key=lambda log: log.fenced)
            for name in pruned_at:
                group.boxes[name].pump.when_idle([PrunePayloads(log, 2, 5)])
                await group.settle()
                assert not next(iter(group.boxes[name].store.blocks(log, 2, 3))).payload
            summary = _rebuild(group, tmp_path / "out", {})
            told = [(missing.log, missing.first, missing.end) for missing in summary.missing]
            assert told == ([(log, 2, 5)] if len(pruned_at) == 2 else [])
            with closing(Store.open(tmp_path / "out" / "ledger", readonly=True)) as rebuilt:
                held = [bool(block.payload) for block in rebuilt.blocks(log, 0, rebuilt.length(log))]
            assert held.count(False) == (3 if len(pruned_at) == 2 else 0)

    asyncio.run(main())


def _payloads(folder: Path) -> dict[LogId, list[bool]]:
    with closing(Store.open(folder / "ledger", readonly=True)) as store:
        return {log: [bool(block.payload) for block in store.blocks(log, 0, store.length(log))]
                for log, _ in store.logs("or-1")}  # fmt: skip


def _closed(store: Store, log: LogId) -> list[int]:
    return [decode_signed_header(header).closed_ns for header in store.headers(log, 0, store.length(log))]


def test_a_part_by_time_has_all_headers_its_payloads_and_what_leads_to_them_and_is_completed_later(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with PumpedGroup(3, tmp_path) as group:
            await _record(group)
            store = group.boxes["or-2"].store
            log = max((log for log, _ in store.logs("or-1")), key=store.length)
            closed = _closed(store, log)
            part = Selection(closed[30], closed[40])
            summary = _rebuild(group, tmp_path / "out", {}, part)
            (built,) = (built for built in summary.logs if built.log == log)
            assert built.replica.size == len(closed)
            held = _payloads(tmp_path / "out")[log]
            (block,) = store.blocks(log, 30, 31)
            keyframe_seq = decode_signed_header(block.signed_header).keyframe_seq  # 0, unless this machine was slow
            assert [seq for seq, is_held in enumerate(held) if is_held] == list(range(keyframe_seq, 40))
            assert summary.meant == 10
            assert summary.left_out == len(closed) - (40 - keyframe_seq)
            assert _rebuild(group, tmp_path / "out", {}, part).given == {}
            whole = _rebuild(group, tmp_path / "out", {})
            assert whole.left_out == 0
            assert all(all(held) for held in _payloads(tmp_path / "out").values())
            assert whole.missing == []

    asyncio.run(main())


def test_a_time_at_which_nothing_was_recorded_is_no_part(tmp_path: Path) -> None:
    async def main() -> None:
        async with PumpedGroup(3, tmp_path) as group:
            await _record(group)
            summary = _rebuild(group, tmp_path / "out", {}, Selection(1, 2))
            assert (summary.meant, summary.logs, summary.missing) == (0, [], [])
            assert len(summary.skipped) == 2

    asyncio.run(main())


def test_pieces_pruned_everywhere_do_not_keep_the_rest_from_coming(tmp_path: Path) -> None:
    async def main() -> None:
        async with PumpedGroup(3, tmp_path) as group:
            await _record(group)
            log = max((log for log, _ in group.boxes["or-2"].store.logs("or-1")), key=lambda log: log.fenced)
            for name in ("or-2", "or-3"):
                group.boxes[name].pump.when_idle([PrunePayloads(log, 2, 5)])
                await group.settle()
            summary = _rebuild(group, tmp_path / "out", {}, Selection(from_ns=1))
            assert [(missing.first, missing.end) for missing in summary.missing] == [(2, 5)]
            held = _payloads(tmp_path / "out")[log]
            assert held.count(False) == 3

    asyncio.run(main())


def test_what_is_whole_and_durable_is_told_for_the_audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.rebuild.CHUNK_BLOCKS", 8)

    async def main() -> None:
        async with PumpedGroup(3, tmp_path) as group:
            await _record(group)
            store = group.boxes["or-2"].store
            told: list[tuple[LogId, int]] = []
            found = Found("or-1")
            for log, _ in store.logs("or-1"):
                found.hold("or-2", log, store.length(log))
            target = Target(tmp_path / "out", "or-1")
            with closing(target):

                def durable(log: LogId, number: int) -> None:
                    assert target.store.length(log) >= 8 * (number + 1)
                    told.append((log, number))

                manifests = {group.manifest.hash: group.manifest}
                sources = [OwnStore("or-2", store)]
                Rebuild("or-1", target, sources, manifests, lambda _d, _t: None, durable).run(
                    found, lambda _log: (), Selection()
                )
            lengths = {log: store.length(log) for log, _ in store.logs("or-1")}
            assert told == [(log, number) for log, size in lengths.items() for number in range(size // 8)]

    asyncio.run(main())


@pytest.mark.parametrize("asked_at", ["its own store", "peers only"])
def test_a_case_is_found_by_its_headers_wherever_they_are(tmp_path: Path, asked_at: str) -> None:
    case, other = bytes([7] * 16), bytes([8] * 16)

    async def main() -> None:
        async with PumpedGroup(3, tmp_path) as group:
            await group.tick(10, HEART_RATE)
            chain = group.boxes["or-1"].member.writer.chain
            for case_id in (case, other):
                group.boxes["or-1"].member.enter_case(case_id)
                await group.tick(8, HEART_RATE)
            group.boxes["or-1"].member.enter_case(None)
            await group.tick(4, HEART_RATE)
            twists: dict[str, Twist] = {} if asked_at == "its own store" else dict.fromkeys(("or-2", "or-3"), list)
            summary = _rebuild(group, tmp_path / "out", twists, Selection(case_id=case))
            assert summary.meant == 8
            assert summary.cases == {case, other}
            with closing(Store.open(tmp_path / "out" / "ledger", readonly=True)) as store:
                blocks = list(store.blocks(chain.log, 0, store.length(chain.log)))
                assert {case_id for case_id, log, _ in store.cases() if log == chain.log} == {NO_CASE, case, other}
            cases = [decode_signed_header(block.signed_header).case_id for block in blocks]
            held = [case_id for block, case_id in zip(blocks, cases, strict=True) if block.payload]
            assert held.count(case) == 8
            assert other not in held
            assert len(blocks) == group.boxes["or-2"].store.length(chain.log)
            assert [log for log in summary.skipped if log.fenced] == []
            assert (summary.skipped != []) is (asked_at == "its own store")
            nothing = _rebuild(group, tmp_path / "none", twists, Selection(case_id=bytes(16)))
            assert nothing.meant == 0
            assert nothing.cases == {case, other}

    asyncio.run(main())
