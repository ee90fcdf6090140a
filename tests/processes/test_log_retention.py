"""Logs that went at their retention, on every box: nothing is missed, told anew, or looks damaged."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

from agent.box_files import BoxFolder
from ledger.block import decode_signed_header
from ledger.log import LogId
from ledger.log_retention import expired_name
from ledger.notices import TailFound
from ledger.ops import DropBlocks, PrunePayloads, PutSelf
from ledger.replica import Replica
from ledger.retention import progress_name
from ledger.store import Store
from tests.processes.site import Box, LabSite, until
from tests.processes.stores import keyring_of, lengths, opened, until_given_back


def newest_epochs(store: Store) -> set[tuple[str, int]]:
    newest: dict[str, int] = {}
    for log, _ in store.logs():
        if log.fenced:
            newest[log.box] = max(newest.get(log.box, 0), log.counter)
    return set(newest.items())


def expire_all_but_the_newest(box: Box) -> dict[str, int]:
    """As the box would itself after years: every log but the newest epochs. How long they were, by name."""
    gone = {}
    with closing(Store.open(BoxFolder(box.data).ledger)) as store:
        kept = newest_epochs(store)
        for log, _ in store.logs():
            length = store.length(log)
            if not length or (log.fenced and (log.box, log.counter) in kept):
                continue
            store.commit([PrunePayloads(log, 0, length), PutSelf(progress_name(log), length.to_bytes(8, "big"))])
            store.commit([PutSelf(expired_name(log), b"\x01")])
            store.commit([DropBlocks(log, 0, length - 1)])
            gone[str(log)] = length
    return gone


def without_tip(box: Box) -> list[LogId]:
    """Logs that may not go yet: their ends cannot be told without their blocks. Tips are written once a second."""
    with opened(box.data) as store:
        kept, found = newest_epochs(store), []
        for log, _ in store.logs():
            tip, length = store.tip(log), store.length(log)
            is_told = tip is not None and Replica.from_tip(log, tip).size == length
            if length and not is_told and not (log.fenced and (log.box, log.counter) in kept):
                found.append(log)
        return found


def older(holder: Box, writer: Box) -> dict[LogId, int]:
    """How long the logs of ``writer`` before its newest epoch are as ``holder`` has them."""
    held = lengths(holder, writer.id)
    newest = max((log.counter for log in held if log.fenced), default=0)
    return {log: length for log, length in held.items() if not (log.fenced and log.counter == newest)}


def expired_keys(box: Box) -> set[bytes]:
    """Keys that the box still has of logs that expired."""
    with opened(box.data) as store:
        gone = {
            (log.box, log.incarnation) for log, _ in store.logs() if store.self_value(expired_name(log)) is not None
        }
    keyring = keyring_of(box.data)
    entries = [entry for name in ("or-1", "or-2", "or-3") for entry in keyring.entries_of(name)]
    return {entry.key.key_id for entry in entries if (entry.box, entry.incarnation) in gone}


def tails_found(site: LabSite) -> int:
    """Notices of ends that no epoch had named, in what the boxes have of their own logs."""
    count = 0
    for name, box in site.boxes.items():
        with opened(box.data) as store:
            for log, _ in store.logs(name):
                for signed in store.headers(log, store.first_held(log), store.length(log)):
                    count += sum(isinstance(notice, TailFound) for notice in decode_signed_header(signed).notices)
    return count


def test_expired_logs_are_no_damage_and_a_rebuild_says_so(tmp_path: Path) -> None:
    with LabSite(tmp_path) as site:
        site.start()
        for name in ("or-1", "or-2"):
            site[name].until_ahead(5)
            site[name].kill()
            site[name].start()
            site[name].until_level("witnessed")
        site.until_good()
        for writer in site.boxes.values():
            for holder in site.boxes.values():
                until(
                    f"{holder.id} holds the older logs of {writer.id}",
                    lambda holder=holder, writer=writer: older(holder, writer) == older(writer, writer),  # type: ignore[misc]
                )
            until_given_back(writer, site.boxes.values())
        for box in site.boxes.values():
            until(f"{box.id} has the tips of the older logs", lambda box=box: not without_tip(box))  # type: ignore[misc]
        site.stop()
        gone = {name: expire_all_but_the_newest(box) for name, box in site.boxes.items()}
        assert all(len(logs) >= 5 for logs in gone.values()), gone

        checked = site["or-1"].cli("verify", "--json")
        assert checked.returncode == 0, checked.stdout + checked.stderr
        verified = json.loads(checked.stdout)
        assert sum(log["dropped"] for log in verified["logs"]) == sum(gone["or-1"].values()) - len(gone["or-1"])
        assert any("no damage" in finding["text"] for finding in verified["findings"])

        expired = {name: expired_keys(box) for name, box in site.boxes.items()}
        assert all(expired.values())
        before = tails_found(site)
        site.start()
        for box in site.boxes.values():
            until(f"{box.id} let their keys go", lambda box=box: not expired_keys(box))  # type: ignore[misc]
        site["or-1"].until_ahead(10)
        for box in site.boxes.values():
            assert "store.missing" not in box.text()
            assert not [fault for fault in box.statistics()["peer_faults"] if "missing" in fault]

        out = tmp_path / "rebuilt"
        rebuilt = site["or-1"].cli("restore", "box", "or-2", "--out", str(out), "--json")
        assert rebuilt.returncode in (0, 69), rebuilt.stdout + rebuilt.stderr  # 69: payloads of logs of one block
        told = json.loads(rebuilt.stdout.splitlines()[-1])  # lines of progress come before it
        assert told["refused"] == []
        found = {each["log"]: each["blocks"] for each in told["expired"]}
        long = {log: length for log, length in gone["or-1"].items() if log.startswith("or-2/") and length > 1}
        assert found == long
        assert not {each["log"] for each in told["missing"]} & long.keys()
        site.stop()
        assert tails_found(site) == before
