"""`openigtlink`: a surgical robot that sends pose and force of its tool."""

from __future__ import annotations

import argparse

from firmware_sim.catalogue import Around, LineDevice
from firmware_sim.openigtlink import OpenIgtLinkRobot, RobotConfig


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pose-hz", type=int, default=10, metavar="N", help="TRANSFORM messages a second; default: 10")
    parser.add_argument("--force-hz", type=int, default=100, metavar="N", help="of each SENSOR; default: 100")
    parser.add_argument("--no-ids", action="store_true", help="header version 1, as protocols 1 and 2 have it")
    parser.add_argument("--waits", action="store_true", help="send pose and force only once asked")


def _build(options: argparse.Namespace, around: Around) -> OpenIgtLinkRobot:
    if not 1 <= options.pose_hz <= 1000 or not 1 <= options.force_hz <= 1000:
        raise ValueError("--pose-hz and --force-hz: give 1 to 1000")
    config = RobotConfig(options.pose_hz, options.force_hz, ids=not options.no_ids, waits=options.waits)
    return OpenIgtLinkRobot(around.patient, around.clock.started_unix_s, config, around.line())


def _feed_options(options: argparse.Namespace) -> str:
    asked = ', start = ["TRANS", "TDATA"], interval_ms = 50' if options.waits else ""
    return f'make = "simulated", model = "surgical robot"{asked}'


DEVICE = LineDevice(
    name="openigtlink",
    help="a surgical robot (OpenIGTLink 3): pose and force of its tool, status, tracked tools",
    feed="robot",
    driver="openigtlink",
    lines=("tcp", "tcp-client"),
    build=_build,
    title=lambda _options: "surgical robot with OpenIGTLink",
    port=18944,
    own_options=_options,
    feed_options=_feed_options,
)
