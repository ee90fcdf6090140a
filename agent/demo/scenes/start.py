"""Three boxes begin to record and vouch for each other."""

from __future__ import annotations

import asyncio

from agent.demo.claims import Claim
from agent.demo.picture import vouching
from agent.demo.stage import Stage
from agent.demo.vitals import ABSENT, vitals
from agent.demo.watch import until

SCENE = "start"
_FIRST_VALUES_S = 60.0
_LOOK_S = 3.0


async def play(stage: Stage) -> list[Claim]:
    """Wait until every box's blocks are vouched for and the room shows values."""
    view = stage.view
    view.scene("Start", "Three boxes, one per operating room: each a process with its own keys, broker and store.")
    view.say("OR 2 has a monitor on a serial line and an HL7 gateway, OR 1 an HL7 gateway. Nothing is shared.")
    waited = [await stage.until_witnessed(box) for box in stage.boxes.values()]
    for status, _ in waited:
        view.say(f"{status['box']} records; {' and '.join(vouching(status))} check, store and sign every block of it.")

    async def all_shown() -> bool | None:
        shown = vitals((await stage.patient.ask("state"))["values"])
        return True if all(vital.value != ABSENT for vital in shown) else None

    await until("the monitor's values", all_shown, _FIRST_VALUES_S)
    await asyncio.sleep(_LOOK_S)
    statistics = await stage.patient.ask("statistics")
    lag, commit = statistics["closed_to_witnessed"], statistics["commit"]
    view.say(
        f"Both peers have a block of OR 2 on their disks and vouch for it {lag['p50_ms']:.1f} ms after it closes "
        f"(median); OR 2's own disk takes {commit['p50_ms']:.1f} ms."
    )
    logs = [status["log"] for status, _ in waited]
    numbers = {"closed_to_witnessed_ms": lag, "commit_ms": commit}
    vouched = all(log["peers_holding"] == log["peers"] == 2 for log in logs)
    measured = f"2 of 2 peers, {lag['p50_ms']:.1f} ms after closing (median)"
    return [Claim(SCENE, "every block is vouched for by both peers", measured, vouched, numbers)]
