"""Cables cut, one way and both, and cables gone dead: who still knows what, who says so, and how it heals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes.cable import Cable
from tests.processes.site import Box, LabSite, until
from tests.processes.stores import assert_epochs, assert_good, assert_same, chains, until_same

_BLOCKS = 2


def _assert_same_and_good(site: LabSite) -> None:
    assert_same(site)
    for box in site.boxes.values():
        assert_epochs(chains(box, box.id))
        assert_good(box)


def _held_of(holder: Box, writer: str) -> int:
    """The newest seq that ``holder`` says it has of ``writer``."""
    held = next(peer["we_hold"] for peer in holder.status()["peers"] if peer["id"] == writer)
    return -1 if held is None else int(held)


def _until_gets(holder: Box, writer: str, seq: int) -> None:
    until(f"{holder.id} gets block {seq} of {writer}", lambda: _held_of(holder, writer) >= seq)


@pytest.mark.parametrize("fail", [Cable.cut, Cable.deaden])
def test_a_box_cut_off_records_alone_and_says_so(tmp_path: Path, fail: Callable[[Cable], None]) -> None:
    with LabSite(tmp_path, cables=True) as site:
        site.start()
        alone, others = site["or-1"], (site["or-2"], site["or-3"])
        cables = [site.cable(*ends) for other in others for ends in (("or-1", other.id), (other.id, "or-1"))]
        for cable in cables:
            fail(cable)
        until("or-1 hears nobody", lambda: alone.alerts() >= {("peer.silent", "or-2"), ("peer.silent", "or-3")})
        for other in others:
            until(f"{other.id} misses or-1", lambda other=other: other.alerts() == {("peer.silent", "or-1")})  # type: ignore[misc]
        status = alone.until_level("local")
        assert status["recording"]
        assert status["exit"] == 1
        assert status["log"]["peers_holding"] == 0
        newest = alone.until_ahead(_BLOCKS)
        assert all(_held_of(other, "or-1") < newest for other in others)

        for cable in cables:
            cable.mend()
        for other in others:
            _until_gets(other, "or-1", newest)
        site.until_good()
        until_same(site)
        for box in site.boxes.values():
            assert box.statistics()["peer_faults"] == {}
        site.stop()
        _assert_same_and_good(site)


def test_a_box_restarted_alone_records_unfenced_until_it_is_joined_again(tmp_path: Path) -> None:
    with LabSite(tmp_path, cables=True) as site:
        site.start()
        alone = site["or-1"]
        cables = [
            site.cable(*ends) for ends in (("or-1", "or-2"), ("or-2", "or-1"), ("or-1", "or-3"), ("or-3", "or-1"))
        ]
        for cable in cables:
            cable.cut()
        alone.kill()
        alone.start()
        seq = alone.until_ahead(_BLOCKS)
        status = alone.status()
        assert not status["log"]["fenced"]
        assert status["log"]["level"] == "local"
        assert status["recording"]

        for cable in cables:
            cable.mend()
        site.until_good()
        until_same(site)
        site.stop()
        _assert_same_and_good(site)
        assert any(len(headers) > seq for log, headers in chains(site["or-2"], "or-1").items() if not log.fenced)


@pytest.mark.parametrize("fail", [Cable.cut, Cable.deaden])
def test_what_one_way_cannot_pass_takes_another(tmp_path: Path, fail: Callable[[Cable], None]) -> None:
    """Either box goes on getting the other's blocks, straight or through or-3."""
    with LabSite(tmp_path, cables=True) as site:
        site.start()
        fail(site.cable("or-1", "or-2"))
        for writer, holder in (("or-1", "or-2"), ("or-2", "or-1")):
            newest = site[writer].until_ahead(_BLOCKS)
            _until_gets(site[holder], writer, newest)
        site.cable("or-1", "or-2").mend()
        site.until_good()
        until_same(site)
        site.stop()
        _assert_same_and_good(site)


def test_two_boxes_that_cannot_reach_each_other_do_so_through_the_third(tmp_path: Path) -> None:
    with LabSite(tmp_path, cables=True) as site:
        site.start()
        for ends in (("or-1", "or-3"), ("or-3", "or-1")):
            site.cable(*ends).cut()
        for writer, holder in (("or-1", "or-3"), ("or-3", "or-1")):
            until(f"{holder} does not hear {writer}", lambda h=holder, w=writer: ("peer.silent", w) in site[h].alerts())  # type: ignore[misc]
            newest = site[writer].until_ahead(_BLOCKS)
            _until_gets(site[holder], writer, newest)
        for ends in (("or-1", "or-3"), ("or-3", "or-1")):
            site.cable(*ends).mend()
        site.until_good()
        until_same(site)
        site.stop()
        _assert_same_and_good(site)
