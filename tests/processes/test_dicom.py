"""A real agent as storage provider, with dcmtk's and pynetdicom's senders: bit for bit, who is refused, what is cut."""

from __future__ import annotations

import os
import signal
import subprocess
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom.data
import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from pynetdicom import AE, _config
from pynetdicom.dsutils import split_dataset
from pynetdicom.sop_class import CTImageStorage  # type: ignore[attr-defined]

from agent.object_reading import ObjectReader
from agent.reading import open_reader
from ledger.records import Object
from tests.conftest import require_tool
from tests.processes.site import HOST, Box, LabSite, Process, free_port, until

BUNDLED = Path(pydicom.data.__file__).parent / "test_files"
_WITHIN_S = 60.0


@dataclass(frozen=True)
class Imaging:
    """The box, its two ports, and the certificates of its TLS feed."""

    box: Box
    plain: int
    secure: int
    certificates: Path
    folder: Path


def certificate(folder: Path, name: str) -> None:
    """A key and a certificate that signs itself."""
    made: list[str | Path] = [
        "-keyout",
        folder / f"{name}-key.pem",
        "-out",
        folder / f"{name}.pem",
        "-subj",
        f"/CN={name}",
    ]
    key: list[str | Path] = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    subprocess.run([require_tool("openssl"), "req", *key, *made], check=True, capture_output=True)


@pytest.fixture(scope="module")
def imaging(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Imaging]:
    folder, plain, secure = tmp_path_factory.mktemp("dicom"), free_port(), free_port()
    for name in ("box", "modality", "stranger"):
        certificate(folder, name)
    peers = [{"ae_title": "CT1", "allow": [HOST]}]
    tls = {
        "certificate": str(folder / "box.pem"), "key": str(folder / "box-key.pem"),
        "client_ca": str(folder / "modality.pem"),
    }  # fmt: skip
    feeds = [
        {"name": "imaging", "driver": "dicom", "dicom": {"listen": f"{HOST}:{plain}", "peers": peers}},
        {"name": "secure", "driver": "dicom", "dicom": {"listen": f"{HOST}:{secure}", "peers": peers, "tls": tls}},
    ]
    with LabSite(folder, boxes=1, feeds={"or-1": feeds}) as site:
        site["or-1"].start()
        until("both feeds listen", lambda: {state(site["or-1"], name) for name in ("imaging", "secure")} == {"ok"})
        yield Imaging(site["or-1"], plain, secure, folder, folder)


def feed(box: Box, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in box.status()["feeds"] if each["name"] == name)
    return found


def gaps(box: Box) -> int:
    return int(feed(box, "imaging")["gaps_24h"])


def state(box: Box, name: str) -> str:
    return str(feed(box, name)["state"])


def stored(box: Box) -> dict[str, tuple[Object, bytes]]:
    """Every object with its content, proved, by its SOP instance."""
    with open_reader(box.data) as reader:
        objects = ObjectReader(reader, box.data)
        entries = [entry for entry in objects.entries() if entry.record is not None]
        return {
            entry.record.meta["sop_instance"]: (entry.record, b"".join(objects.content(entry)))
            for entry in entries
            if entry.record is not None
        }


def files(box: Box) -> set[Path]:
    return {path for path in (box.data / "objects").rglob("*") if path.is_file()}


def run(tool: str, *arguments: str | int | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [require_tool(tool), *map(str, arguments)], capture_output=True, text=True, timeout=_WITHIN_S, check=False
    )


def data_set_of(path: Path) -> bytes:
    """A DICOM file's bytes behind its meta information."""
    _, offset = split_dataset(path)
    return path.read_bytes()[offset:]


def sendable() -> list[Path]:
    """Those of the bundled files that say what they are."""
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in sorted(BUNDLED.glob("*.dcm")):
            try:
                meta = dcmread(path, stop_before_pixels=True).file_meta
            except Exception:  # noqa: BLE001 - files that are made to be unreadable
                continue
            if all(meta.get(name) for name in ("TransferSyntaxUID", "MediaStorageSOPClassUID")):
                found.append(path)
    return found


def test_echoscu_is_answered_and_strangers_are_told_why_not(imaging: Imaging) -> None:
    called = ("-aec", "ORLEDGER", HOST, imaging.plain)
    assert run("echoscu", "-aet", "CT1", *called).returncode == 0
    stranger = run("echoscu", "-v", "-aet", "CT9", *called)
    assert stranger.returncode != 0
    assert "Calling AE Title Not Recognized" in stranger.stderr + stranger.stdout
    other = run("echoscu", "-v", "-aet", "CT1", "-aec", "PACS", HOST, imaging.plain)
    assert other.returncode != 0
    assert "Called AE Title Not Recognized" in other.stderr + other.stdout


def test_every_bundled_file_is_stored_bit_for_bit_in_every_transfer_syntax(
    imaging: Imaging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)
    paths = sendable()
    metas = {path: dcmread(path, stop_before_pixels=True).file_meta for path in paths}
    ae = AE("CT1")
    for pair in {(meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID) for meta in metas.values()}:
        ae.add_requested_context(*pair)
    association = ae.associate(HOST, imaging.plain, ae_title="ORLEDGER")
    assert association.is_established
    assert not association.rejected_contexts
    told = {path.name: association.send_c_store(path).Status for path in paths}
    association.release()
    assert told == {path.name: 0xB007 if says_another_instance(path) else 0 for path in paths}
    sent = {data_set_of(path) for path in paths}
    assert len(sent) > 60
    held = {content[len(content) - int(record.meta["data_set_bytes"]) :] for record, content in all_stored(imaging.box)}
    assert sent <= held


def says_another_instance(path: Path) -> bool:
    """Whether its data set names another instance than its file meta information, which a sender goes by."""
    read = dcmread(path, stop_before_pixels=True)
    return bool(read.get("SOPInstanceUID", read.file_meta.MediaStorageSOPInstanceUID)
                != read.file_meta.MediaStorageSOPInstanceUID)  # fmt: skip


def all_stored(box: Box) -> list[tuple[Object, bytes]]:
    with open_reader(box.data) as reader:
        objects = ObjectReader(reader, box.data)
        return [
            (entry.record, b"".join(objects.content(entry))) for entry in objects.entries() if entry.record is not None
        ]


@pytest.mark.parametrize(
    ("name", "syntax"),
    [("CT_small", "-xe"), ("MR_small_RLE", "-xr"), ("SC_rgb_jpeg_gdcm", "-xs"), ("MR_small_jp2klossless", "-xv")],
)
def test_what_storescu_sends_lies_here_as_in_dcmtks_own_provider(
    imaging: Imaging, tmp_path: Path, name: str, syntax: str
) -> None:
    port = free_port()
    beside = Process("storescp", [require_tool("storescp"), "+B", "+xa", "-od", tmp_path, str(port)], tmp_path / "log")
    beside.start()
    try:
        until("storescp listens", lambda: run("echoscu", HOST, port).returncode == 0)
        path = BUNDLED / f"{name}.dcm"
        assert run("storescu", "-R", syntax, HOST, port, path).returncode == 0
        told = run("storescu", "-R", syntax, "-aet", "CT1", "-aec", "ORLEDGER", HOST, imaging.plain, path)
        assert told.returncode == 0, told.stderr
    finally:
        beside.close()
    (theirs,) = [each for each in tmp_path.iterdir() if each.name != "log"]
    expected = data_set_of(theirs)
    assert any(content.endswith(expected) for _, content in all_stored(imaging.box))


def test_with_tls_only_who_shows_a_certificate_that_is_known_may_speak(imaging: Imaging) -> None:
    folder = imaging.certificates
    ends = ("-aet", "CT1", "-aec", "ORLEDGER", HOST, imaging.secure)

    def as_(name: str) -> tuple[str | Path, ...]:
        return ("+tls", folder / f"{name}-key.pem", folder / f"{name}.pem", "+cf", folder / "box.pem")

    known = run("echoscu", *as_("modality"), *ends)
    assert known.returncode == 0, known.stderr
    assert run("echoscu", *as_("stranger"), *ends).returncode != 0
    assert run("echoscu", "+tla", "-ic", *ends).returncode != 0
    assert run("echoscu", *ends).returncode != 0
    sent = run("storescu", "-R", *as_("modality"), *ends, BUNDLED / "MR_small.dcm")
    assert sent.returncode == 0, sent.stderr
    until("the refusals are told", lambda: imaging.box.text().count("feed secure: link 0 refused, 127.0.0.1") >= 2)


def big(folder: Path, size: int) -> Path:
    """A CT of so many bytes of pixels."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = CTImageStorage
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = UID("2.25.99")
    made.PatientName = "Big^File"
    made.add_new(0x7FE00010, "OB", bytes(size))
    path = folder / "big.dcm"
    made.save_as(path, enforce_file_format=True)
    return path


def test_a_sender_that_dies_leaves_nothing_but_a_gap_and_the_agent_goes_on(imaging: Imaging, tmp_path: Path) -> None:
    path, before = big(tmp_path, 200 << 20), files(imaging.box)
    counted = gaps(imaging.box)
    arguments = ["-R", "-aet", "CT1", "-aec", "ORLEDGER", HOST, str(imaging.plain), str(path)]
    sender = Process("storescu", [require_tool("storescu"), *arguments], tmp_path / "log")
    sender.start()
    until("some of it came", lambda: sum(each.stat().st_size for each in files(imaging.box) - before) > 1 << 20)
    os.killpg(sender.pid, signal.SIGKILL)
    sender.close()
    until("the gap is told", lambda: gaps(imaging.box) == counted + 1)
    until("nothing is left", lambda: files(imaging.box) == before)
    assert "2.25.99" not in stored(imaging.box)
    assert run("echoscu", "-aet", "CT1", "-aec", "ORLEDGER", HOST, imaging.plain).returncode == 0
