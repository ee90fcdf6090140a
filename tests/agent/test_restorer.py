from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from agent.cli.restore import tail_lines
from agent.clock import read_now
from agent.restore_document import restore_document
from ledger.errors import NoPeer, OperatorFault, PeerFault
from ledger.instant import Now
from ledger.log import LogId
from ledger.messages import Answer, Get, HeadReport, Range
from ledger.notices import Head
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


async def _provisional_tail(group: PumpedGroup) -> None:
    """or-2 records witnessed blocks, starts again where only or-1 hears it, records on without a fence, and dies.

    Of four boxes: its fence needs two of its three peers.
    """
    await group.tick(12, heart_rate("72"))
    group.cut |= {"or-3", "or-4"}
    await group.restart("or-2")
    await group.tick(6, heart_rate("99"))
    group.boxes["or-2"].dead = True
    group.cut.clear()


def test_beside_the_believed_head_the_provisional_tail_is_shown_as_one(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with PumpedGroup(4, tmp_path) as group:
            await _provisional_tail(group)
            report = await group.boxes["or-1"].restorer.restore("or-2")
            assert report.restored.candidate.level is Level.WITNESSED
            assert [str(value.value) for _, value in report.restored.state.values()] == ["72"]
            assert report.tail is not None
            assert report.tail.candidate.log == group.boxes["or-2"].member.writer.chain.log
            assert [str(value.value) for _, value in report.tail.newest_state.values()] == ["99"]
            assert report.lost == ()
            document = restore_document(report, read_now(), 7)
            tail = document["tail"]
            assert isinstance(tail, dict)
            assert (tail["fenced"], tail["vouching"], tail["holders"]) == (False, 0, ["or-1"])
            assert tail["after_head_s"] > 0
            shown = "\n".join(tail_lines(document))
            assert "NOT VOUCHED FOR" in shown
            assert "provisional" in shown

    asyncio.run(scenario())


@pytest.mark.parametrize("answers_gets", [True, False])
def test_an_invented_tail_spoils_neither_the_believed_head_nor_the_true_tail(
    tmp_path: Path, answers_gets: bool
) -> None:
    async def scenario() -> None:
        async with PumpedGroup(4, tmp_path) as group:
            await _provisional_tail(group)
            liar = group.boxes["or-3"].member
            honest = liar.gossip.answer
            invented = [LogId("or-2", 10**9, bytes([fenced] * 16), fenced=bool(fenced)) for fenced in (0, 1)]
            lies = tuple(HeadReport(Head(log, 9, bytes(32), bytes(32)), 0, b"", b"", 0) for log in invented)

            def lie(nonce: bytes, box: str, now: Now) -> Answer:
                answer = honest(nonce, box, now)
                return replace(answer, reports=(*lies, *answer.reports))

            def mute(get: Get) -> Range:
                raise PeerFault("test.mute", "says nothing")

            liar.gossip.answer = lie  # type: ignore[method-assign]
            if not answers_gets:
                liar.serve = mute  # type: ignore[method-assign]
            report = await group.boxes["or-1"].restorer.restore("or-2")
            assert [str(value.value) for _, value in report.restored.state.values()] == ["72"]
            assert report.tail is not None
            assert [str(value.value) for _, value in report.tail.newest_state.values()] == ["99"]
            assert {lost.log for lost in report.lost} == set(invented)
            assert all(
                "reported but not restored" in line for line in tail_lines(restore_document(report, read_now(), 7))[1:]
            )

    asyncio.run(scenario())
