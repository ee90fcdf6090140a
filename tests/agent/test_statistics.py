from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from agent.statistics import Durations, Statistics


@given(st.lists(st.integers(0, 10**10), min_size=1, max_size=300))
def test_percentiles_are_values_that_were_measured(values: list[int]) -> None:
    durations = Durations()
    for value in values:
        durations.add(value)
    summary = durations.summary()
    measured = {round(value / 1e6, 3) for value in values}
    assert summary["count"] == len(values)
    assert summary["worst_ms"] == max(measured)
    assert {summary["p50_ms"], summary["p99_ms"]} <= measured
    assert summary["p50_ms"] <= summary["p99_ms"] <= summary["worst_ms"]


def test_only_the_newest_are_kept_but_all_are_counted() -> None:
    durations = Durations()
    for value in range(10_000):
        durations.add(value * 10**6)
    assert durations.summary()["count"] == 10_000
    assert durations.summary()["p50_ms"] > 5_000


def test_the_document_is_json_before_anything_happened() -> None:
    assert json.loads(json.dumps(Statistics().document()))["commit"]["p99_ms"] == 0
