"""While a whole log is rebuilt from them, and by one of them, boxes record on: every tick is in a block, everything
acknowledged is found, there is no gap, and nobody is alarmed.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from agent.box_files import BoxFolder, load_box, open_keyring
from agent.disk import load_manifest
from ledger.block import ClockQuality, ClockState, decode_signed_header
from ledger.chain import Chain, Draft
from ledger.log import LogId
from ledger.notices import Start
from ledger.ops import AppendBlock, OpenLog
from ledger.payload import CODEC_ZSTD, encode_payload
from ledger.records import Gap, Keyframe, LinkId, Raw
from ledger.sealing import DataKey, wrap
from ledger.state import RoomState, encode_state
from ledger.store import Store
from tests.processes.hl7_sender import Sender
from tests.processes.nursery import PROJECT
from tests.processes.site import LabSite, free_port, hl7_feed, until
from tests.processes.stores import chains, hl7_numbers, records

_GONE, _HOLDERS, _ASKER = "or-4", ("or-1", "or-2"), "or-3"
_BLOCKS = 6_000
_COMMIT_BLOCKS = 1_000
_OF_THIS_PLACE = {"peer.silent", "retention.clock"}
"""or-4 is gone, and nobody sets the clock of a machine that runs tests."""
_OF_A_BUSY_MACHINE = {"peer.silent", "log.unvouched", "disk.slow"}
"""Said by the clock alone: how slow a rebuild may make its boxes is for the benchmarks."""
_EXPECTED = _OF_THIS_PLACE | _OF_A_BUSY_MACHINE
_STOOD_STILL = "stood still"
"""A gap for the same reason: all of the process, feeds and rebuild alike, got no processor for two seconds."""


def _write_log(site: LabSite) -> None:
    """A long log of the box that is gone, in the stores of both that hold it; the asker has its key."""
    stores = [Store.open(BoxFolder(site[name].data).ledger) for name in _HOLDERS]
    manifest = load_manifest(stores[0])
    assert manifest is not None
    log, data_key = LogId(_GONE, 0, os.urandom(16), fenced=False), DataKey(os.urandom(32))
    names = (*_HOLDERS, _ASKER)
    wraps = {name: wrap(data_key, _GONE, log.incarnation, manifest.box(name).receiving_public) for name in names}
    for name in names:
        folder = BoxFolder(site[name].data)
        open_keyring(folder, load_box(folder)).add(_GONE, log.incarnation, data_key, wraps)
    key = load_box(BoxFolder(site[_GONE].data)).secrets.signing
    chain = Chain(manifest.site, log, key, data_key, manifest.hash)
    noise = os.urandom(1_500)
    raw = Raw(at_ns=1, data=noise, direction="<", link=LinkId(1), pieces=((0, len(noise)),))
    first_payload = encode_payload({"": [Keyframe(at_ns=1, state=encode_state(RoomState()))]})
    payload = encode_payload({"gateway": [raw]})
    for store in stores:
        store.commit([OpenLog(log, manifest.hash)])
    for first in range(0, _BLOCKS, _COMMIT_BLOCKS):
        made = [_close(chain, seq, payload if seq else first_payload) for seq in range(first, first + _COMMIT_BLOCKS)]
        for store in stores:
            store.commit([*made, chain.replica.derived(None)])
    for store in stores:
        store.close()


def _close(chain: Chain, seq: int, payload: bytes) -> AppendBlock:
    at_ns = 1_700_000_000 * 10**9 + seq * 10**8
    block = chain.close_block(
        Draft(
            payload=payload, codec=CODEC_ZSTD, has_keyframe=seq == 0, opened_ns=at_ns, closed_ns=at_ns + 10**8,
            boot_ns=at_ns, clock=ClockQuality(ClockState.SYNCHRONISED, 1),
            notices=(Start(bytes(16), (), None, ()),) if seq == 0 else (),
        )
    )  # fmt: skip
    return AppendBlock(block.log, seq, block.signed_header, block.payload)


def test_recording_goes_on_unharmed_while_a_log_is_rebuilt(tmp_path: Path) -> None:
    ports = {name: free_port() for name in (*_HOLDERS, _ASKER)}
    with LabSite(tmp_path, 4, feeds={name: [hl7_feed(port)] for name, port in ports.items()}) as site:
        _write_log(site)
        live = [site[name] for name in ports]
        for box in live:
            box.start()
        for box in live:
            box.until_level("witnessed")
        senders = {name: Sender(port, connections=1, pause_s=0.02) for name, port in ports.items()}
        try:
            for name, sender in senders.items():
                sender.__enter__()
                until(f"{name} acknowledges", lambda sender=sender: len(sender.acknowledged) > 5)  # type: ignore[misc]
            expected = {box.id: box.alerts() for box in live}
            assert {alert for found in expected.values() for alert, _ in found} <= _EXPECTED, expected
            began_ns = time.time_ns()
            command = [sys.executable, "-m", "agent", "--config", str(site[_ASKER].config), "restore", "box", _GONE]
            alerts: set[tuple[str, str]] = set()
            with (
                (tmp_path / "restore.out").open("w") as told,
                subprocess.Popen(
                    [*command, "--out", str(tmp_path / "rebuilt"), "--json"], cwd=PROJECT, stdout=told
                ) as process,
            ):
                while process.poll() is None:
                    alerts |= {alert for box in live for alert in box.alerts()}
                    time.sleep(0.1)
            assert process.returncode == 0
            document = json.loads((tmp_path / "restore.out").read_text().splitlines()[-1])
            ended_ns = time.time_ns()
            for box in live:
                box.until_ahead(5)
                alerts |= box.alerts()
        finally:
            for sender in senders.values():
                sender.stop()
        for box in live:
            box.until_level("witnessed")
        assert document["blocks"] == _BLOCKS
        assert document["verified"]["good"]
        assert set(document["given"]) & set(_HOLDERS), "no peer served"
        assert {alert for alert, _ in alerts} <= _EXPECTED, "somebody was alarmed"
        site.stop()

        for box in live:
            headers = [decode_signed_header(one) for log in chains(box, box.id).values() for one in log]
            assert all(later.opened_ns == earlier.closed_ns for earlier, later in itertools.pairwise(headers)), box.id
            assert sum(began_ns <= header.closed_ns <= ended_ns for header in headers) > 1, box.id
            raw, decoded = hl7_numbers(box, box.id)
            acknowledged = senders[box.id].acknowledged
            assert acknowledged <= raw
            assert acknowledged <= decoded
            gaps = [record for _, record in records(box, box.id) if isinstance(record, Gap)]
            gaps = [gap for gap in gaps if gap.detail != _STOOD_STILL]
            assert not [gap for gap in gaps if began_ns <= gap.at_ns <= ended_ns], box.id
        with closing(Store.open(tmp_path / "rebuilt" / "ledger", readonly=True)) as rebuilt:
            (log,) = (log for log, _ in rebuilt.logs(_GONE))
            assert list(rebuilt.headers(log, 0, _BLOCKS)) == chains(site["or-1"], _GONE)[log]
