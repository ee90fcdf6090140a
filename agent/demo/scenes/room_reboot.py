"""The patient monitor loses its power and starts again: its driver notices, associates anew, and reads on."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from agent.demo.claims import Claim
from agent.demo.feeds import clock_time, gap_over, oldest_shown
from agent.demo.full_room import MONITOR
from agent.demo.stage import Stage
from agent.demo.stored import sent
from agent.demo.watch import until
from ledger.record_json import utc_text

SCENE = "room-reboot"
_OFF_S = 1.0
_BACK_S = 60.0
_ASSOCIATION_REQUEST: Final = 0x0D  # session CONNECT; IntelliVue Data Export Interface, association control


async def play(stage: Stage) -> list[Claim]:
    """Kill the monitor, start it again, wait for what is measured after that."""
    view, box, monitor = stage.view, stage.patient, stage.device[MONITOR]
    view.scene("Reboot", "The monitor loses its power for a moment. It starts, and knows of no association.")
    await monitor.kill()
    await asyncio.sleep(_OFF_S)
    on_ns = time.time_ns()
    on_at = utc_text(on_ns)
    await monitor.start()
    view.say(f"It is on again. {box.name} waits as long as the protocol says, then asks for an association.")

    async def back() -> dict[str, Any] | None:
        state: dict[str, Any] = await box.ask("state")
        gap = gap_over(state, MONITOR, on_at, on_at)
        return state if oldest_shown(state, MONITOR) > on_at and gap is not None else None

    state, back_s = await until("the monitor's values after its reboot", back, _BACK_S)
    requests = [data for data in await asyncio.to_thread(sent, stage.site.data(box.name), box.name, MONITOR, on_ns)
                if data[0] == _ASSOCIATION_REQUEST]  # fmt: skip
    gap = gap_over(state, MONITOR, on_at, on_at) or {}
    missed = f"{clock_time(gap['since'])} to {clock_time(gap['until'])} missed"
    view.say(f"{back_s:.1f} s later it is associated and read again: {missed}, and recorded as a gap.")
    measured = f"{back_s:.1f} s after its start; {missed}"
    numbers = {"back_s": round(back_s, 3), "gap": gap, "association_requests": len(requests)}
    return [Claim(SCENE, "a rebooted device is associated anew and read", measured, bool(requests), numbers)]
