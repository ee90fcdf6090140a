"""`bis`: a BIS VISTA."""

from __future__ import annotations

import argparse

from firmware_sim.bis import SENSORS, BisMonitor
from firmware_sim.catalogue import Around, LineDevice


def _own_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sensor", choices=tuple(SENSORS), default="quatro", help="what is on the forehead")


def _build(options: argparse.Namespace, around: Around) -> BisMonitor:
    return BisMonitor(around.patient, options.sensor, around.line())


DEVICE = LineDevice(
    name="bis",
    help="a BIS VISTA (legacy binary) at a serial port (a pty)",
    feed="bis",
    driver="bis",
    lines=("pty", "tcp"),
    build=_build,
    title=lambda options: f"BIS VISTA with a {options.sensor} sensor",
    serial_line="57600 8N1",
    port=4001,
    own_options=_own_options,
)
