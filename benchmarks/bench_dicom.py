"""Images in and out: our DICOM listener beside dcmtk's storescp, with the same files and the same storescu.

    python -m benchmarks.bench_dicom [--small 200] [--slices 60] [--big-mib 256] [--rounds 3] [--at-once 2,4,8]

storescu and storescp run with TCP_NODELAY: by default Nagle's algorithm and delayed acknowledgments let them exchange a
dozen instances a second, and hide what a receiver takes. storescp acknowledges what it handed to the kernel and never
syncs; a box what its disk has, sealed, and the block that names it. So both stand beside the same bytes written
to files of their own and synced. Both are sent the files in turn, several times, and the medians count.
`--at-once`: the small ones once more, shared among so many senders at the same time.
The soak is `--small 10000 --slices 0 --big-mib 2048 --rounds 1 --at-once ""`. Needs dcmtk (storescu, storescp).
"""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Self

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from agent.dicom_out import ToAe, parse_ae
from agent.init_site import SiteBox, SiteFile, init_site
from agent.object_delivery import Journal
from agent.object_reading import ObjectReader
from agent.outgoing import of_selection
from agent.reading import open_reader
from benchmarks import report
from benchmarks.machine import Probe, quantile
from benchmarks.report import Line
from benchmarks.site import HOST, MIB, OR_BOX, Box, SiteFault, cpu_s, free_ports, wait_for
from ledger.selection import Selection

KIB = 1 << 10
_TICKS_PER_S = 10
_TITLE = "BENCH"
_SETTLE_S = 3.0
_LOOK_S = 0.05
_PDU_BYTES = 131_072  # storescp's largest; ours is what storescu can send, the same
_NO_DELAY = os.environ | {"TCP_NODELAY": "1"}
_LATE_MS = 10.0
_GROWN_MIB = 32.0


@dataclass(frozen=True, slots=True)
class Load:
    """So many instances of so many bytes."""

    name: str
    count: int
    size: int


@dataclass(frozen=True, slots=True)
class Taken:
    """What one load cost the box."""

    seconds: float
    core_s: float
    grown_mib: float
    late_p99_ms: float
    bare_p99_ms: float


def make_files(folder: Path, load: Load) -> list[Path]:
    """CT images whose pixels no compression makes smaller, written piece by piece."""
    folder.mkdir()
    paths, pixels = [], os.urandom(min(load.size, MIB))
    for number in range(load.count):
        made = Dataset()
        made.file_meta = FileMetaDataset()
        made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = CTImageStorage
        made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = UID(f"2.25.{load.size}.{number}")
        made.StudyInstanceUID, made.SeriesInstanceUID, made.Modality = "2.25.1", "2.25.2", "CT"
        path = folder / f"{number:05}.dcm"
        made.save_as(path, enforce_file_format=True)
        with path.open("ab") as file:
            file.write(b"\xe0\x7f\x10\x00OB\0\0" + load.size.to_bytes(4, "little"))
            for at in range(0, load.size, len(pixels)):
                file.write(pixels[: load.size - at])
        paths.append(path)
    return paths


def send(paths: Sequence[Path], called: str, port: int, at_once: int = 1) -> float:
    """All of them, over so many associations at the same time; seconds. Raises SiteFault when one was refused."""
    command = ["storescu", "-R", "-aet", _TITLE, "-aec", called, HOST, str(port)]
    shares = [[*command, *map(str, paths[number::at_once])] for number in range(at_once)]
    began = time.perf_counter()
    running = [
        subprocess.Popen(each, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=_NO_DELAY)
        for each in shares
    ]
    told = [each.communicate()[1] for each in running]
    took = time.perf_counter() - began
    for each, text in zip(running, told, strict=True):
        if each.returncode:
            raise SiteFault(f"storescu: {text[-500:]}")
    return took


@contextmanager
def storescp(folder: Path) -> Iterator[int]:
    """The provider of dcmtk, writing what comes as it comes; its port."""
    (port,) = free_ports(1)
    folder.mkdir()
    command = ["storescp", "--fork", "+B", "+xa", "-pdu", str(_PDU_BYTES), "-od", str(folder), str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=_NO_DELAY)
    try:
        wait_for("storescp listens", lambda: _answers(port, "ANY"), 30)
        yield port
    finally:
        process.send_signal(signal.SIGKILL)  # its children end with their associations
        process.wait()
        shutil.rmtree(folder)


def _answers(port: int, called: str) -> bool:
    command = ["echoscu", "-aet", _TITLE, "-aec", called, HOST, str(port)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def synced(paths: Sequence[Path], folder: Path, at_once: int = 1) -> float:
    """The same bytes to as many files, each synced, and its name; by so many threads."""
    folder.mkdir()
    parent = os.open(folder, os.O_RDONLY)

    def write(some: Sequence[Path]) -> None:
        for path in some:
            with path.open("rb") as source, (folder / path.name).open("wb") as file:
                shutil.copyfileobj(source, file, MIB)
                file.flush()
                os.fsync(file.fileno())
            os.fsync(parent)

    began = time.perf_counter()
    with ThreadPoolExecutor(at_once) as threads:
        list(threads.map(write, [paths[number::at_once] for number in range(at_once)]))
    took = time.perf_counter() - began
    os.close(parent)
    shutil.rmtree(folder)
    return took


@contextmanager
def recording_box(folder: Path) -> Iterator[tuple[Box, int]]:
    """A box alone with one DICOM feed, and that feed's port."""
    broker, port = free_ports(2)
    peers = [{"ae_title": _TITLE, "allow": [HOST]}]
    feed = {"name": "imaging", "driver": "dicom", "dicom": {"listen": f"{HOST}:{port}", "peers": peers}}
    boxes = [SiteBox(id=OR_BOX, room="OR 1", listen=f"{HOST}:{broker}", feed=[feed])]
    _, (made,) = init_site(SiteFile("bench", boxes), folder / "site")
    box = Box(OR_BOX, made.configuration, folder / "box.log")
    box.start()
    try:
        wait_for("the box listens", lambda: _answers(port, "ORLEDGER"), 60)
        time.sleep(_SETTLE_S)
        yield box, port
    finally:
        box.end()


def taking_in(box: Box, port: int, paths: Sequence[Path], scratch: Path, at_once: int = 1) -> Taken:
    """One load into the box, with its ticks beside those of a bare timer."""
    used_s = cpu_s(box.pid)
    with Probe(scratch) as probe, MemoryPeak(box.pid) as memory:
        seconds = send(paths, "ORLEDGER", port, at_once)
    ticks = max(10, math.ceil(seconds * _TICKS_PER_S))
    late: dict[str, Any] = box.ask("statistics", newest=ticks)["tick_late"]
    bare_ms = quantile(probe.late_ms, 0.99)
    return Taken(seconds, cpu_s(box.pid) - used_s, memory.grown_mib, float(late["p99_ms"]), bare_ms)


class MemoryPeak:
    """While it is open: how far a process's own memory grows; not the store's pages, which the kernel may take back."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._before_kib = self._peak_kib = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._before_kib = self._peak_kib = self._own_kib()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def grown_mib(self) -> float:
        """From the beginning to the peak."""
        return (self._peak_kib - self._before_kib) / KIB

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_S):
            self._peak_kib = max(self._peak_kib, self._own_kib())

    def _own_kib(self) -> int:
        lines = Path(f"/proc/{self._pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


def sending(data: Path, instances: int, port: int, journal: Path) -> tuple[float, float]:
    """What the box holds to a receiver, the way a restore sends it; seconds, and MiB of memory grown."""
    target = parse_ae(f"ANY@{HOST}:{port}", _TITLE)
    with open_reader(data) as reader:
        chosen = of_selection(ObjectReader(reader, data), OR_BOX, Selection())
        newest = chosen.items[-instances:]
        way = ToAe(target, Journal(journal, str(target)))
        with MemoryPeak(os.getpid()) as memory:
            began = time.perf_counter()
            delivery = way.run(newest, lambda _done, _all: None, lambda _each: None)
            took = time.perf_counter() - began
    if len(delivery.done) != instances:
        raise SiteFault(f"{len(delivery.failed)} of {instances} were not sent: {delivery.failed[:1]}")
    return took, memory.grown_mib


def measure(folder: Path, load: Load, rounds: int, box: Box, port: int) -> list[Line]:
    """One load by every way, in turn; the medians."""
    paths = make_files(folder / "files", load)
    total_mib = sum(path.stat().st_size for path in paths) / MIB
    disk, theirs, taken, out = list[float](), list[float](), list[Taken](), list[tuple[float, float]]()
    try:
        for number in range(rounds):
            make_new(paths, number)
            disk.append(synced(paths, folder / "synced"))
            with storescp(folder / "theirs") as their_port:
                theirs.append(send(paths, "ANY", their_port))
            taken.append(taking_in(box, port, paths, folder))
            with storescp(folder / "again") as their_port:
                out.append(sending(box.folder.path, load.count, their_port, folder / "journal"))
    finally:
        shutil.rmtree(folder / "files")
    disk_s, their_s, our_s = median(disk), median(theirs), median(each.seconds for each in taken)
    name, late_ms = load.name, median(each.late_p99_ms for each in taken)
    core_ms = median(each.core_s for each in taken) * 1e3 / load.count
    bare_ms, out_s = median(each.bare_p99_ms for each in taken), median(seconds for seconds, _ in out)
    return [
        Line(f"{name} stored, durable", our_s, "s", None, their_s, "storescp, no fsync"),
        Line(f"{name} stored, beside the disk", our_s, "s", None, disk_s, "fsync'd files"),
        Line(f"{name}: instances stored", load.count / our_s, "/s", None, load.count / their_s, "storescp"),
        Line(f"{name}: bytes stored", total_mib / our_s, "MiB/s", None, total_mib / their_s, "storescp"),
        Line(f"{name}: processor time of the box, each", core_ms, "ms"),
        Line(f"{name}: ticks late, p99", late_ms, "ms", _LATE_MS, bare_ms, "bare timer"),
        Line(f"{name}: memory of the box grown", max(each.grown_mib for each in taken), "MiB", _GROWN_MIB),
        Line(f"{name} sent on to storescp", out_s, "s", None, their_s, "storescu"),
        Line(f"{name}: memory of the sender grown", max(grown for _, grown in out), "MiB", _GROWN_MIB),
    ]


def measure_at_once(
    folder: Path, load: Load, rounds: int, senders: Sequence[int], box: Box, port: int
) -> list[Line]:  # fmt: skip
    """One load shared among more and more senders at the same time; the medians."""
    paths, lines = make_files(folder / "files", load), list[Line]()
    try:
        for at_once in senders:
            disk, theirs, taken = list[float](), list[float](), list[Taken]()
            for number in range(rounds):
                make_new(paths, 16 * at_once + number)
                disk.append(synced(paths, folder / "synced", at_once))
                with storescp(folder / "theirs") as their_port:
                    theirs.append(send(paths, "ANY", their_port, at_once))
                taken.append(taking_in(box, port, paths, folder, at_once))
            our_s = median(each.seconds for each in taken)
            name = f"{load.name}, {at_once} associations"
            core_ms = median(each.core_s for each in taken) * 1e3 / load.count
            late_ms, bare_ms = (median(getattr(each, of) for each in taken) for of in ("late_p99_ms", "bare_p99_ms"))
            lines += [
                Line(f"{name} stored, beside the disk", our_s, "s", None, median(disk), "fsync'd files"),
                Line(f"{name} stored", load.count / our_s, "/s", None, load.count / median(theirs), "storescp"),
                Line(f"{name}: processor time of the box, each", core_ms, "ms"),
                Line(f"{name}: ticks late, p99", late_ms, "ms", _LATE_MS, bare_ms, "bare timer"),
            ]
    finally:
        shutil.rmtree(folder / "files")
    return lines


def make_new(paths: Sequence[Path], number: int) -> None:
    """Other contents under the same names: a box keeps what it is sent again only once."""
    for path in paths:
        with path.open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(bytes([number]))


def loads(small: int, slices: int, big_mib: int) -> list[Load]:
    """Those that are not of nothing."""
    every = [
        Load(f"{small:,} instances of 8 KiB", small, 8 * KIB),
        Load(f"{slices:,} instances of 512 KiB", slices, 512 * KIB),
        Load(f"one instance of {big_mib:,} MiB", 1 if big_mib else 0, min(big_mib * MIB, 0xFFFFFFFE)),
    ]
    return [load for load in every if load.count]


def main() -> int:
    """All loads into one box, in a folder of this disk."""
    arguments = report.parser(__doc__)
    arguments.add_argument("--small", type=int, default=200, help="instances of 8 KiB")
    arguments.add_argument("--slices", type=int, default=60, help="instances of 512 KiB")
    arguments.add_argument("--big-mib", type=int, default=256, help="size of one large instance")
    arguments.add_argument("--at-once", default="2,4,8", help="numbers of senders that share the small ones")
    arguments.add_argument("--rounds", type=int, default=3, help="how often each load is sent")
    options = arguments.parse_args()
    if missing := [tool for tool in ("storescu", "storescp", "echoscu") if shutil.which(tool) is None]:
        print(f"not measured: {', '.join(missing)} is missing (Debian package dcmtk)")
        return report.finish([], options.json)
    lines: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="orledger-bench-dicom-", dir=Path()) as name:
        folder = Path(name).resolve()
        with recording_box(folder) as (box, port):
            for load in loads(options.small, options.slices, options.big_mib):
                lines += measure(folder, load, options.rounds, box, port)
            senders = [int(each) for each in options.at_once.split(",") if each]
            if options.small:
                (small,) = loads(options.small, 0, 0)
                lines += measure_at_once(folder, small, options.rounds, senders, box, port)
    return report.finish(lines, options.json)


if __name__ == "__main__":
    sys.exit(main())
