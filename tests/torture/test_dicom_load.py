"""Many small instances and one of gigabytes: all of them whole and once, in bounded memory, and in clear nowhere."""

from __future__ import annotations

import hashlib
import mmap
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from pynetdicom import AE, _config
from pynetdicom.dsutils import split_dataset
from pynetdicom.sop_class import CTImageStorage  # type: ignore[attr-defined]

from agent.object_reading import ObjectReader
from agent.reading import open_reader
from tests.processes.site import HOST, LabSite, free_port, until

pytestmark = pytest.mark.soak

_MIB = 1 << 20
_SMALL_BYTES = 4_096
_MOST_GROWTH_BYTES = 96 * _MIB
_PATIENT = "Plain^Text"
_PIXELS = b"in clear nowhere"
_LOOK_S = 0.1


def make_file(folder: Path, number: int, size: int) -> Path:
    """A CT of so many bytes of pixels, which are written piece by piece."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = CTImageStorage
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = UID(f"2.25.77.{number}")
    made.PatientName = _PATIENT
    path = folder / f"{number}.dcm"
    made.save_as(path, enforce_file_format=True)
    with path.open("ab") as file:
        file.write(b"\xe0\x7f\x10\x00OB\0\0" + size.to_bytes(4, "little"))
        piece = _PIXELS * (min(size, _MIB) // len(_PIXELS))
        for _ in range(size // len(piece)):
            file.write(piece)
    return path


def data_set_hash(path: Path) -> str:
    """SHA-256 of a file's bytes behind its meta information."""
    _, offset = split_dataset(path)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(offset)
        while piece := file.read(_MIB):
            digest.update(piece)
    return digest.hexdigest()


@dataclass
class Watched:
    """The largest memory of a process's own that was seen, and files it had open outside its folder."""

    anonymous_bytes: int = 0
    elsewhere: set[str] = field(default_factory=set)


@contextmanager
def watching(pid: int, folder: Path) -> Iterator[Watched]:
    """Look again and again, on a thread, until the end."""
    seen, over = Watched(), threading.Event()

    def look() -> None:
        while not over.wait(_LOOK_S):
            seen.anonymous_bytes = max(seen.anonymous_bytes, anonymous_bytes(pid))
            seen.elsewhere |= set(open_elsewhere(pid, folder))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def anonymous_bytes(pid: int) -> int:
    """What a process holds in memory that is not a file's: the ledger's pages are the system's to keep."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon:"))


def open_elsewhere(pid: int, folder: Path) -> Iterator[str]:
    """Files that a process has open for writing, outside this folder; deleted ones too."""
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            where, info = str(entry.readlink()), Path(f"/proc/{pid}/fdinfo/{entry.name}").read_text(encoding="ascii")
        except OSError:
            continue  # closed meanwhile
        flags = next(int(line.split()[1], 8) for line in info.splitlines() if line.startswith("flags:"))
        if where.startswith("/") and not where.startswith(("/dev/", str(folder))) and flags & os.O_ACCMODE:
            yield where


def holds(path: Path, words: bytes) -> bool:
    """Whether these bytes stand in a file."""
    if not path.stat().st_size:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(words) >= 0


@pytest.mark.parametrize(
    ("small", "big_bytes"),
    [(200, 64 * _MIB), pytest.param(10_000, 2_048 * _MIB, marks=pytest.mark.timeout(3_600))],
    ids=["some", "all"],
)
def test_everything_is_kept_whole_in_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: int, big_bytes: int
) -> None:
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)
    port, sent = free_port(), tmp_path / "sent"
    sent.mkdir()
    peers = [{"ae_title": "CT1", "allow": [HOST]}]
    imaging = {"name": "imaging", "driver": "dicom", "dicom": {"listen": f"{HOST}:{port}", "peers": peers}}
    expected: dict[str, str] = {}
    with LabSite(tmp_path / "site", boxes=1, feeds={"or-1": [imaging]}) as site:
        box = site["or-1"]
        box.start()
        until("the feed listens", lambda: box.status()["feeds"][0]["state"] == "ok")
        ae = AE("CT1")
        ae.dimse_timeout = ae.network_timeout = 600
        ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
        association = ae.associate(HOST, port, ae_title="ORLEDGER")
        assert association.is_established
        assert association.send_c_store(make_file(sent, 0, _SMALL_BYTES)).Status == 0
        before = anonymous_bytes(box.pid)
        with watching(box.pid, tmp_path / "site") as seen:
            for number, size in ((1, big_bytes), *((each, _SMALL_BYTES) for each in range(2, small + 2))):
                path = make_file(sent, number, size)
                expected[f"2.25.77.{number}"] = data_set_hash(path)
                assert association.send_c_store(path).Status == 0
                path.unlink()
        association.release()
        assert seen.anonymous_bytes - before < _MOST_GROWTH_BYTES
        assert seen.elsewhere == set()
        site.stop()
        for path in (path for path in (tmp_path / "site").rglob("*") if path.is_file()):
            assert not holds(path, _PIXELS), path
            assert not holds(path, _PATIENT.encode()), path
        with open_reader(box.data) as reader:
            objects = ObjectReader(reader, box.data)
            entries = {entry.record.meta["sop_instance"]: entry for entry in objects.entries() if entry.record}
            assert {name: entry.record and entry.record.meta["data_set_sha256"] for name, entry in entries.items()
                    if name in expected} == expected  # fmt: skip
            assert len(entries) == small + 2
            proved = sum(len(piece) for piece in objects.content(entries["2.25.77.1"]))
            assert proved > big_bytes
