"""``orledger case``: which case is open in the room, and opening, renaming and closing it by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from agent.cli.context import Settings, common_options, document, json_text, pass_settings
from agent.cli.data_dir import data_dir_of, data_dir_option
from agent.cli.status_text import printable

if TYPE_CHECKING:
    from agent.case_history import KnownCase

_F = TypeVar("_F", bound=Callable[..., Any])
_FACT_OPTIONS: Mapping[str, tuple[str, str]] = {
    "patient_ids": ("--patient-id", "As in PID-3: id, or id^^^authority."),
    "name": ("--name", "As in PID-5: family^given."),
    "birth_date": ("--birth-date", "YYYYMMDD."),
    "sex": ("--sex", "As in PID-8: F, M, O, U."),
    "visit": ("--visit", "Visit number, as in PV1-19."),
    "procedure": ("--procedure", "What is done."),
    "accession": ("--accession", "Accession number of the order."),
    "surgeon": ("--surgeon", "Who operates."),
    "note": ("--note", "Anything else."),
}


def _context_options(command: _F) -> _F:
    for name, (option, text) in reversed(list(_FACT_OPTIONS.items())):
        command = click.option(option, name, metavar="TEXT", help=text)(command)
    return command


_room_option = click.option("--room", metavar="ROOM", help="Refuse unless this box is the one of ROOM.")


@click.group("case")
def command() -> None:
    """Open, rename and close the room's case, or show cases.

    A case has a random id, which may be told to anybody; whose it is stands only in sealed records.
    """


@command.command("open")
@click.option("--next", "next_", is_flag=True, help="Close the open case, if there is one.")
@_room_option
@_context_options
@common_options
@pass_settings
def open_case(settings: Settings, /, *, next_: bool, room: str | None, **facts: str | None) -> int:
    """Open a case in this room. What is recorded from now on belongs to it, under a key of its own."""
    told = settings.client().ask("case_open", facts=_given(facts), next=next_, room=room)
    if settings.json:
        click.echo(json_text(document("case", **told)))
        return 0
    if told["closed"] is not None:
        click.echo(f"case {told['closed']} is closed")
    click.echo(f"case {told['case']['id']} is open (recorded in block {told['recorded_in_block']:,})")
    return 0


@command.command("rename")
@click.option("--case", "case_id", metavar="ID", help="Refuse unless this case is the open one.")
@click.option("--reason", metavar="TEXT", help="Why, for the record.")
@_room_option
@_context_options
@common_options
@pass_settings
def rename(
    settings: Settings, /, *, case_id: str | None, reason: str | None, room: str | None, **facts: str | None
) -> int:
    """Correct whose case is open: the patient was merged or mistaken. The case keeps its id; '' takes a detail out."""
    told = settings.client().ask("case_change", facts=_given(facts), case=case_id, reason=reason, room=room)
    if settings.json:
        click.echo(json_text(document("case", **told)))
    else:
        click.echo(f"case {told['case']['id']} has a new context (recorded in block {told['recorded_in_block']:,})")
    return 0


@command.command("close")
@click.option("--case", "case_id", metavar="ID", help="Refuse unless this case is the open one.")
@click.option("--reason", metavar="TEXT", help="Why, for the record.")
@_room_option
@common_options
@pass_settings
def close(settings: Settings, *, case_id: str | None, reason: str | None, room: str | None) -> int:
    """Close the open case. Nothing of its patient is in what follows."""
    told = settings.client().ask("case_close", case=case_id, reason=reason, room=room)
    if settings.json:
        click.echo(json_text(document("case", **told)))
    else:
        click.echo(f"case {told['closed']} is closed (recorded in block {told['recorded_in_block']:,})")
    return 0


@command.command("list")
@click.option("--box", metavar="BOX", help="Only this box's cases; else of all boxes held here.")
@data_dir_option
@common_options
@pass_settings
def list_cases(settings: Settings, *, box: str | None, data_dir: Path | None) -> int:
    """List the cases that this box's store holds, the newest last. Ids and times only."""
    from agent.case_history import known_cases
    from agent.reading import open_reader

    with open_reader(data_dir_of(settings, data_dir)) as reader:
        reader.logs_of(box)  # refuses a box that there is not
        cases = known_cases(reader, box)
    if settings.json:
        click.echo(json_text(document("cases", cases=[_case_fields(case) for case in cases])))
    else:
        _show_list(cases)
    return 0


@command.command("show")
@click.argument("case_id", metavar="[ID]", required=False)
@click.option("--patient", is_flag=True, help="Show whose it is, too. Only for eyes that may see it.")
@data_dir_option
@common_options
@pass_settings
def show(settings: Settings, *, case_id: str | None, patient: bool, data_dir: Path | None) -> int:
    """Show the open case, or the one whose id begins with ID."""
    if case_id is None and data_dir is None:
        told = settings.client().ask("case_show", patient=patient)
        if settings.json:
            click.echo(json_text(document("case", **told)))
        elif told["case"] is None:
            click.echo("No case is open.")
        else:
            _show_lines(told["case"])
        return 0
    from agent.case_history import context_of, find_case, known_cases
    from agent.reading import open_reader

    with open_reader(data_dir_of(settings, data_dir)) as reader:
        case = find_case(known_cases(reader), case_id or "")
        fields = _case_fields(case)
        context = context_of(reader, case) if patient else None
    if context is not None:
        fields |= {"by": context.by, "cause": context.cause, "facts": dict(context.facts)}
    if settings.json:
        click.echo(json_text(document("case", case=fields)))
    else:
        _show_lines(fields)
    return 0


def _given(facts: Mapping[str, str | None]) -> dict[str, str]:
    return {name: text for name, text in facts.items() if text is not None}


def _case_fields(case: KnownCase) -> dict[str, object]:
    from ledger.record_json import utc_text

    return {
        "id": case.case_id.hex(),
        "box": case.box,
        "opened": None if case.opened_ns is None else utc_text(case.opened_ns),
        "closed": None if case.closed_ns is None else utc_text(case.closed_ns),
        "logs": [str(log) for log, _ in case.parts],
        "keys_held": case.keys_held,
    }


def _show_list(cases: list[KnownCase]) -> None:
    from rich.console import Console
    from rich.table import Table

    if not cases:
        click.echo("No case is known here.")
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("CASE", "BOX", "OPENED (UTC)", "CLOSED (UTC)", "LOGS", "KEYS"):
        table.add_column(name, no_wrap=True)
    for case in cases:
        fields = _case_fields(case)
        opened = _second(fields["opened"]) if case.opened_ns is not None else "announced only"
        closed = _second(fields["closed"]) if case.closed_ns is not None else "–"
        table.add_row(
            case.case_id.hex(), case.box, opened, closed, str(len(case.parts)), f"{case.keys_held}/{len(case.parts)}"
        )
    Console(highlight=False, width=120).print(table)


def _show_lines(fields: Mapping[str, Any]) -> None:
    width = max(len(name) for name in (*fields, *fields.get("facts", ())))
    for name, value in fields.items():
        if name == "facts":
            continue
        text = ", ".join(value) if isinstance(value, list) else "–" if value is None else str(value)
        click.echo(f"{name.replace('_', ' '):<{width}}  {text}")
    for name, text in fields.get("facts", {}).items():
        click.echo(f"{name.replace('_', ' '):<{width}}  {printable(text)}")


def _second(utc: object) -> str:
    return str(utc)[:19].replace("T", " ")
