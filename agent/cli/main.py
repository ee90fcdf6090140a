"""``orledger``: finds the command, runs it, and turns every error into one message with a next step.

Exit codes: 0 good, 1 attention, 2 critical, 3 agent unreachable; 64 usage, 65 bad input, 69 no peer, 70 our fault,
74 store, 76 verification failed, 77 not permitted, 78 configuration; 130 interrupted.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from agent.cli.context import CONFIG_VARIABLE, Settings, common_options, document, json_text
from agent.config import DEFAULT_PATH
from agent.control_errors import error_fields
from ledger.errors import OperatorFault, OrledgerError, OurFault, Party

# Name -> (where the command is, one line of help): so that neither --help nor one command loads the others.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "capture": ("agent.cli.capture:command", "Record, export, replay and decode device captures."),
    "case": ("agent.cli.case:command", "Open, rename and close the room's case, or show cases."),
    "checkpoint": ("agent.cli.checkpoint:command", "Print the newest signed checkpoint of a log."),
    "demo": ("agent.cli.demo:command", "Run three boxes with simulated devices and lose one."),
    "drill": ("agent.cli.drill:command", "Restore every peer into nowhere: proof that it could be done."),
    "drivers": ("agent.cli.drivers:command", "Show the drivers, their devices, and what they may send."),
    "init": ("agent.cli.init:command", "Make the keys and the manifest of a new site or box."),
    "objects": ("agent.cli.objects:command", "List, show and get images, videos and documents."),
    "probe": ("agent.cli.probe:command", "Find out what is at a serial port, and how to record it."),
    "records": ("agent.cli.records:command", "Print what was recorded."),
    "restore": ("agent.cli.restore:command", "Fetch, verify and hand over a box's latest state."),
    "run": ("agent.cli.run:command", "Run the agent."),
    "site": ("agent.cli.site:command", "Show the site's manifest, or put a newer one into force."),
    "status": ("agent.cli.status:command", "Say how this box is; exit 0 good, 1 attention, 2 critical."),
    "verify": ("agent.cli.verify:command", "Prove a log, or show where it fails."),
}
_INTERRUPTED = 130
_BROKEN_PIPE = 141
_AT_FAULT: Mapping[Party, str] = {
    "device": "the device or its cable",
    "peer": "another box",
    "operator": "the command or the configuration",
    "disk": "the disk or what lies on it",
    "us": "orledger itself",
}


class LazyGroup(click.Group):
    """A group that imports a command only to run it or to print its help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), name)
        if not isinstance(command, click.Command):
            raise OurFault("cli.no-command", f"{module}:{name} is no command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])


@click.group("orledger", cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="orledger")
@common_options
def cli() -> None:
    """A flight recorder for the operating room."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    settings = Settings(config_path=Path(os.environ.get(CONFIG_VARIABLE) or DEFAULT_PATH))
    try:
        code = cli.main(given, prog_name="orledger", standalone_mode=False, obj=settings)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output is gone (`orledger records | head`); keep Python from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except click.Abort:
        return _INTERRUPTED
    except click.ClickException as error:
        return _report(_usage(error), settings.json or "--json" in given)
    except OrledgerError as error:
        return _report(error, settings.json)
    except Exception as error:  # noqa: BLE001 - the last resort: a bug still ends in a message with a next step
        return _report(_bug(error), settings.json)
    return code if isinstance(code, int) else 0


def _report(error: OrledgerError, as_json: bool) -> int:
    if as_json:
        click.echo(json_text(document("error", error=error_fields(error))))
    else:
        click.echo(f"orledger: {error.text} [{error.id}]", err=True)
        click.echo(f"at fault: {_AT_FAULT[error.party]}", err=True)
        if error.next_step:
            click.echo(f"next: {error.next_step}", err=True)
    return error.exit_code


def _usage(error: click.ClickException) -> OperatorFault:
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path if context is not None else "orledger"
    return OperatorFault("cli.usage", error.format_message(), f"{path} --help")


def _bug(error: Exception) -> OurFault:
    import traceback

    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(frame.filename).name}:{frame.lineno}"
    if os.environ.get("ORLEDGER_TRACEBACK"):
        traceback.print_exception(error)
    return OurFault(
        "cli.bug",
        f"a bug: {type(error).__name__}: {error} at {where}",
        "run it again with ORLEDGER_TRACEBACK=1 and report what it prints",
    )
