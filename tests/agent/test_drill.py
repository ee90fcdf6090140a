"""Restore drills: what goes wrong, of whatever kind, is a failed drill that shows, and ends no schedule."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn, cast

import pytest

from agent import config
from agent.drill import Drills
from agent.node import Node
from ledger.block import decode_signed_header
from ledger.drills import DRILLS, DrillBook
from ledger.notices import Drill, Notice
from tests.agent.pumped import PumpedBox, PumpedGroup


def drills_of(box: PumpedBox, folder: Path) -> Drills:
    text = f"""
[box]
site = "lab"
id = "{box.own}"
room = "x"
data_dir = "{folder}"
[replication]
listen = "127.0.0.1:1"
"""

    def record(notice: Notice) -> int:
        box.recorder.notice(notice)
        box.tick()
        return box.member.writer.chain.size - 1

    node = SimpleNamespace(
        now=box.pump._now, manifest=box.member.manifest, member=box.member, alerts=box.alerts, restorer=box.restorer,
        configuration=config.parse(text.encode()), record=record, pump=box.pump, store=box.store,
    )  # fmt: skip
    return Drills(cast("Node", node))


def test_a_drill_that_fails_for_whatever_reason_is_recorded_shown_and_tried_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with PumpedGroup(3, tmp_path) as group:
            await group.tick(10)
            box = group.boxes["or-1"]
            drills = drills_of(box, tmp_path)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(box.restorer, "restore", broken)
                failed = await drills.drill("or-2")
            assert failed.fault is not None
            assert failed.fault.id == "drill.crashed"
            assert [alert.warning.id for alert in box.alerts.active()] == ["drill.failed"]
            await group.settle()
            assert said(box, failed.recorded_in) == Drill("or-2", verified=False)
            good = await drills.drill("or-2")
            assert good.fault is None
            assert box.alerts.active() == []
            await group.settle()
            assert said(box, good.recorded_in) == Drill("or-2", verified=True)
            (row,) = DrillBook(box.store.self_value(DRILLS)).rows()
            assert (row.box, row.failed, row.success_ns > 0) == ("or-2", False, True)

    asyncio.run(scenario())


async def broken(_box: str) -> NoReturn:
    raise KeyError("a bug")


def said(box: PumpedBox, seq: int) -> Notice:
    block = box.store.block(box.member.writer.chain.log, seq)
    assert block is not None
    (notice,) = [each for each in decode_signed_header(block.signed_header).notices if isinstance(each, Drill)]
    return notice
