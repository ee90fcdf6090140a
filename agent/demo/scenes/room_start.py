"""A whole room is switched on: every device is recorded, identified, and shows its values."""

from __future__ import annotations

from typing import Any

from agent.demo.claims import Claim
from agent.demo.feeds import shown_of, unheard
from agent.demo.full_room import HOSPITAL
from agent.demo.images import sender_of, short_id
from agent.demo.picture import vouching
from agent.demo.stage import Stage
from agent.demo.watch import until

SCENE = "room-start"
_FIRST_VALUES_S = 60.0


async def play(stage: Stage) -> list[Claim]:
    """Wait until every feed is well, identified and shows values, and every block is vouched for."""
    view, box = stage.view, stage.patient
    view.scene("Whole room", "Every device of OR 2 is plugged into its box, and switched on at once.")
    for device in stage.room:
        view.say(f"{device.feed}: {device.title}; driver {device.driver}.")
    feeds = [device.feed for device in stage.room]
    await until(f"{box.name} answers", box.status, _FIRST_VALUES_S)
    await stage.device[HOSPITAL].start()

    async def all_heard() -> tuple[dict[str, Any], dict[str, Any]] | None:
        status, state = await box.status(), await box.ask("state")
        return None if unheard(stage.room, status, state) else (status, state)

    (_, state), heard_s = await until("every device of the room shows its values", all_heard, _FIRST_VALUES_S)
    view.table(("FEED", "CALLS ITSELF", "SERIAL", "SHOWS"), [_told(feed, state) for feed in feeds])
    view.say(f"The hospital's message has opened case {short_id(state['case']['id'])}: all is recorded under its key.")
    witnessed, _ = await stage.until_witnessed(box)
    view.say(f"{' and '.join(vouching(witnessed))} check, store and sign every block of it.")
    devices, waves = len(state["devices"]), len(state["waves"])
    numeric = sum(value["value"] is not None for value in state["values"])
    named, expected = {device["feed"] for device in state["devices"]}, sum(device.devices for device in stage.room)
    identified = {device.feed for device in stage.room if device.devices}
    numbers = {"devices": devices, "values": numeric, "waves": waves, "heard_s": round(heard_s, 3)}
    log = witnessed["log"]
    return [
        Claim(
            SCENE, "every device of a whole room is identified",
            f"{len(named)} feeds, {devices} of {expected} devices; {numeric} values, {waves} waves",
            named == identified and devices == expected, numbers,
        ),
        Claim(
            SCENE, "its blocks are vouched for by both peers", f"{log['peers_holding']} of {log['peers']} peers",
            log["peers_holding"] == log["peers"] == 2,
        ),
    ]  # fmt: skip


def _told(feed: str, state: dict[str, Any]) -> tuple[str, ...]:
    devices = [device for device in state["devices"] if device["feed"] == feed]
    names = list(dict.fromkeys(f"{device['make']} {device['model']}" for device in devices)) or sender_of(feed, state)
    serials = [device["serial"] for device in devices if device["serial"]]
    shown = "  ".join(f"{vital.name} {vital.value} {vital.unit}".strip() for vital in shown_of(feed, state))
    return feed, ", ".join(names), ", ".join(serials), shown
