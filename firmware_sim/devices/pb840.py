"""`pb840`: a Puritan Bennett 840 at one of its serial ports."""

from __future__ import annotations

import argparse

from firmware_sim.catalogue import Around, LineDevice
from firmware_sim.device import SimulatedDevice
from firmware_sim.pb840 import Pb840, Pb840Waves


def _own_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--waves", action="store_true", help="the port that sends waveforms, else that for reports")


def _build(options: argparse.Namespace, around: Around) -> SimulatedDevice:
    if options.waves:
        return Pb840Waves(around.patient, around.line())
    return Pb840(around.patient, around.clock.started_unix_s, around.line())


DEVICE = LineDevice(
    name="pb840",
    help="a Puritan Bennett 840 ventilator at a serial port (a pty)",
    feed="ventilator",
    driver="pb840",
    lines=("pty", "tcp"),
    build=_build,
    title=lambda options: f"Puritan Bennett 840{', waveforms' if options.waves else ''}",
    serial_line="9600 8N1",
    own_options=_own_options,
    feed_options=lambda options: 'port = "waves"' if options.waves else "",
)
