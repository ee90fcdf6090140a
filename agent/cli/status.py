"""``orledger status``: what the agent says about itself; its exit code serves as a monitoring check."""

from __future__ import annotations

import sys
from typing import Any

import click
import msgspec

from agent.cli.context import Settings, common_options, json_text, pass_settings
from agent.cli.status_text import Line, printable, status_lines
from agent.status import StatusDocument
from ledger.errors import OurFault


@click.command("status")
@click.option("--patient", is_flag=True, help="Say whose case is open, too. Only for eyes that may see it.")
@common_options
@pass_settings
def command(settings: Settings, *, patient: bool) -> int:
    """Say how this box is. Exit code: 0 good, 1 attention, 2 critical, 3 agent unreachable."""
    client = settings.client()
    status = _document(client.ask("status"))
    if settings.json:
        click.echo(json_text(status))
        return status.exit
    lines = status_lines(status)
    if patient and status.case is not None:
        case = client.ask("case_show", patient=True)["case"] or {}
        told = case.get("facts", {})
        whose = "  ".join(told[name] for name in ("name", "patient_ids", "procedure") if told.get(name))
        lines.append([(f"patient  {printable(whose) or 'nothing is known of whose case it is'}", "bold")])
    _print(lines)
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
