"""`cdi500`: a Terumo CDI 500 blood gas monitor."""

from __future__ import annotations

import argparse

from firmware_sim.catalogue import Around, LineDevice
from firmware_sim.cdi500 import Cdi500Monitor


def _build(_: argparse.Namespace, around: Around) -> Cdi500Monitor:
    return Cdi500Monitor(around.patient, around.clock.started_unix_s, around.line())


DEVICE = LineDevice(
    name="cdi500",
    help="a Terumo CDI 500 in-line blood gas monitor at a serial port (a pty)",
    feed="blood-gas",
    driver="cdi500",
    lines=("pty",),
    build=_build,
    title=lambda _: "Terumo CDI 500",
    serial_line="9600 8N1",
)
