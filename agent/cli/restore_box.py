"""``orledger restore box BOX --out DIR``: everything a box recorded, put together again from all who hold it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agent.cli.context import Settings, common_options, document, json_text, pass_settings
from agent.cli.status_text import duration
from ledger.errors import AgentUnreachable, NoPeer, OperatorFault, VerificationFailed

if TYPE_CHECKING:
    from agent.reading import Reader
    from agent.rebuild import Span, Summary
    from agent.rebuild_sources import Source
    from ledger.audit import AuditReport
    from ledger.rebuild import Found

_NICE = 10
_JSON_EVERY_S = 1.0
_FETCH_TIMEOUT_S = 30.0


@click.command("box")
@click.argument("box")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="New folder, or to go on in."
)
@click.option("--from", "from_", metavar="UTC", help="Payloads only from this time on, like 2026-11-23T08:00:00Z.")
@click.option("--to", metavar="UTC", help="Payloads only from before this time.")
@click.option("--every-signature", is_flag=True, help="In the final audit check each signature; links prove the same.")
@common_options
@pass_settings
def box_command(
    settings: Settings, *, box: str, out: Path, from_: str | None, to: str | None, every_signature: bool
) -> int:
    """Rebuild all logs of BOX in DIR: from this box's own store and from every peer at once.

    Killed or cut off, the same command goes on where it was. Exit code 0 when all is there and proves itself, 76 when
    something is bad, 69 when something is missing.
    """
    from agent.reading import open_reader, utc_ns
    from agent.rebuild import Span

    span = Span(utc_ns(from_) if from_ else None, utc_ns(to) if to else None)
    os.nice(_NICE)
    began = time.perf_counter()
    with open_reader(Path(settings.configuration().box.data_dir)) as reader:
        known = [each.id for each in reader.manifest.boxes]
        if box not in known:
            raise OperatorFault("box.unknown", f"{box!r} is no box of this site", f"one of: {', '.join(known)}")
        summary, asked = _rebuild(settings, reader, box, out, span)
    fetched_s = time.perf_counter() - began
    report = _audit(settings, out, box, every_signature=every_signature)
    recorded = _record(settings, summary, report, asked)
    done = Outcome(box, out, summary, report, asked, recorded, fetched_s, time.perf_counter() - began)
    if settings.json:
        click.echo(json_text(summary_document(done)))
    else:
        click.echo("\n".join(summary_lines(done)))
    if not report.is_good:
        return VerificationFailed.exit_code
    return NoPeer.exit_code if summary.missing else 0


def _rebuild(settings: Settings, reader: Reader, box: str, out: Path, span: Span) -> tuple[Summary, tuple[str, ...]]:
    from agent.rebuild import Rebuild
    from agent.rebuild_target import Target
    from ledger.certificate import Certificate
    from ledger.manifest import SignedManifest

    own = settings.configuration().box.id
    signed = reader.store.manifests()
    manifests = {made.hash: made for made in (SignedManifest.decode(data).manifest for _, data in signed)}
    found, sources = _sources(settings, reader, own, box)
    target = Target(out, box)
    try:
        target.take_manifests(signed)
        if reader.keyring is not None:
            target.take_keys(reader.keyring.entries_of(box))
        with _progress(settings) as progress:
            work = Rebuild(box, target, sources, manifests, progress)
            summary = work.run(
                found, lambda log: [Certificate.decode(data) for _, data in reader.store.checkpoints(log)], span
            )
    finally:
        target.close()
    return summary, tuple(source.name for source in sources)


def _sources(settings: Settings, reader: Reader, own: str, box: str) -> tuple[Found, list[Source]]:
    """Who holds something of the box; without a running agent, this box alone."""
    from agent.rebuild_sources import OwnStore, PeerBySocket, ask_heads
    from ledger.rebuild import Found

    found = Found(box)
    sources: list[Source] = [OwnStore(own, reader.store)]
    for log, _ in reader.store.logs(box):
        found.hold(own, log, reader.store.length(log))
    client = settings.client(_FETCH_TIMEOUT_S)
    try:
        answers = ask_heads(client, box)
    except AgentUnreachable as error:
        click.echo(f"no peer is asked, for the agent does not run: {error.text}", err=True)
        return found, sources
    for name, reports in answers.items():
        for report in reports:
            if name == own:
                found.word(name, report)
            else:
                found.report(name, report)
        if name != own:
            sources.append(PeerBySocket(name, client))
    return found, sources


def _audit(settings: Settings, out: Path, box: str, *, every_signature: bool) -> AuditReport:
    from agent.cli.verify import progress_bar
    from agent.verifier import Task, verify

    with progress_bar(settings) as progress:
        return verify(Task(out, box, every_signature), progress)


def _record(settings: Settings, summary: Summary, report: AuditReport, asked: tuple[str, ...]) -> int | None:
    """Put the restore on this box's chain; the block that says so, None when no agent runs here."""
    from agent.rebuild_sources import log_arguments

    built = max(summary.logs, key=lambda each: (each.log.fenced, each.log.counter), default=None)
    head = built.replica.newest_head() if built is not None and built.replica.size else None
    if head is None:
        return None
    try:
        answer = settings.client().ask(
            "restored", log=log_arguments(head.log), size=head.size, root=head.root.hex(), leaf=head.leaf.hex(),
            vouching=sum(1 for name in asked if summary.given[name]), peers=len(asked), verified=report.is_good,
        )  # fmt: skip
    except AgentUnreachable:
        return None
    return int(answer["recorded_in_block"])


@dataclass(frozen=True, slots=True)
class Outcome:
    """A rebuild that ended: what it did, what the audit of the folder says, who was asked, where it was recorded."""

    box: str
    out: Path
    summary: Summary
    report: AuditReport
    asked: tuple[str, ...]
    recorded: int | None
    fetched_s: float
    seconds: float


def summary_document(done: Outcome) -> dict[str, object]:
    """What a rebuild did, as JSON."""
    from agent.rebuild_sources import log_arguments

    summary, report = done.summary, done.report
    return document(
        "restore-box",
        box=done.box,
        out=str(done.out),
        asked=list(done.asked),
        blocks=summary.blocks,
        logs=[
            {
                **log_arguments(built.log), "blocks": built.replica.size, "had": built.had,
                "witnessed": min(built.witnessed, built.replica.size),
            }
            for built in summary.logs
        ],
        given=dict(summary.given),
        refused=[
            {"source": each.source, "log": str(each.log), "seq": each.seq, "why": each.why} for each in summary.refused
        ],
        missing=[
            {"log": str(each.log), "first": each.first, "end": each.end, "why": each.why} for each in summary.missing
        ],
        verified={
            "good": report.is_good,
            "signatures": summary.signatures + sum(log.signatures for log in report.logs),
            "roots": summary.roots,
            "payloads": sum(log.payloads for log in report.logs),
            "decoded": sum(log.decoded for log in report.logs),
            "findings": [finding.what for finding in report.all_findings()],
        },
        recorded_in_block=done.recorded,
        fetch_s=round(done.fetched_s, 3),
        audit_s=round(report.seconds, 3),
        seconds=round(done.seconds, 3),
    )  # fmt: skip


def summary_lines(done: Outcome) -> list[str]:
    """What a rebuild did, for a person."""
    summary, report = done.summary, done.report
    had = sum(built.had for built in summary.logs)
    fenced = sum(1 for built in summary.logs if built.log.fenced)
    given = ", ".join(f"{name} {count:,}" for name, count in sorted(summary.given.items())) or "nobody gave any"
    lines = [
        f"asked {', '.join(done.asked)}: {len(summary.logs)} logs of {done.box}, {fenced} of them fenced epochs",
        f"{summary.blocks:,} blocks" + (f", {had:,} of them from before" if had else "") + f"; now: {given}; "
        f"{duration(done.fetched_s)}",
    ]
    lines += [f"REFUSED what {each.source} gave from block {each.seq:,} of {each.log}: {each.why}"
              for each in summary.refused]  # fmt: skip
    lines += [f"MISSING {each.log} blocks {each.first:,} to {each.end - 1:,}: {each.why}" for each in summary.missing]
    lines += [f"{finding.severity.upper()} {finding.what}. Next: {finding.next_step}"
              for finding in report.all_findings()]  # fmt: skip
    payloads, decoded = (sum(getattr(log, name) for log in report.logs) for name in ("payloads", "decoded"))
    verdict = "all of it proves itself" if report.is_good else "SOMETHING DOES NOT PROVE ITSELF"
    lines.append(
        f"verified every link, {payloads:,} payloads ({decoded:,} decoded), {summary.roots} signed or cosigned roots: "
        f"{verdict}"
    )
    said = (
        f" (recorded in block {done.recorded:,})"
        if done.recorded is not None
        else " (not recorded on a chain: no agent runs)"
    )
    lines.append(
        f"RESTORED to {done.out} in {duration(done.seconds)}{said}. Next: orledger records --data-dir {done.out}"
    )
    return lines


@contextmanager
def _progress(settings: Settings) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, a line a second with ``--json``, else nothing."""
    if settings.json:
        yield _json_progress()
        return
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("restoring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        blocks = bar.add_task("blocks", total=None)
        yield lambda done, total: bar.update(blocks, completed=done, total=total)


def _json_progress() -> Callable[[int, int], None]:
    began = said = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= _JSON_EVERY_S:
            said = now
            click.echo(json_text(document("restore-box-progress", done=done, total=total, seconds=now - began)))

    return progress
