"""`cms50`: a Contec CMS50 finger oximeter."""

from __future__ import annotations

import argparse

from firmware_sim.catalogue import Around, LineDevice
from firmware_sim.cms50 import Cms50Oximeter


def _own_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--firmware", choices=("7", "old"), default="7", help="which protocol it speaks; default: 7")


def _build(options: argparse.Namespace, around: Around) -> Cms50Oximeter:
    return Cms50Oximeter(around.patient, options.firmware, around.line())


DEVICE = LineDevice(
    name="cms50",
    help="a Contec CMS50 finger oximeter at a serial port (a pty)",
    feed="oximeter",
    driver="cms50",
    lines=("pty",),
    build=_build,
    title=lambda options: f"Contec CMS50, firmware {options.firmware}",
    serial_line="115200 8N1",
    own_options=_own_options,
    feed_options=lambda options: f'firmware = "{options.firmware}"',
)
