"""Boxes in 1971, 2037 and 2060, and clocks that are stepped: time may be wrong, order and evidence may not."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest

from ledger.block import decode_signed_header
from ledger.errors import NoPeer
from ledger.notices import ClockStep
from ledger.records import Gap
from tests.processes.hl7_sender import Sender
from tests.processes.site import Box, LabSite, free_port, hl7_feed, until
from tests.processes.stores import chains, headers_of, records
from tests.torture.outcome import assert_nothing_lost
from tests.torture.shim import Shim

_S_NS = 1_000_000_000
_YEAR_NS = 31_556_952 * _S_NS
_SOME = 60
_YEARS = {"or-1": 1971, "or-2": 2037, "or-3": 2060}
_STEPS_NS = (90 * _S_NS, -3_600 * _S_NS, 20 * _YEAR_NS)


def _to_year(year: int) -> int:
    """How wrong a clock must be to stand in January of ``year``."""
    return (year - 1970) * _YEAR_NS - time.time_ns() // _YEAR_NS * _YEAR_NS


def _shims(site: LabSite, folder: Path) -> dict[str, Shim]:
    found = {}
    for box in site.boxes.values():
        shim = found[box.id] = Shim("wrong_clock", folder / f"{box.id}-shim")
        box.under = shim.under
    return found


def _assert_ordered(box: Box) -> None:
    """Blocks follow each other by number and by the boot clock, whatever UTC said."""
    for log, headers in chains(box, box.id).items():
        decoded = [decode_signed_header(header) for header in headers]
        assert [header.seq for header in decoded] == list(range(len(decoded))), log
        assert all(earlier.boot_ns < later.boot_ns for earlier, later in itertools.pairwise(decoded)), log


def _ahead_of(box: Box) -> set[str]:
    return {subject for alert, subject in box.alerts() if alert == "peer.clock"}


def _restores(box: Box, other: str) -> bool:
    """Whether the answers that came in time were enough."""
    try:
        return bool(box.restore(other)["level"] == "witnessed")
    except NoPeer:
        return False


def test_boxes_decades_apart_replicate_and_the_one_ahead_is_named(tmp_path: Path) -> None:
    port = free_port()
    with LabSite(tmp_path, feeds={"or-1": [hl7_feed(port)]}) as site:
        for name, shim in _shims(site, tmp_path).items():
            shim.control.offset_ns = _to_year(_YEARS[name])
        for box in site.boxes.values():
            box.start()
        for box in site.boxes.values():
            box.until_level("witnessed")
            assert box.status()["at"].startswith(str(_YEARS[box.id]))
        with Sender(port) as sender:
            until("or-1 acknowledges", lambda: len(sender.acknowledged) > _SOME)
        # Who is behind says of who is ahead: 1971 of both others, 2037 of 2060, 2060 of nobody.
        for name, ahead in (("or-1", {"or-2", "or-3"}), ("or-2", {"or-3"}), ("or-3", set[str]())):
            until(
                f"{name} names {ahead or 'nobody'}",
                lambda name=name, ahead=ahead: ahead == _ahead_of(site[name]),  # type: ignore[misc]
                why_not=lambda name=name: site[name].alerts(),  # type: ignore[misc]
            )
        for name in ("or-2", "or-3"):
            until(f"{name} restores or-1", lambda name=name: _restores(site[name], "or-1"))  # type: ignore[misc]
        # To the boxes of later years the records of the earlier look older than any retention; none may go by that.
        assert_nothing_lost(site, {"or-1": sender}, well=("peer.clock", "retention.clock"))
        for one in site.boxes.values():
            _assert_ordered(one)
            assert not [notice for header in headers_of(one, one.id) for notice in header.notices
                        if isinstance(notice, ClockStep)]  # fmt: skip


@pytest.mark.parametrize("step_ns", _STEPS_NS, ids=["90 s", "back an hour", "20 years"])
def test_a_stepped_clock_is_told_and_harms_nothing(tmp_path: Path, step_ns: int) -> None:
    port = free_port()
    with LabSite(tmp_path, feeds={"or-1": [hl7_feed(port)]}) as site:
        shims = _shims(site, tmp_path)
        site.start()
        with Sender(port) as sender:
            until("or-1 acknowledges", lambda: len(sender.acknowledged) > _SOME)
            shims["or-1"].control.offset_ns = step_ns
            site["or-1"].until_ahead(3)
            before = len(sender.acknowledged)
            until("or-1 still acknowledges", lambda: len(sender.acknowledged) > before + _SOME)
            if step_ns > 0:
                for peer in ("or-2", "or-3"):
                    until(f"{peer} names it", lambda peer=peer: ("peer.clock", "or-1") in site[peer].alerts())  # type: ignore[misc]
            assert site["or-1"].status()["log"]["fenced"]
        assert_nothing_lost(site, {"or-1": sender}, well=("peer.clock", "retention.clock"))
        _assert_ordered(site["or-1"])
        steps = [notice.step_ns for header in headers_of(site["or-2"], "or-1") for notice in header.notices
                 if isinstance(notice, ClockStep)]  # fmt: skip
        assert len(steps) == 1
        assert abs(steps[0] - step_ns) < _S_NS
        gaps = [record for _, record in records(site["or-2"], "or-1")
                if isinstance(record, Gap) and record.cause == "clock_jump"]  # fmt: skip
        assert len(gaps) == 1


def test_a_clock_set_right_again_ends_the_alert(tmp_path: Path) -> None:
    with LabSite(tmp_path, boxes=2) as site:
        shims = _shims(site, tmp_path)
        shims["or-1"].control.offset_ns = 60 * _S_NS
        for box in site.boxes.values():
            box.start()
        until("or-2 names or-1", lambda: ("peer.clock", "or-1") in site["or-2"].alerts())
        shims["or-1"].control.offset_ns = 0
        site.until_good()
        site.stop()
