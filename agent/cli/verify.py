"""``orledger verify``: proves everything in this box's store, or shows the first place where each log fails."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agent.cli.context import Settings, common_options, json_text, pass_settings
from agent.cli.data_dir import data_dir_of, data_dir_option
from agent.cli.progress import progress_of
from ledger.errors import AgentUnreachable, NoPeer, VerificationFailed

if TYPE_CHECKING:
    from agent.object_reading import ObjectsReport
    from agent.verifier import Task
    from ledger.audit import AuditReport, Finding

_MEND_ROUNDS = 64
_MEND_TIMEOUT_S = 60.0


@click.command("verify")
@click.argument("box", required=False)
@click.option("--quick", is_flag=True, help="Check only each log's first and last signature; links prove the rest.")
@click.option("--mend", is_flag=True, help="Have the running agent fetch damaged blocks from its peers.")
@data_dir_option
@common_options
@pass_settings
def command(settings: Settings, *, box: str | None, quick: bool, mend: bool, data_dir: Path | None) -> int:
    """Prove every block, payload, root and cosignature held here, of BOX or of all boxes.

    Works beside a running agent or without one. Exit code 0 when all is good, 76 when something is bad.
    """
    from agent.reading import open_reader
    from agent.verifier import Task

    folder = data_dir_of(settings, data_dir)
    with open_reader(folder) as reader:
        if box is not None:
            reader.logs_of(box)
    task = Task(folder, box, not quick)
    report = _verify(settings, task)
    objects = _verify_objects(settings, task, quick=quick, mend=mend)
    if mend:
        try:
            report = _mend(settings, task, report)
        except AgentUnreachable:
            if not settings.json:
                _show(settings, report, objects)
            raise
    _show(settings, report, objects)
    return 0 if report.is_good and objects.is_good else VerificationFailed.exit_code


def _verify_objects(settings: Settings, task: Task, *, quick: bool, mend: bool) -> ObjectsReport:
    """Prove the objects that lie here; with ``mend`` have the agent fetch anew what is damaged."""
    from agent.object_reading import ObjectReader
    from agent.reading import open_reader

    with open_reader(task.data_dir) as reader:
        report = ObjectReader(reader, task.data_dir).check(task.box, quick=quick)
    if not mend or not report.damaged:
        return report
    for name in report.damaged:
        settings.client(_MEND_TIMEOUT_S).ask("object-refetch", object=name.hex())
        click.echo(f"object {name.hex()[:16]} is fetched anew", err=True)
    return report.mended()


def _verify(settings: Settings, task: Task) -> AuditReport:
    from agent.verifier import verify

    with progress_of("verifying", settings) as progress:
        return verify(task, progress)


def _mend(settings: Settings, task: Task, report: AuditReport) -> AuditReport:
    """Mend the first bad block of each log, verify again, until nothing changes."""
    tried: set[tuple[object, int | None]] = set()
    for _ in range(_MEND_ROUNDS):
        damaged = [each for each in _damaged(report) if (each.log, each.seq) not in tried]
        if not damaged:
            break
        for finding in damaged:
            tried.add((finding.log, finding.seq))
            _mend_one(settings, finding)
        report = _verify(settings, task)
    return report


def _damaged(report: AuditReport) -> Iterator[Finding]:
    from ledger.audit import Severity

    for finding in report.all_findings():
        is_block = finding.log is not None and finding.seq is not None
        if finding.severity is Severity.BAD and finding.party == "disk" and is_block:
            yield finding


def _mend_one(settings: Settings, finding: Finding) -> None:
    from agent.cli.verify_text import log_fields, where

    if finding.log is None:
        return
    try:
        answer = settings.client(_MEND_TIMEOUT_S).ask("mend", log=log_fields(finding.log), seq=finding.seq)
    except (NoPeer, VerificationFailed) as error:
        click.echo(f"not mended {where(finding)}: {error.text}", err=True)
        return
    origin = f"with the copy of {answer['from']}" if answer["from"] else "already"
    click.echo(f"mended {where(finding)} {origin}", err=True)


def _show(settings: Settings, report: AuditReport, objects: ObjectsReport) -> None:
    from agent.cli.verify_text import verify_document, verify_lines

    if settings.json:
        click.echo(json_text(verify_document(report, objects)))
        return
    lines = verify_lines(report, objects)
    if not sys.stdout.isatty():
        click.echo("\n".join(text for text, _ in lines))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for text, style in lines:
        console.print(Text(text, style), soft_wrap=True)
