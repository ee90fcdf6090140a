"""The network cable of OR 2 is pulled: it records alone, says so, and catches up."""

from __future__ import annotations

import asyncio
from typing import Any

from agent.demo.claims import Claim
from agent.demo.site import OTHERS, PATIENT_BOX
from agent.demo.stage import Stage
from agent.demo.watch import until

SCENE = "network-cut"
_NOTICE_S = 60.0
_ALONE_S = 3.0
_SILENT = "peer.silent"


async def play(stage: Stage) -> list[Claim]:
    """Cut, wait until both sides say so, let it record alone, mend, wait until nothing is missing."""
    view, box = stage.view, stage.patient
    view.scene("Network cut", "OR 2 loses its network, all of it. The operation goes on.")
    before = await box.status()
    stage.set_cut(cut=True)
    _, noticed_s = await until(f"{box.name} says that it is alone", lambda: _alone(stage), _NOTICE_S)
    view.say(f"{noticed_s:.1f} s later {box.name} says: no peer hears me, what I record now only I hold.")
    _, heard_s = await until(f"the peers miss {box.name}", lambda: _missed(stage), _NOTICE_S)
    view.say(f"{' and '.join(OTHERS)} say: {box.name} is silent.")
    await asyncio.sleep(_ALONE_S)
    alone = await box.status()
    seq = alone["log"]["seq"]
    held = max(peer["holds_ours"] for peer in alone["peers"])
    view.say(f"It has gone on recording: blocks {held + 1:,} to {seq:,}, {seq - held} blocks on its own disk only.")
    stage.set_cut(cut=False)
    view.say("The network is back.")
    after, caught_up_s = await stage.until_witnessed(box, seq)
    view.say(f"{caught_up_s:.1f} s later both peers have fetched, checked and signed all {seq - held} blocks.")
    count = seq - held
    same_log = after["log"]["incarnation"] == before["log"]["incarnation"]
    went_on = alone["recording"] and seq > held and alone["log"]["level"] == "local"
    return [
        Claim(
            SCENE, "a box without network records on and says so",
            f"alone: {count} blocks, said after {noticed_s:.1f} s",
            went_on, {"blocks_alone": count, "noticed_s": round(noticed_s, 3), "missed_s": round(heard_s, 3)},
        ),
        Claim(
            SCENE, "it catches up and nothing is missing",
            f"{count} of {count} vouched for after {caught_up_s:.1f} s",
            same_log, {"caught_up_s": round(caught_up_s, 3), "vouched_to_block": after["log"]["seq"]},
        ),
    ]  # fmt: skip


async def _alone(stage: Stage) -> bool | None:
    status = await stage.patient.status()
    return True if _silent(status) == set(OTHERS) and status["log"]["level"] == "local" else None


async def _missed(stage: Stage) -> bool | None:
    statuses = [await stage.boxes[box].status() for box in OTHERS]
    return True if all(PATIENT_BOX in _silent(status) for status in statuses) else None


def _silent(status: dict[str, Any]) -> set[str]:
    return {alert["subject"] for alert in status["alerts"] if alert["id"] == _SILENT}
