"""Metrics of real boxes, read over HTTP and parsed as Prometheus would."""

from __future__ import annotations

import urllib.request
from pathlib import Path

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.processes.site import HOST, LabSite, free_port, hl7_feed, until


def scrape(port: int) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Value by sample name and labels."""
    request = urllib.request.Request(
        f"http://{HOST}:{port}/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        text = answer.read().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
        for sample in family.samples
    }


def test_a_scrape_tells_what_status_tells(tmp_path: Path) -> None:
    port = free_port()
    with LabSite(tmp_path, feeds={"or-1": [hl7_feed(free_port())]}) as site:
        box = site["or-1"]
        with box.config.open("a") as config:
            config.write(f'[page]\nlisten = "{HOST}:{port}"\n')
        site.start()
        assert box.cli("drill", "or-2").returncode == 0
        box.until_held()
        told = until("metrics are served", lambda: scrape(port))

        def of(name: str, **labels: str) -> float:
            return told[f"orledger_{name}", frozenset(labels.items())]

        status = box.status()
        assert of("recording") == 1
        assert of("log_epoch") == status["log"]["epoch"]
        assert of("peer_connected", peer="or-2") == of("peer_connected", peer="or-3") == 1
        assert of("peer_holds_ours_seq", peer="or-2") > 0
        assert of("log_level_blocks", level="witnessed") > 0
        assert of("feed_state", feed="gateway", orledger_feed_state="ok") == 1
        assert of("commit_duration_seconds_count") > 0
        assert of("block_witnessed_latency_seconds_count") > 0
        assert of("disk_reserve_bytes") == 4 << 30
        assert of("alerts", severity="critical") == 0

        drilled = next(drill for drill in status["drills"] if drill["box"] == "or-2")
        assert 1000 * of("restore_drill_last_success_duration_seconds", peer="or-2") - drilled["took_ms"] < 0.01
        assert of("restore_drill_last_success_timestamp_seconds", peer="or-2") > 1.7e9
        assert of("restore_drill_last_success_timestamp_seconds", peer="or-3") == 0

        site["or-2"].kill()
        until("the lost peer shows", lambda: not scrape(port)["orledger_peer_connected", frozenset({("peer", "or-2")})])
        until(
            "its alert shows",
            lambda: scrape(port).get(
                ("orledger_alert_active", frozenset({("id", "peer.silent"), ("severity", "warning")}))
            ),
        )
