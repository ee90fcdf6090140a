"""`line`: simple devices that send lines of text, each with the options that the driver `line` needs for it."""

from __future__ import annotations

import argparse

from firmware_sim.catalogue import Around, LineDevice
from firmware_sim.device import Device
from firmware_sim.line_devices import EXAMPLES


def _own_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--example", choices=sorted(EXAMPLES), default="oximeter", help="which; default: oximeter")


def _build(options: argparse.Namespace, around: Around) -> Device:
    return EXAMPLES[options.example][0](around.patient, around.line())


DEVICE = LineDevice(
    name="line",
    help="a simple device that sends lines of text: oximeter, scale or blood-gas analyser",
    feed="simple",
    driver="line",
    lines=("pty", "tcp"),
    build=_build,
    title=lambda options: f"simple {options.example}",
    serial_line="9600 8N1",
    own_options=_own_options,
    feed_options=lambda options: EXAMPLES[options.example][1],
)
