"""Objects between real boxes over the real wire: copied, vouched for, proved, mended, restored, bit for bit."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.config import read
from agent.node import Node
from ledger.records import Object
from tests.processes.site import Box, LabSite, until

_SIZES = (0, 65_280, 3_000_000)


class NodeHere:
    """A box whose process is this test: the one thing that takes objects in without a device that sends them."""

    def __init__(self, box: Box) -> None:
        self._loop = asyncio.new_event_loop()
        self.node = Node(read(box.config))
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        until("the node records", lambda: self.node.recording)

    def _run(self) -> None:
        self._loop.run_until_complete(self.node.run())
        self._loop.close()

    def put(self, content: bytes, name: str) -> str:
        with self.node.objects.begin(expected_bytes=len(content)) as writer:
            for at in range(0, len(content), 100_000):
                writer.write(content[at : at + 100_000])
            done = writer.finish()
        record = Object(at_ns=1, sha256=done.sha256, size=done.plain_bytes, media_type="video/mp4", name=name)
        self._loop.call_soon_threadsafe(self.node.recorder.own_record, record)
        return done.sha256.hex()

    def vouched_for(self, names: Iterable[str]) -> bool:
        """Whether both peers gave their word on each."""
        return all(len(self.node.store.object_holdings(bytes.fromhex(name))) == 2 for name in names)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self.node.stop)
        self._thread.join()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LabSite, dict[str, bytes]]]:
    """or-1 took objects in, its peers hold them, and or-1 is gone."""
    with LabSite(tmp_path_factory.mktemp("objects")) as site:
        for peer in ("or-2", "or-3"):
            site[peer].start()
        here = NodeHere(site["or-1"])
        try:
            contents = [os.urandom(size) for size in _SIZES]
            objects = {here.put(content, f"scene {number}"): content for number, content in enumerate(contents)}
            until("every peer vouches for every object", lambda: here.vouched_for(objects))
        finally:
            here.stop()
        yield site, objects


_say = Box.say


def _listed(box: Box, *more: str) -> list[dict[str, Any]]:
    done = _say(box, "objects", "list", "--json", *more)
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def _get(box: Box, name: str, out: Path, *more: str) -> bytes:
    done = _say(box, "objects", "get", name, "--out", str(out), *more)
    assert done.returncode == 0, done.stdout + done.stderr
    return out.read_bytes()


def test_a_peer_gives_every_object_bit_for_bit(recorded: tuple[LabSite, dict[str, bytes]], tmp_path: Path) -> None:
    site, objects = recorded
    listed = {each["object"]: each for each in _listed(site["or-2"], "--box", "or-1")}
    assert listed.keys() == objects.keys()
    for name, content in objects.items():
        assert (listed[name]["state"], listed[name]["bytes"]) == ("held", len(content))
        assert _get(site["or-2"], name[:20], tmp_path / name) == content
    again = _say(site["or-2"], "objects", "get", name, "--out", str(tmp_path / name))
    assert again.returncode == 64
    assert "exists already" in again.stderr
    table = _say(site["or-2"], "objects", "list").stdout
    assert "scene 2 (video/mp4)" in table
    assert "3,000,000" in table
    shown = _say(site["or-2"], "objects", "show", name[:8]).stdout
    assert name in shown
    nobody = _say(site["or-2"], "objects", "show", "ffff" if not name.startswith("ffff") else "0000")
    assert nobody.returncode == 64


def test_verify_names_what_is_damaged_and_the_agent_fetches_it_anew(
    recorded: tuple[LabSite, dict[str, bytes]], tmp_path: Path
) -> None:
    site, objects = recorded
    box, name = site["or-2"], list(objects)[-1]
    good = _say(box, "verify", "--json")
    assert json.loads(good.stdout)["objects"]["opened"] == len(objects)
    file = box.data / "objects" / name
    sealed = file.read_bytes()
    file.write_bytes(sealed[:500_000] + b"!" + sealed[500_001:])
    bad = _say(box, "verify")
    assert bad.returncode == 76
    assert f"object {name[:16]}" in bad.stdout
    assert "chunk 7 of 46" in bad.stdout
    refused = _say(box, "objects", "get", name, "--out", str(tmp_path / "no"))
    assert refused.returncode == 76
    assert list(tmp_path.iterdir()) == []
    mended = _say(box, "verify", "--mend")
    assert mended.returncode == 0, mended.stdout + mended.stderr
    until("it is whole again", lambda: file.exists() and file.read_bytes() == sealed)
    assert _get(box, name, tmp_path / "again") == objects[name]


def test_a_restored_box_has_its_objects(recorded: tuple[LabSite, dict[str, bytes]], tmp_path: Path) -> None:
    site, objects = recorded
    box, out = site["or-3"], tmp_path / "restored"
    lost = list(objects)[-1]
    (box.data / "objects" / lost).rename(tmp_path / "aside")
    try:
        done = _say(box, "restore", "box", "or-1", "--out", str(out), "--objects", "--json")
    finally:
        (tmp_path / "aside").rename(box.data / "objects" / lost)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])["objects"]
    assert (told["fetched"], told["had"], told["missing"]) == (len(objects), 0, [])
    for name, content in objects.items():
        assert _get(box, name, tmp_path / name, "--data-dir", str(out)) == content
    verified = json.loads(_say(box, "verify", "--json", "--data-dir", str(out)).stdout)
    assert verified["good"]
    assert verified["objects"]["opened"] == len(objects)
