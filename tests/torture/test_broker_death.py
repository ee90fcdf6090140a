"""Brokers that die under load: mosquitto killed again and again, and the broker inside the agent failing by itself."""

from __future__ import annotations

import random
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.conftest import require_tool
from tests.processes.hl7_sender import Sender
from tests.processes.site import HOST, LabSite, free_port, hl7_feed, until
from tests.torture.outcome import assert_nothing_lost

_SOME = 60
_SAYS_SO = "own broker cannot be reached"
_LONG = [pytest.mark.soak, pytest.mark.timeout(900)]


@pytest.mark.parametrize("deaths", [3, pytest.param(40, marks=_LONG)])
def test_mosquitto_killed_under_load(tmp_path: Path, deaths: int) -> None:
    require_tool("mosquitto")
    port = free_port()
    with LabSite(tmp_path, feeds={"or-1": [hl7_feed(port)]}, broker="mosquitto") as site:
        site.start()
        with Sender(port, pause_s=0.01) as sender:
            for _ in range(deaths):
                broker = site.brokers[random.choice(list(site.brokers))]
                broker.kill()
                time.sleep(random.random())
                broker.start()
                before = len(sender.acknowledged)
                until("or-1 acknowledges", lambda before=before: len(sender.acknowledged) > before + _SOME)  # type: ignore[misc]
        assert_nothing_lost(site, {"or-1": sender})


def test_the_embedded_broker_fails_and_starts_again_by_itself(tmp_path: Path) -> None:
    port = free_port()
    with LabSite(tmp_path, feeds={"or-1": [hl7_feed(port)]}) as site:
        box = site["or-1"]
        box._command[box._command.index("agent")] = "tests.torture.breakable_broker"
        site.start()
        with Sender(port, pause_s=0.01) as sender:
            for _ in range(4):
                before, said = len(sender.acknowledged), box.text().count(_SAYS_SO)
                box.send(signal.SIGUSR1)
                until("or-1 says so", lambda said=said: box.text().count(_SAYS_SO) > said)  # type: ignore[misc]
                until("or-1 acknowledges", lambda before=before: len(sender.acknowledged) > before + _SOME)  # type: ignore[misc]
                site.until_good()
        assert_nothing_lost(site, {"or-1": sender})


def test_a_broker_whose_port_is_taken_meanwhile_comes_back_when_it_is_free(tmp_path: Path) -> None:
    with LabSite(tmp_path, boxes=2) as site:
        box = site["or-1"]
        box._command[box._command.index("agent")] = "tests.torture.breakable_broker"
        site.start()
        assert box.configuration.replication is not None
        port = int(box.configuration.replication.listen.rpartition(":")[2])

        def stolen() -> socket.socket | None:
            box.send(signal.SIGUSR1)  # each time: it may be back before the thief has come
            try:
                return socket.create_server((HOST, port))
            except OSError:
                return None

        with until("the port is taken", stolen):
            until("or-1 cannot listen", lambda: "could not be started again" in box.text())
            until("or-1 tells of it", lambda: ("broker.down", "broker") in box.alerts())
            assert box.status()["recording"]
        site.until_good()
        site.stop()
