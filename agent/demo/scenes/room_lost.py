"""The room's box is killed: another box gives back what its devices showed, its last image and its open case."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agent.demo.claims import Claim
from agent.demo.feeds import clock_time, shown_of
from agent.demo.full_room import BIS, HOSPITAL, IMAGING, MONITOR, PUMPS, ROBOT, VENTILATOR
from agent.demo.images import newest_image
from agent.demo.scenes import room_back
from agent.demo.scenes.ransomware import compare
from agent.demo.scenes.room_load import Measured
from agent.demo.site import OTHERS
from agent.demo.stage import Stage, holds
from agent.demo.stored import object_holders, patient_of
from agent.demo.vitals import ABSENT
from agent.demo.watch import until
from ledger.errors import OurFault

SCENE = "room-lost"
_HELD_S = 60.0
_CLAIMED_MS, _BUDGET_MS = 1_000.0, 300.0
_SHOWN = (MONITOR, VENTILATOR, PUMPS, BIS, ROBOT, IMAGING, HOSPITAL)


@dataclass(frozen=True, slots=True)
class _Restored:
    """``document``: what the other box answered; ``state``: the room's in it; ``elapsed_ms``: from asking to having."""

    document: Mapping[str, Any]
    state: Mapping[str, Any]
    elapsed_ms: float


async def play(stage: Stage) -> list[Claim]:
    """Take the picture, kill, restore at a peer, compare everything that was shown; then have the box back."""
    view, box = stage.view, stage.patient
    view.scene("Room lost", "The box of OR 2 dies (SIGKILL) in the middle of the operation.")
    before, picture = await _picture(stage)
    killed_s = time.time()
    await box.kill()
    restored = await _restore(stage)
    document, after = restored.document, restored.state
    outcome = compare(before["values"], after["values"])
    rows = [row for feed in _SHOWN for row in _rows(feed, before, after)]
    view.table(("OR 2", "", "BEFORE", "RESTORED", "MEASURED AT (UTC)", ""), [*rows, await _patient(stage, picture)])
    kept, total = sum(each != "LOST" for each in outcome.values()), len(outcome)
    waves, devices = (len(before["waves"]), len(after["waves"])), (len(before["devices"]), len(after["devices"]))
    view.say(
        f"RESTORED on {OTHERS[0]} in {restored.elapsed_ms:.0f} ms: {kept} of {total} values, {waves[1]} of {waves[0]} "
        f"waves, {devices[1]} of {devices[0]} devices, from {' and '.join(document['answered'])}. "
        f"{document['warning']}."
    )
    budget = _budget(restored.elapsed_ms)
    view.table(("EMERGENCY RESTORE", "MEASURED", "BUDGET, MACHINE IDLE", "", "BESIDE IT"), [budget.cells()])
    numbers = {
        "elapsed_ms": round(restored.elapsed_ms, 1), "steps_ms": document["steps_ms"], "values": total,
        "same_or_newer": kept, "lost": sorted(" ".join(key) for key, each in outcome.items() if each == "LOST"),
        "block": document["block"], "vouching": document["vouching"], "peers": document["peers"],
        "level": document["level"], "waves": waves[1], "devices": devices[1],
    }  # fmt: skip
    by_feed = {feed: len([1 for key in outcome if key[0] == feed]) for feed in (MONITOR, VENTILATOR, PUMPS, ROBOT)}
    counted = ", ".join(f"{feed} {count}" for feed, count in by_feed.items())
    whole = kept == total and all(by_feed.values()) and waves[0] == waves[1] and devices[0] == devices[1]
    return [
        Claim(SCENE, "the room comes back from another box", f"{kept} of {total} values ({counted})", whole, numbers),
        Claim(
            SCENE, f"that takes less than {_CLAIMED_MS / 1e3:g} s, vouched for",
            f"{restored.elapsed_ms:.0f} ms, block {document['block']:,}, "
            f"{document['vouching']} of {document['peers']} vouch",
            restored.elapsed_ms < _CLAIMED_MS and document["level"] in {"witnessed", "final"},
            {"budget_ms": budget.budget, "budget_met": budget.is_met},
        ),
        _robot_claim(before, after, killed_s),
        *await room_back.play(stage, picture, after),
    ]  # fmt: skip


async def _picture(stage: Stage) -> tuple[Mapping[str, Any], room_back.Picture]:
    """What the room shows, once the peers hold all of it: the object of the last image, and the block."""
    box = stage.patient
    (before, image), _ = await until("peers hold the last image", lambda: _last_image_held(stage), _HELD_S)
    seq = (await box.status())["log"]["seq"]
    await until("peers hold the block of the picture", lambda: holds(box, seq), _HELD_S)
    if before["case"] is None:
        raise OurFault("demo.no-case", f"no case is open on {box.name}")
    case_id = str(before["case"]["id"])
    patient = await asyncio.to_thread(patient_of, stage.site.data(box.name), case_id)
    return before, room_back.Picture(image, case_id, patient)


async def _last_image_held(stage: Stage) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
    """The state and the last image in it, if the box that will restore has every peer's word that it holds it."""
    state: Mapping[str, Any] = await stage.patient.ask("state")
    image = newest_image(state)
    if image is None:
        return None
    holders = await asyncio.to_thread(object_holders, stage.site.data(OTHERS[0]), str(image["sha256"]))
    return (state, image) if set(holders) == set(OTHERS) else None


async def _restore(stage: Stage) -> _Restored:
    began = time.perf_counter()
    document: Mapping[str, Any] = await stage.boxes[OTHERS[0]].ask("restore", box=stage.patient.name)
    elapsed_ms = (time.perf_counter() - began) * 1e3
    return _Restored(document, document["newest_state"] or document["state"], elapsed_ms)


def _budget(elapsed_ms: float) -> Measured:
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    return Measured("asked to restored", elapsed_ms, "ms", _BUDGET_MS, f"load {load:.1f} on {cores} cores")


def _robot_claim(before: Mapping[str, Any], after: Mapping[str, Any], killed_s: float) -> Claim:
    was, now = ({vital.name: vital for vital in shown_of(ROBOT, state)} for state in (before, after))
    kept = all(vital.value != ABSENT and vital.measured_at >= was[name].measured_at for name, vital in now.items())
    age_s = killed_s - _unix_s(min(vital.measured_at for vital in now.values())) if kept else None
    words = ", ".join(f"{vital.name} {vital.value} {vital.unit}" for name, vital in now.items() if name != "torque")
    return Claim(
        SCENE, "robot pose and force restored", words if age_s is None else f"{words}; {age_s:.1f} s before the kill",
        kept, {"age_at_kill_s": None if age_s is None else round(age_s, 3)},
    )  # fmt: skip


def _unix_s(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()


async def _patient(stage: Stage, picture: room_back.Picture) -> tuple[str, ...]:
    """Whom the case is about, as the other box reads it. The demo's patient is invented, and the row says so."""
    name = await asyncio.to_thread(patient_of, stage.site.data(OTHERS[0]), picture.case_id)
    mark = "same" if name == picture.patient else "LOST"
    return "", "patient", f"{picture.patient} (invented)", f"{name} (invented)", "", mark


def _rows(feed: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, ...]]:
    old = {vital.name: vital for vital in shown_of(feed, before)}
    rows: list[tuple[str, ...]] = []
    for new in shown_of(feed, after):
        was = old.get(new.name)
        mark = "newer"
        if was is not None and was.measured_at >= new.measured_at:
            mark = "same" if was == new else "LOST"
        first = feed if not rows else ""
        shown = "" if was is None else f"{was.value} {was.unit}".strip()
        rows.append((first, new.name, shown, f"{new.value} {new.unit}".strip(), clock_time(new.measured_at), mark))
    return rows
