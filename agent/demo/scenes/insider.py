"""An insider changes one byte of a stored block: verify names the block, a peer mends it."""

from __future__ import annotations

import asyncio
from typing import Any

from agent.demo.claims import Claim
from agent.demo.site import PATIENT_BOX
from agent.demo.stage import Stage
from agent.demo.stored import flip_byte
from agent.demo.watch import until

SCENE = "insider"
KEEPER = "or-3"
_RESTART_S = 60.0


async def play(stage: Stage) -> list[Claim]:
    """Stop the keeper, change a byte of its copy of OR 2's log, verify, restart, mend, verify."""
    view, keeper, data = stage.view, stage.boxes[KEEPER], stage.site.data(KEEPER)
    view.scene("Insider", f"Somebody with root on {KEEPER} changes one byte of what it keeps of {PATIENT_BOX}.")
    await keeper.stop()
    flip = await asyncio.to_thread(flip_byte, data, PATIENT_BOX)
    block = f"block {flip.seq:,} of {flip.log}"
    view.say(f"{KEEPER} is stopped; byte {flip.offset:,} of {block} was {flip.before:02x} and is now {flip.after:02x}.")
    damaged = await keeper.command("verify", PATIENT_BOX)
    found = [each for each in damaged["findings"] if each["severity"] == "bad"]
    named = [
        each for each in found if each["seq"] == flip.seq and each["log"]["incarnation"] == flip.log.incarnation.hex()
    ]
    for each in found:
        view.say(f"orledger verify: BAD block {each['seq']:,}: {each['text']}.")
    await keeper.start()
    await until(f"{KEEPER} has its peers again", lambda: _connected(stage), _RESTART_S)
    mended: dict[str, Any] = {"from": None}
    if named:
        mended = await keeper.ask("mend", log=named[0]["log"], seq=flip.seq)
        view.say(
            f"{KEEPER} runs again and mends it: fetched from {mended['from']}, proved by what {PATIENT_BOX} signed."
        )
    whole = await keeper.command("verify", PATIENT_BOX)
    blocks = sum(log["blocks"] for log in whole["logs"])
    view.say(f"orledger verify: {'all good' if whole['good'] else 'NOT GOOD'}, {blocks:,} blocks of {PATIENT_BOX}.")
    await stage.until_witnessed(stage.patient)
    numbers = {"log": str(flip.log), "block": flip.seq, "byte": flip.offset, "findings": found}
    return [
        Claim(SCENE, "one changed byte is found and named", f"{block}: {named[0]['text'] if named else 'not named'}",
              len(named) == len(found) == 1 and not damaged["good"], numbers),
        Claim(SCENE, "a peer mends it", f"from {mended['from']}; {blocks:,} blocks verified",
              bool(whole["good"]) and mended["from"] is not None, {"from": mended["from"], "blocks": blocks}),
    ]  # fmt: skip


async def _connected(stage: Stage) -> bool | None:
    status = await stage.boxes[KEEPER].status()
    return True if all(peer["connected"] for peer in status["peers"]) else None
