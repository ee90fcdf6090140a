"""`hamilton`: a Hamilton G5."""

from __future__ import annotations

import argparse

from firmware_sim.catalogue import Around, LineDevice
from firmware_sim.hamilton import HamiltonVentilator


def _own_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--protocol", choices=("block", "poll"), default="block", help="what its port is set to")


def _build(options: argparse.Namespace, around: Around) -> HamiltonVentilator:
    return HamiltonVentilator(around.patient, around.clock.started_unix_s, options.protocol, around.line())


DEVICE = LineDevice(
    name="hamilton",
    help="a Hamilton G5 ventilator at a serial port (a pty)",
    feed="vent",
    driver="hamilton",
    lines=("pty", "tcp"),
    build=_build,
    title=lambda options: f"Hamilton G5, {options.protocol} protocol",
    serial_line="38400 8N1",
    port=4001,
    own_options=_own_options,
    feed_options=lambda options: f'protocol = "{options.protocol}"',
)
