"""`space-rack`: a B. Braun SpaceStation with infusion pumps at its BCC port."""

from __future__ import annotations

import argparse
import math

from firmware_sim.catalogue import Around, LineDevice
from firmware_sim.space_rack import MOST_PUMPS, Happening, RackConfig, SpaceRack

_HAPPENS = (
    Happening(30, "occlusion", "13"),
    Happening(50, "well", "13"),
    Happening(70, "move", "12", "19"),
    Happening(100, "nearly-empty", "11"),
    Happening(220, "on-battery", "14"),
    Happening(240, "remove", "19"),
)


def _pumps(text: str) -> int:
    number = int(text)
    if not 1 <= number <= MOST_PUMPS:
        raise argparse.ArgumentTypeError(f"a rack has 1 to {MOST_PUMPS} pumps, not {number}")
    return number


def _own_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pumps", type=_pumps, default=4, metavar="N", help=f"how many, 1 to {MOST_PUMPS} (4)")
    parser.add_argument("--stuffing", action="store_true", help="character stuffing is on")
    parser.add_argument("--cycle", type=float, default=math.inf, metavar="S", help="sends by itself every S seconds")
    parser.add_argument("--ask-each", action="store_true", help="each block of an answer has to be asked for")
    parser.add_argument("--calm", action="store_true", help="no occlusion, no pump moved, nothing runs empty")


def _build(options: argparse.Namespace, around: Around) -> SpaceRack:
    config = RackConfig(
        pumps=options.pumps,
        stuffing=options.stuffing,
        cycle_s=options.cycle,
        goes_on=not options.ask_each,
        happenings=() if options.calm else _HAPPENS,
    )
    return SpaceRack(around.patient, config, around.line())


DEVICE = LineDevice(
    name="space-rack",
    help="a B. Braun SpaceStation with infusion pumps (BCC); --fault sensor-off:pump-13 takes one out",
    feed="pumps",
    driver="bbraun-bcc",
    lines=("pty", "tcp"),
    build=_build,
    title=lambda options: f"B. Braun SpaceStation with {options.pumps} pumps",
    serial_line="9600 8N1",
    port=4001,
    own_options=_own_options,
    feed_options=lambda options: "poll_s = 5.0" if math.isinf(options.cycle) else 'mode = "cyclic"',
)
