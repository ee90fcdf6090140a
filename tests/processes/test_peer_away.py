"""A peer that stops, and one that freezes: the others go on and say so; back again, it catches up and vouches."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes.hl7_sender import Sender
from tests.processes.site import Box, LabSite, free_port, hl7_feed, until
from tests.processes.stores import assert_good, assert_same, hl7_numbers, lengths, until_same, without_payload

_SOME = 200
_LONG_BLOCKS = 160


def _stop(box: Box) -> None:
    assert box.stop() == 0


def _freeze(box: Box) -> None:
    box.send(signal.SIGSTOP)


def _thaw(box: Box) -> None:
    box.send(signal.SIGCONT)


@pytest.mark.parametrize(("leave", "come_back"), [(_stop, Box.start), (_freeze, _thaw)], ids=["stopped", "frozen"])
def test_the_others_go_on_and_the_peer_catches_up(
    tmp_path: Path, leave: Callable[[Box], None], come_back: Callable[[Box], None]
) -> None:
    port = free_port()
    with LabSite(tmp_path, feeds={"or-1": [hl7_feed(port)]}) as site:
        site.start()
        box, other, peer = site["or-1"], site["or-2"], site["or-3"]
        with Sender(port) as sender:
            until("or-1 acknowledges", lambda: len(sender.acknowledged) > _SOME)
            leave(peer)
            for left in (box, other):
                until(f"{left.id} misses or-3", lambda left=left: ("peer.silent", "or-3") in left.alerts())  # type: ignore[misc]
                # Of two peers one is not enough to be witnessed: the page must not claim it.
                status = left.until_level("copied")
                assert status["exit"] == 1
                assert status["recording"]
                assert status["log"]["peers_holding"] == 1
            before = len(sender.acknowledged)
            box.until_ahead(20)
            until("or-1 still acknowledges", lambda: len(sender.acknowledged) > before + _SOME)
            come_back(peer)
            site.until_good()
        site.until_good()
        until_same(site)
        for holder in site.boxes.values():
            assert holder.statistics()["peer_faults"] == {}
        site.stop()

        assert_same(site)
        for holder in (other, peer):
            assert sender.acknowledged <= hl7_numbers(holder, "or-1")[0]
        for holder in site.boxes.values():
            assert_good(holder)


def test_a_peer_that_was_long_away_gets_headers_first_and_is_whole_again_while_others_write(tmp_path: Path) -> None:
    """It vouches for nothing until every payload is back; killed on the way, it goes on where it was."""
    port = free_port()
    with LabSite(tmp_path, feeds={"or-1": [hl7_feed(port)]}) as site:
        site.start()
        box, other, peer = site["or-1"], site["or-2"], site["or-3"]
        with Sender(port) as sender:
            until("or-1 acknowledges", lambda: len(sender.acknowledged) > _SOME)
            peer.stop()
            held = _held(peer, "or-1")
            box.until_ahead(_LONG_BLOCKS)
            peer.start()
            until("or-3 begins to catch up", lambda: _held(peer, "or-1") > held)
            peer.kill()
            peer.start()
            site.until_good()  # of two peers both must vouch, so or-3 vouches for or-1's live log again
            box.until_level("witnessed")
            before = len(sender.acknowledged)
            until("or-1 still acknowledges", lambda: len(sender.acknowledged) > before + _SOME)
        until_same(site)
        for holder in site.boxes.values():
            assert holder.statistics()["peer_faults"] == {}
        site.stop()

        assert_same(site)
        for holder in (other, peer):
            assert sender.acknowledged <= hl7_numbers(holder, "or-1")[0]
        for holder in site.boxes.values():
            assert_good(holder)
            assert not without_payload(holder, "or-1")


def _held(holder: Box, writer: str) -> int:
    return sum(lengths(holder, writer).values())
