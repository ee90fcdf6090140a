"""OR 2 is killed in mid-stream and its folder overwritten: its peers give its state back."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from agent.demo.claims import Claim
from agent.demo.site import OTHERS
from agent.demo.stage import Stage, holds
from agent.demo.vitals import vitals
from agent.demo.watch import until

SCENE = "ransomware"
_HELD_S = 60.0
_BUDGET_MS = 1_000.0
_CHUNK_BYTES = 1 << 20


async def play(stage: Stage) -> list[Claim]:
    """Take the picture, kill, overwrite, restore at a peer, compare every value."""
    view, box, site = stage.view, stage.patient, stage.site
    view.scene("Ransomware", "OR 2 is killed in mid-stream (SIGKILL) and every file of its folder overwritten.")
    before = await box.ask("state")
    seq = (await box.status())["log"]["seq"]
    await until("peers hold the block of the picture", lambda: holds(box, seq), _HELD_S)
    await box.kill()
    files, size = await asyncio.to_thread(overwrite, site.data(box.name))
    view.say(
        f"{files} files, {size / 1e6:.0f} MB of keys, blocks and keyring are now random bytes. {box.name} is gone."
    )
    began = time.perf_counter()
    restored: dict[str, Any] = await stage.boxes[OTHERS[0]].ask("restore", box=box.name)
    elapsed_ms = (time.perf_counter() - began) * 1e3
    view.say(_story(restored))
    after = restored["newest_state"] or restored["state"]
    outcome = compare(before["values"], after["values"])
    view.table(("OR 2", "BEFORE", "RESTORED", ""), _side_by_side(before["values"], after["values"]))
    kept, total = sum(each != "LOST" for each in outcome.values()), len(outcome)
    waves = len(before["waves"]), len(after["waves"])
    view.say(
        f"RESTORED in {elapsed_ms:.0f} ms: {kept} of {total} values and {waves[1]} of {waves[0]} waves, "
        f"from {' and '.join(restored['answered'])}. {restored['warning']}."
    )
    numbers = {
        "elapsed_ms": round(elapsed_ms, 1), "steps_ms": restored["steps_ms"], "values": total, "same_or_newer": kept,
        "lost": sorted(" ".join(key) for key, each in outcome.items() if each == "LOST"), "block": restored["block"],
        "vouching": restored["vouching"], "peers": restored["peers"], "level": restored["level"],
        "recorded_in_block": restored["recorded_in_block"],
    }  # fmt: skip
    vouched = f"block {restored['block']:,}, {restored['vouching']} of {restored['peers']} vouch"
    return [
        Claim(SCENE, "a destroyed box's state comes back from its peers", f"{kept} of {total} values, {vouched}",
              kept == total > 0 and waves[0] == waves[1], numbers),
        Claim(SCENE, f"that restore takes less than {_BUDGET_MS / 1e3:g} s", f"{elapsed_ms:.0f} ms",
              elapsed_ms < _BUDGET_MS),
    ]  # fmt: skip


def overwrite(folder: Path) -> tuple[int, int]:
    """Fill every file below ``folder`` with random bytes, in place; (files, bytes)."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    total = 0
    for path in paths:
        size = path.stat().st_size
        with path.open("r+b") as file:
            for start in range(0, size, _CHUNK_BYTES):
                file.write(os.urandom(min(_CHUNK_BYTES, size - start)))
        total += size
    return len(paths), total


def compare(before: Iterable[Mapping[str, Any]], after: Iterable[Mapping[str, Any]]) -> dict[tuple[str, ...], str]:
    """For every value before: "same", "newer" (measured between the picture and the end), or "LOST"."""
    restored = {_key(value): value for value in after}
    return {_key(value): _outcome(value, restored.get(_key(value))) for value in before}


def _outcome(before: Mapping[str, Any], after: Mapping[str, Any] | None) -> str:
    if after is None:
        return "LOST"
    if after["at"] > before["at"]:
        return "newer"
    same = all(before.get(name) == after.get(name) for name in ("at", "value", "text_value", "unit", "quality"))
    return "same" if same else "LOST"


def _key(value: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(value[name]) for name in ("feed", "sub", "code", "channel", "device_code"))


def _side_by_side(before: list[Mapping[str, Any]], after: list[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for old, new in zip(vitals(before), vitals(after), strict=True):
        same = "same" if (old.value, old.measured_at) == (new.value, new.measured_at) else "newer"
        mark = same if new.measured_at >= old.measured_at else "LOST"
        rows.append((old.name, f"{old.value} {old.unit}", f"{new.value} {new.unit}", mark))
    return rows


def _story(restored: Mapping[str, Any]) -> str:
    steps, checked = restored["steps_ms"], restored["verified"]
    return (
        f"{OTHERS[0]} asks who holds it: {' and '.join(restored['answered'])} answer ({steps['ask']:.0f} ms). "
        f"{checked['blocks']} blocks, {checked['signatures']} signatures, {checked['links']} links, "
        f"{checked['cosignatures']} cosignatures are checked ({steps['fetch'] + steps['verify']:.0f} ms)."
    )
