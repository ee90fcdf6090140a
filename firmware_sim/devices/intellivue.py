"""`intellivue`: a Philips IntelliVue monitor at its MIB/RS232 port or on the LAN."""

from __future__ import annotations

import argparse

from firmware_sim.catalogue import Around, LineDevice
from firmware_sim.intellivue import IntelliVueConfig, IntelliVueMonitor

PORT = 24105


def _own_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--demo", action="store_true", help="the monitor is in demonstration mode")


def _build(options: argparse.Namespace, around: Around) -> IntelliVueMonitor:
    config = IntelliVueConfig(lan=bool(options.udp), demo=options.demo)
    return IntelliVueMonitor(around.patient, around.clock.started_unix_s, config, around.line())


def _feed_options(options: argparse.Namespace) -> str:
    waves = '"MDC_ECG_ELEC_POTL_II", "MDC_PRESS_BLD_ART", "MDC_PULS_OXIM_PLETH", "MDC_AWAY_CO2"'
    return f'interface = "{"lan" if options.udp else "rs232"}", wave_list = [{waves}]'


DEVICE = LineDevice(
    name="intellivue",
    help="a Philips IntelliVue monitor: MIB/RS232 (a pty) or LAN (UDP)",
    feed="monitor",
    driver="intellivue",
    lines=("pty", "udp"),
    build=_build,
    title=lambda _: "Philips IntelliVue monitor",
    serial_line="115200 8N1",
    port=PORT,
    own_options=_own_options,
    feed_options=_feed_options,
)
