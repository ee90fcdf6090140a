"""What the object store makes of a second: taking objects in, and copying them to a peer over the real wire.

    python -m benchmarks.bench_objects [--mib 1024] [--copied-mib 128]

All figures are seconds for one GiB, so that the ratio to the machine's own limit is that of the speeds: to its disk for
a file of the same bytes written and synced, and to the cipher and the two hashes that every byte goes through, alone.
The box that takes objects in is this process, its peer another; both share the cores, and both record.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from agent.config import read
from agent.init_site import SiteBox, SiteFile, init_site
from agent.node import Node
from agent.object_intake import ObjectIntake
from benchmarks import report
from benchmarks.report import Line
from benchmarks.site import HOST, OR_BOX, Box, cpu_s, free_ports, wait_for
from ledger.log import LogId
from ledger.objects import ObjectFolder, ObjectHeader, SealedObject, open_content, prove
from ledger.objects.format import CHUNK_BYTES, SEALED_CHUNK_BYTES, ChunkCipher
from ledger.records import Object
from ledger.sealing import DataKey
from ledger.store import Store

MIB, GIB = 1 << 20, 1 << 30
PIECE = os.urandom(1 * MIB)
KEY, LOG = DataKey(bytes(32)), LogId(OR_BOX, 0, bytes(16), fenced=False)
PEER = "or-2"
_SYNC_BYTES = 8 * MIB
_WINDOW_S = 10.0


def seconds_for_a_gib(count: int, work: Callable[[], None]) -> float:
    """``work`` handles ``count`` bytes."""
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * GIB / count


def cipher_alone(count: int) -> float:
    """Every chunk sealed, nothing else."""
    cipher, chunk = ChunkCipher(ObjectHeader(LOG, KEY.key_id, os.urandom(32)), KEY), PIECE[:CHUNK_BYTES]

    def seal() -> None:
        for number in range(count // CHUNK_BYTES):
            cipher.seal(number, chunk, is_last=False)

    return seconds_for_a_gib(count, seal)


def hashes_alone(count: int) -> float:
    """Each byte hashed twice: for its chunk and for the object's name."""
    chunk, name = PIECE[:SEALED_CHUNK_BYTES], hashlib.sha256()

    def both() -> None:
        for _ in range(count // SEALED_CHUNK_BYTES):
            hashlib.sha256(chunk).digest()
            name.update(chunk)

    return seconds_for_a_gib(count, both)


def disk_alone(folder: Path, count: int) -> float:
    """A file of as many bytes, synced as often."""
    path = folder / "bare"

    def write() -> None:
        with path.open("wb") as file:
            for at in range(0, count, MIB):
                file.write(PIECE)
                if at % _SYNC_BYTES == 0:
                    file.flush()
                    os.fdatasync(file.fileno())
            file.flush()
            os.fsync(file.fileno())

    try:
        return seconds_for_a_gib(count, write)
    finally:
        path.unlink()


def put(intake: ObjectIntake, count: int) -> SealedObject:
    """An object of so many bytes."""
    with intake.begin(expected_bytes=count) as writer:
        for _ in range(count // MIB):
            writer.write(PIECE)
        return writer.finish()


def taking_in(folder: Path, count: int) -> list[Line]:
    """One writer, and what reading it back takes."""
    objects = ObjectFolder.open(folder / "objects")
    intake = ObjectIntake(objects, lambda: (LOG, KEY), 0)
    put(intake, 8 * MIB)  # so that what is loaded once is loaded
    cipher, hashes, disk = cipher_alone(count), hashes_alone(count), disk_alone(folder, count)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    known: list[SealedObject] = []
    accept = seconds_for_a_gib(count, lambda: known.append(put(intake, count)))
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024

    def verify() -> None:
        with objects.source(known[0].sha256) as source:
            prove(source, known[0].sha256, KEY)

    def get() -> None:
        with objects.source(known[0].sha256) as source:
            for _ in open_content(source, KEY):
                pass

    lines = [
        Line("object of 1 GiB taken in", accept, "s", None, disk, "disk"),
        Line("object of 1 GiB taken in, beside cipher and hashes", accept, "s", None, cipher + hashes, "both alone"),
        Line("cipher alone, 1 GiB", cipher, "s"),
        Line("both hashes alone, 1 GiB", hashes, "s"),
        Line("object of 1 GiB verified", seconds_for_a_gib(count, verify), "s", None, cipher + hashes, "both alone"),
        Line("object of 1 GiB opened", seconds_for_a_gib(count, get), "s", None, cipher, "cipher"),
        Line(f"memory grown while taking in {count // MIB:,} MiB", grown_mib, "MiB", 16),
    ]
    objects.delete(known[0].sha256)
    return lines


class NodeHere:
    """The box that takes objects in, in this process."""

    def __init__(self, configuration: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self.node = Node(read(configuration))
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self.node.run()))
        self._thread.start()
        while not self.node.recording:
            time.sleep(0.01)

    def record(self, known: SealedObject) -> None:
        """Have the next block name it."""
        record = Object(
            at_ns=1, sha256=known.sha256, size=known.plain_bytes, media_type="application/octet-stream", name="bench"
        )
        self._loop.call_soon_threadsafe(self.node.recorder.own_record, record)

    def stop(self) -> None:
        """End it."""
        self._loop.call_soon_threadsafe(self.node.stop)
        self._thread.join()


def _late_ms(here: NodeHere, seconds: float) -> float:
    """p99 of the ticks of the last seconds."""
    return float(here.node.statistics.tick_late.summary(max(10, int(seconds * 10)))["p99_ms"])


def copying(folder: Path, count: int) -> list[Line]:
    """From the block that names an object until the peer has vouched for it."""
    ports = dict(zip((OR_BOX, PEER), free_ports(2), strict=True))
    boxes = [SiteBox(id=box, room=box, listen=f"{HOST}:{port}") for box, port in ports.items()]
    _, made = init_site(SiteFile("bench", boxes), folder / "site")
    configurations = {box.id: box.configuration for box in made}
    disk = disk_alone(folder, count)
    peer = Box(PEER, configurations[PEER], folder / "peer.log")
    peer.start()
    here = NodeHere(configurations[OR_BOX])
    try:
        store: Store = here.node.store
        wait_for("the peer", lambda: PEER in here.node.object_keeper.puller.turns.peers, 60)
        small = put(here.node.objects, MIB)
        here.record(small)
        wait_for("the first object", lambda: PEER in store.object_holdings(small.sha256), 60)
        known = put(here.node.objects, count)
        time.sleep(_WINDOW_S)
        before_late_ms = _late_ms(here, _WINDOW_S)
        before = time.process_time(), cpu_s(peer.pid)

        def copy() -> None:
            here.record(known)
            wait_for("the object", lambda: PEER in store.object_holdings(known.sha256), 600)

        took = seconds_for_a_gib(count, copy)
        used = [now - then for now, then in zip((time.process_time(), cpu_s(peer.pid)), before, strict=True)]
        late_ms = _late_ms(here, took * count / GIB)
        note = "on one machine, both boxes and this process on its cores"
        return [
            Line("object of 1 GiB copied to a peer and vouched for", took, "s", None, disk, "disk", note),
            Line("processor time of the box that gives 1 GiB", used[0] * GIB / count, "s"),
            Line("processor time of the box that takes 1 GiB", used[1] * GIB / count, "s"),
            Line("ticks late while giving, p99", late_ms, "ms", None, before_late_ms, "before"),
        ]
    finally:
        here.stop()
        peer.end()


def main() -> int:
    """Both, in a folder of this disk."""
    arguments = report.parser(__doc__)
    arguments.add_argument("--mib", type=int, default=1_024, help="size of the object taken in")
    arguments.add_argument("--copied-mib", type=int, default=128, help="size of the object copied")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="orledger-bench-objects-", dir=Path()) as folder:
        lines = taking_in(Path(folder), options.mib * MIB)
        lines += copying(Path(folder), options.copied_mib * MIB)
    return report.finish(lines, options.json)


if __name__ == "__main__":
    sys.exit(main())
