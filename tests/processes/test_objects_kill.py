"""kill -9 while objects come in: what was acknowledged is there, whole; of the rest nothing counts."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from agent.box_files import BoxFolder, read_ring_key
from ledger.keyring import Keyring
from ledger.objects import ObjectFolder, prove, read_header
from ledger.ops import ObjectState
from ledger.store import Store
from tests.processes.nursery import PROJECT
from tests.processes.site import LabSite

_CHILD = """
import asyncio, os, sys, threading, time
from pathlib import Path
from agent.config import read
from agent.node import Node
from ledger.records import Object

node = Node(read(Path(sys.argv[1])))
loop = asyncio.new_event_loop()

def bring():
    while not node.recording:
        time.sleep(0.01)
    while True:
        with node.objects.begin() as writer:
            for _ in range(20):
                writer.write(os.urandom(30_000))
            done = writer.finish()
        record = Object(at_ns=1, sha256=done.sha256, size=done.plain_bytes, media_type="x/y", name="n")
        loop.call_soon_threadsafe(node.recorder.own_record, record)
        while not node.store.objects_named(done.sha256):
            time.sleep(0.002)
        os.write(1, (done.sha256.hex() + "\\n").encode())  # whole, beside the other threads

for _ in range(3):
    threading.Thread(target=bring, daemon=True).start()
loop.run_until_complete(node.run())
"""
_ACKNOWLEDGED = 4
_KILLS = 2


def test_what_was_acknowledged_survives_kill(tmp_path: Path) -> None:
    site = LabSite(tmp_path, boxes=1)
    box = site["or-1"]
    acknowledged: list[str] = []
    for number in range(_KILLS):
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(box.config)], cwd=PROJECT, stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        acknowledged += [child.stdout.readline().strip() for _ in range(_ACKNOWLEDGED)]
        time.sleep(0.01 * number)
        child.kill()
        rest = child.stdout.read().split("\n")
        acknowledged += [line for line in rest[:-1] if line]
        child.wait()
    assert len(set(acknowledged)) == len(acknowledged) >= _KILLS * _ACKNOWLEDGED
    folder = BoxFolder(box.data)
    keyring = Keyring(folder.keyring, read_ring_key(folder))
    objects = ObjectFolder.open(folder.objects)
    with closing(Store.open(folder.ledger, readonly=True)) as store:
        for name in acknowledged:
            (row,) = store.objects_named(bytes.fromhex(name))
            assert row.state is ObjectState.HELD
            with objects.source(row.stored.sha256) as source:
                proof = prove(source, row.stored.sha256, keyring.get(read_header(source).key_id))
            assert proof.plain_bytes == 600_000
        assert all(row.state is ObjectState.HELD for row in store.objects())
    assert all(len(path.name) == 64 for path in folder.objects.iterdir())
