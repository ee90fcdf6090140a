"""An audit's report as lines of text and as a JSON document."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from agent.cli.context import document
from ledger.audit import AuditReport, Finding, LogReport, Severity, Vouched
from ledger.limits import S_NS
from ledger.log import LogId
from ledger.record_json import utc_text

if TYPE_CHECKING:
    from agent.object_reading import ObjectsReport

Line = tuple[str, str]
"""Text and its rich style."""

_LAST_S = 253_402_300_799
"""The last second of the year 9999: what a liar says beyond it is shown as this."""
_FAULT = {"disk": "this disk", "us": "orledger itself"}


def verify_lines(report: AuditReport, objects: ObjectsReport | None = None) -> list[Line]:
    """What is bad, then what is worth knowing, then a line for each box and what was checked of it."""
    findings = (*report.all_findings(), *(objects.findings if objects is not None else ()))
    lines = [(_bad(each), "bold red") for each in findings if each.severity is Severity.BAD]
    lines += [(_remark(each), "yellow") for each in findings if each.severity is Severity.REMARK]
    boxes = list(dict.fromkeys(log.log.box for log in report.logs))
    for box in sorted(boxes):
        lines += _box(box, [log for log in report.logs if log.log.box == box])
    if not boxes:
        lines.append(("no log is held here", "yellow"))
    if objects is not None:
        lines += _objects(objects)
    lines.append((f"{sum(log.blocks for log in report.logs):,} blocks in {report.seconds:.1f} s", "dim"))
    return lines


def _objects(report: ObjectsReport) -> Iterator[Line]:
    """Nothing where no block names any."""
    seen = report.checked
    if not seen.held and not seen.lacking and not seen.gone:
        return
    verdict = "VERIFIED" if report.is_good else "NOT VERIFIED"
    parts = [f"{seen.held:,} held ({seen.bytes:,} bytes)", f"{seen.checked:,} proved", f"{seen.opened:,} opened"]
    parts += [f"{seen.lacking:,} not held yet"] if seen.lacking else []
    parts += [f"{seen.gone:,} gone at their retention"] if seen.gone else []
    yield f"{verdict} objects  {', '.join(parts)}", "bold green" if report.is_good else "bold red"


def where(finding: Finding) -> str:
    """``block 88,104 of or-2/9-3fa4c2d1``, or what of the store it is."""
    if finding.log is None or finding.seq is None:
        return finding.subject
    return f"block {finding.seq:,} of {finding.log}"


def _bad(finding: Finding) -> str:
    fault = _FAULT.get(finding.party, finding.subject)
    text = f"BAD {where(finding)}: {finding.what}; fault: {fault}."
    return text + (f" Next: {finding.next_step}" if finding.next_step else "")


def _remark(finding: Finding) -> str:
    place = where(finding) if finding.seq is not None or finding.log is None else str(finding.log)
    return f"REMARK {place}: {finding.what}." + (f" Next: {finding.next_step}" if finding.next_step else "")


def _box(box: str, logs: list[LogReport]) -> Iterator[Line]:
    is_good = all(log.is_good for log in logs)
    blocks, payloads = sum(log.blocks for log in logs), sum(log.payloads for log in logs)
    newest = max(logs, key=lambda log: (log.log.fenced, log.log.counter))
    vouching = _vouching(newest)
    verdict = "VERIFIED" if is_good else "NOT VERIFIED"
    many = "s" if len(logs) > 1 else ""
    yield (
        f"{verdict} {box}  {len(logs)} log{many}, {blocks:,} blocks{vouching}",
        "bold green" if is_good else "bold red",
    )
    signatures = sum(log.signatures for log in logs)
    cosignatures = sum(log.cosignatures for log in logs)
    yield (
        f"  {signatures:,} signatures, {payloads:,} payloads, {cosignatures:,} cosignatures checked" + _undecoded(logs),
        "",
    )
    if newest.vouched is not None:
        yield f"  {_times(newest.log, newest.vouched)}", ""


def _vouching(newest: LogReport) -> str:
    """Who vouches for the newest epoch; nothing where it does not verify: its checkpoints were not judged then."""
    if not newest.is_good:
        return ""
    if newest.vouched is None or not newest.vouched.by:
        return ", nobody vouches"
    return f", {len(newest.vouched.by)} of {newest.vouched.peers} vouch ({', '.join(newest.vouched.by)})"


def _undecoded(logs: list[LogReport]) -> str:
    parts = [
        (sum(log.no_key for log in logs), "not decoded for want of their key"),
        (sum(log.unknown_codec for log in logs), "not decoded: their codec is unknown to this version"),
        (sum(log.not_held for log in logs), "not held (pruned, or never sent here)"),
    ]
    return "".join(f"; {count:,} payloads {what}" for count, what in parts if count)


def _times(log: LogId, vouched: Vouched) -> str:
    text = (
        f"epoch {log.counter} up to block {vouched.size - 1:,}: closed {utc_text(vouched.claimed_ns)} by its own clock"
    )
    if vouched.seen_s is not None:
        seen = datetime.fromtimestamp(min(vouched.seen_s, _LAST_S), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        text += f", vouched for at {seen} by {vouched.by[0] if len(vouched.by) == 1 else 'the first of its peers'}"
    return text


def verify_document(report: AuditReport, objects: ObjectsReport | None = None) -> dict[str, object]:
    """The same for programs."""
    found = objects.findings if objects is not None else ()
    return document(
        "verify",
        good=report.is_good and (objects is None or objects.is_good),
        seconds=round(report.seconds, 3),
        manifests=report.manifests,
        proofs=report.proofs,
        logs=[_log(log) for log in report.logs],
        findings=[_finding(finding) for finding in (*report.all_findings(), *found)],
        objects=None if objects is None else asdict(objects.checked),
    )


def log_fields(log: LogId) -> dict[str, object]:
    """A log's name in JSON."""
    return {"box": log.box, "counter": log.counter, "incarnation": log.incarnation.hex(), "fenced": log.fenced}


def _log(report: LogReport) -> dict[str, object]:
    counts = {
        name: getattr(report, name)
        for name in (
            "blocks", "dropped", "signatures", "payloads", "decoded", "not_held", "no_key", "unknown_codec",
            "checkpoints", "cosignatures",
        )
    }  # fmt: skip
    return {
        "log": log_fields(report.log),
        "good": report.is_good,
        **counts,
        "vouched": None if report.vouched is None else _vouched(report.vouched),
        "named_by": None if report.named_by is None else log_fields(report.named_by),
        "seconds": round(report.seconds, 3),
    }


def _vouched(vouched: Vouched) -> dict[str, object]:
    return {
        "level": vouched.level.name.lower(),
        "size": vouched.size,
        "by": list(vouched.by),
        "peers": vouched.peers,
        "claimed": utc_text(vouched.claimed_ns),
        "seen": None if vouched.seen_s is None else utc_text(vouched.seen_s * S_NS),
    }


def _finding(finding: Finding) -> dict[str, object]:
    return {
        "severity": finding.severity.value,
        "party": finding.party,
        "subject": finding.subject,
        "log": None if finding.log is None else log_fields(finding.log),
        "seq": finding.seq,
        "text": finding.what,
        "next": finding.next_step,
    }
