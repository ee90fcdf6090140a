"""`c-arm`: a mobile C-arm that stores its images at a DICOM storage provider (C-STORE)."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections import deque
from pathlib import Path

from firmware_sim.c_arm import CArm, Shot
from firmware_sim.catalogue import Around
from firmware_sim.socket_lines import host_and_port

_PATIENCE_S = 30.0
_RETRY_S = 1.0
_WAITING = 64


class CArmKind:
    """The `Kind` of the C-arm."""

    name = "c-arm"
    help = "a mobile C-arm that stores images (DICOM C-STORE) while the operation goes on"

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Where to store, under which names, how often."""
        add = parser.add_argument
        add("--to", required=True, metavar="HOST:PORT", help="storage provider to store at")
        add("--ae-title", default="SIM_CARM", metavar="AE", help="what it calls itself; default: SIM_CARM")
        add("--called", default="ORLEDGER", metavar="AE", help="what it calls the provider; default: ORLEDGER")
        add("--every", type=float, default=10.0, metavar="S", help="seconds between images; default: 10")
        add("--side", type=int, default=1024, metavar="PIXELS", help="pixels a side; default: 1024")
        add("--acked-file", type=Path, metavar="PATH",
            help="append each stored SOP instance UID and the SHA-256 of its data set to this file")  # fmt: skip

    def make(self, options: argparse.Namespace, around: Around) -> RunningCArm:
        """The C-arm, before its first image."""
        return RunningCArm(options, around)


class RunningCArm:
    """The C-arm that runs. An image that is not stored is kept and tried again, as its own disk would do."""

    def __init__(self, options: argparse.Namespace, around: Around) -> None:
        self._options = options
        self._host, self._port = host_and_port(options.to, "--to")
        if options.every <= 0:
            raise ValueError("--every must be above 0")
        self._clock = around.clock
        self._line = around.line()
        self._arm = CArm(around.patient.seed, around.clock.started_unix_s, options.side)
        self._waiting: deque[Shot] = deque(maxlen=_WAITING)
        self._tasks: list[asyncio.Task[None]] = []
        self._taken = self._stored = 0

    async def start(self) -> None:
        """Begin to take images."""
        self._tasks = [asyncio.create_task(self._take()), asyncio.create_task(self._store())]

    async def stop(self) -> None:
        """End; an association that is open ends first."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def describe(self) -> str:
        """Where it stores, and a [[feed]] for it."""
        options = self._options
        return (
            f"# mobile C-arm {options.ae_title}, storing at {options.called} {options.to}\n"
            "# for the configuration of the box:\n"
            f'[[feed]]\nname = "imaging"\ndriver = "dicom"\n\n[feed.dicom]\nlisten = "{options.to}"\n'
            f'ae_title = "{options.called}"\npeers = [{{ ae_title = "{options.ae_title}", allow = ["127.0.0.1"] }}]'
        )

    def summary(self) -> str:
        """What became of the images."""
        return f"c-arm: {self._taken} images, {self._stored} stored, {len(self._waiting)} waiting"

    async def _take(self) -> None:
        while True:
            if not self._line.off(self._clock.now_s()):
                self._waiting.append(await asyncio.to_thread(self._arm.shoot, self._clock.now_s()))
                self._taken += 1
            await asyncio.sleep(self._options.every)

    async def _store(self) -> None:
        while True:
            await asyncio.sleep(_RETRY_S)
            while self._waiting:
                shot = self._waiting[0]
                if not await asyncio.shield(asyncio.to_thread(self._store_one, shot)):
                    break
                self._stored += 1
                with contextlib.suppress(IndexError):
                    self._waiting.popleft()

    def _store_one(self, shot: Shot) -> bool:
        """True once the provider said success; an association of its own for each image, as these machines do."""
        status = _associated(self._host, self._port, self._options.ae_title, self._options.called, shot)
        if status and self._options.acked_file is not None:
            with self._options.acked_file.open("a") as file:
                file.write(f"{shot.instance} {shot.sha256}\n")
        return status


def _associated(host: str, port: int, calling: str, called: str, shot: Shot) -> bool:
    from pydicom.uid import ExplicitVRLittleEndian  # noqa: PLC0415 - half a second that no other device needs
    from pynetdicom import AE  # noqa: PLC0415
    from pynetdicom.sop_class import XRayAngiographicImageStorage  # type: ignore[attr-defined]  # noqa: PLC0415

    title = AE(calling)
    title.acse_timeout = title.dimse_timeout = title.network_timeout = title.connection_timeout = _PATIENCE_S
    title.add_requested_context(XRayAngiographicImageStorage, ExplicitVRLittleEndian)
    association = title.associate(host, port, ae_title=called)
    if not association.is_established:
        return False
    try:
        answer = association.send_c_store(shot.data_set)
    finally:
        association.release()
    return "Status" in answer and int(answer.Status) == 0


DEVICE = CArmKind()
