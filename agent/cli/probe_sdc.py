"""``orledger probe sdc:ADDRESS``: which SDC devices answer to discovery in the network of this box's address."""

from __future__ import annotations

import asyncio
import ipaddress

import click

from agent.cli.context import Settings, document, json_text
from ledger.errors import OperatorFault

PREFIX = "sdc:"


def discover(settings: Settings, where: str, seconds: float) -> int:
    """Ask once and list what answers; 1 if nothing does. Raises OperatorFault."""
    from drivers.sdc.discovery import GROUP, PORT
    from drivers.transports.addresses import reason_of
    from drivers.transports.sdc_finder import find_all

    interface = where.removeprefix(PREFIX)
    try:
        ipaddress.IPv4Address(interface)
        found = asyncio.run(find_all(interface, (GROUP, PORT), seconds))
    except ValueError as fault:
        raise OperatorFault("probe.sdc", f"{interface!r} is no IPv4 address", "write it like sdc:10.20.3.13") from fault
    except OSError as fault:
        raise OperatorFault(
            "probe.sdc", f"cannot ask from {interface}: {reason_of(fault)}", "give an address of this box"
        ) from fault
    following = "give the device's epr and this interface in its feed; certificates: docs/drivers/sdc.md"
    if not found:
        following = "check the network, whether SDC is enabled at the device, and whether UDP port 3702 may pass"
    if settings.json:
        devices = [{"epr": match.epr, "addresses": list(match.addresses)} for match in found]
        click.echo(json_text(document("probe-sdc", interface=interface, devices=devices, next=following)))
        return 0 if found else 1
    for match in found:
        click.echo(f"{match.epr}  {' '.join(match.addresses) or 'tells no address'}")
    if not found:
        click.echo(f"no SDC device answers in the network of {interface}")
    click.echo(f"\nNext: {following}", err=True)
    return 0 if found else 1
