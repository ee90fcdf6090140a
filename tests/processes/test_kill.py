"""kill -9 at random moments, again and again, under load: nothing acknowledged is lost, anywhere."""

from __future__ import annotations

import logging
import random
import time
from pathlib import Path

import pytest

from ledger.certificate import Certificate
from ledger.log import LogId
from tests.processes.hl7_sender import Sender
from tests.processes.site import LabSite, free_port, hl7_feed, until
from tests.processes.stores import (
    assert_epochs,
    assert_good,
    assert_same,
    assert_vouched_is_held,
    chains,
    hl7_numbers,
    until_given_back,
    until_holds,
    vouched,
)

_LOG = logging.getLogger(__name__)
_LONGEST_LIFE_S = 1.5


def _live_and_die(site: LabSite, sender: Sender, dice: random.Random) -> list[dict[LogId, Certificate]]:
    """One life of or-1: it records, and is killed at a moment nobody chose; what the peers vouched for until then."""
    before = len(sender.acknowledged)
    until("or-1 acknowledges", lambda: len(sender.acknowledged) > before)
    time.sleep(dice.random() * _LONGEST_LIFE_S)
    site["or-1"].kill()
    return [vouched(site[peer], "or-1") for peer in ("or-2", "or-3")]


@pytest.mark.parametrize("kills", [5, pytest.param(120, marks=[pytest.mark.soak, pytest.mark.timeout(1_800)])])
def test_nothing_acknowledged_is_lost_by_kill_9(tmp_path: Path, kills: int) -> None:
    seed = random.randrange(1 << 32)
    _LOG.warning("seed %d", seed)
    dice = random.Random(seed)
    port = free_port()
    promised: list[dict[LogId, Certificate]] = []
    with LabSite(tmp_path, feeds={"or-1": [hl7_feed(port)]}) as site:
        site.start()
        with Sender(port) as sender:
            for _ in range(kills):
                promised += _live_and_die(site, sender, dice)
                site["or-1"].start()
            site["or-1"].until_level("witnessed")
        site.until_good()
        for peer in ("or-2", "or-3"):
            until_holds(site[peer], site["or-1"])
            promised.append(vouched(site[peer], "or-1"))
        until_given_back(site["or-1"], site.boxes.values())
        site.stop()

        acknowledged = sender.acknowledged
        assert len(acknowledged) > kills
        own = chains(site["or-1"], "or-1")
        assert len(own) > kills
        assert_epochs(own)
        for certificates in promised:
            assert_vouched_is_held(own, certificates)
        for box in site.boxes.values():
            raw, decoded = hl7_numbers(box, "or-1")
            assert acknowledged <= raw, f"{box.id} lacks {acknowledged - raw}"
            assert acknowledged <= decoded, f"{box.id} lacks {acknowledged - decoded}"
            assert_good(box)
        assert_same(site)
        assert any(promised), "no peer ever vouched: this proved nothing"
