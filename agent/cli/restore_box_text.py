"""What ``orledger restore box`` did, for a person and as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agent.cli.context import document
from agent.cli.delivery import chosen_document, delivery_document, delivery_lines
from agent.cli.restore_selection import selection_document, selection_options, selection_text
from agent.cli.status_text import duration
from ledger.record_json import utc_text
from ledger.selection import Selection

if TYPE_CHECKING:
    from agent.object_delivery import Delivery
    from agent.object_restore import ObjectsRestored
    from agent.outgoing import Chosen
    from agent.rebuild_summary import Summary
    from ledger.audit import AuditReport


@dataclass(frozen=True, slots=True)
class Outcome:
    """A rebuild that ended: what it did, what the audit of the folder says, who was asked, where it was recorded."""

    box: str
    out: Path
    selection: Selection
    summary: Summary
    report: AuditReport
    asked: tuple[str, ...]
    recorded: int | None
    fetched_s: float
    seconds: float
    objects: ObjectsRestored | None = None
    deliveries: tuple[Delivery, ...] = ()
    chosen: Chosen | None = None


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
        selection=selection_document(done.selection),
        left_out={
            "payloads": summary.left_out,
            "by_log": [{"log": str(built.log), "payloads": built.left_out} for built in summary.logs if built.left_out],
            "logs": [str(log) for log in summary.skipped],
        },
        expired=[
            {"log": str(each.log), "blocks": each.blocks, "closed": utc_text(each.closed_ns)}
            for each in summary.expired
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
        objects=None if done.objects is None else _objects_document(done.objects),
        deliveries=[delivery_document(each) for each in done.deliveries],
        not_here=None if done.chosen is None else chosen_document(done.chosen),
        recorded_in_block=done.recorded,
        fetch_s=round(done.fetched_s, 3),
        audit_s=round(report.seconds, 3),
        seconds=round(done.seconds, 3),
    )  # fmt: skip


def _objects_document(objects: ObjectsRestored) -> dict[str, object]:
    return {
        "fetched": objects.fetched,
        "sealed_bytes": objects.sealed_bytes,
        "had": objects.had,
        "refused": [{"source": source, "why": why} for source, why in objects.refused],
        "missing": [name.hex() for name in objects.missing],
    }


def _object_lines(objects: ObjectsRestored | None) -> list[str]:
    if objects is None:
        return []
    before = f", {objects.had:,} were there" if objects.had else ""
    lines = [f"{objects.fetched:,} objects fetched and proved ({objects.sealed_bytes:,} bytes sealed){before}"]
    lines += [f"REFUSED an object of {source}: {why}" for source, why in objects.refused]
    lines += [f"MISSING object {name.hex()[:16]}: nobody who was asked holds it" for name in objects.missing]
    return lines


def summary_lines(done: Outcome) -> list[str]:
    """What a rebuild did, for a person."""
    summary, report = done.summary, done.report
    had = sum(built.had for built in summary.logs)
    fenced = sum(1 for built in summary.logs if built.log.fenced)
    given = ", ".join(f"{name} {count:,}" for name, count in sorted(summary.given.items())) or "nobody gave any"
    lines = [
        f"asked {', '.join(done.asked)}: {_logs(len(summary.logs))} of {done.box}, {fenced} fenced",
        f"{summary.blocks:,} blocks" + (f", {had:,} of them from before" if had else "") + f"; now: {given}; "
        f"{duration(done.fetched_s)}",
    ]
    lines += [f"REFUSED what {each.source} gave from block {each.seq:,} of {each.log}: {each.why}"
              for each in summary.refused]  # fmt: skip
    lines += [f"MISSING {each.log} blocks {each.first:,} to {each.end - 1:,}: {each.why}" for each in summary.missing]
    lines += [f"EXPIRED {each.log}: {each.blocks:,} blocks, the last closed {utc_text(each.closed_ns)}, went at the "
              "retention set where they were held; its last block is left there: no damage"
              for each in summary.expired]  # fmt: skip
    lines += _left_out(done)
    lines += [f"{finding.severity.upper()} {finding.what}. Next: {finding.next_step}"
              for finding in report.all_findings()]  # fmt: skip
    payloads, decoded = (sum(getattr(log, name) for log in report.logs) for name in ("payloads", "decoded"))
    verdict = "all of it proves itself" if report.is_good else "SOMETHING DOES NOT PROVE ITSELF"
    lines.append(
        f"verified every link, {payloads:,} payloads ({decoded:,} decoded), {summary.roots} signed or cosigned roots: "
        f"{verdict}"
    )
    lines += _object_lines(done.objects)
    lines += delivery_lines(done.deliveries, done.chosen) if done.chosen is not None else []
    said = f" (recorded in block {done.recorded:,})" if done.recorded is not None else " (not recorded on a chain)"
    lines.append(
        f"RESTORED to {done.out} in {duration(done.seconds)}{said}. Next: orledger records --data-dir {done.out}"
    )
    return lines


def _left_out(done: Outcome) -> list[str]:
    """What is not there because it was not asked for, and how to get it."""
    summary = done.summary
    if not summary.left_out and not summary.skipped:
        return []
    logs = sum(1 for built in summary.logs if built.left_out)
    parts = [f"payloads of {summary.left_out:,} blocks ({_logs(logs)})"] if summary.left_out else []
    if summary.skipped:
        parts.append(f"{_logs(len(summary.skipped))} without any of it")
    what = f"LEFT OUT on purpose, for only this was asked for, {selection_text(done.selection)}: {', '.join(parts)}"
    return [f"{what}. To fetch the rest: the same command without {' '.join(selection_options(done.selection))}"]


def _logs(count: int) -> str:
    return f"{count} log" if count == 1 else f"{count} logs"
