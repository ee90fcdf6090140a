"""``orledger status``: what the agent says about itself; its exit code serves as a monitoring check."""

from __future__ import annotations

import sys
from typing import Any

import click
import msgspec

from agent.cli.context import Settings, common_options, json_text, pass_settings
from agent.cli.status_text import Line, status_lines
from agent.status import StatusDocument
from ledger.errors import OurFault


@click.command("status")
@common_options
@pass_settings
def command(settings: Settings) -> int:
    """Say how this box is. Exit code: 0 good, 1 attention, 2 critical, 3 agent unreachable."""
    status = _document(settings.client().ask("status"))
    if settings.json:
        click.echo(json_text(status))
    else:
        _print(status_lines(status))
    return status.exit


def _document(item: Any) -> StatusDocument:
    try:
        return msgspec.convert(item, StatusDocument, strict=True)
    except msgspec.ValidationError as error:
        raise OurFault(
            "status.document", f"the agent's status cannot be read: {error}", "use the command line of its version"
        ) from error


def _print(lines: list[Line]) -> None:
    if not sys.stdout.isatty():
        click.echo("\n".join("".join(text for text, _ in line) for line in lines))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for line in lines:
        console.print(Text.assemble(*line), soft_wrap=True)
