"""`ge-s5`: a GE S/5 or CARESCAPE monitor at its computer interface."""

from __future__ import annotations

import argparse

from firmware_sim.catalogue import Around, LineDevice
from firmware_sim.ge_s5 import S5Config, S5Monitor


def _own_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--carescape", action="store_true", help="no limit of 600 samples/s for waves; answers alarm requests"
    )


def _build(options: argparse.Namespace, around: Around) -> S5Monitor:
    config = S5Config(carescape=options.carescape)
    return S5Monitor(around.patient, around.clock.started_unix_s, config, around.line())


def _feed_options(options: argparse.Namespace) -> str:
    if options.carescape:
        waves = '"ECG1", "ECG2", "ECG3", "INVP1", "INVP2", "PLETH", "CO2", "AWP"'
        return f"numerics_s = 5, waves = [{waves}], carescape = true"
    return 'numerics_s = 5, waves = ["ECG1", "INVP1", "PLETH"]'


DEVICE = LineDevice(
    name="ge-s5",
    help="a GE S/5 or CARESCAPE monitor at a serial port (a pty)",
    feed="monitor",
    driver="ge-dri",
    lines=("pty",),
    build=_build,
    title=lambda options: f"GE {'CARESCAPE' if options.carescape else 'S/5'} monitor",
    serial_line="19200 8E1",
    own_options=_own_options,
    feed_options=_feed_options,
)
