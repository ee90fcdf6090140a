"""A disk that fills up: said before it happens, nothing acknowledged is lost, and room brings the recording back.

What happens, in order: the store's file holds room made ahead, and recording goes on in it under a critical alert; when
that is used up the commit fails and the process ends with 74, for nothing may be signed after a failed commit; started
again on the full disk it records nothing, acknowledges nothing and says so; with room again it begins by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes.hl7_sender import Sender
from tests.processes.site import LabSite, free_port, hl7_feed, until
from tests.processes.small_disk import fill, move_to, small_disk
from tests.processes.stores import assert_epochs, assert_good, chains, hl7_numbers

_SOME = 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk") as folder:
        yield folder


def test_a_full_disk_is_told_survived_and_recovered_from(tmp_path: Path, disk: Path) -> None:
    port = free_port()
    with LabSite(tmp_path, boxes=1, feeds={"or-1": [hl7_feed(port)]}) as site:
        box = site["or-1"]
        move_to(box, disk)
        box.start()
        with Sender(port, note_bytes=8_192) as sender:
            until("or-1 acknowledges", lambda: len(sender.acknowledged) > _SOME)
            ballast = fill(disk)
            until("or-1 ends", lambda: not box.running)
            assert box.wait() == 74
            assert "disk.full" in box.text()
            assert "the disk is full" in box.text()
            lost = sender.acknowledged - hl7_numbers(box, "or-1")[0]
            assert not lost, f"acknowledged, but not held: {lost}"
            assert_good(box)

            until("its sender has heard all answers", lambda: not sender.connected)
            before = len(sender.acknowledged)
            box.start()
            status = until("or-1 says so", lambda: (found := box.status())["exit"] == 2 and found)
            assert not status["recording"]
            until("its disk is named", lambda: ("disk.full", "ledger") in box.alerts())
            assert len(sender.acknowledged) == before

            ballast.unlink()
            until("or-1 acknowledges again", lambda: len(sender.acknowledged) > before + _SOME)
            assert box.status()["recording"]
        assert box.stop() == 0
        assert sender.acknowledged <= hl7_numbers(box, "or-1")[0]
        assert_epochs(chains(box, "or-1"))
        assert_good(box)
