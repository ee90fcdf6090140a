"""Disks that fail in the middle of a commit, and power cuts: nothing is signed after it, nothing acknowledged is lost.

The faults come from ``bad_disk.c`` under the agent's own store file; no agent code knows of them.
"""

from __future__ import annotations

import logging
import random
from pathlib import Path

import pytest

from ledger.block import decode_signed_header
from tests.processes.hl7_sender import Sender
from tests.processes.site import Box, LabSite, free_port, hl7_feed, until
from tests.processes.stores import assert_good, chains, hl7_numbers
from tests.torture.outcome import Promise, assert_nothing_lost, promises
from tests.torture.shim import Shim

_LOG = logging.getLogger(__name__)
_EIO_WRITE, _EIO_SYNC, _POWER_CUT = 1, 2, 3
_SOME = 60
_SIGKILLED = -9
_STORE_FAULT = 74
_LONGEST_CALLS = 40
_LONG = [pytest.mark.soak, pytest.mark.timeout(900)]


def _strike(shim: Shim, action: int, calls: int) -> None:
    shim.control.action = action
    shim.control.calls = calls
    shim.control.armed = 1


def _rest(shim: Shim) -> None:
    shim.control.armed = shim.control.calls = shim.control.action = 0


def _until_ended(box: Box) -> int:
    until(f"{box.id} ends", lambda: not box.running)
    return box.wait()


def _life(site: LabSite, shim: Shim, sender: Sender, action: int, calls: int) -> int:
    """One life of or-1 that its disk ends; the exit code."""
    box, before = site["or-1"], len(sender.acknowledged)
    until("or-1 acknowledges", lambda: len(sender.acknowledged) > before + _SOME)
    _strike(shim, action, calls)
    code = _until_ended(box)
    assert shim.control.hits, "the fault never happened: this proved nothing"
    shim.control.hits = 0
    _rest(shim)
    return code


def _assert_ended_well(box: Box, sender: Sender) -> None:
    """Straight after the fault, before any restart and without any peer: its own disk kept its word."""
    raw, decoded = hl7_numbers(box, box.id)
    lost = sender.acknowledged - (raw & decoded)
    assert not lost, f"acknowledged, but not on {box.id}'s own disk: {sorted(lost)[:10]}"
    assert_good(box)


@pytest.mark.parametrize(
    ("action", "exit_code", "lives"),
    [
        pytest.param(_EIO_WRITE, _STORE_FAULT, 2, id="write-eio"),
        pytest.param(_EIO_SYNC, _STORE_FAULT, 2, id="sync-eio"),
        pytest.param(_POWER_CUT, _SIGKILLED, 3, id="power-cut"),
        pytest.param(_EIO_WRITE, _STORE_FAULT, 12, id="write-eio-long", marks=_LONG),
        pytest.param(_EIO_SYNC, _STORE_FAULT, 12, id="sync-eio-long", marks=_LONG),
        pytest.param(_POWER_CUT, _SIGKILLED, 40, id="power-cut-long", marks=_LONG),
    ],
)  # fmt: skip
def test_a_disk_that_fails_ends_the_log_and_loses_nothing(
    tmp_path: Path, action: int, exit_code: int, lives: int
) -> None:
    seed = random.randrange(1 << 32)
    _LOG.warning("seed %d", seed)
    dice = random.Random(seed)
    port = free_port()
    shim = Shim("bad_disk", tmp_path / "shim")
    promised: list[Promise] = []
    with LabSite(tmp_path, feeds={"or-1": [hl7_feed(port)]}) as site:
        box = site["or-1"]
        box.under = shim.under
        site.start()
        with Sender(port) as sender:
            for _ in range(lives):
                code = _life(site, shim, sender, action, dice.randrange(_LONGEST_CALLS))
                assert code == exit_code, box.tail()
                _assert_ended_well(box, sender)
                promised += promises(site)
                ended = chains(box, "or-1")
                box.start()
                box.until_ahead(1)
                now = chains(box, "or-1")
                # No log that ended changes; what it gains is what its peers had taken before its end.
                assert all(now[log][: len(headers)] == headers for log, headers in ended.items())
                assert box.status()["log"]["incarnation"] not in {log.incarnation.hex() for log in ended}
                assert len(now) > len(ended)
        if exit_code == _STORE_FAULT:
            assert box.text().count("stopping: ") == lives
        assert_nothing_lost(site, {"or-1": sender}, promised)


def test_a_peer_whose_disk_fails_stops_vouching_and_comes_back(tmp_path: Path) -> None:
    port = free_port()
    shim = Shim("bad_disk", tmp_path / "shim")
    with LabSite(tmp_path, feeds={"or-1": [hl7_feed(port)]}) as site:
        box, peer = site["or-1"], site["or-3"]
        peer.under = shim.under
        site.start()
        with Sender(port) as sender:
            until("or-1 acknowledges", lambda: len(sender.acknowledged) > _SOME)
            _strike(shim, _EIO_SYNC, 0)
            assert _until_ended(peer) == _STORE_FAULT
            _rest(shim)
            promised = promises(site)
            until("or-1 misses or-3", lambda: ("peer.silent", "or-3") in box.alerts())
            before = len(sender.acknowledged)
            until("or-1 acknowledges", lambda: len(sender.acknowledged) > before + _SOME)
            held = {log: len(headers) for log, headers in chains(peer, "or-1").items()}
            vouched_to = {
                log: one.size
                for writer, found in promised
                if writer == "or-1"
                for log, one in found.items()
                if "or-3" in {name for name, _, _ in one.cosignatures}  # what or-3 said; others went on without it
            }
            assert all(held[log] >= size for log, size in vouched_to.items() if log in held)
            peer.start()
        assert_nothing_lost(site, {"or-1": sender}, promised)
        assert any(decode_signed_header(headers[0]).seq == 0 for headers in chains(peer, "or-1").values())
