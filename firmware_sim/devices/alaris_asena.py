"""`alaris-asena`: an Alaris Asena GH syringe pump."""

from __future__ import annotations

from firmware_sim.alaris_asena import AsenaPump
from firmware_sim.catalogue import LineDevice

DEVICE = LineDevice(
    name="alaris-asena",
    help="an Alaris Asena GH syringe pump at a serial port (a pty) or on TCP",
    feed="pump",
    driver="alaris-asena",
    lines=("pty", "tcp"),
    build=lambda _options, around: AsenaPump(around.patient, line=around.line()),
    title=lambda _options: "Alaris Asena GH",
    serial_line="38400 8N1",
    port=4001,
)
