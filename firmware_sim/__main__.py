"""Command line of the simulated devices: `python -m firmware_sim --help`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from pathlib import Path

from firmware_sim.faults import Fault, FaultError, FaultKind, parse_fault
from firmware_sim.ge_s5 import S5Config
from firmware_sim.ge_values import SENSORS
from firmware_sim.hl7_gateway import GatewayConfig
from firmware_sim.hl7_messages import CHARSETS, GatewayProfile
from firmware_sim.hl7_session import SendPolicy
from firmware_sim.patient import Patient
from firmware_sim.room import GeS5Simulator, Room
from firmware_sim.scenarios import SCENARIOS

_EPILOG = f"""\
faults (--fault, may be given several times):
  KIND[@START[+DURATION]][:VALUE], seconds; without a duration it lasts, a reboot 20 s
  kinds: {", ".join(FaultKind)}
  examples: noise@30+10:0.02   cut@60+20:0.3   reboot@90+15   drift:200 (ppm)   sensor-off@20+30:spo2
  sensors: {", ".join(SENSORS)}

examples:
  python -m firmware_sim ge-s5 --pty-link /run/or1-monitor --scenario haemorrhage
  python -m firmware_sim hl7 --to 127.0.0.1:2575 --rate 200 --window 64 --acked-file acked.txt
  python -m firmware_sim room --pty-link /run/or1-monitor --to 127.0.0.1:2575 --scenario arrest --waves
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m firmware_sim",
        description="Simulated operating room devices that speak the real protocols over real ptys and sockets.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="DEVICE")
    monitor = commands.add_parser("ge-s5", help="a GE S/5 or CARESCAPE monitor at a serial port (a pty)")
    gateway = commands.add_parser("hl7", help="a gateway that sends HL7 v2.6 (IHE PCD-01, PCD-04) over MLLP")
    room = commands.add_parser("room", help="both, showing the same patient")
    for sub in (monitor, gateway, room):
        sub.epilog, sub.formatter_class = _EPILOG, argparse.RawDescriptionHelpFormatter
        sub.add_argument("--scenario", choices=sorted(SCENARIOS), default="stable", help="default: stable")
        sub.add_argument("--seed", type=int, default=1, help="another number is another patient; default: 1")
        sub.add_argument("--fault", action="append", default=[], metavar="FAULT", help="see below")
        sub.add_argument("--duration", type=float, metavar="S", help="stop by itself after so many seconds")
    for sub in (monitor, room):
        _add_monitor_options(sub)
    for sub in (gateway, room):
        _add_gateway_options(sub)
    return parser


def _add_monitor_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pty-link", type=Path, metavar="PATH", help="symbolic link to make to the pty")
    parser.add_argument(
        "--carescape", action="store_true", help="no limit of 600 samples/s for waves; answers alarm requests"
    )


def _add_gateway_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", required=True, metavar="HOST:PORT", help="MLLP listener to send to")
    parser.add_argument(
        "--rate", type=float, default=0.5, metavar="N", help="numeric messages per second; default: 0.5"
    )
    parser.add_argument("--waves", action="store_true", help="waveform messages too, one a second")
    parser.add_argument("--acked-file", type=Path, metavar="PATH", help="append each acknowledged MSH-10 to this file")
    parser.add_argument("--original-mode", action="store_true", help="MSH-15 and MSH-16 empty: expects AA, not CA")
    parser.add_argument("--charset", choices=sorted(CHARSETS), default="UNICODE UTF-8", help="MSH-18")
    parser.add_argument("--processing-id", choices=("P", "T", "D"), default="P", help="MSH-11; default: P")
    parser.add_argument("--location", default="SIM^OR^1", help="PV1-3; default: SIM^OR^1")
    parser.add_argument(
        "--window", type=int, default=1, metavar="N", help="messages unacknowledged at once; default: 1"
    )
    parser.add_argument("--ack-timeout", type=float, default=10.0, metavar="S", help="then reconnect and send again")
    parser.add_argument("--duplicate-every", type=int, default=0, metavar="N", help="send every Nth message twice")
    parser.add_argument("--split-writes", action="store_true", help="send each frame in pieces")
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="stop offering after N messages")


def _gateway_config(options: argparse.Namespace) -> GatewayConfig:
    host, colon, port = options.to.rpartition(":")
    if not colon or not port.isdigit():
        raise ValueError(f"--to {options.to!r}: give HOST:PORT")
    if options.rate <= 0 or options.window < 1:
        raise ValueError("--rate must be above 0 and --window at least 1")
    return GatewayConfig(
        host=host.strip("[]"),
        port=int(port),
        interval_s=1 / options.rate,
        waves=options.waves,
        split_writes=options.split_writes,
        acked_file=options.acked_file,
        limit=options.limit,
        profile=GatewayProfile(
            charset=options.charset,
            enhanced=not options.original_mode,
            processing_id=options.processing_id,
            location=options.location,
        ),
        policy=SendPolicy(
            ack_timeout_s=options.ack_timeout, window=options.window, duplicate_every=options.duplicate_every
        ),
    )


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _faults(texts: list[str]) -> tuple[Fault, ...]:
    faults = tuple(parse_fault(text) for text in texts)
    for fault in faults:
        if fault.target and fault.target not in SENSORS:
            raise FaultError(f"there is no sensor {fault.target!r}; there are: {', '.join(SENSORS)}")
    return faults


def _build(options: argparse.Namespace) -> Room:
    return Room(
        Patient(options.seed, options.scenario),
        monitored=options.command != "hl7",
        link=getattr(options, "pty_link", None),
        monitor=S5Config(carescape=getattr(options, "carescape", False)),
        gateway=_gateway_config(options) if options.command != "ge-s5" else None,
        faults=_faults(options.fault),
    )


def _describe_monitor(monitor: GeS5Simulator, carescape: bool) -> None:
    waves = (
        '"ECG1", "ECG2", "ECG3", "INVP1", "INVP2", "PLETH", "CO2", "AWP"' if carescape else '"ECG1", "INVP1", "PLETH"'
    )
    _say(
        f"GE {'CARESCAPE' if carescape else 'S/5'} monitor on {monitor.path}\n"
        "# for the configuration of the box:\n"
        '[[feed]]\nname = "monitor"\ndriver = "ge-dri"\n'
        f'serial = {{ path = "{monitor.path}", line = "19200 8E1" }}\n'
        f"options = {{ numerics_s = 5, waves = [{waves}]{', carescape = true' if carescape else ''} }}"
    )


def _describe_gateway(to: str, location: str) -> None:
    _say(
        f"HL7 gateway, sending to {to}\n"
        "# for the configuration of the box:\n"
        f'[[feed]]\nname = "gateway"\ndriver = "hl7"\nmllp = {{ listen = "{to}", allow = ["127.0.0.1"] }}\n'
        f'options = {{ beds = [{{ match = "{location}", feed = "anaesthesia" }}] }}'
    )


async def _run(options: argparse.Namespace) -> None:
    room = _build(options)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await room.start()
    try:
        if room.monitor is not None:
            _describe_monitor(room.monitor, options.carescape)
        if room.gateway is not None:
            _describe_gateway(options.to, options.location)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(options.duration):
                await stop.wait()
    finally:
        await room.stop()
    if room.monitor is not None:
        _say(f"monitor: {room.monitor.bytes_sent} bytes taken by the reader")
    if room.gateway is not None:
        c = room.gateway.counters
        _say(
            f"gateway: {c.offered} messages, {c.acknowledged} acknowledged, {room.gateway.waiting} waiting, "
            f"{c.refused} refused, {c.timeouts} timeouts, {c.duplicates_sent} sent twice, {c.dropped} dropped"
        )


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; exit 64 for arguments that make no sense, 69 when a port cannot be opened."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        asyncio.run(_run(options))
    except (FaultError, ValueError) as e:
        sys.stderr.write(f"firmware_sim: {e}\n")
        return 64
    except OSError as e:
        sys.stderr.write(f"firmware_sim: {e}\n")
        return 69
    return 0


if __name__ == "__main__":
    sys.exit(main())
