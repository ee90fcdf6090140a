"""The whole demo: a folder, a site, the scenes one after the other, and everything put away again."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.demo.claims import Claim, all_passed
from agent.demo.full_room import FULL_ROOM, feeds_of
from agent.demo.machine import machine_facts
from agent.demo.scenes import (
    insider,
    kill_under_load,
    network_cut,
    ransomware,
    room_cables,
    room_load,
    room_lost,
    room_reboot,
    room_start,
    start,
    two_histories,
)
from agent.demo.site import PATIENT_BOX, choose_ports, make_site
from agent.demo.stage import Stage
from agent.demo.view import View
from agent.demo.watch import watch
from ledger.errors import OrledgerError, OurFault, StoreFault

Scene = Callable[[Stage], Awaitable[list[Claim]]]

# The lost box comes last: a box that was rolled back or lost is replaced under a new identity, never started again.
SCENES: tuple[tuple[str, Scene], ...] = (
    (start.SCENE, start.play),
    (kill_under_load.SCENE, kill_under_load.play),
    (network_cut.SCENE, network_cut.play),
    (insider.SCENE, insider.play),
    (two_histories.SCENE, two_histories.play),
    (ransomware.SCENE, ransomware.play),
)
ROOM_SCENES: tuple[tuple[str, Scene], ...] = (
    (room_start.SCENE, room_start.play),
    (room_load.SCENE, room_load.play),
    (room_cables.SCENE, room_cables.play),
    (room_reboot.SCENE, room_reboot.play),
    (room_lost.SCENE, room_lost.play),
)
_SCENE_S = 180.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the demo went. ``kept`` is the folder, if it was to be kept."""

    claims: tuple[Claim, ...]
    machine: dict[str, Any]
    seconds: float
    kept: Path | None

    @property
    def passed(self) -> bool:
        """Every claim holds."""
        return all_passed(self.claims)

    def fields(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "passed": self.passed,
            "seconds": round(self.seconds, 2),
            "claims": [claim.document() for claim in self.claims],
            "machine": self.machine,
            "kept": None if self.kept is None else str(self.kept),
        }


def run_demo(view: View, *, keep: bool, full_room: bool = False) -> Outcome:
    """Run it, or with ``full_room`` that of a whole operating room; the folder is removed unless ``keep``. Ended by a
    signal, it first ends its processes and cleans up, then raises KeyboardInterrupt.
    """
    began = time.monotonic()
    with _folder(keep) as folder:
        machine = machine_facts(folder)
        view.say(
            f"{machine['cores']} cores, load {machine['load_1min']}, {folder} on {machine['file_system']}: "
            f"fdatasync takes {machine['fdatasync_median_ms']:.2f} ms (median), "
            f"{machine['fdatasync_p99_ms']:.2f} ms (p99)."
        )
        try:
            claims = asyncio.run(_play(folder, view, full_room=full_room))
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None
    return Outcome(tuple(claims), machine, time.monotonic() - began, folder if keep else None)


async def _play(folder: Path, view: View, *, full_room: bool) -> list[Claim]:
    stage = _full_stage(folder, view) if full_room else Stage(make_site(folder, choose_ports()), view)
    _on_signals(_current_task().cancel)
    background: list[asyncio.Task[None]] = []
    try:
        await stage.put_up()
        background.append(asyncio.create_task(watch(stage.boxes, PATIENT_BOX, view.show, stage.watched)))
        return await _play_scenes(stage, ROOM_SCENES if full_room else SCENES)
    finally:
        _on_signals(_nothing)  # taking down must not be interrupted; it is bounded
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await stage.take_down()


def _full_stage(folder: Path, view: View) -> Stage:
    ports = choose_ports([device.feed for device in FULL_ROOM])
    return Stage(make_site(folder, ports, feeds_of(FULL_ROOM, folder, ports)), view, FULL_ROOM)


async def _play_scenes(stage: Stage, scenes: Sequence[tuple[str, Scene]]) -> list[Claim]:
    """Every scene; after one that fails there is nothing to build the next one on."""
    claims: list[Claim] = []
    for name, scene in scenes:
        try:
            async with asyncio.timeout(_SCENE_S):
                claims += await scene(stage)
        except TimeoutError:
            late = OurFault("demo.scene-late", f"{name} took more than {_SCENE_S:g} s")
            return [*claims, _failed(name, late, stage)]
        except (OrledgerError, OSError) as error:
            return [*claims, _failed(name, error, stage)]
    return claims


def _current_task() -> asyncio.Task[Any]:
    """The task that runs the demo. Raises OurFault outside of one."""
    task = asyncio.current_task()
    if task is None:
        raise OurFault("demo.no-task", "the demo runs outside a task")
    return task


def _on_signals(act: Callable[[], object]) -> None:
    """What a signal that means "end" does from here on."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, act)


def _nothing() -> None:
    """Ignore it."""


def _failed(name: str, error: Exception, stage: Stage) -> Claim:
    """What went wrong, with the last words of every box."""
    stage.view.say(f"FAILED: {error}")
    for box in stage.boxes.values():
        stage.view.say(f"{box.name} {'is running' if box.running else 'is not running'}; it said last:")
        for line in box.tail().splitlines():
            stage.view.say(f"  {line}")
    return Claim(name, "the scene runs to its end", str(error), passed=False)


@contextlib.contextmanager
def _folder(keep: bool) -> Iterator[Path]:
    try:
        folder = Path(tempfile.mkdtemp(prefix="orledger-demo-"))
    except OSError as error:
        raise StoreFault("demo.folder", f"no temporary folder: {error.strerror}", "set TMPDIR") from error
    try:
        yield folder
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
