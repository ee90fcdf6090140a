from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from ledger.errors import NoPeer, OperatorFault
from ledger.messages import Get, Range
from ledger.quorum import Level
from ledger.records import Numeric
from tests.agent.pumped import PumpedGroup


def heart_rate(value: str) -> Numeric:
    return Numeric(at_ns=1, code="MDC_ECG_HEART_RATE", value=value, unit="/min")


@pytest.mark.parametrize("by", ["or-1", "or-3"])
def test_a_dead_box_is_restored_by_any_peer_and_the_report_says_how(tmp_path: Path, by: str) -> None:
    async def scenario() -> None:
        async with PumpedGroup(3, tmp_path) as group:
            await group.tick(12, heart_rate("72"))
            await group.tick(1, heart_rate("99"))
            dead = group.boxes["or-2"]
            dead.dead = True
            report = await group.boxes[by].restorer.restore("or-2")
            assert [str(value.value) for _, value in report.restored.state.values()] == ["99"]
            assert report.restored.candidate.believed_size == dead.member.writer.chain.size
            assert report.restored.candidate.level is Level.WITNESSED
            assert report.asked == report.answered == ("or-1", "or-3")
            assert (report.vouching, report.incomplete, report.proofs) == (2, False, 0)
            assert report.notice().head.log == dead.member.writer.chain.log

    asyncio.run(scenario())


def test_a_peer_that_does_not_answer_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with PumpedGroup(3, tmp_path) as group:
            await group.tick(10, heart_rate("72"))
            group.boxes["or-2"].dead = group.boxes["or-3"].dead = True
            report = await group.boxes["or-1"].restorer.restore("or-2")
            assert report.answered == ("or-1",)
            assert report.restored.candidate.level is Level.COPIED
            assert [str(value.value) for _, value in report.restored.state.values()] == ["72"]

    asyncio.run(scenario())


def test_an_unknown_box_and_a_box_nobody_holds_are_told_apart(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with PumpedGroup(3, tmp_path) as group:
            restorer = group.boxes["or-1"].restorer
            with pytest.raises(OperatorFault, match="is not a box of lab"):
                await restorer.restore("or-7")
            with pytest.raises(NoPeer, match="holds a block of or-2"):
                await restorer.restore("or-2")

    asyncio.run(scenario())


def test_a_peer_whose_blocks_are_wrong_is_counted_and_another_asked(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with PumpedGroup(4, tmp_path) as group:
            await group.tick(12, heart_rate("72"))
            group.boxes["or-2"].dead = True
            liar = group.boxes["or-3"].member
            honest = liar.serve

            def spoiled(get: Get) -> Range:
                answer = honest(get)
                blocks = tuple((header, payload[:-1] + bytes([payload[-1] ^ 1])) for header, payload in answer.blocks)
                return replace(answer, blocks=blocks)

            liar.serve = spoiled  # type: ignore[method-assign]
            asker = group.boxes["or-1"]
            asker.member.serve = lambda get: Range(get.request_id, get.log, get.first, b"", ())  # type: ignore[method-assign]
            report = await asker.restorer.restore("or-2")
            assert [str(value.value) for _, value in report.restored.state.values()] == ["72"]
            assert any(key.startswith("or-3 ") for key in asker.statistics.peer_faults)

    asyncio.run(scenario())
