"""The same site with a mosquitto beside each agent in place of the broker inside it: good weather, kill, restore."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import require_tool
from tests.processes.hl7_sender import Sender
from tests.processes.site import LabSite, free_port, hl7_feed, until
from tests.processes.stores import (
    assert_epochs,
    assert_good,
    assert_vouched_is_held,
    chains,
    hl7_numbers,
    until_same,
    vouched,
)

_SOME = 200
_KILLS = 2


@pytest.fixture
def site(tmp_path: Path) -> Iterator[LabSite]:
    require_tool("mosquitto")
    with LabSite(tmp_path, feeds={"or-1": [hl7_feed(free_port())]}, broker="mosquitto") as site:
        yield site


def _hl7_port(site: LabSite) -> int:
    mllp = site["or-1"].configuration.feed[0].mllp
    assert mllp is not None
    return int(mllp.listen.rpartition(":")[2])


def test_kill_restart_and_restore(site: LabSite) -> None:
    site.start()
    box, peers = site["or-1"], (site["or-2"], site["or-3"])
    promised = []
    with Sender(_hl7_port(site)) as sender:
        for _ in range(_KILLS):
            before = len(sender.acknowledged)
            until("or-1 acknowledges", lambda before=before: len(sender.acknowledged) > before + _SOME)  # type: ignore[misc]
            time.sleep(random.random())
            box.kill()
            promised += [vouched(peer, "or-1") for peer in peers]
            for peer in peers:
                restored = peer.restore("or-1")
                assert restored["level"] == "witnessed"
                last = next(row for row in restored["state"]["values"] if row["code"] == "MDC_PULS_OXIM_PULS_RATE")
                assert 0 < int(last["value"]) <= sender.sent
            box.start()
            site.until_good()
    until_same(site)
    assert all(box.statistics()["peer_faults"] == {} for box in site.boxes.values())
    site.stop()

    own = chains(box, "or-1")
    assert_epochs(own)
    for certificates in promised:
        assert_vouched_is_held(own, certificates)
    for holder in site.boxes.values():
        assert sender.acknowledged <= hl7_numbers(holder, "or-1")[0]
        assert_good(holder)


def test_a_broker_dies_and_the_room_goes_on_recording(site: LabSite) -> None:
    site.start()
    box, broker = site["or-1"], site.brokers["or-1"]
    with Sender(_hl7_port(site)) as sender:
        broker.kill()
        # or-1 still hears its peers, by their brokers; what it says reaches nobody, and the page must not hide that.
        until("or-1 says so", lambda: ("broker.down", "broker") in box.alerts())
        assert box.until_level("local")["exit"] == 1
        before = len(sender.acknowledged)
        until("or-1 acknowledges", lambda: len(sender.acknowledged) > before + _SOME)
        broker.start()
        site.until_good()
    until_same(site)
    site.stop()
    for holder in site.boxes.values():
        assert sender.acknowledged <= hl7_numbers(holder, "or-1")[0]
        assert_good(holder)
