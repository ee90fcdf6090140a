"""Told to stop, told twice, or started where it cannot run: no loss, and an error that names the cause."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.box_files import BoxFolder
from tests.processes.hl7_sender import Sender
from tests.processes.site import LabSite, free_port, hl7_feed, orledger, until
from tests.processes.stores import assert_epochs, assert_good, chains, hl7_numbers, until_holds

_SECOND_SIGNAL = 75
_SOME = 200


def test_sigterm_under_load_loses_nothing_and_a_restart_continues(tmp_path: Path) -> None:
    port = free_port()
    with LabSite(tmp_path, boxes=2, feeds={"or-1": [hl7_feed(port)]}) as site:
        site.start()
        box, peer = site["or-1"], site["or-2"]
        with Sender(port) as sender:
            until("some are acknowledged", lambda: len(sender.acknowledged) > _SOME)
            assert box.stop() == 0
            before = sender.acknowledged
            stopped = chains(box, "or-1")
            box.start()
            until("more are acknowledged", lambda: len(sender.acknowledged) > len(before) + _SOME)
        site.until_good()
        until_holds(peer, box)
        assert box.statistics()["peer_faults"] == {} == peer.statistics()["peer_faults"]
        site.stop()

        own = chains(box, "or-1")
        assert_epochs(own)
        # What was durable at the stop is all there is of those logs, at the peer too: nothing left the box undurable.
        for log, headers in stopped.items():
            assert own[log] == headers == chains(peer, "or-1")[log]
        for holder in (box, peer):
            assert sender.acknowledged <= hl7_numbers(holder, "or-1")[0]
            assert_good(holder)


@pytest.mark.parametrize("pair", [(signal.SIGTERM, signal.SIGINT), (signal.SIGINT, signal.SIGTERM)], ids=str)
def test_a_second_signal_ends_at_once_and_harms_nothing(tmp_path: Path, pair: tuple[signal.Signals, ...]) -> None:
    port = free_port()
    with LabSite(tmp_path, boxes=1, feeds={"or-1": [hl7_feed(port)]}) as site:
        box = site["or-1"]
        with Sender(port) as sender:
            for is_frozen in (False, True):
                before = len(sender.acknowledged)
                box.start()
                until("some are acknowledged", lambda before=before: len(sender.acknowledged) > before + _SOME)  # type: ignore[misc]
                if is_frozen:
                    box.send(signal.SIGSTOP)  # the second comes surely before the first has ended it
                for number in pair:
                    os.killpg(box.pid, number)
                if is_frozen:
                    box.send(signal.SIGCONT)
                assert box.wait() in ({_SECOND_SIGNAL} if is_frozen else {0, _SECOND_SIGNAL})
        assert sender.acknowledged <= hl7_numbers(box, "or-1")[0]
        assert_epochs(chains(box, "or-1"))
        assert_good(box)


def test_a_second_agent_on_one_folder_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    with LabSite(tmp_path, boxes=1) as site:
        box = site["or-1"]
        box.start()
        first = box.until_level("local")
        second = box.cli("run")
        assert second.returncode == 74
        assert "store.locked" in second.stderr
        assert "another process" in second.stderr
        box.until_ahead(2)
        assert box.status()["log"]["incarnation"] == first["log"]["incarnation"]
        assert box.stop() == 0
        assert_good(box)


def test_a_broken_configuration_is_named_with_its_spot(tmp_path: Path) -> None:
    with LabSite(tmp_path, boxes=1) as site:
        config = site["or-1"].config
        config.write_text(config.read_text().replace("[replication]", "[replication]\nlisten_on = 3"))
        ended = site["or-1"].cli("run")
        assert ended.returncode == 78
        assert f"{config}: $.replication" in ended.stderr
        assert "listen_on" in ended.stderr
        config.write_text("[box")
        assert site["or-1"].cli("run").returncode == 78
        config.unlink()
        ended = site["or-1"].cli("run")
        assert ended.returncode == 78
        assert str(config) in ended.stderr


def _cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("signing.seed", Path.unlink),
        ("signing.seed", _cut_short),
        ("receiving.key", _replace_by_folder),
        ("ring.key", Path.unlink),
    ],
)
def test_a_key_that_cannot_be_read_is_named(tmp_path: Path, file: str, damage: Callable[[Path], None]) -> None:
    with LabSite(tmp_path, boxes=2) as site:
        path = BoxFolder(site["or-1"].data).keys / file
        damage(path)
        ended = site["or-1"].cli("run")
        assert ended.returncode in {74, 78}, ended.stderr
        assert str(path) in ended.stderr
        assert "next: " in ended.stderr.lower()


@pytest.mark.parametrize("damage", [Path.unlink, _cut_short])
def test_a_certificate_that_cannot_be_read_does_not_stop_the_recorder(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    with LabSite(tmp_path, boxes=2) as site:
        damage(BoxFolder(site["or-1"].data).tls)
        site["or-1"].start()
        until("or-1 says so", lambda: ("network.down", "network") in site["or-1"].alerts())
        assert site["or-1"].status()["recording"]


def test_another_boxs_keys_do_not_open_the_keyring(tmp_path: Path) -> None:
    with LabSite(tmp_path, boxes=2) as site:
        site.start()
        site.stop()
        one, other = (BoxFolder(site[box].data) for box in ("or-1", "or-2"))
        shutil.copy(other.keys / "ring.key", one.keys / "ring.key")
        ended = site["or-1"].cli("run")
        assert ended.returncode == 74
        assert str(one.keyring) in ended.stderr


def test_a_folder_without_a_box_says_how_to_make_one(tmp_path: Path) -> None:
    with LabSite(tmp_path, boxes=1) as site:
        shutil.rmtree(site["or-1"].data)
        ended = site["or-1"].cli("run")
        assert ended.returncode == 78
        assert "orledger init" in ended.stderr
        assert orledger("--config", str(site["or-1"].config), "init").returncode == 0
