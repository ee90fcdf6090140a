"""`push`: the console of a research robot that sends JSON lines over TLS."""

from __future__ import annotations

import argparse
import secrets
import ssl

from firmware_sim.catalogue import Around
from firmware_sim.push_console import PushConsole
from firmware_sim.socket_lines import TcpClientLine, host_and_port


class PushKind:
    """The `Kind` of the console."""

    name = "push"
    help = "the console of a research robot that pushes JSON lines (with certificates: over TLS)"

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Where to send, and the certificates."""
        parser.add_argument("--to", required=True, metavar="HOST:PORT", help="the box's push listener")
        parser.add_argument("--certificate", metavar="PATH", help="its own certificate and key, PEM")
        parser.add_argument("--box-certificate", metavar="PATH", help="the box's certificate, PEM")

    def make(self, options: argparse.Namespace, around: Around) -> RunningConsole:
        """The console, not yet connected."""
        return RunningConsole(options, around)


class RunningConsole:
    """The console that runs."""

    def __init__(self, options: argparse.Namespace, around: Around) -> None:
        self._options = options
        self._console = PushConsole(around.patient, around.clock.started_unix_s, secrets.token_hex(8), around.line())
        self._line = TcpClientLine(self._console, around.clock, *host_and_port(options.to, "--to"))
        if options.certificate:
            self._line.tls = _context(options.certificate, options.box_certificate)

    async def start(self) -> None:
        """Begin to send."""
        await self._line.start()

    async def stop(self) -> None:
        """Stop sending."""
        await self._line.stop()

    def describe(self) -> str:
        """Where it sends, and a [[feed]] for it."""
        to, certificate = self._options.to, self._options.certificate or "/etc/orledger/push/console.crt"
        return (
            f"# research console, sending to {to}\n"
            "# for the configuration of the box:\n"
            '[[feed]]\nname = "console"\ndriver = "push"\n'
            f'tls = {{ listen = "{to}", allow = ["127.0.0.1"], clients = ["{certificate}"] }}'
        )

    def summary(self) -> str:
        """What became of the lines."""
        return f"console: {self._console.waiting} lines waiting, {self._console.refused} refused"


def _context(certificate: str, box_certificate: str | None) -> ssl.SSLContext:
    if box_certificate is None:
        raise ValueError("--certificate needs --box-certificate")
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=box_certificate)
    context.check_hostname = False  # the certificate itself is what is trusted
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_cert_chain(certificate)
    return context


DEVICE = PushKind()
