"""`masimo`: a Masimo oximeter that prints ASCII 1."""

from __future__ import annotations

import argparse

from firmware_sim.catalogue import Around, LineDevice
from firmware_sim.masimo import RAD_8, RADICAL_7, MasimoOximeter


def _own_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rainbow", action="store_true", help="a Radical-7 with haemoglobin fields, else a Rad-8")


def _build(options: argparse.Namespace, around: Around) -> MasimoOximeter:
    model = RADICAL_7 if options.rainbow else RAD_8
    return MasimoOximeter(around.patient, around.clock.started_unix_s, model, around.line())


DEVICE = LineDevice(
    name="masimo",
    help="a Masimo Rad-8 or Radical-7 oximeter at a serial port (a pty)",
    feed="oximeter",
    driver="masimo",
    lines=("pty",),
    build=_build,
    title=lambda options: f"Masimo {'Radical-7' if options.rainbow else 'Rad-8'} oximeter",
    serial_line="9600 8N1",
    own_options=_own_options,
)
