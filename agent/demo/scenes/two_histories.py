"""A stolen key signs a second history of OR 1: a peer proves it and keeps the proof; the room goes on recording."""

from __future__ import annotations

import asyncio
import math
from datetime import datetime
from typing import Any

from agent.demo.claims import Claim
from agent.demo.site import PATIENT_BOX
from agent.demo.stage import Stage
from agent.demo.thief import forge, send, steal
from agent.demo.watch import until
from ledger.errors import NoPeer
from ledger.log import LogId

SCENE = "two-histories"
ROBBED, PEER, OTHER = "or-1", "or-3", PATIENT_BOX
_ALERT_S = 60.0
_GOES_ON_S = 60.0
_GOES_ON_BLOCKS = 3


async def play(stage: Stage) -> list[Claim]:
    """Steal, sign a second block, send it to a peer; look at the alert, at the proof and at the room."""
    view, robbed, peer = stage.view, stage.boxes[ROBBED], stage.boxes[PEER]
    view.scene("Two histories", f"Somebody has a copy of {ROBBED}'s keys, and rewrites what {ROBBED} recorded.")
    before, _ = await stage.until_witnessed(robbed)
    loot = await asyncio.to_thread(steal, stage.site.data(ROBBED))
    log, held = _log(before), min(each["holds_ours"] for each in before["peers"])
    second = await asyncio.to_thread(forge, loot, log, held)
    view.say(f"Block {second.seq:,} of {log} holds {second.records} records. The thief signs another, with none.")
    sent_ns = await asyncio.to_thread(send, loot, second.message, PEER, stage.site.ports.broker[PEER])
    view.say(f"It goes to {PEER} over TLS, with {ROBBED}'s certificate; every signature on it is right.")
    alert, _ = await until(f"{PEER} tells of two histories", lambda: _alert(stage, PEER, "fork"), _ALERT_S)
    alert_ms = math.ceil(datetime.fromisoformat(alert["since"]).timestamp() * 1e3 + 1 - sent_ns / 1e6)  # cut to ms
    view.say(f"Within {alert_ms} ms {PEER}: {alert['severity'].upper()} {alert['text']} Next: {alert['next']}.")
    verified, (told, _), (own, _), (after, _) = await asyncio.gather(
        peer.command("verify", ROBBED),
        until(f"{OTHER} counts it when it restores {ROBBED}", lambda: _counted(stage), _ALERT_S),
        until(f"{ROBBED} is told", lambda: _alert(stage, ROBBED, "own-fork"), _ALERT_S),
        until(f"{ROBBED} goes on", lambda: _goes_on(stage, log), _GOES_ON_S),
    )
    findings, kept = verified["findings"], told["equivocation_proofs"]
    proofs = [each for each in findings if each["severity"] == "bad" and each["seq"] == second.seq]
    for each in proofs:
        view.say(f"orledger verify on {PEER}: BAD block {each['seq']:,}: {each['text']}.")
    view.say(f"Whoever restores {ROBBED} is told: orledger restore on {OTHER} counts {kept} proof of two histories.")
    view.say(f"{ROBBED} is shown the proof: {own['severity'].upper()} {own['text']}. Next: {own['next']}.")
    await asyncio.gather(*(stage.until_witnessed(stage.boxes[box]) for box in (OTHER, PEER)))
    new, copied = after["log"], sum(each["holds_ours"] is not None for each in after["peers"])
    view.say(
        f"OR 1 records on, in {_log(after)}: its peers copy it, and vouch for it once it is fenced, a minute from now. "
        "The other rooms' logs are vouched for as ever."
    )
    view.say(
        f"The key of {ROBBED} must be treated as stolen: the proof shows that it signed two, not who used it. "
        f"What {OTHER} and {PEER} had vouched for is on their disks, unchanged."
    )
    numbers = {"log": str(log), "block": second.seq, "alert_ms": alert_ms, "proofs": kept, "found": proofs}
    return [
        Claim(SCENE, "a second history is proved and kept",
              f"{ROBBED} signed two blocks {second.seq:,}: told within {alert_ms} ms",
              len(proofs) == kept == 1 and alert["severity"] == "critical", numbers),
        Claim(SCENE, "the room goes on recording", f"block {new['seq']:,} of a new log, {copied} of 2 peers copy it",
              after["recording"] and copied == 2, {"new_log": str(_log(after)), "new_block": new["seq"]}),
    ]  # fmt: skip


def _log(status: dict[str, Any]) -> LogId:
    log = status["log"]
    return LogId(status["box"], log["epoch"], bytes.fromhex(log["incarnation"]), log["fenced"])


async def _alert(stage: Stage, box: str, name: str) -> dict[str, Any] | None:
    alerts: list[dict[str, Any]] = (await stage.boxes[box].status())["alerts"]
    return next((alert for alert in alerts if alert["id"] == name and alert["subject"] == ROBBED), None)


async def _counted(stage: Stage) -> dict[str, Any] | None:
    """A restore that tells of the proof: a peer that is busy may answer too late for one."""
    try:
        told: dict[str, Any] = await stage.boxes[OTHER].ask("restore", box=ROBBED)
    except NoPeer:
        return None
    return told if told["equivocation_proofs"] else None


async def _goes_on(stage: Stage, old: LogId) -> dict[str, Any] | None:
    """Its status once both peers hold some blocks of another log than ``old``."""
    status = await stage.boxes[ROBBED].status()
    held = [each["holds_ours"] or 0 for each in status["peers"]]
    return status if _log(status) != old and min(held) >= _GOES_ON_BLOCKS else None
