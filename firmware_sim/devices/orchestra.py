"""`orchestra`: a Fresenius Orchestra base with three pumps, or one Agilia."""

from __future__ import annotations

import argparse

from firmware_sim.catalogue import Around, LineDevice
from firmware_sim.orchestra import OrchestraBase


def _own_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--connection", choices=("base", "pump"), default="base", help="what it is; default: base")


def _build(options: argparse.Namespace, around: Around) -> OrchestraBase:
    return OrchestraBase(around.patient, base=options.connection == "base", line=around.line())


DEVICE = LineDevice(
    name="orchestra",
    help="a Fresenius Orchestra base with three pumps at a serial port (a pty) or on TCP",
    feed="pumps",
    driver="fresenius",
    lines=("pty", "tcp"),
    build=_build,
    title=lambda options: "Fresenius Orchestra base" if options.connection == "base" else "Fresenius Agilia",
    serial_line="19200 7E1",
    port=4001,
    own_options=_own_options,
    feed_options=lambda options: f'connection = "{options.connection}"',
)
