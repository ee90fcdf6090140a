"""`servo-i`: a Maquet Servo-i at its Computer Interface Emulator."""

from __future__ import annotations

import argparse

from firmware_sim.catalogue import Around, LineDevice
from firmware_sim.servo_i import ServoI


def _build(_options: argparse.Namespace, around: Around) -> ServoI:
    return ServoI(around.patient, line=around.line())


DEVICE = LineDevice(
    name="servo-i",
    help="a Maquet Servo-i ventilator (CIE) at a serial port (a pty)",
    feed="ventilator",
    driver="servo-i",
    lines=("pty", "tcp"),
    build=_build,
    title=lambda _options: "Maquet Servo-i",
    serial_line="9600 8E1",
)
