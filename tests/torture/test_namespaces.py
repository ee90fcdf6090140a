"""Three boxes on a kernel's own network: cables pulled, packets lost one way, a link that flaps."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ledger.notices import RestorePerformed
from tests.processes.hl7_sender import Sender
from tests.processes.site import Box, LabSite, free_port, hl7_feed, until
from tests.processes.stores import headers_of
from tests.torture.netns import HERE, Bridge, address
from tests.torture.outcome import assert_nothing_lost, promises

pytestmark = pytest.mark.soak  # a quarter of a minute each: by `make torture`

_LOG = logging.getLogger(__name__)
_BOXES = ("or-1", "or-2", "or-3")
_SOME = 60
_LONG = [pytest.mark.soak, pytest.mark.timeout(300)]


@contextmanager
def _site(folder: Path, restore: dict[str, dict[str, Any]] | None = None) -> Iterator[tuple[LabSite, Bridge, Sender]]:
    port = free_port()
    with (
        Bridge(_BOXES) as bridge,
        LabSite(
            folder,
            feeds={"or-1": [hl7_feed(port, address("or-1"), HERE)]},
            hosts={box: address(box) for box in _BOXES},
            restore=restore,
        ) as site,
    ):
        for box in _BOXES:
            site[box].under = bridge.under(box)
        site.start()
        with Sender(port, host=address("or-1"), pause_s=0.01) as sender:
            until("or-1 acknowledges", lambda: len(sender.acknowledged) > _SOME)
            yield site, bridge, sender


def _until_acknowledges_on(sender: Sender) -> None:
    before = len(sender.acknowledged)
    until("or-1 goes on", lambda: len(sender.acknowledged) > before + _SOME)


def _until_misses(box: Box, *peers: str) -> None:
    wanted = {("peer.silent", peer) for peer in peers}
    until(f"{box.id} misses {peers}", lambda: wanted <= box.alerts())


def test_a_pulled_cable_and_its_healing(tmp_path: Path) -> None:
    with _site(tmp_path) as (site, bridge, sender):
        bridge.pull("or-3")
        for near, far in (("or-1", "or-3"), ("or-2", "or-3")):
            _until_misses(site[near], far)
            status = site[near].until_level("copied")
            assert status["log"]["peers_holding"] == 1
        _until_misses(site["or-3"], "or-1", "or-2")
        assert site["or-3"].until_level("local")["log"]["peers_holding"] == 0
        _until_acknowledges_on(sender)
        promised = promises(site)
        bridge.plug("or-3")
        site.until_good()
        sender.stop()
        assert_nothing_lost(site, {"or-1": sender}, promised)


@pytest.mark.parametrize(("near", "far"), [("or-1", "or-2"), ("or-2", "or-1")])
def test_packets_lost_one_way_take_the_third_box(tmp_path: Path, near: str, far: str) -> None:
    with _site(tmp_path) as (site, bridge, sender):
        bridge.deafen(near, far)
        _until_acknowledges_on(sender)
        newest = site["or-1"].until_ahead(5)
        for holder in ("or-2", "or-3"):
            until(
                f"{holder} gets block {newest} of or-1",
                lambda holder=holder: any(  # type: ignore[misc]
                    peer["id"] == "or-1" and (peer["we_hold"] or 0) >= newest for peer in site[holder].status()["peers"]
                ),
            )
        bridge.hear(near, far)
        site.until_good()
        sender.stop()
        assert_nothing_lost(site, {"or-1": sender})


@pytest.mark.parametrize("flaps", [3, pytest.param(10, marks=_LONG)])
def test_a_flapping_link_makes_no_storm_of_restores(tmp_path: Path, flaps: int) -> None:
    standby = {"or-2": {"standby_for": ["or-1"], "console_out": ["file"]}}
    with _site(tmp_path, standby) as (site, bridge, sender):
        shown = site["or-2"].config.parent / "run" / "or-1.state.json"
        began = time.monotonic()
        for _ in range(flaps):
            bridge.pull("or-1")
            _until_misses(site["or-2"], "or-1")
            bridge.plug("or-1")
            until("or-2 hears or-1", lambda: ("peer.silent", "or-1") not in site["or-2"].alerts())
        lasted_s = time.monotonic() - began
        _until_acknowledges_on(sender)
        sender.stop()
        site.until_good()
        if shown.exists():
            until("the emission ends", lambda: "orledger.restore-ended/1" in shown.read_text())
        assert_nothing_lost(site, {"or-1": sender})
        restores = [notice for header in headers_of(site["or-2"], "or-2") for notice in header.notices
                    if isinstance(notice, RestorePerformed)]  # fmt: skip
        _LOG.warning("%d flaps, %d restores", flaps, len(restores))
        # The pause after each doubles from 2 s on, and stays long for ten calm minutes: k of them take 2^k - 2 s.
        assert 1 <= len(restores) <= math.log2(lasted_s + 2)
