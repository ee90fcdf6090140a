"""Command line of the simulated devices: `python -m firmware_sim --help`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys

from firmware_sim.catalogue import Around, kinds
from firmware_sim.faults import Fault, FaultError, FaultKind, parse_fault
from firmware_sim.ge_values import SENSORS
from firmware_sim.patient import Patient
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
  python -m firmware_sim DEVICE --help
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m firmware_sim",
        description="Simulated operating room devices that speak the real protocols over real ptys and sockets.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="DEVICE")
    for kind in kinds():
        sub = commands.add_parser(kind.name, help=kind.help, description=kind.help)
        sub.epilog, sub.formatter_class = _EPILOG, argparse.RawDescriptionHelpFormatter
        sub.add_argument("--scenario", choices=sorted(SCENARIOS), default="stable", help="default: stable")
        sub.add_argument("--seed", type=int, default=1, help="another number is another patient; default: 1")
        sub.add_argument("--fault", action="append", default=[], metavar="FAULT", help="see below")
        sub.add_argument("--duration", type=float, metavar="S", help="stop by itself after so many seconds")
        kind.add_options(sub)
        sub.set_defaults(kind=kind)
    return parser


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _faults(texts: list[str]) -> tuple[Fault, ...]:
    faults = tuple(parse_fault(text) for text in texts)
    for fault in faults:
        if fault.target and fault.target not in SENSORS:
            raise FaultError(f"there is no sensor {fault.target!r}; there are: {', '.join(SENSORS)}")
    return faults


async def _run(options: argparse.Namespace) -> None:
    around = Around(Patient(options.seed, options.scenario), faults=_faults(options.fault))
    device = options.kind.make(options, around)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await device.start()
    try:
        _say(device.describe())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(options.duration):
                await stop.wait()
    finally:
        await device.stop()
    _say(device.summary())


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
