"""`nellcor`: a Nellcor N-595 oximeter on its data port."""

from __future__ import annotations

import argparse

from firmware_sim.catalogue import Around, LineDevice
from firmware_sim.nellcor import NellcorOximeter


def _build(_: argparse.Namespace, around: Around) -> NellcorOximeter:
    return NellcorOximeter(around.patient, around.clock.started_unix_s, around.line())


DEVICE = LineDevice(
    name="nellcor",
    help="a Nellcor N-595 oximeter at a serial port (a pty)",
    feed="oximeter",
    driver="nellcor",
    lines=("pty",),
    build=_build,
    title=lambda _: "Nellcor N-595 oximeter",
    serial_line="9600 8N1",
)
