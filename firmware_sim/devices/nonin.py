"""`nonin`: a Nonin OEM III oximeter module."""

from __future__ import annotations

import argparse

from firmware_sim.catalogue import Around, LineDevice
from firmware_sim.nonin import NoninModule


def _own_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-format", type=int, choices=(2, 7), default=2, help="serial data format; default: 2")


def _build(options: argparse.Namespace, around: Around) -> NoninModule:
    return NoninModule(around.patient, options.data_format, around.line())


DEVICE = LineDevice(
    name="nonin",
    help="a Nonin OEM III oximeter module at a serial port (a pty)",
    feed="oximeter",
    driver="nonin",
    lines=("pty",),
    build=_build,
    title=lambda options: f"Nonin OEM III module, serial data format {options.data_format}",
    serial_line="9600 8N1",
    own_options=_own_options,
    feed_options=lambda options: f"data_format = {options.data_format}",
)
