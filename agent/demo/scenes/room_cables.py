"""Two cables are pulled and plugged in again: what was missed is recorded with its bounds, and the values come back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from agent.demo.claims import Claim
from agent.demo.feeds import clock_time, gap_over, oldest_shown
from agent.demo.full_room import BIS, VENTILATOR
from agent.demo.stage import Stage
from agent.demo.watch import until
from ledger.record_json import utc_text

SCENE = "room-cables"
_PULLED = (BIS, VENTILATOR)
_NOTICED_S = 60.0
_OUT_S = 2.0
_BACK_S = 60.0
_OF_THE_DEVICE = frozenset({"silence", "sequence", "device_gap", "clock_jump"})
"""Gaps that tell of the device and its clock: a busy machine holds a simulated one up, and no cable does."""


async def play(stage: Stage) -> list[Claim]:
    """Pull a serial and a network cable, wait until the box says so, plug them in, judge the gaps."""
    view, box = stage.view, stage.patient
    view.scene("Cables", "Somebody trips: the serial cable of the BIS monitor and the ventilator's network cable go.")
    before = await box.ask("state")
    pulled_at, began = utc_text(time.time_ns()), time.monotonic()
    await stage.unplug(VENTILATOR)
    await stage.unplug(BIS)
    await until("the box misses both devices", lambda: _missed(stage), _NOTICED_S)
    noticed_at, noticed_s = utc_text(time.time_ns()), time.monotonic() - began
    view.say(f"{noticed_s:.1f} s later {box.name} says of both: not heard. All others are recorded as before.")
    await asyncio.sleep(_OUT_S)
    plugged_at = utc_text(time.time_ns())
    await stage.plug_in(VENTILATOR)
    await stage.plug_in(BIS)
    view.say("Both are plugged in again.")
    state, back_s = await until("both are heard again", lambda: _back(stage, before, plugged_at), _BACK_S)
    gaps = {feed: gap_over(state, feed, noticed_at, plugged_at) for feed in _PULLED}
    rows = [_row(feed, gaps[feed], before, state) for feed in _PULLED]
    view.table(("FEED", "LAST MEASURED BEFORE", "GAP SINCE", "UNTIL", "CAUSE", "MEASURED AGAIN"), rows)
    times = {"pulled_at": pulled_at, "noticed_at": noticed_at, "plugged_at": plugged_at}
    waves = sum(wave["feed"] in _PULLED for wave in state["waves"])
    return [
        *_gap_claims(state, gaps, pulled_at, {**times, "noticed_s": round(noticed_s, 3)}),
        Claim(
            SCENE, "plugged in again, values and waves come back",
            f"{len(_PULLED)} devices, {waves} waves after {back_s:.1f} s", waves > 0,
            {"back_s": round(back_s, 3), "waves": waves},
        ),
    ]  # fmt: skip


def _gap_claims(
    state: Mapping[str, Any], gaps: Mapping[str, Mapping[str, Any] | None], pulled_at: str, numbers: dict[str, Any]
) -> list[Claim]:
    found = {feed: gap for feed, gap in gaps.items() if gap is not None}
    bounds = [f"{feed} {clock_time(gap['since'])} to {clock_time(gap['until'])}" for feed, gap in found.items()]
    since = [gap for gap in state["gaps"] if gap["until"] > pulled_at and gap["feed"] not in _PULLED]
    disturbed = sorted({gap["feed"] for gap in since if gap["cause"] not in _OF_THE_DEVICE})
    late = sorted({gap["feed"] for gap in since} - set(disturbed))
    others = f"gaps of others: {', '.join(disturbed) or 'none'}"
    others += f"; held up by this machine: {', '.join(late)}" if late else ""
    return [
        Claim(
            SCENE, "a pulled cable is a gap with its bounds", "; ".join(bounds) or "no gap",
            len(found) == len(gaps), {**numbers, "gaps": found},
        ),
        Claim(SCENE, "no other device is disturbed", others, not disturbed),
    ]  # fmt: skip


async def _missed(stage: Stage) -> dict[str, Any] | None:
    status = await stage.patient.status()
    return status if all(feed["state"] != "ok" for feed in status["feeds"] if feed["name"] in _PULLED) else None


async def _back(stage: Stage, before: Mapping[str, Any], plugged_at: str) -> dict[str, Any] | None:
    """The state, once what a person looks at is new, and every wave that was there before."""
    state: dict[str, Any] = await stage.patient.ask("state")
    waves = {_wave(wave) for wave in before["waves"] if wave["feed"] in _PULLED}
    new = {_wave(wave) for wave in state["waves"] if wave["at"] > plugged_at}
    return state if waves <= new and all(oldest_shown(state, feed) > plugged_at for feed in _PULLED) else None


def _wave(wave: Mapping[str, Any]) -> tuple[str, str, str]:
    return wave["feed"], wave["code"], wave["channel"]


def _row(
    feed: str, gap: Mapping[str, Any] | None, before: Mapping[str, Any], after: Mapping[str, Any]
) -> tuple[str, ...]:
    last, again = clock_time(oldest_shown(before, feed)), clock_time(oldest_shown(after, feed))
    if gap is None:
        return feed, last, "none", "", "", again
    return feed, last, clock_time(gap["since"]), clock_time(gap["until"]), str(gap["cause"]), again
