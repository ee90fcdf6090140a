"""The room's box is killed: another box gives back what monitor, ventilator, pumps and robot showed, with times."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from agent.demo.claims import Claim
from agent.demo.feeds import clock_time, shown_of
from agent.demo.full_room import BIS, MONITOR, PUMPS, ROBOT, VENTILATOR
from agent.demo.scenes.ransomware import compare
from agent.demo.site import OTHERS
from agent.demo.stage import Stage, holds
from agent.demo.watch import until

SCENE = "room-lost"
_HELD_S = 10.0
_BUDGET_MS = 1_000.0
_SHOWN = (MONITOR, VENTILATOR, PUMPS, BIS, ROBOT)


async def play(stage: Stage) -> list[Claim]:
    """Take the picture, kill, restore at a peer, compare every value of every device."""
    view, box = stage.view, stage.patient
    view.scene("Room lost", "The box of OR 2 dies (SIGKILL) in the middle of the operation.")
    before = await box.ask("state")
    seq = (await box.status())["log"]["seq"]
    await until("peers hold the block of the picture", lambda: holds(box, seq), _HELD_S)
    await box.kill()
    began = time.perf_counter()
    restored: dict[str, Any] = await stage.boxes[OTHERS[0]].ask("restore", box=box.name)
    elapsed_ms = (time.perf_counter() - began) * 1e3
    after = restored["newest_state"] or restored["state"]
    outcome = compare(before["values"], after["values"])
    rows = [row for feed in _SHOWN for row in _rows(feed, before, after)]
    view.table(("OR 2", "", "BEFORE", "RESTORED", "MEASURED AT (UTC)", ""), rows)
    kept, total = sum(each != "LOST" for each in outcome.values()), len(outcome)
    waves, devices = (len(before["waves"]), len(after["waves"])), (len(before["devices"]), len(after["devices"]))
    view.say(
        f"RESTORED on {OTHERS[0]} in {elapsed_ms:.0f} ms: {kept} of {total} values, {waves[1]} of {waves[0]} waves, "
        f"{devices[1]} of {devices[0]} devices, from {' and '.join(restored['answered'])}. {restored['warning']}."
    )
    numbers = {
        "elapsed_ms": round(elapsed_ms, 1), "steps_ms": restored["steps_ms"], "values": total, "same_or_newer": kept,
        "lost": sorted(" ".join(key) for key, each in outcome.items() if each == "LOST"), "block": restored["block"],
        "vouching": restored["vouching"], "peers": restored["peers"], "level": restored["level"],
        "waves": waves[1], "devices": devices[1],
    }  # fmt: skip
    by_feed = {feed: len([1 for key in outcome if key[0] == feed]) for feed in (MONITOR, VENTILATOR, PUMPS, ROBOT)}
    counted = ", ".join(f"{feed} {count}" for feed, count in by_feed.items())
    whole = kept == total and all(by_feed.values()) and waves[0] == waves[1] and devices[0] == devices[1]
    return [
        Claim(SCENE, "the room comes back from another box", f"{kept} of {total} values ({counted})", whole, numbers),
        Claim(
            SCENE, f"that takes less than {_BUDGET_MS / 1e3:g} s, vouched for",
            f"{elapsed_ms:.0f} ms, block {restored['block']:,}, {restored['vouching']} of {restored['peers']} vouch",
            elapsed_ms < _BUDGET_MS and restored["level"] in {"witnessed", "final"},
        ),
    ]  # fmt: skip


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
