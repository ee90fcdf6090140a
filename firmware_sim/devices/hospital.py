"""`hospital`: information systems that send ADT, schedules, orders, laboratory results and pump messages over MLLP."""

from __future__ import annotations

import argparse
from pathlib import Path

from firmware_sim.catalogue import Around
from firmware_sim.hl7_gateway import GatewayConfig, Hl7Gateway
from firmware_sim.hl7_session import SendPolicy
from firmware_sim.hospital import ROOM, STORIES, Hospital, HospitalFeed
from firmware_sim.socket_lines import host_and_port


class HospitalKind:
    """The `Kind` of the hospital."""

    name = "hospital"
    help = "a hospital's systems that send ADT, SIU, ORM, OMI, laboratory and pump messages over MLLP"

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Where to send, which story, how fast."""
        add = parser.add_argument
        add("--to", required=True, metavar="HOST:PORT", help="MLLP listener to send to")
        add("--story", choices=sorted(STORIES), default="list", help="what happens; default: list")
        add("--quicker", type=float, default=1.0, metavar="N", help="so many times as fast; default: 1")
        add("--repeat", action="store_true", help="again and again, for load")
        add("--room", default=ROOM, metavar="PV1-3", help=f"the room's location; default: {ROOM}")
        add("--window", type=int, default=1, metavar="N", help="messages unacknowledged at once; default: 1")
        add("--acked-file", type=Path, metavar="PATH", help="append each acknowledged MSH-10 to this file")
        add("--limit", type=int, default=0, metavar="N", help="stop offering after N messages")

    def make(self, options: argparse.Namespace, around: Around) -> RunningHospital:
        """The sender, not yet connected."""
        return RunningHospital(options, around)


class RunningHospital:
    """The sender that runs. Refusals (messages about other rooms) are not insisted on."""

    def __init__(self, options: argparse.Namespace, around: Around) -> None:
        self._options = options
        host, port = host_and_port(options.to, "--to")
        if options.quicker <= 0 or options.window < 1:
            raise ValueError("--quicker must be above 0 and --window at least 1")
        line = around.line()
        hospital = Hospital(around.clock.started_unix_s, options.room)
        feed = HospitalFeed(
            hospital, STORIES[options.story](), quicker=options.quicker, repeat=options.repeat, line=line
        )
        policy = SendPolicy(window=options.window, gives_up=True)
        config = GatewayConfig(host, port, acked_file=options.acked_file, limit=options.limit, policy=policy)
        self._gateway = Hl7Gateway(around.patient, around.clock, config, line, feed)

    async def start(self) -> None:
        """Begin to send."""
        await self._gateway.start()

    async def stop(self) -> None:
        """Stop sending."""
        await self._gateway.stop()

    def describe(self) -> str:
        """Where it sends, and a [[feed]] for it."""
        to = self._options.to
        bed = "^".join(self._options.room.split("^")[:2])
        return (
            f"# hospital systems, sending to {to}\n"
            "# for the configuration of the box:\n"
            f'[[feed]]\nname = "hospital"\ndriver = "hl7"\nmllp = {{ listen = "{to}", allow = ["127.0.0.1"] }}\n'
            f'options = {{ beds = [{{ match = "{bed}", feed = "room" }}] }}'
        )

    def summary(self) -> str:
        """What became of the messages."""
        c = self._gateway.counters
        return (
            f"hospital: {c.offered} messages, {c.acknowledged} acknowledged, {self._gateway.waiting} waiting, "
            f"{c.refused} refused, {c.timeouts} timeouts"
        )


DEVICE = HospitalKind()
