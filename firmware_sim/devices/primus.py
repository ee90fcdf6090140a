"""`primus`: a Dräger Primus at its MEDIBUS port."""

from __future__ import annotations

import argparse
import math

from firmware_sim.catalogue import Around, LineDevice
from firmware_sim.medibus_device import MedibusConfig, MedibusDevice
from firmware_sim.medibus_profiles import PRIMUS


def _own_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--suspend-every", type=float, default=math.inf, metavar="S", help="ask for half a second of quiet (DC1, DC3)"
    )
    parser.add_argument(
        "--co2-to-kpa", type=float, default=math.inf, metavar="S", help="then the unit of CO2 is changed at the device"
    )


def _build(options: argparse.Namespace, around: Around) -> MedibusDevice:
    config = MedibusConfig(
        PRIMUS, line_bytes_a_s=872.0, suspend_every_s=options.suspend_every, co2_to_kpa_s=options.co2_to_kpa
    )
    return MedibusDevice(around.patient, around.clock.started_unix_s, config, around.line())


DEVICE = LineDevice(
    name="primus",
    help="a Dräger Primus anaesthesia machine (MEDIBUS) at a serial port (a pty)",
    feed="anaesthesia-machine",
    driver="medibus",
    lines=("pty", "tcp"),
    build=_build,
    title=lambda _options: "Dräger Primus",
    serial_line="9600 8E1",
    own_options=_own_options,
    feed_options=lambda _options: 'waves = ["PAW", "FLOW", "CO2"], wave_multiplier = 2',
)
