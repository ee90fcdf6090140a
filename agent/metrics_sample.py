"""What the metrics are made of, taken from a node in one moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from agent.statistics import Histogram
from agent.status import Severity, StatusDocument
from agent.status_builder import build_status
from ledger.drills import Drilled
from ledger.lacking import Lacking, lacking
from ledger.limits import S_NS
from ledger.quorum import Level

if TYPE_CHECKING:
    from agent.link import LinkCounters
    from agent.node import Node

_BULK = "/bulk"
_REFUSED = "_refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One moment. Everything in it is a copy, or belongs to nobody who still writes.

    ``durations``: by name, what it means and its histogram. ``links`` by (peer, "live" or "bulk"). ``peer_faults``
    by (peer, error id). ``alerts`` by (id, severity).
    """

    status: StatusDocument
    utc_ns: int
    manifest_version: int
    blocks: int
    durable_blocks: int
    payload_bytes: int
    waiting_records: int
    waiting_bytes: int
    level_blocks: Mapping[str, float | None]
    unwitnessed_s: float
    durations: Mapping[str, tuple[str, Histogram]]
    links: Mapping[tuple[str, str], LinkCounters]
    peer_faults: Mapping[tuple[str, str], int]
    broker_refused: Mapping[str, int]
    feed_counters: Mapping[str, Mapping[str, int]]
    feed_gaps: Mapping[str, Mapping[str, int]]
    disk_bytes: int
    reserve_bytes: int
    alerts: Mapping[tuple[str, Severity], int]
    drills: Sequence[Drilled]
    lacking: Mapping[str, Lacking]
    object_counts: Mapping[str, int]
    commitment_counts: Mapping[str, int]


def take_sample(node: Node) -> Sample:
    """Of this moment. On the node's loop."""
    now, statistics, writer = node.now(), node.statistics, node.member.writer
    chain, vouching = writer.chain, writer.vouching
    levels = {level.name.lower(): vouching.size_at(level) for level in (Level.COPIED, Level.WITNESSED, Level.FINAL)}
    feeds = [feed.status() for feed in node.feeds]
    faults = (key.partition(" ") for key in statistics.peer_faults)
    return Sample(
        status=build_status(node),
        utc_ns=now.utc_ns,
        manifest_version=node.member.manifests.newest.version,
        blocks=statistics.blocks,
        durable_blocks=node.pump.durable_blocks,
        payload_bytes=statistics.payload_bytes,
        waiting_records=node.intake.waiting_records,
        waiting_bytes=node.intake.waiting_bytes,
        level_blocks={"local": chain.replica.durable_size, **levels},
        unwitnessed_s=node.pump.unvouched_ns(now) / S_NS,
        durations=_durations(node),
        links=_links(node),
        peer_faults=dict(
            zip(((sender, reason) for sender, _, reason in faults), statistics.peer_faults.values(), strict=True)
        ),
        broker_refused=_broker_refused(node),
        feed_counters={feed.name: feed.counters for feed in feeds},
        feed_gaps={feed.name: feed.gaps_since_start for feed in feeds},
        disk_bytes=node.store.usage().disk_bytes,
        reserve_bytes=node.housekeeping.reserve_bytes,
        alerts=Counter((alert.warning.id, alert.warning.severity) for alert in node.alerts.active()),
        drills=tuple(node.drills.rows()),
        lacking=lacking(node.member),
        object_counts=_object_counts(node),
        commitment_counts=_commitment_counts(node),
    )


def _durations(node: Node) -> dict[str, tuple[str, Histogram]]:
    measured = node.statistics
    return {
        "tick_lateness": ("How late each tick began.", measured.tick_late.histogram()),
        "tick_work": ("How long each tick worked.", measured.tick_work.histogram()),
        "commit_duration": ("Durable commits.", measured.commit.histogram()),
        "block_durable_latency": ("Block closed to durable here.", measured.closed_to_durable.histogram()),
        "block_witnessed_latency": ("Block closed to witnessed.", measured.closed_to_witnessed.histogram()),
    }


def _object_counts(node: Node) -> dict[str, int]:
    """Since the start, by the name of the family."""
    intake, keeper = node.objects, node.object_keeper
    return {
        "accepted": intake.accepted,
        "accepted_bytes": intake.accepted_bytes,
        "refused": intake.refused,
        "unrecorded": intake.unrecorded,
        "fetched": keeper.puller.pulled,
        "received_bytes": keeper.exchange.counters.bytes_in,
        "sent_bytes": keeper.exchange.counters.bytes_out,
        "swept": keeper.survey.litter,
    }


def _commitment_counts(node: Node) -> dict[str, int]:
    """Since the start, by the name of the family."""
    counts = node.commitments.counts()
    return {"acknowledged": counts.acknowledged, "given_up": counts.given_up}


def _links(node: Node) -> dict[tuple[str, str], LinkCounters]:
    mesh = node.network.mesh
    counters = mesh.counters() if mesh is not None else {}
    return {
        (name.removesuffix(_BULK), "bulk" if name.endswith(_BULK) else "live"): replace(counted)
        for name, counted in counters.items()
    }


def _broker_refused(node: Node) -> dict[str, int]:
    counters = node.network.broker_counters
    if counters is None:
        return {}
    named = {field.name: int(getattr(counters, field.name)) for field in fields(counters)}
    refused = {name.removesuffix(_REFUSED): count for name, count in named.items() if name.endswith(_REFUSED)}
    return {**refused, "protocol_errors": named["protocol_errors"], "dropped_messages": named["dropped_messages"]}
