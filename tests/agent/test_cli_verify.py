"""verify, records and checkpoint over a data folder as a box leaves it, without a running agent."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from nacl.signing import VerifyKey

from agent.box_files import BoxFolder
from agent.cli.main import main
from agent.commands import mend_arguments
from agent.control import ControlServer, Reply, Request
from agent.verifier import Task, verify
from ledger.checkpoint import open_checkpoint_note
from ledger.errors import StoreFault
from ledger.note import parse_vkey
from ledger.ops import PutSelf, ReplaceBlock
from ledger.store import Store, StoredBlock
from tests.agent.store_fixture import make_box_folder, write_box_folder
from tests.ledger.cluster import Cluster

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Cluster]:
    path = tmp_path_factory.mktemp("box") / "data"
    return path, make_box_folder(path)


@pytest.fixture
def data_dir(made: tuple[Path, Cluster], tmp_path: Path) -> Path:
    """A folder of its own, to be damaged."""
    write_box_folder(made[1], "or-2", tmp_path / "data")
    return tmp_path / "data"


def run(*arguments: str | Path) -> int:
    return main([str(argument) for argument in arguments])


def damage(data_dir: Path, box: str = "or-1", seq: int = 7) -> str:
    """Change one byte of a stored payload; the log's name."""
    store = Store.open(BoxFolder(data_dir).ledger)
    log = next(log for log, _ in store.logs(box) if log.fenced)
    block = store.block(log, seq)
    assert block is not None
    payload = block.payload[:-1] + bytes([block.payload[-1] ^ 1])
    store.commit([ReplaceBlock(log, seq, block.signed_header, payload)])
    store.close()
    return str(log)


def test_a_good_store_is_verified_in_words(made: tuple[Path, Cluster], capsys: Captured) -> None:
    assert run("verify", "--data-dir", made[0]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("VERIFIED or-1  2 logs, 30 blocks, 1 of 2 vouch (or-2)")
    assert lines[3].startswith("VERIFIED or-2  2 logs, 30 blocks, 2 of 2 vouch (or-1, or-3)")
    assert "by its own clock, vouched for at" in lines[5]


def test_a_good_store_is_verified_in_json(made: tuple[Path, Cluster], capsys: Captured) -> None:
    assert run("verify", "or-2", "--quick", "--json", "--data-dir", made[0]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["schema"], document["good"], document["findings"]) == ("orledger.verify/1", True, [])
    assert {log["log"]["box"] for log in document["logs"]} == {"or-2"}
    assert max(log["blocks"] for log in document["logs"]) > max(log["signatures"] for log in document["logs"])


def test_a_damaged_block_is_named_with_whose_fault_it_is_and_what_is_next(data_dir: Path, capsys: Captured) -> None:
    log = damage(data_dir)
    assert run("verify", "--data-dir", data_dir) == 76
    out = capsys.readouterr().out
    assert out.startswith(f"BAD block 7 of {log}: payload is not what or-1 signed (bytes ")
    assert " of its record); fault: this disk. Next: orledger verify --mend\n" in out
    assert "NOT VERIFIED or-1" in out
    assert "\nVERIFIED or-2" in out


def configuration(data_dir: Path) -> Path:
    path = data_dir.parent / "config.toml"
    path.write_text(
        f'[box]\nsite = "st-mary"\nid = "or-2"\nroom = "OR 2"\n'
        f'data_dir = "{data_dir}"\nruntime_dir = "{data_dir.parent / "run"}"\n'
    )
    return path


def test_mending_without_an_agent_shows_the_damage_and_says_so(data_dir: Path, capsys: Captured) -> None:
    damage(data_dir)
    assert run("--config", configuration(data_dir), "verify", "--mend") == 3
    shown = capsys.readouterr()
    assert "BAD block 7" in shown.out
    assert "no agent answers" in shown.err


@contextmanager
def agent_that_mends(data_dir: Path, whole: Sequence[StoredBlock]) -> Iterator[list[dict[str, Any]]]:
    """A control socket whose "mend" writes the blocks as they were."""
    asked: list[dict[str, Any]] = []

    async def mend(request: Request, reply: Reply) -> None:
        asked.append(dict(request.arguments))
        log, seq = mend_arguments(request.arguments)
        store = Store.open(BoxFolder(data_dir).ledger)
        store.commit([ReplaceBlock(log, seq, whole[seq].signed_header, whole[seq].payload)])
        store.close()
        await reply({"log": str(log), "seq": seq, "from": "or-3"})

    async def serve(ready: threading.Event, stop: asyncio.Event) -> None:
        server = ControlServer(data_dir.parent / "run" / "control.sock", {"mend": mend})
        await server.start()
        ready.set()
        await stop.wait()
        await server.stop()

    loop, ready, stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(ready, stop),))
    thread.start()
    assert ready.wait(60)
    try:
        yield asked
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def test_mending_goes_on_until_every_block_is_whole(data_dir: Path, capsys: Captured) -> None:
    store = Store.open(BoxFolder(data_dir).ledger)
    log = next(log for log, _ in store.logs("or-1") if log.fenced)
    whole = list(store.blocks(log, 0, store.length(log)))
    store.close()
    damage(data_dir, seq=4)
    damage(data_dir, seq=9)
    with agent_that_mends(data_dir, whole) as asked:
        assert run("--config", configuration(data_dir), "verify", "--mend") == 0
    shown = capsys.readouterr()
    assert [each["seq"] for each in asked] == [4, 9]
    assert f"mended block 9 of {log} with the copy of or-3" in shown.err
    assert "BAD" not in shown.out


def test_a_damaged_page_is_a_fault_of_the_disk_and_not_a_crash(data_dir: Path) -> None:
    """Some pages kill whoever reads them, some read as nonsense; none passes for good unless it was not in use."""
    ledger = BoxFolder(data_dir).ledger / "data.mdb"
    whole = ledger.read_bytes()
    outcomes = []
    for page in (3, 9, 15):
        ledger.write_bytes(whole[: page * 4096] + hashlib.sha512(b"x").digest() * 64 + whole[(page + 1) * 4096 :])
        try:
            outcomes.append(verify(Task(data_dir, None, every_signature=True), lambda _done, _total: None).is_good)
        except StoreFault:
            outcomes.append(False)
    assert False in outcomes


def test_no_store_and_no_such_box_are_said_plainly(
    made: tuple[Path, Cluster], tmp_path: Path, capsys: Captured
) -> None:
    assert run("verify", "--data-dir", tmp_path / "nothing") == 74
    assert "holds no store" in capsys.readouterr().err
    assert run("verify", "or-9", "--data-dir", made[0]) == 64
    assert "one of: or-1, or-2, or-3" in capsys.readouterr().err


def test_records_are_one_json_object_a_line(made: tuple[Path, Cluster], capsys: Captured) -> None:
    assert run("records", "--box", "or-1", "--feed", "monitor", "--data-dir", made[0]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [int(record["text_value"]) for record in records] == list(range(30))
    assert {record["box"] for record in records} == {"or-1"}
    assert {"log", "seq", "closed", "feed", "type", "code", "unit"} <= set(records[0])
    assert run("records", "--limit", "1", "--json", "--data-dir", made[0]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == "orledger.record/1"


def test_records_between_two_times_and_only_so_many(made: tuple[Path, Cluster], capsys: Captured) -> None:
    times = ("--from", "2023-11-14T22:13:21Z", "--to", "2023-11-14T22:13:22Z")
    assert run("records", "--box", "or-1", "--feed", "monitor", *times, "--data-dir", made[0]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["closed"][:21] for line in lines] == [f"2023-11-14T22:13:21.{n}" for n in range(10)]
    assert run("records", "--limit", "3", "--data-dir", made[0]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert run("records", "--from", "yesterday", "--data-dir", made[0]) == 64


def test_records_without_their_key_say_so(data_dir: Path, capsys: Captured) -> None:
    BoxFolder(data_dir).keyring.unlink()
    assert run("records", "--data-dir", data_dir) == 69
    assert "no data key" in capsys.readouterr().err
    assert run("verify", "--data-dir", data_dir) == 0
    assert "not decoded for want of their key" in capsys.readouterr().out


def test_a_checkpoint_verifies_with_our_own_parser(made: tuple[Path, Cluster], capsys: Captured) -> None:
    assert run("checkpoint", "or-2", "--data-dir", made[0]) == 0
    note = capsys.readouterr().out
    assert run("checkpoint", "or-2", "--vkeys", "--data-dir", made[0]) == 0
    log, *peers = [parse_vkey(line) for line in capsys.readouterr().out.splitlines()]
    checkpoint, cosignatures = open_checkpoint_note(note.encode(), log, peers)
    assert [each.name for each in cosignatures] == ["st-mary/or-1", "st-mary/or-3"]
    assert checkpoint.size > 0


def test_a_checkpoint_verifies_by_the_specification_alone(made: tuple[Path, Cluster], capsys: Captured) -> None:
    """C2SP signed-note, tlog-checkpoint and tlog-cosignature, written down here a second time, with PyNaCl only."""
    assert run("checkpoint", "or-2", "--json", "--data-dir", made[0]) == 0
    document = json.loads(capsys.readouterr().out)
    text, _, lines = document["note"].rpartition("\n\n")
    text = text + "\n"
    keys = {}
    for vkey in document["vkeys"]:
        name, key_id, encoded = vkey.split("+", 2)
        key = base64.b64decode(encoded)
        assert hashlib.sha256(f"{name}\n".encode() + key).hexdigest()[:8] == key_id
        keys[name, bytes.fromhex(key_id)] = (key[0], VerifyKey(key[1:]))
    verified = 0
    for line in lines.splitlines():
        dash, name, encoded = line.split(" ")
        assert dash == "—"
        blob = base64.b64decode(encoded)
        kind, verify_key = keys[name, blob[:4]]
        if kind == 1:
            verify_key.verify(text.encode(), blob[4:])
        else:
            time_s = int.from_bytes(blob[4:12], "big")
            verify_key.verify(f"cosignature/v1\ntime {time_s}\n{text}".encode(), blob[12:])
        verified += 1
    assert verified == 3
    origin, size, root, end = text.split("\n")
    assert origin.startswith("st-mary/or-2/1-")
    assert (int(size), end) == (document["size"], "")
    assert len(base64.b64decode(root)) == 32


def test_a_checkpoint_that_is_not_held_is_said_plainly(made: tuple[Path, Cluster], capsys: Captured) -> None:
    assert run("checkpoint", "or-2", "--size", "9999", "--data-dir", made[0]) == 65
    assert "no checkpoint of size 9,999" in capsys.readouterr().err


def test_reading_goes_on_beside_a_writer(data_dir: Path) -> None:
    writer = Store.open(BoxFolder(data_dir).ledger)
    assert verify(Task(data_dir, None, every_signature=False), lambda _done, _total: None).is_good
    writer.commit([PutSelf("counter", (9).to_bytes(8, "big"))])
    writer.close()
