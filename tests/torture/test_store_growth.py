"""A store that grows a lot under readers that hold old pages: recording goes on, and the pages come back."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from tests.processes.hl7_sender import Sender
from tests.processes.site import LabSite, free_port, hl7_feed, until
from tests.torture.outcome import assert_nothing_lost

pytestmark = pytest.mark.soak  # a quarter of a minute each: by `make torture`

_SOME = 60
_MIB = 1 << 20
_GROWTH_BYTES = 24 * _MIB
_NOTE_BYTES = 60_000
# A foreign program, as a careless backup would be: it opens the file with LMDB alone and never lets go.
_READER = """
import sys, time, lmdb
environment = lmdb.open(sys.argv[1], readonly=True, max_dbs=64)
transaction = environment.begin()
print(environment.info()["last_txnid"], flush=True)
time.sleep(3600)
"""


def test_a_stale_reader_and_growth_do_not_stop_recording(tmp_path: Path) -> None:
    port = free_port()
    with LabSite(tmp_path, boxes=2, feeds={"or-1": [hl7_feed(port)]}) as site:
        site.start()
        box = site["or-1"]
        ledger = box.data / "ledger"
        readers = [site.also(f"reader-{number}", sys.executable, "-c", _READER, ledger) for number in range(2)]
        for reader in readers:
            until(f"{reader.name} reads", lambda reader=reader: reader.text().strip())  # type: ignore[misc]
        first_bytes = (ledger / "data.mdb").stat().st_size
        with Sender(port, note_bytes=_NOTE_BYTES) as sender:
            until(
                "the file has grown",
                lambda: (ledger / "data.mdb").stat().st_size > first_bytes + _GROWTH_BYTES,
                why_not=lambda: (ledger / "data.mdb").stat().st_size,
            )
            readers[0].send(signal.SIGKILL)  # its place in the table of readers stays taken until the agent clears it
            before = len(sender.acknowledged)
            until("or-1 acknowledges", lambda: len(sender.acknowledged) > before + _SOME)
        assert box.status()["recording"]
        readers[1].send(signal.SIGKILL)
        box.until_ahead(5)
        assert_nothing_lost(site, {"or-1": sender})
