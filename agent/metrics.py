"""What a monitoring system may know of this box, as Prometheus and OpenMetrics families: docs/metrics.md lists them.

``take_sample`` copies what is needed, on the loop; ``exposition`` makes text of it, on any thread. Labels hold names
from the configuration and the manifest and words of this program, never anything that a device or a person said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import TypeVar

from prometheus_client import ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
    StateSetMetricFamily,
)
from prometheus_client.registry import Collector, CollectorRegistry

from agent.feed_status import FeedState
from agent.metrics_sample import Sample
from agent.status import Severity
from ledger.lacking import Lacking
from ledger.limits import LIMITS

_Labels = TypeVar("_Labels", tuple[str], tuple[str, str])
FEED_STATES: tuple[FeedState, ...] = ("ok", "silent", "down", "error")
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")
_FEED_TOTALS = {
    "records": "records",
    "bytes_in": "received_bytes",
    "bytes_out": "sent_bytes",
    "messages_in": "received_messages",
    "records_lost": "lost_records",
}
"""Counters of a feed that have a family of their own; the others are told by ``kind``."""


def exposition(sample: Sample, accept: str) -> tuple[bytes, str]:
    """(text, content type) in the newest format that ``accept`` takes: OpenMetrics, or Prometheus text."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(sample))
    ProcessCollector(registry=registry)
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


@dataclass(frozen=True, slots=True, eq=False)
class _Families(Collector):
    sample: Sample

    def collect(self) -> Iterable[Metric]:
        for part in _PARTS:
            yield from part(self.sample)

    def describe(self) -> Iterable[Metric]:
        return ()


def _gauge(name: str, meaning: str, value: float | None) -> Iterator[Metric]:
    """One number; no family at all while it is not known."""
    if value is not None:
        yield GaugeMetricFamily(f"orledger_{name}", meaning, value=float(value))


def _gauges(name: str, meaning: str, label: str, values: Mapping[str, float | None]) -> Iterator[Metric]:
    family = GaugeMetricFamily(f"orledger_{name}", meaning, labels=[label])
    for key, value in values.items():
        if value is not None:
            family.add_metric([key], float(value))
    yield family


def _counter(name: str, meaning: str, value: float) -> Iterator[Metric]:
    yield CounterMetricFamily(f"orledger_{name}", meaning, value=value)


def _counters(name: str, meaning: str, labels: tuple[str, ...], values: Mapping[_Labels, int]) -> Iterator[Metric]:
    family = CounterMetricFamily(f"orledger_{name}", meaning, labels=list(labels))
    for key, value in values.items():
        family.add_metric(list(key), value)
    yield family


def _box(sample: Sample) -> Iterator[Metric]:
    status = sample.status
    facts = {"box": status.box, "site": status.site, "room": status.room, "version": version("orledger")}
    yield InfoMetricFamily("orledger_box", "This box, and the version of its agent.", value=facts)
    yield from _gauge("recording", "1 while this room is recorded.", status.recording)
    yield from _gauge("case_open", "1 while a case is open.", status.case is not None)
    yield from _gauge("manifest_version", "Version of the site's manifest in force here.", sample.manifest_version)
    yield from _counter("blocks_total", "Blocks closed since the start.", sample.blocks)
    yield from _counter("durable_blocks_total", "Blocks of this box committed since the start.", sample.durable_blocks)
    yield from _counter("payload_bytes_total", "Sealed payload closed since the start.", sample.payload_bytes)
    yield from _gauge("intake_waiting_records", "Records that wait for the next block.", sample.waiting_records)
    yield from _gauge("intake_waiting_bytes", "Bytes that wait for the next block.", sample.waiting_bytes)


def _log(sample: Sample) -> Iterator[Metric]:
    log = sample.status.log
    if log is None:
        return
    yield from _gauge("log_epoch", "Epoch counter of the log being written.", log.epoch)
    yield from _gauge("log_fenced", "1 when the log is fenced, 0 while it is provisional.", log.fenced)
    yield from _gauge("log_seq", "Seq of the newest block.", log.seq)
    age_s = None if log.age_ms is None else log.age_ms / 1_000
    yield from _gauge("log_newest_block_age_seconds", "Age of the newest block.", age_s)
    yield from _gauges("log_level_blocks", "Blocks of the log that have a level.", "level", sample.level_blocks)
    meaning = "Age of the oldest block that w peers have not cosigned; 0 when all are, or there are no peers."
    yield from _gauge("log_unwitnessed_seconds", meaning, sample.unwitnessed_s)
    yield from _gauge("log_peers_holding", "Peers that keep up with the log.", log.peers_holding)


def _durations(sample: Sample) -> Iterator[Metric]:
    for name, (meaning, histogram) in sample.durations.items():
        family = HistogramMetricFamily(f"orledger_{name}_seconds", meaning)
        family.add_metric([], [(_bound(bound), count) for bound, count in histogram.buckets], histogram.sum_s)
        yield family


def _bound(seconds: float) -> str:
    return "+Inf" if seconds == float("inf") else str(seconds)


def _peers(sample: Sample) -> Iterator[Metric]:
    peers = sample.status.peers
    yield from _gauges(
        "peer_connected", "1 while the peer's broker can be reached.", "peer", {p.id: p.connected for p in peers}
    )
    yield from _gauges(
        "peer_holds_ours_seq",
        "Highest seq of our log that the peer holds.",
        "peer",
        {p.id: p.holds_ours for p in peers},
    )
    yield from _gauges(
        "peer_we_hold_seq", "Highest seq of the peer's log held here.", "peer", {p.id: p.we_hold for p in peers}
    )
    yield from _gauges(
        "peer_heard_age_seconds", "Since anything was heard of the peer.", "peer", {p.id: p.heard_age_s for p in peers}
    )
    lacking = {peer.id: Lacking() for peer in peers} | dict(sample.lacking)
    yield from _gauges(
        "catch_up_lacking_headers", "Blocks of the box that peers hold and that are not here.", "box",
        {box: each.headers for box, each in lacking.items()},
    )  # fmt: skip
    yield from _gauges(
        "catch_up_lacking_payloads", "Blocks of the box of which only the header is here.", "box",
        {box: each.payloads for box, each in lacking.items()},
    )  # fmt: skip
    for name, meaning, attribute in (
        ("link_connections_total", "Connections tried.", "connections"),
        ("link_received_messages_total", "Messages received.", "messages_in"),
        ("link_received_bytes_total", "Bytes received.", "bytes_in"),
        ("link_sent_messages_total", "Messages sent.", "messages_out"),
        ("link_sent_bytes_total", "Bytes sent.", "bytes_out"),
        ("link_dropped_messages_total", "Messages dropped: no link, or too slow.", "dropped_messages"),
    ):  # fmt: skip
        values = {key: int(getattr(counters, attribute)) for key, counters in sample.links.items()}
        yield from _counters(
            name, f"{meaning} The box's own id stands for its own broker.", ("peer", "channel"), values
        )


def _refusals(sample: Sample) -> Iterator[Metric]:
    kept = dict(list(sample.peer_faults.items())[: LIMITS.metrics_refusals])
    beyond = sum(list(sample.peer_faults.values())[LIMITS.metrics_refusals :])
    if beyond:
        kept["other", "other"] = beyond
    yield from _counters(
        "messages_refused_total", "Messages of a peer that were refused, by the error's id.", ("peer", "reason"), kept
    )
    refused = {(kind,): count for kind, count in sample.broker_refused.items()}
    yield from _counters("broker_refused_total", "What this box's broker refused.", ("kind",), refused)


def _feeds(sample: Sample) -> Iterator[Metric]:
    state = StateSetMetricFamily("orledger_feed_state", "State of each feed.", labels=["feed"])
    for feed in sample.status.feeds:
        state.add_metric([feed.name], {known: feed.state == known for known in FEED_STATES})
    yield state
    feeds = sample.status.feeds
    yield from _gauges(
        "feed_last_record_age_seconds",
        "Age of the feed's newest record.",
        "feed",
        {f.name: f.last_age_s for f in feeds},
    )
    yield from _gauges("feed_devices", "Devices behind the feed.", "feed", {f.name: f.devices for f in feeds})
    gaps = {(name, cause): count for name, by_cause in sample.feed_gaps.items() for cause, count in by_cause.items()}
    yield from _counters("feed_gaps_total", "Gaps recorded since the start.", ("feed", "cause"), gaps)
    for counter, name in _FEED_TOTALS.items():
        values = {(feed,): counted.get(counter, 0) for feed, counted in sample.feed_counters.items()}
        yield from _counters(f"feed_{name}_total", f"{name.replace('_', ' ').capitalize()}.", ("feed",), values)
    others = {
        (feed, kind): count
        for feed, counted in sample.feed_counters.items()
        for kind, count in counted.items()
        if kind not in _FEED_TOTALS
    }
    yield from _counters("feed_faults_total", "What went wrong with the feed, by kind.", ("feed", "kind"), others)


def _disk_and_clock(sample: Sample) -> Iterator[Metric]:
    disk, clock = sample.status.disk, sample.status.clock
    yield from _gauge("disk_free_bytes", "Free on the ledger's file system.", disk.free_bytes)
    yield from _gauge("disk_size_bytes", "Size of the ledger's file system.", sample.disk_bytes)
    yield from _gauge("disk_reusable_bytes", "Freed inside the ledger's file, to be used again.", disk.reusable_bytes)
    yield from _gauge("disk_reserve_bytes", "What the configuration wants kept free.", sample.reserve_bytes)
    until_s = None if disk.days_left is None else disk.days_left * 86_400
    yield from _gauge("disk_reserve_reached_in_seconds", "Until only the reserve is free, at this rate.", until_s)
    wear = None if disk.wear_percent is None else disk.wear_percent / 100
    yield from _gauge("disk_wear_ratio", "Share of its rated life the disk has used, at most.", wear)
    synchronised = clock.state == "synchronised"
    yield from _gauge("clock_synchronised", "1 while the kernel's clock is synchronised.", synchronised)
    error_s = None if clock.error_ms is None else clock.error_ms / 1_000
    yield from _gauge("clock_error_seconds", "Bound of the clock's error, as the kernel says.", error_s)


_OBJECT_COUNTERS = {
    "accepted": "Objects taken in and durable.",
    "accepted_bytes": "Their content.",
    "refused": "Objects refused or given up while they came in.",
    "unrecorded": "Objects taken in and never recorded: deleted.",
    "fetched": "Objects fetched from peers.",
    "received_bytes": "Bytes of objects from peers.",
    "sent_bytes": "Bytes of objects to peers.",
    "swept": "Files of interrupted writing, or that no block names, removed.",
}


def _objects(sample: Sample) -> Iterator[Metric]:
    objects = sample.status.objects
    if objects is not None:
        counts = {"held": objects.held, "wanted": objects.wanted}
        yield from _gauges("objects", "Objects that blocks name, of all boxes.", "state", counts)
        sizes = {"held": objects.held_bytes, "wanted": objects.wanted_bytes}
        yield from _gauges("objects_bytes", "Their sealed bytes.", "state", sizes)
        yield from _gauges("objects_own", "This box's objects, by how far they are vouched for.", "level", objects.own)
    for name, meaning in _OBJECT_COUNTERS.items():
        yield from _counter(f"objects_{name}_total", meaning, sample.object_counts[name])


def _commitments(sample: Sample) -> Iterator[Metric]:
    open_ = sample.status.commitments
    if open_ is not None:
        counts = {"undecided": open_.undecided, "unreported": open_.unreported}
        yield from _gauges("commitments", "Storage commitments that are open.", "state", counts)
        meaning = "Since the oldest that is open was asked for."
        yield from _gauge("commitments_oldest_age_seconds", meaning, open_.oldest_age_s or 0.0)
    told = "Storage commitments whose report was acknowledged."
    yield from _counter("commitments_acknowledged_total", told, sample.commitment_counts["acknowledged"])
    lost = "Storage commitments whose asker was never told."
    yield from _counter("commitments_given_up_total", lost, sample.commitment_counts["given_up"])


def _alerts(sample: Sample) -> Iterator[Metric]:
    counts: dict[str, float | None] = dict.fromkeys(SEVERITIES, 0)
    active = GaugeMetricFamily("orledger_alert_active", "Active alerts of one id.", labels=["id", "severity"])
    for (alert_id, severity), count in sample.alerts.items():
        counts[severity] = (counts[severity] or 0) + count
        active.add_metric([alert_id, severity], count)
    yield from _gauges("alerts", "Active alerts.", "severity", counts)
    yield active


def _drills(sample: Sample) -> Iterator[Metric]:
    rows = sample.drills
    yield from _gauges(
        "restore_drill_last_success_timestamp_seconds", "When the peer's last restore drill succeeded; 0 for never.",
        "peer", {row.box: row.success_ns / 1e9 for row in rows},
    )  # fmt: skip
    yield from _gauges(
        "restore_drill_last_success_duration_seconds", "How long the last restore drill that succeeded took.",
        "peer", {row.box: row.took_ns / 1e9 if row.success_ns else None for row in rows},
    )  # fmt: skip
    yield from _gauges(
        "restore_drill_last_success_age_seconds", "Since the peer's last good restore drill, or since it is known.",
        "peer", {row.box: max(0.0, (sample.utc_ns - (row.success_ns or row.since_ns)) / 1e9) for row in rows},
    )  # fmt: skip
    yield from _gauges(
        "restore_drill_failed", "1 when the peer's last restore drill failed.", "peer",
        {row.box: row.failed for row in rows},
    )  # fmt: skip


_PARTS = (
    _box, _log, _durations, _peers, _refusals, _feeds, _disk_and_clock, _objects, _commitments, _alerts, _drills,
)  # fmt: skip
