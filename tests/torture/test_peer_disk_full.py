"""A peer's disk fills up under load: it goes on for its own room only, says so, and catches up once it has room again.

That of the box which records itself: ``tests/processes/test_store_full.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes.hl7_sender import Sender
from tests.processes.site import LabSite, free_port, hl7_feed, until
from tests.processes.small_disk import fill, move_to, small_disk
from tests.torture.outcome import assert_nothing_lost, promises

_SOME = 60
_DISK_MIB = 1_200  # above the smallest reserve; so much memory does the test take when it fills it


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", _DISK_MIB) as folder:
        yield folder


@pytest.mark.soak
def test_a_peer_with_a_full_disk(tmp_path: Path, disk: Path) -> None:
    port = free_port()
    with LabSite(tmp_path, feeds={"or-1": [hl7_feed(port)]}) as site:
        box, other, peer = site["or-1"], site["or-2"], site["or-3"]
        move_to(peer, disk)
        peer.config.write_text(peer.config.read_text() + "\n[store]\nreserve_gib = 1\n")
        site.start()
        with Sender(port, note_bytes=8_192) as sender:
            until("or-1 acknowledges", lambda: len(sender.acknowledged) > _SOME)
            ballast = fill(disk)
            until("or-3 says so", lambda: ("disk.replicas-paused", "ledger") in peer.alerts())
            # A box with little room keeps it for its own records: it takes no blocks of others, and vouches for none.
            box.until_level("copied")
            box.until_ahead(30)
            before = len(sender.acknowledged)
            until("or-1 goes on", lambda: len(sender.acknowledged) > before + _SOME)
            promised = promises(site)
            assert other.status()["recording"]
            peer.until_ahead(5)
            ballast.unlink()
            site.until_good()
            before = len(sender.acknowledged)
            until("or-1 acknowledges", lambda: len(sender.acknowledged) > before + _SOME)
        assert_nothing_lost(site, {"or-1": sender}, promised)
