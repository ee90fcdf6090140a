"""A whole box is rebuilt from those who hold its logs, also after kill -9; a box goes on when its disk is gone."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent.box_files import BoxFolder, read_ring_key
from agent.status_builder import utc_text
from ledger.audit import Options, audit_store
from ledger.block import decode_signed_header
from ledger.keyring import Keyring
from ledger.log import LogId
from ledger.store import Store
from tests.processes.hl7_sender import Sender
from tests.processes.nursery import PROJECT
from tests.processes.site import Box, LabSite, free_port, hl7_feed, until
from tests.processes.stores import (
    Chains,
    assert_good,
    assert_same,
    chains,
    hl7_numbers,
    keyring_of,
    lengths,
    start_of,
    until_given_back,
    until_holds,
    without_payload,
)

_PEERS = ("or-2", "or-3")


@pytest.fixture(scope="module")
def dead(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LabSite, set[int]]]:
    """or-1 recorded in several epochs and is gone for good; its peers run. And what it acknowledged."""
    port = free_port()
    with LabSite(tmp_path_factory.mktemp("rebuild"), feeds={"or-1": [hl7_feed(port)]}) as site:
        site.start()
        with Sender(port) as sender:
            for _ in range(2):
                before = len(sender.acknowledged)
                until("or-1 acknowledges", lambda before=before: len(sender.acknowledged) > before + 20)  # type: ignore[misc]
                site["or-1"].kill()
                site["or-1"].start()
                site["or-1"].until_level("witnessed")
        until_given_back(site["or-1"], [site[peer] for peer in _PEERS])
        site["or-1"].send(signal.SIGTERM)
        assert site["or-1"].wait() == 0
        for peer in _PEERS:
            until_holds(site[peer], site["or-1"])
        yield site, sender.acknowledged


def _restore(box: Box, out: Path, *more: str) -> dict[str, Any]:
    done = box.cli("restore", "box", "or-1", "--out", str(out), "--json", *more)
    assert done.returncode == 0, done.stdout + done.stderr
    document: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return document


def _headers(data: Path) -> dict[LogId, list[bytes]]:
    with closing(Store.open(data / "ledger", readonly=True)) as store:
        return {log: list(store.headers(log, 0, store.length(log))) for log, _ in store.logs("or-1")}


def _assert_proves_itself(data: Path) -> None:
    folder = BoxFolder(data)
    keyring = Keyring(folder.keyring, read_ring_key(folder))
    with closing(Store.open(folder.ledger, readonly=True)) as store:
        report = audit_store(store, keyring.get, Options())
    assert report.is_good, report.all_findings()
    assert all(log.decoded == log.payloads == log.blocks for log in report.logs)
    assert any(log.vouched is not None for log in report.logs), "no cosigned checkpoint came along"


def test_a_dead_box_is_whole_again(dead: tuple[LabSite, set[int]], tmp_path: Path) -> None:
    site, acknowledged = dead
    out = tmp_path / "or-1"
    told = _restore(site["or-2"], out)
    assert told["verified"]["good"]
    assert told["missing"] == []
    assert told["recorded_in_block"] is not None
    assert _headers(out) == chains(site["or-1"], "or-1")
    _assert_proves_itself(out)
    raw, decoded = hl7_numbers(_Folder(out), "or-1")  # type: ignore[arg-type]
    assert acknowledged <= raw
    assert acknowledged <= decoded


class _Folder:
    """What ``tests.processes.stores`` reads of a box."""

    def __init__(self, data: Path) -> None:
        self.data = data


def test_kill_9_of_a_rebuild_loses_nothing(dead: tuple[LabSite, set[int]], tmp_path: Path) -> None:
    site, _ = dead
    out = tmp_path / "or-1"
    command = [sys.executable, "-m", "agent", "--config", str(site["or-3"].config), "restore", "box", "or-1"]
    for number in range(6):
        with subprocess.Popen([*command, "--out", str(out)], cwd=PROJECT, stdout=subprocess.DEVNULL) as process:
            time.sleep(0.3 + 0.15 * number)  # somewhere: before the folder, within the blocks, within the audit
            process.kill()
    told = _restore(site["or-3"], out)
    assert told["missing"] == []
    assert _headers(out) == chains(site["or-1"], "or-1")
    _assert_proves_itself(out)


def test_a_part_by_time_is_verified_tells_what_it_leaves_out_and_is_completed_later(
    dead: tuple[LabSite, set[int]], tmp_path: Path
) -> None:
    site, _ = dead
    out = tmp_path / "or-1"
    from_ns, to_ns = _middle(site["or-1"])
    told = _restore(site["or-2"], out, "--from", utc_text(from_ns), "--to", utc_text(to_ns))
    own = chains(site["or-1"], "or-1")
    expected: dict[LogId, set[int]] = {}
    for log, headers in _headers(out).items():
        assert headers == own[log]
        decoded = [decode_signed_header(header) for header in headers]
        meant = [header for header in decoded if from_ns <= header.closed_ns < to_ns]
        lead_in = set(range(meant[0].keyframe_seq, meant[0].seq)) if meant else set()
        expected[log] = lead_in | {header.seq for header in meant}
    held = _held_payloads(out)
    assert held == expected
    assert any(held.values())
    assert told["verified"]["payloads"] == sum(map(len, held.values()))
    assert told["left_out"]["payloads"] == sum(len(own[log]) - len(seqs) for log, seqs in held.items())
    assert told["left_out"]["payloads"] > 0
    assert set(told["left_out"]["logs"]) == {str(log) for log in own.keys() - held.keys()}
    assert told["recorded_in_block"] is not None

    whole = _restore(site["or-2"], out)
    assert whole["left_out"] == {"payloads": 0, "by_log": [], "logs": []}
    assert _held_payloads(out) == {log: set(range(len(headers))) for log, headers in own.items()}
    _assert_proves_itself(out)


def _held_payloads(data: Path) -> dict[LogId, set[int]]:
    with closing(Store.open(data / "ledger", readonly=True)) as store:
        return {
            log: {block.seq for block in store.blocks(log, 0, store.length(log)) if block.payload}
            for log, _ in store.logs("or-1")
        }


def test_kill_9_of_a_part_by_time_goes_on(dead: tuple[LabSite, set[int]], tmp_path: Path) -> None:
    site, _ = dead
    out, whole = tmp_path / "killed", tmp_path / "whole"
    from_ns, to_ns = _middle(site["or-1"])
    part = ("--from", utc_text(from_ns), "--to", utc_text(to_ns))
    command = [sys.executable, "-m", "agent", "--config", str(site["or-2"].config), "restore", "box", "or-1", *part]
    for number in range(3):
        with subprocess.Popen([*command, "--out", str(out)], cwd=PROJECT, stdout=subprocess.DEVNULL) as process:
            time.sleep(0.4 + 0.25 * number)  # somewhere: before the folder, within headers, payloads, the audit
            process.kill()
    again = _restore(site["or-2"], out, *part)
    once = _restore(site["or-2"], whole, *part)
    assert _held_payloads(out) == _held_payloads(whole)
    assert again["left_out"] == once["left_out"]


@pytest.mark.parametrize(
    ("options", "code", "what"),
    [
        (["--from", "2001-01-01T00:00:00Z", "--to", "2001-01-02T00:00:00Z"], 69, "no block of or-1"),
        (["--case", "00" * 16], 69, "cases met: none"),
        (["--from", "2001-01-01"], 64, "does not say that it is UTC"),
        (["--from", "2001-01-02T00:00:00Z", "--to", "2001-01-01T00:00:00Z"], 64, "is not before"),
        (["--case", "the last one"], 64, "32 hexadecimal digits"),
    ],
)
def test_a_part_that_is_none_says_why(
    dead: tuple[LabSite, set[int]], tmp_path: Path, options: list[str], code: int, what: str
) -> None:
    site, _ = dead
    done = site["or-2"].cli("restore", "box", "or-1", "--out", str(tmp_path / "none"), *options)
    assert done.returncode == code, done.stderr
    assert what in done.stderr


def _middle(box: Box) -> tuple[int, int]:
    """The second and third quarter of the longest log, to the millisecond."""
    headers = max(chains(box, "or-1").values(), key=len)
    times = [decode_signed_header(headers[len(headers) * quarter // 4]).closed_ns for quarter in (1, 3)]
    first, last = (time_ns // 1_000_000 * 1_000_000 for time_ns in times)
    return first, last


def test_a_box_whose_disk_is_gone_goes_on_in_a_new_epoch(tmp_path: Path) -> None:
    """Its keys are kept, ledger and keyring are not: what the peers hold comes back, nobody sees two histories."""
    port = free_port()
    with LabSite(tmp_path, feeds={"or-1": [hl7_feed(port)]}) as site:
        box = site["or-1"]
        site.start()
        with Sender(port) as sender:
            before = len(sender.acknowledged)
            until("or-1 acknowledges", lambda: len(sender.acknowledged) > before + 20)
        box.until_level("witnessed")
        box.send(signal.SIGTERM)
        assert box.wait() == 0
        for peer in _PEERS:
            until_holds(site[peer], box)
        old = chains(box, "or-1")
        others = {name: chains(box, name) for name in _PEERS}

        shutil.rmtree(BoxFolder(box.data).ledger)
        BoxFolder(box.data).keyring.unlink()
        exported = tmp_path / "manifests"
        assert site["or-2"].cli("restore", "manifest", "--out", str(exported)).returncode == 0
        again = box.cli("init", "--manifest-from", str(exported))
        assert again.returncode == 0, again.stderr
        box.start()

        box.until_level("witnessed")
        until("or-1 holds its old logs", lambda: _holds_all(box, old))
        for name in _PEERS:
            until(f"or-1 holds {name} again", lambda name=name: _holds_all(box, others[name]))  # type: ignore[misc]
            until_holds(site[name], box)
        alerts = {alert for one in site.boxes.values() for alert, _ in one.alerts()}
        assert not alerts & {"fork", "own-fork", "second-writer"}, alerts
        site.stop()

        now = chains(box, "or-1")
        assert_same(site)
        highest = max((log for log in old if log.fenced), key=lambda log: log.counter)
        newer = [log for log in now if log.fenced and log not in old]
        parents = [parent for log in newer if (parent := start_of(now[log]).parent) is not None]
        assert (parents[0].log, parents[0].size) == (highest, len(old[highest]))
        for one in site.boxes.values():
            assert_good(one)
        raw, decoded = hl7_numbers(box, "or-1")
        assert sender.acknowledged <= raw
        assert sender.acknowledged <= decoded


def _holds_all(box: Box, old: Chains) -> bool:
    """Headers come first: it is whole once the payloads and the keys are there too."""
    writers = {log.box for log in old}
    held = {log: length for writer in writers for log, length in lengths(box, writer).items()}
    keys = set(keyring_of(box.data).key_ids())
    return (
        all(held.get(log, 0) >= len(headers) for log, headers in old.items())
        and not any(without_payload(box, writer) for writer in writers)
        and all(decode_signed_header(headers[0]).key_id in keys for headers in old.values())
    )
