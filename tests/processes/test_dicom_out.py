"""Images of a box that died go on from its peer: to dcmtk's provider and into a folder, bit for bit, and only once."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ledger.records import Event
from tests.conftest import require_tool
from tests.processes.site import HOST, Box, LabSite, Process, Said, free_port, until
from tests.processes.stores import records
from tests.processes.test_dicom import BUNDLED, certificate, data_set_of, run, stored

NAMES = ("CT_small", "MR_small_RLE", "SC_rgb_jpeg_gdcm", "JPEG2000")
FILES = [BUNDLED / f"{name}.dcm" for name in NAMES]


@dataclass(frozen=True)
class Died:
    """The peer of a box that took images in and was killed, and the data sets by SOP instance."""

    peer: Box
    data_sets: dict[str, bytes]
    out: Path

    def restore(self, *arguments: str) -> Said:
        """``restore box`` into one folder, which is whole after the first time."""
        return self.peer.say("restore", "box", "or-1", "--out", str(self.out), *arguments)


@pytest.fixture(autouse=True)
def not_niced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command is run in this process, which others are to go on in."""
    monkeypatch.setattr("agent.cli.restore_box._NICE", 0)


@pytest.fixture(scope="module")
def died(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Died]:
    folder, port = tmp_path_factory.mktemp("dicom-out"), free_port()
    peers = [{"ae_title": "CT1", "allow": [HOST]}]
    feed = {"name": "imaging", "driver": "dicom", "dicom": {"listen": f"{HOST}:{port}", "peers": peers}}
    with LabSite(folder, boxes=2, feeds={"or-1": [feed]}) as site:
        site.start()
        box, peer = site["or-1"], site["or-2"]
        to = ("-aet", "CT1", "-aec", "ORLEDGER", HOST, port)
        until("it listens", lambda: run("echoscu", *to).returncode == 0)
        for path, syntax in zip(FILES, ("-xe", "-xr", "-xs", "-xw"), strict=True):
            sent = run("storescu", "-R", syntax, *to, path)
            assert sent.returncode == 0, sent.stderr
        until("the peer holds all", lambda: len(held(peer)) == len(FILES))
        box.kill()
        contents = {
            uid: content[-int(record.meta["data_set_bytes"]) :] for uid, (record, content) in stored(peer).items()
        }
        yield Died(peer, contents, folder / "or-1-again")


def held(box: Box) -> list[dict[str, Any]]:
    told = [json.loads(line) for line in box.say("objects", "list", "--json").stdout.splitlines()]
    return [each for each in told if each["state"] == "held" and each["holders"]]


@contextmanager
def provider(folder: Path, *options: str | Path) -> Iterator[str]:
    """dcmtk's storescp, which writes what it gets as it gets it; its address."""
    folder.mkdir(exist_ok=True)
    port = free_port()
    command = [require_tool("storescp"), "+B", "+xa", "-od", folder, *options, str(port)]
    process = Process("storescp", command, folder.with_suffix(".log"))
    process.start()
    try:
        until("it listens", lambda: _listens(port))
        yield f"PACS@{HOST}:{port}"
    finally:
        process.close()


def _listens(port: int) -> bool:
    found = subprocess.run(["ss", "-Hltn", f"sport = :{port}"], capture_output=True, text=True, check=False)
    return str(port) in found.stdout


def received(folder: Path) -> list[bytes]:
    return sorted(data_set_of(path) for path in folder.iterdir())


def deliveries_told(box: Box) -> list[str]:
    """What the box says on its chain of objects that were handed on."""
    told = [record for _, record in records(box, box.id) if isinstance(record, Event)]
    return [record.text for record in told if record.code == "MDCX_OBJECTS_DELIVERED"]


def last_json(stdout: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(stdout.splitlines()[-1])
    return found


def test_a_rebuilt_box_sends_what_it_holds_once_and_bit_for_bit(died: Died, tmp_path: Path) -> None:
    with provider(tmp_path / "pacs") as pacs:
        done = died.restore("--objects-to-ae", pacs, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        assert received(tmp_path / "pacs") == sorted(died.data_sets.values())
        (delivery,) = last_json(done.stdout)["deliveries"]
        assert (delivery["delivered"], delivery["before"], delivery["failed"]) == (len(FILES), 0, [])
        told = [json.loads(line) for line in done.stdout.splitlines() if "object-delivered" in line]
        assert {each["sop_instance"]: each["status"] for each in told} == dict.fromkeys(died.data_sets, "0000")
        assert delivery["recorded_in_block"] > 0
        recorded = f"objects of or-1 to {pacs}: {len(FILES)} handed on, 0 failed"
        until("it is on the chain", lambda: any(recorded in text for text in deliveries_told(died.peer)))
        again = died.restore("--objects-to-ae", pacs)
        assert again.returncode == 0, again.stdout + again.stderr
        assert f"0 objects (0 bytes) handed on to {pacs}, {len(FILES)} were there before" in again.stdout


def test_the_latest_state_sends_its_images_by_tls(died: Died, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("pacs", "box"):
        certificate(tmp_path, name)
    tls = ("+tls", tmp_path / "pacs-key.pem", tmp_path / "pacs.pem", "+cf", tmp_path / "box.pem")
    files = ("--ae-ca", tmp_path / "pacs.pem", "--ae-certificate", tmp_path / "box.pem", "--ae-key")
    with provider(tmp_path / "in", *tls) as pacs:
        arguments = [*map(str, files), str(tmp_path / "box-key.pem"), "--objects-to-ae", pacs]
        wrong = died.peer.say("restore", "now", "or-1", *arguments)
        assert wrong.returncode == 65
        assert "certificate is not valid for" in wrong.stdout
        assert "4 NOT HANDED ON" in wrong.stdout
        done = died.peer.say("restore", "now", "or-1", *arguments, "--ae-server-name", "pacs", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        assert last_json(done.stdout)["deliveries"][0]["delivered"] == len(FILES)
        assert received(tmp_path / "in") == sorted(died.data_sets.values())
    assert list((tmp_path / "state").rglob("objects/*")) == []


def test_files_are_dicom_and_never_overwrite(died: Died, tmp_path: Path) -> None:
    arguments = ("--objects-to", str(tmp_path / "images"))
    first, *others = sorted(died.data_sets)
    (tmp_path / "images").mkdir()
    mine = tmp_path / "images" / f"{first}.dcm"
    mine.write_bytes(b"mine")
    done = died.restore(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert mine.read_bytes() == b"mine"
    mine.unlink()
    files = sorted((tmp_path / "images").iterdir())
    assert [path.name.partition("-")[0].removesuffix(".dcm") for path in files] == [first, *others]
    assert received(tmp_path / "images") == sorted(died.data_sets.values())
    assert run("dcmdump", "+fo", *files).returncode == 0
    again = died.restore(*arguments)
    assert again.returncode == 0
    assert sorted((tmp_path / "images").iterdir()) == sorted([*files, mine])


def test_what_the_receiver_does_not_take_is_named_and_tried_again(died: Died, tmp_path: Path) -> None:
    arguments = ("--from", "2020-01-01T00:00:00Z")
    with provider(tmp_path / "pacs", "+xi") as pacs:  # implicit VR alone
        done = died.restore(*arguments, "--objects-to-ae", pacs, "--json")
        assert done.returncode == 65
        (delivery,) = last_json(done.stdout)["deliveries"]
        assert {each["error"]["id"] for each in delivery["failed"]} == {"dicom.not-accepted"}
    for wrong in ("PACS", "@host:104", "PACS@host:0", "A_TITLE_THAT_IS_TOO_LONG@host:104"):
        assert died.restore(*arguments, "--objects-to-ae", wrong).returncode == 64
