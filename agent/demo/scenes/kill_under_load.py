"""SIGKILL while HL7 messages stream in: what was acknowledged must be there."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from agent.demo.claims import Claim
from agent.demo.processes import gateway
from agent.demo.site import PATIENT_BOX
from agent.demo.stage import Stage
from agent.demo.stored import recorded_messages
from agent.demo.watch import until

SCENE = "kill-under-load"
_RATE = 120
_BEFORE, _AFTER = 200, 100
_STREAM_S = 60.0
_RESTART_S = 60.0


async def play(stage: Stage) -> list[Claim]:
    """Stream, kill, restart, stream on, stop; then count."""
    view, box, site = stage.view, stage.patient, stage.site
    view.scene(
        "Kill under load", f"{_RATE} HL7 messages a second stream into OR 2. Then its process is killed (SIGKILL)."
    )
    files = [site.acknowledged("load"), site.acknowledged(f"gateway-{PATIENT_BOX}")]
    options = ("--rate", str(_RATE), "--window", "32", "--location", "DEMO^OR^2", "--seed", "7", "--ack-timeout", "3")
    load = gateway("load", site.ports.hl7[PATIENT_BOX], files[0], site.log("load"), *options)
    stage.devices.append(load)
    await load.start()
    before, _ = await until("messages are acknowledged", lambda: _acknowledged(files[0], _BEFORE), _STREAM_S)
    await box.kill()
    killed = time.monotonic()
    view.say(f"SIGKILL after {before} acknowledgements, with messages under way. No clean-up, no last words.")
    await box.start()
    _, _ = await until(f"{box.name} records again", lambda: _recording(stage), _RESTART_S)
    recording_s = time.monotonic() - killed
    view.say(
        f"Restarted: recording again {recording_s:.1f} s after the kill, in a new log. The gateway connects again."
    )
    await until("messages are acknowledged again", lambda: _acknowledged(files[0], before + _AFTER), _STREAM_S)
    await load.stop()
    acknowledged = {control_id for file in files for control_id in _lines(file)}
    found = await asyncio.to_thread(recorded_messages, site.data(PATIENT_BOX), PATIENT_BOX, "gateway")
    kept = acknowledged & found
    view.say("Each acknowledged message is now looked for, by its MSH-10, in the raw bytes of the stored blocks.")
    await stage.until_witnessed(box)
    measured = f"{len(acknowledged)} acknowledged, {len(kept)} found"
    view.say(f"{measured}.")
    numbers = {
        "acknowledged": len(acknowledged),
        "found": len(kept),
        "missing": sorted(acknowledged - found)[:10],
        "recording_again_s": round(recording_s, 3),
    }
    passed = acknowledged <= found and len(acknowledged) >= before + _AFTER
    return [Claim(SCENE, "kill -9 loses nothing that was acknowledged", measured, passed, numbers)]


async def _acknowledged(file: Path, enough: int) -> int | None:
    count = len(_lines(file))
    return count if count >= enough else None


def _lines(file: Path) -> list[str]:
    """Whole lines only: the gateway may be writing."""
    return file.read_text().split("\n")[:-1] if file.exists() else []


async def _recording(stage: Stage) -> bool | None:
    log = (await stage.patient.status())["log"]
    return True if log is not None and log["seq"] is not None else None
