"""The status document from what the parts of a node know."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from agent.clock import read_quality
from agent.disk_health import wear_percent
from agent.status import (
    Alert,
    Case,
    CatchingUp,
    Clock,
    Commitments,
    Disk,
    Drill,
    Feed,
    Log,
    Objects,
    Peer,
    StatusDocument,
    judged,
)
from ledger.block import ClockState
from ledger.limits import S_NS
from ledger.quorum import Level

if TYPE_CHECKING:
    from agent.node import Node

_LEVELS: dict[Level, Literal["local", "copied", "witnessed", "final"]] = {
    Level.LOCAL: "local",
    Level.COPIED: "copied",
    Level.WITNESSED: "witnessed",
    Level.FINAL: "final",
}
_PATIENCE_NS = 2 * S_NS
"""What was closed longer ago must have reached a level for the page to show that level."""


def utc_text(utc_ns: int) -> str:
    """RFC 3339 with milliseconds."""
    return datetime.fromtimestamp(utc_ns / S_NS, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def build_status(node: Node) -> StatusDocument:
    """Everything a person or a monitoring check asks first."""
    utc_ns = time.time_ns()
    alerts = tuple(
        Alert(
            warning.id, warning.severity, warning.party, warning.subject, utc_text(alert.since_ns), warning.text,
            warning.next_step,
        )
        for alert in node.alerts.active()
        if (warning := alert.warning).severity != "info"
    )  # fmt: skip
    state, code = judged(alerts)
    box = node.configuration.box
    return StatusDocument(
        box=box.id,
        room=box.room,
        site=box.site,
        at=utc_text(utc_ns),
        recording=node.recording and not node.pump.overloaded(),
        state=state,
        exit=code,
        alerts=alerts,
        log=_log(node, utc_ns),
        case=_case(node, utc_ns),
        feeds=tuple(_feeds(node, utc_ns)),
        peers=tuple(_peers(node, node.now().mono_ns)),
        disk=_disk(node),
        clock=_clock(),
        drills=tuple(_drills(node, utc_ns)),
        objects=_objects(node),
        commitments=_commitments(node, utc_ns),
        catching_up=tuple(
            CatchingUp(box, behind.lacking.headers, behind.lacking.payloads, behind.left_s)
            for box, behind in node.catching_up.boxes().items()
        ),
    )


def _log(node: Node, utc_ns: int) -> Log:
    writer = node.member.writer
    chain, vouching = writer.chain, writer.vouching
    newest = chain.size - 1
    expected = max(1, chain.size - node.recorder.closed_since(node.now().mono_ns - _PATIENCE_NS))
    level = Level.LOCAL
    for candidate in (Level.COPIED, Level.WITNESSED, Level.FINAL):
        if vouching.size_at(candidate) >= expected:
            level = candidate
    holding = sum(1 for size in vouching.cosigned.values() if size >= expected)
    closed_ns = chain.replica.closed_ns
    return Log(
        epoch=chain.log.counter,
        incarnation=chain.log.incarnation.hex(),
        fenced=chain.log.fenced,
        seq=newest if newest >= 0 else None,
        level=_LEVELS[level],
        age_ms=max(0, (utc_ns - closed_ns) // 1_000_000) if closed_ns else None,
        peers_holding=holding,
        peers=writer.quorum.peers,
    )


def _case(node: Node, utc_ns: int) -> Case | None:
    case = node.desk.cases.current
    if case is None:
        return None
    return Case(case.case_id.hex(), utc_text(case.opened_ns), max(0.0, (utc_ns - case.opened_ns) / S_NS))


def _feeds(node: Node, utc_ns: int) -> list[Feed]:
    feeds = []
    for feed in node.feeds:
        status = feed.status()
        age_s = None if status.last_record_ns is None else max(0.0, (utc_ns - status.last_record_ns) / S_NS)
        feeds.append(
            Feed(
                status.name, status.driver, status.device, status.devices, status.state, age_s, status.gaps,
                status.gap_total_ns / S_NS, status.gap_causes,
            )
        )  # fmt: skip
    return feeds


def _peers(node: Node, mono_ns: int) -> list[Peer]:
    member = node.member
    found = []
    for box in node.manifest.peers_of(member.own_id):
        ours = member.writer.vouching.stored.get(box.id)
        theirs = [replica.size for replica in member.witness.held.live() if replica.log.box == box.id and replica.size]
        heard = member.gossip.heard_mono_ns.get(box.id)
        found.append(
            Peer(
                id=box.id,
                connected=node.network.mesh is not None and node.network.mesh.is_up(box.id),
                holds_ours=ours - 1 if ours else None,
                we_hold=theirs[0] - 1 if theirs else None,
                heard_age_s=None if heard is None else max(0.0, (mono_ns - heard) / S_NS),
            )
        )
    return found


def _disk(node: Node) -> Disk:
    usage = node.store.usage()
    commits = node.statistics.commit
    return Disk(
        free_bytes=usage.disk_free_bytes,
        days_left=node.housekeeping.days_left,
        wear_percent=wear_percent(Path(node.configuration.box.data_dir)),
        fsync_p99_ms=commits.p99_ms if commits.count else None,
        reusable_bytes=usage.room_bytes - usage.disk_free_bytes,
    )


def _objects(node: Node) -> Objects | None:
    survey = node.object_keeper.survey
    if survey.own_levels is None:
        return None
    totals = survey.totals
    return Objects(
        held=totals.held[0],
        held_bytes=totals.held[1],
        wanted=totals.wanted[0],
        wanted_bytes=totals.wanted[1],
        own={_LEVELS[level]: count for level, count in survey.own_levels.items()},
    )


def _commitments(node: Node, utc_ns: int) -> Commitments:
    counts = node.commitments.counts()
    oldest_s = None if counts.oldest_ns is None else max(0.0, (utc_ns - counts.oldest_ns) / S_NS)
    return Commitments(undecided=counts.undecided, unreported=counts.unreported, oldest_age_s=oldest_s)


def _drills(node: Node, utc_ns: int) -> list[Drill]:
    return [
        Drill(
            box=row.box,
            last_success=utc_text(row.success_ns) if row.success_ns else None,
            age_s=max(0.0, (utc_ns - row.success_ns) / S_NS) if row.success_ns else None,
            last_result=row.result,
            took_ms=round(row.took_ns / 1e6, 2) if row.success_ns else None,
        )
        for row in node.drills.rows()
    ]


def _clock() -> Clock:
    quality = read_quality()
    match quality.state:
        case ClockState.SYNCHRONISED:
            return Clock("synchronised", quality.error_ns / 1e6)
        case ClockState.UNSYNCHRONISED:
            return Clock("unsynchronised", quality.error_ns / 1e6 or None)
        case _:
            return Clock("unknown")
