"""``orledger drivers``: which devices can be recorded, and all that a driver may ever say to one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from agent.cli.context import Settings, common_options, document, json_text, pass_settings
from ledger.errors import ConfigurationFault, OperatorFault

if TYPE_CHECKING:
    from drivers.contract import Spec

_SHOWN_PATTERN = 96


@click.group("drivers")
def command() -> None:
    """Show the drivers, the devices they read, and what they may send."""


@command.command("list")
@common_options
@pass_settings
def list_drivers(settings: Settings) -> int:
    """List every driver; exit 1 if one of them cannot be loaded."""
    from drivers import registry

    found, broken = [], []
    for name in registry.names():
        try:
            found.append(registry.get(name).spec)
        except ConfigurationFault as fault:
            broken.append((name, fault))
    if settings.json:
        drivers = [_summary(spec) for spec in found]
        errors = [{"name": name, "error": error.id, "text": error.text} for name, error in broken]
        click.echo(json_text(document("drivers", drivers=drivers, broken=errors)))
        return 1 if broken else 0
    width = max((len(spec.name) for spec in found), default=0)
    how_width = max((len(_how(spec)) for spec in found), default=0)
    for spec in found:
        click.echo(f"{spec.name:{width}}  {_how(spec):{how_width}}  {'; '.join(spec.devices)}")
    for name, error in broken:
        click.echo(f"{name:{width}}  BROKEN: {error.text}. Next: {error.next_step}", err=True)
    click.echo("\nNext: orledger drivers show NAME", err=True)
    return 1 if broken else 0


@command.command("show")
@click.argument("name")
@click.option("--tx", is_flag=True, help="All that the driver may ever send: the patterns, and what each asks for.")
@click.option("--schema", is_flag=True, help="The JSON Schema of what may be sent to it, where there is one (push).")
@common_options
@pass_settings
def show(settings: Settings, *, name: str, tx: bool, schema: bool) -> int:
    """Show one driver: its devices, how they are connected, its options, and where the protocol is described."""
    from drivers import registry

    spec = registry.get(name).spec
    if schema:
        if spec.json_schema is None:
            raise OperatorFault("drivers.no-schema", f"{name} reads its devices' own protocol", f"see {spec.source}")
        click.echo(json.dumps(spec.json_schema(), indent=2))
    elif settings.json:
        click.echo(json_text(document("driver", driver=_whole(spec))))
    elif tx:
        _print_sendable(spec)
    else:
        _print_driver(spec)
    return 0


def _how(spec: Spec[Any]) -> str:
    return ", ".join(transport.value for transport in spec.transports)


def _summary(spec: Spec[Any]) -> dict[str, Any]:
    return {
        "name": spec.name,
        "devices": list(spec.devices),
        "transports": [transport.value for transport in spec.transports],
        "serial_lines": list(spec.serial_lines),
    }


def _whole(spec: Spec[Any]) -> dict[str, Any]:
    from drivers.description import options, pattern_text

    return _summary(spec) | {
        "records": sorted(spec.records),
        "silence_s": spec.silence_s,
        "displaces_a_client": spec.client_slots == 1,
        "longest_frame_bytes": spec.longest_frame_bytes,
        "source": spec.source,
        "options": [
            {"name": option.name, "type": option.type, "default": option.default, "help": option.help}
            for option in options(spec)
        ],
        "may_send": [
            {"meaning": sendable.meaning, "pattern": pattern_text(sendable.pattern)} for sendable in spec.tx_allowed
        ],
    }


def _print_driver(spec: Spec[Any]) -> None:
    from drivers.description import options

    rows = [
        ("driver", spec.name),
        *(("devices" if index == 0 else "", device) for index, device in enumerate(spec.devices)),
        ("connected by", _how(spec)),
        ("line settings", ", ".join(spec.serial_lines)),
        ("records", ", ".join(sorted(spec.records))),
        ("silence", f"a gap after {spec.silence_s:g} s without a byte" if spec.silence_s else "is no gap"),
        ("takes the place", "of another client of the device" if spec.client_slots == 1 else ""),
        ("may send", f"{len(spec.tx_allowed)} kind(s) of message: --tx shows them" if spec.tx_allowed else "nothing"),
        ("schema", "what may be sent to it, as JSON Schema: --schema" if spec.json_schema is not None else ""),
        ("source", spec.source),
    ]
    for title, text in rows:
        if text:
            click.echo(f"{title:15}  {text}")
    chosen = options(spec)
    click.echo("\noptions" if chosen else "\nno options")
    width = max((len(option.name) for option in chosen), default=0)
    for option in chosen:
        default = "must be given" if option.default is None else f"default {option.default}"
        click.echo(f"  {option.name:{width}}  {option.type}; {default}")
        if option.help:
            click.echo(click.wrap_text(option.help, 110, " " * (width + 4), " " * (width + 4)))


def _print_sendable(spec: Spec[Any]) -> None:
    from drivers.description import pattern_text

    if not spec.tx_allowed:
        click.echo(f"{spec.name} never sends anything")
        return
    click.echo(f"all that {spec.name} may ever send; the recorder lets nothing else out:\n")
    for sendable in spec.tx_allowed:
        pattern = pattern_text(sendable.pattern)
        click.echo(f"  {sendable.meaning}")
        cut = len(pattern) > _SHOWN_PATTERN
        more = f" … ({len(pattern):,} characters; all of them with --json)" if cut else ""
        click.echo(f"      {pattern[:_SHOWN_PATTERN]}{more}")
