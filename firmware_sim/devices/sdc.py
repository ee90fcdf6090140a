"""`sdc`: an anaesthesia workstation that speaks ISO/IEEE 11073 SDC."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import uuid
from dataclasses import replace
from pathlib import Path

from firmware_sim.catalogue import Around
from firmware_sim.sdc_provider import SdcConfig, SdcWorkstation

_COMMANDS = """\
with --control it takes commands, one a line, and answers each with a line:
  validity METRIC Vld|Qst|Inv|Calib|Ong|NA   mode METRIC Real|Test|Demo   alarm CONDITION on|off|latch|ack|pause
  jump N (versions never told)   sequence (the MDIB begins anew)   rename METRIC CODE   select MODE
  patient GIVEN FAMILY   requests (what was asked of it, as JSON)
"""


class SdcKind:
    """The `Kind` of the workstation."""

    name = "sdc"
    help = "an anaesthesia workstation that speaks ISO/IEEE 11073 SDC (needs the extra `simulators`)"

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Where it is, who it is, and whether it can be found."""
        add = parser.add_argument
        add("--adapter", default="127.0.0.1", metavar="ADDRESS", help="its own address; default: 127.0.0.1")
        add("--epr", metavar="UUID", help="its lasting identity; default: another one at each start")
        add("--no-discovery", action="store_true", help="tell nobody: it is known by its address alone")
        add("--tls", type=Path, metavar="FOLDER", help="mutual TLS with userkey.pem, usercert.pem and cacert.pem")
        add("--subscription", type=int, default=15, metavar="S", help="longest subscription granted; default: 15")
        add("--control", action="store_true", help=f"take commands on standard input. {_COMMANDS}")

    def make(self, options: argparse.Namespace, around: Around) -> RunningWorkstation:
        """The workstation, not yet reachable. Raise ValueError for an EPR that is no UUID, or without its library."""
        config = SdcConfig(
            options.adapter,
            discovery=not options.no_discovery,
            tls=options.tls,
            subscription_s=options.subscription,
        )
        if options.epr:
            config = replace(config, epr=uuid.UUID(options.epr))
        try:
            return RunningWorkstation(SdcWorkstation(around.patient, around.clock, config), control=options.control)
        except ModuleNotFoundError as fault:
            raise ValueError(f"{fault}; install orledger[simulators]") from fault


class RunningWorkstation:
    """The workstation that runs; its library has threads of its own."""

    def __init__(self, workstation: SdcWorkstation, *, control: bool) -> None:
        self._workstation = workstation
        self._control = control

    async def start(self) -> None:
        """Begin to answer."""
        await asyncio.to_thread(self._workstation.start)
        if self._control:
            asyncio.get_running_loop().add_reader(sys.stdin, self._command)

    async def stop(self) -> None:
        """Say farewell."""
        if self._control:
            asyncio.get_running_loop().remove_reader(sys.stdin)
        await asyncio.to_thread(self._workstation.stop)

    def describe(self) -> str:
        """Where it is, and a [[feed]] for it."""
        config, address = self._workstation.config, self._workstation.address
        found = f'epr = "{config.epr.urn}", interface = "{config.adapter}"'
        where = found if config.discovery else f'address = "{address}"'
        tls = ""
        if config.tls is not None:
            files = ("certificate", "usercert"), ("key", "userkey"), ("ca", "cacert")
            tls = ", tls = { " + ", ".join(f'{name} = "{config.tls}/{file}.pem"' for name, file in files) + " }"
        return (
            f"# SDC workstation on {address}\n"
            "# for the configuration of the box:\n"
            f'[[feed]]\nname = "workstation"\ndriver = "sdc"\nsdc = {{ {where}{tls} }}'
        )

    def summary(self) -> str:
        """What was asked of it."""
        return f"workstation: asked {dict(sorted(self._workstation.requests.items()))}"

    def _command(self) -> None:
        line = sys.stdin.readline()
        if not line:
            asyncio.get_running_loop().remove_reader(sys.stdin)
            return
        answer = ""
        with contextlib.suppress(IndexError):
            try:
                answer = self._workstation.command(line)
            except ValueError as fault:
                answer = f"no: {fault}"
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()


DEVICE = SdcKind()
