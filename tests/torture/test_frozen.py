"""SIGSTOP: a process that stands still and then goes on as if nothing had been. Its peers and its own log must know."""

from __future__ import annotations

import itertools
import signal
from pathlib import Path

import pytest

from ledger.notices import ClockStep, RestorePerformed
from ledger.records import Gap
from tests.processes.hl7_sender import Sender
from tests.processes.site import LabSite, free_port, hl7_feed, until
from tests.processes.stores import headers_of, records
from tests.torture.outcome import assert_nothing_lost, promises

pytestmark = pytest.mark.soak  # a quarter of a minute each: by `make torture`

_SOME = 60
_S_NS = 1_000_000_000
_LONG = [pytest.mark.soak, pytest.mark.timeout(300)]
_BLOCKS_PER_S = 10
_MOST_RESTORES = 3


@pytest.mark.parametrize("blocks", [60, pytest.param(600, marks=_LONG)], ids=["6 s", "a minute"])
@pytest.mark.parametrize("frozen", ["or-1", "or-3"], ids=["writer", "peer"])
def test_a_frozen_box_is_missed_and_goes_on_where_it_stood(tmp_path: Path, frozen: str, blocks: int) -> None:
    """``blocks``: how long it stands, told by the blocks of a box that goes on."""
    ports = {"or-1": free_port(), "or-2": free_port()}
    with LabSite(
        tmp_path,
        feeds={box: [hl7_feed(port)] for box, port in ports.items()},
        restore={"or-2": {"standby_for": ["or-1"], "console_out": ["file"]}},
    ) as site:
        site.start()
        box, watcher = site[frozen], site["or-2"]
        shown = watcher.config.parent / "run" / "or-1.state.json"
        with Sender(ports["or-1"], pause_s=0.01) as first, Sender(ports["or-2"], pause_s=0.01) as second:
            until("both acknowledge", lambda: min(len(first.acknowledged), len(second.acknowledged)) > _SOME)
            before = box.status()["log"]
            box.send(signal.SIGSTOP)
            until("or-2 misses it", lambda: ("peer.silent", frozen) in watcher.alerts())
            promised = promises(site)
            if frozen == "or-1":
                until("or-2 hands out its state", lambda: ("standby.emitting", "or-1") in watcher.alerts())
                assert '"restored":true' in shown.read_text().replace(" ", "")
            for _ in range(blocks // 60):
                watcher.until_ahead(60)
            box.send(signal.SIGCONT)
            site.until_good()
            if frozen == "or-1":
                until("the emission ends", lambda: "orledger.restore-ended/1" in shown.read_text())
            acknowledged = len(first.acknowledged)
            until("or-1 acknowledges", lambda: len(first.acknowledged) > acknowledged + _SOME)
        after = box.status()["log"]
        # Same process, same log: standing still is no reason for an epoch, and no clock was set.
        assert (after["epoch"], after["incarnation"]) == (before["epoch"], before["incarnation"])
        assert_nothing_lost(site, {"or-1": first, "or-2": second}, promised)

        headers = [header for header in headers_of(watcher, frozen) if header.log.fenced]
        stood_ns = max(later.boot_ns - earlier.boot_ns for earlier, later in itertools.pairwise(headers))
        assert stood_ns > blocks / _BLOCKS_PER_S * _S_NS / 2, "the hole in its log must show how long it stood"
        assert not [notice for header in headers for notice in header.notices if isinstance(notice, ClockStep)]
        gaps = [record for _, record in records(watcher, frozen)
                if isinstance(record, Gap) and record.cause == "agent_down"]  # fmt: skip
        assert len(gaps) == 1
        assert gaps[0].until_ns - gaps[0].since_ns > blocks / _BLOCKS_PER_S * _S_NS / 2
        restores = [notice for header in headers_of(watcher, "or-2") for notice in header.notices
                    if isinstance(notice, RestorePerformed)]  # fmt: skip
        # A machine that is busy may let a box stand still for once of its own.
        assert (frozen == "or-1") <= len(restores) <= _MOST_RESTORES
