"""``orledger probe``: what is at this serial port, and how to record it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agent.cli import probe_sdc
from agent.cli.context import Settings, common_options, document, json_text, pass_settings
from agent.cli.progress import clear_progress, show_progress
from ledger.errors import AgentUnreachable, ConfigurationFault, NotPermitted, OperatorFault

if TYPE_CHECKING:
    from agent.probe import Outcome

_BY_PATH = Path("/dev/serial/by-path")


@click.command("probe")
@click.argument("port", type=click.Path(path_type=Path))
@click.option("--ask", is_flag=True, help="If nothing is heard, send the drivers' harmless questions.")
@click.option(
    "--seconds", type=click.FloatRange(0.2, 60), default=3.0, show_default=True, help="How long at each line setting."
)
@common_options
@pass_settings
def command(settings: Settings, *, port: Path, ask: bool, seconds: float) -> int:
    """Listen at the serial PORT and say which protocol, which line setting and which device is heard.

    Nothing is sent without --ask; with it only what identifies a device, as 'orledger drivers show NAME --tx' lists it.
    A port that the agent records from is refused. Exits 1 if nothing is recognised.

    sdc:ADDRESS instead of a port, with an address of this box, asks the network once which SDC devices there are.
    """
    if str(port).startswith(probe_sdc.PREFIX):
        return probe_sdc.discover(settings, str(port), seconds)
    from agent.clock import read_now
    from agent.probe import Probe
    from drivers import registry
    from drivers.recognition import serial_drivers
    from drivers.transports.links import LinkTransport
    from drivers.transports.serial_config import SerialConfig, SerialLine
    from drivers.transports.serial_port import SerialPort

    _refuse_if_recorded(settings, port)
    kinds = serial_drivers(registry.get(name) for name in registry.names())

    def open_port(line: str) -> LinkTransport:
        return SerialPort(SerialConfig(str(port), SerialLine.parse(line)), read_now)

    try:
        outcome = asyncio.run(Probe(kinds, open_port, seconds, show_progress).run(ask=ask))
    finally:
        clear_progress()
    _tell(settings, port, outcome, ask)
    return 0 if outcome.heard else 1


def _refuse_if_recorded(settings: Settings, port: Path) -> None:
    """Raises OperatorFault if the running agent has this port; without configuration or agent nobody here has it."""
    try:
        feeds = settings.configuration().feed
        held = [feed for feed in feeds if feed.serial is not None and _same(Path(feed.serial.path), port)]
        if held:
            settings.client().ask("status")
    except (ConfigurationFault, AgentUnreachable):
        return
    except NotPermitted:
        pass  # an agent runs, and its configuration names the port
    if held:
        raise OperatorFault(
            "probe.recorded",
            f"the agent records feed {held[0].name!r} from {port}: probing would disturb it",
            "see it with: orledger status",
        )


def _same(first: Path, second: Path) -> bool:
    return first.resolve() == second.resolve()


def _tell(settings: Settings, port: Path, outcome: Outcome, ask: bool) -> None:
    toml, following = _section(port, outcome), _next_step(port, outcome, ask)
    if settings.json:
        heard = [
            {"driver": item.driver, "line": item.line, "frames": item.frames, "device": item.device}
            for item in outcome.heard
        ]
        settings_heard = [{"line": line, "bytes": count} for line, count in outcome.bytes_at.items()]
        click.echo(
            json_text(
                document(
                    "probe",
                    port=str(port),
                    asked=outcome.asked,
                    heard=heard,
                    settings=settings_heard,
                    toml=toml,
                    next=following,
                )
            )
        )
        return
    for item in outcome.heard:
        device = f" ({item.device})" if item.device else ""
        click.echo(
            f"{port}: {item.driver}{device} at {item.line}, {item.frames} whole frame{'' if item.frames == 1 else 's'}"
        )
    if not outcome.heard:
        came = [f"{count} bytes at {line}" for line, count in outcome.bytes_at.items() if count]
        click.echo(f"{port}: nothing is recognised; {'; '.join(came) if came else 'not a byte came'}")
    if toml:
        click.echo(f"\n# for the configuration of the box:\n{toml}")
    click.echo(f"\nNext: {following}", err=True)


def _section(port: Path, outcome: Outcome) -> str:
    if not outcome.heard:
        return ""
    best = outcome.heard[0]
    options = ", ".join(f'{name} = "{text}"' for name, text in best.options)
    return (
        f'[[feed]]\nname = "{best.driver}"\ndriver = "{best.driver}"\n'
        f'serial = {{ path = "{_lasting(port)}", line = "{best.line}" }}'
        + (f"\noptions = {{ {options} }}" if options else "")
    )


def _lasting(port: Path) -> Path:
    """The name of the port that stays with its socket, if there is one."""
    links = sorted(_BY_PATH.iterdir()) if _BY_PATH.is_dir() else []
    return next((link for link in links if _same(link, port)), port.absolute())


def _next_step(port: Path, outcome: Outcome, ask: bool) -> str:
    if outcome.heard:
        driver = outcome.heard[0].driver
        return f"add this to the configuration and restart the agent; its options: orledger drivers show {driver}"
    most = max(outcome.bytes_at, key=lambda line: outcome.bytes_at[line], default="")
    if outcome.bytes_at.get(most):
        return f"keep what it says: orledger capture record {port} unknown.orcap.zst --line '{most}'"
    if not ask:
        return "some devices speak only when asked: try --ask. Else check the cable and how the device's port is set up"
    return "check the cable (does it need a null modem?), and which protocol the device's port is set to"
