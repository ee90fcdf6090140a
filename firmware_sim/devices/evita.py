"""`evita`: a Dräger Evita 4 at its MEDIBUS port."""

from __future__ import annotations

import argparse

from firmware_sim.catalogue import Around, LineDevice
from firmware_sim.medibus_device import MedibusConfig, MedibusDevice
from firmware_sim.medibus_profiles import EVITA_4


def _build(_options: argparse.Namespace, around: Around) -> MedibusDevice:
    return MedibusDevice(around.patient, around.clock.started_unix_s, MedibusConfig(EVITA_4), around.line())


DEVICE = LineDevice(
    name="evita",
    help="a Dräger Evita 4 ventilator (MEDIBUS) at a serial port (a pty)",
    feed="ventilator",
    driver="medibus",
    lines=("pty", "tcp"),
    build=_build,
    title=lambda _options: "Dräger Evita 4",
    serial_line="19200 8E1",
    feed_options=lambda _options: 'waves = ["PAW", "FLOW", "VOLUME", "CO2"]',
)
