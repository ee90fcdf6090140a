"""After the restore: the last image out of a peer's copy, byte for byte, and the dead box back in the same case."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agent.demo.claims import Claim
from agent.demo.full_room import IMAGING
from agent.demo.images import acknowledged_images, data_set_sha256, short_id
from agent.demo.site import OTHERS
from agent.demo.stage import Stage
from agent.demo.stored import object_holders
from agent.demo.watch import until

SCENE: Final = "room-lost"
_BACK_S: Final = 30.0
_SHOWN_DIGITS: Final = 16


@dataclass(frozen=True, slots=True)
class Picture:
    """Before the kill: the object entry of the last image, the open case, and the name of its patient."""

    image: Mapping[str, Any]
    case_id: str
    patient: str


async def play(stage: Stage, picture: Picture, restored: Mapping[str, Any]) -> list[Claim]:
    """Fetch the image from a peer, and start the box meanwhile."""
    name, box = str(picture.image["sha256"])[:_SHOWN_DIGITS], stage.patient
    stage.view.say(f"orledger objects get {name} on {OTHERS[0]} reads its own copy; {box.name} is switched on.")
    return list(await asyncio.gather(_image_claim(stage, picture), _case_claim(stage, picture, restored)))


async def _image_claim(stage: Stage, picture: Picture) -> Claim:
    view, peer, site = stage.view, OTHERS[0], stage.site
    name, instance = str(picture.image["sha256"]), str(picture.image["meta"]["sop_instance"])
    holders = await asyncio.to_thread(object_holders, site.data(peer), name)
    file = site.folder / "last-image.dcm"
    got = await stage.boxes[peer].command("objects", "get", name, "--out", str(file))
    found, sent = await asyncio.to_thread(_hashes, file, site.acknowledged(IMAGING), instance)
    view.table(
        ("SOP INSTANCE", "BYTES", "SHA-256 OF ITS DATA SET", "AS SENT"),
        [(instance, f"{got.get('bytes', 0):,}", found[:_SHOWN_DIGITS] + "…", "same" if found == sent else "LOST")],
    )
    held = f"held by {' and '.join(holders) or 'nobody'}"
    return Claim(
        SCENE, "last image is there, bit-exact, from a peer's copy",
        f"{got.get('bytes', 0):,} bytes; {held}", found == sent and peer in holders,
        {"sop_instance": instance, "object": name, "bytes": got.get("bytes"), "holders": list(holders),
         "data_set_sha256": found, "data_set_sha256_sent": sent},
    )  # fmt: skip


def _hashes(file: Path, acknowledged: Path, instance: str) -> tuple[str, str | None]:
    """Of the data set as it came back, and as the modality sent it; "" where nothing came back."""
    found = data_set_sha256(file) if file.exists() else ""
    return found, acknowledged_images(acknowledged).get(instance)


async def _case_claim(stage: Stage, picture: Picture, restored: Mapping[str, Any]) -> Claim:
    view, box = stage.view, stage.patient
    began = time.monotonic()
    await box.start()
    on_peer = None if restored["case"] is None else restored["case"]["id"]

    async def case_is_open() -> str | None:
        status = await box.status()
        case = status["case"] if status["recording"] else None
        return None if case is None else str(case["id"])

    case_id, _ = await until(f"{box.name} records in a case", case_is_open, _BACK_S)
    back_s = time.monotonic() - began
    view.say(f"{box.name} records again {back_s:.1f} s after its start, in case {short_id(case_id)}.")
    measured = f"case {short_id(case_id)} on {OTHERS[0]}; on {box.name} {back_s:.1f} s after its start"
    return Claim(
        SCENE, "the case goes on", measured,
        on_peer == case_id == picture.case_id,
        {"case": picture.case_id, "case_restored": on_peer, "case_after_restart": case_id, "back_s": round(back_s, 3)},
    )  # fmt: skip
