"""`hl7`: a gateway that sends HL7 v2 over MLLP."""

from __future__ import annotations

import argparse
from pathlib import Path

from firmware_sim.catalogue import Around
from firmware_sim.hl7_gateway import GatewayConfig, Hl7Gateway
from firmware_sim.hl7_messages import CHARSETS, GatewayProfile
from firmware_sim.hl7_session import SendPolicy
from firmware_sim.socket_lines import host_and_port


class GatewayKind:
    """The `Kind` of the gateway."""

    name = "hl7"
    help = "a gateway that sends HL7 v2.6 (IHE PCD-01, PCD-04) over MLLP"

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Where to send, how fast and how badly."""
        add = parser.add_argument
        add("--to", required=True, metavar="HOST:PORT", help="MLLP listener to send to")
        add("--rate", type=float, default=0.5, metavar="N", help="numeric messages per second; default: 0.5")
        add("--waves", action="store_true", help="waveform messages too, one a second")
        add("--acked-file", type=Path, metavar="PATH", help="append each acknowledged MSH-10 to this file")
        add("--original-mode", action="store_true", help="MSH-15 and MSH-16 empty: expects AA, not CA")
        add("--charset", choices=sorted(CHARSETS), default="UNICODE UTF-8", help="MSH-18")
        add("--processing-id", choices=("P", "T", "D"), default="P", help="MSH-11; default: P")
        add("--location", default="SIM^OR^1", help="PV1-3; default: SIM^OR^1")
        add("--window", type=int, default=1, metavar="N", help="messages unacknowledged at once; default: 1")
        add("--ack-timeout", type=float, default=10.0, metavar="S", help="then reconnect and send again")
        add("--duplicate-every", type=int, default=0, metavar="N", help="send every Nth message twice")
        add("--split-writes", action="store_true", help="send each frame in pieces")
        add("--limit", type=int, default=0, metavar="N", help="stop offering after N messages")

    def make(self, options: argparse.Namespace, around: Around) -> RunningGateway:
        """The gateway, not yet connected."""
        return RunningGateway(options, Hl7Gateway(around.patient, around.clock, _config(options), around.line()))


class RunningGateway:
    """The gateway that runs."""

    def __init__(self, options: argparse.Namespace, gateway: Hl7Gateway) -> None:
        self._options = options
        self._gateway = gateway

    async def start(self) -> None:
        """Begin to send."""
        await self._gateway.start()

    async def stop(self) -> None:
        """Stop sending."""
        await self._gateway.stop()

    def describe(self) -> str:
        """Where it sends, and a [[feed]] for it."""
        to, location = self._options.to, self._options.location
        return (
            f"# HL7 gateway, sending to {to}\n"
            "# for the configuration of the box:\n"
            f'[[feed]]\nname = "gateway"\ndriver = "hl7"\nmllp = {{ listen = "{to}", allow = ["127.0.0.1"] }}\n'
            f'options = {{ beds = [{{ match = "{location}", feed = "anaesthesia" }}] }}'
        )

    def summary(self) -> str:
        """What became of the messages."""
        c = self._gateway.counters
        return (
            f"gateway: {c.offered} messages, {c.acknowledged} acknowledged, {self._gateway.waiting} waiting, "
            f"{c.refused} refused, {c.timeouts} timeouts, {c.duplicates_sent} sent twice, {c.dropped} dropped"
        )


def _config(options: argparse.Namespace) -> GatewayConfig:
    host, port = host_and_port(options.to, "--to")
    if options.rate <= 0 or options.window < 1:
        raise ValueError("--rate must be above 0 and --window at least 1")
    return GatewayConfig(
        host=host,
        port=port,
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


DEVICE = GatewayKind()
