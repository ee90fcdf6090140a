"""`capnostream`: an Oridion Capnostream 20 capnograph."""

from __future__ import annotations

from firmware_sim.capnostream import CapnostreamMonitor
from firmware_sim.catalogue import LineDevice

DEVICE = LineDevice(
    name="capnostream",
    help="an Oridion Capnostream 20 capnograph at a serial port (a pty) or on TCP",
    feed="capnograph",
    driver="capnostream",
    lines=("pty", "tcp"),
    build=lambda _options, around: CapnostreamMonitor(around.patient, around.clock.started_unix_s, around.line()),
    title=lambda _options: "Oridion Capnostream 20",
    serial_line="115200 8N1",
    port=4001,
)
