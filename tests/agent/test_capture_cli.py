from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from agent.cli.main import main
from drivers.capture import CaptureItem
from drivers.capture_file import open_capture
from ledger.errors import BadInput
from ledger.records import Raw
from tests.drivers.test_capture_suite import FOLDER

GE = FOLDER / "ge-dri-s5.orcap.zst"
HL7 = FOLDER / "hl7-gateway.orcap.zst"


def capture(*arguments: object) -> int:
    return main(["capture", *map(str, arguments)])


def expected(path: Path) -> str:
    return path.with_name(path.name.replace(".orcap.zst", ".records.jsonl")).read_text()


def received(path: Path) -> bytes:
    with open_capture(path) as reader:
        return b"".join(item.data for item in reader if isinstance(item, Raw) and item.direction == "<")


@pytest.mark.parametrize("path", [GE, HL7], ids=lambda path: str(path.name))
def test_decode_prints_the_records(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert capture("decode", path, "--compare") == 0
    assert capsys.readouterr().out == expected(path)


def test_decode_says_where_the_driver_now_sends_something_else(capsys: pytest.CaptureFixture[str]) -> None:
    other = '{"waves":["ECG1"]}'
    assert capture("decode", GE, "--options", other) == 0
    assert capture("decode", GE, "--options", other, "--compare") == 1
    assert "differs from the capture from byte" in capsys.readouterr().err


def test_replay_to_decode_is_the_same_at_another_pace(capsys: pytest.CaptureFixture[str]) -> None:
    assert capture("replay", GE, "--to", "decode", "--speed", "max") == 0
    assert capsys.readouterr().out == expected(GE)


def test_replay_over_tcp_sends_what_the_device_sent(capsys: pytest.CaptureFixture[str]) -> None:
    server = socket.create_server(("127.0.0.1", 0))
    heard = bytearray()

    def listen() -> None:
        connection, _ = server.accept()
        with connection:
            while data := connection.recv(65_536):
                heard.extend(data)

    thread = threading.Thread(target=listen)
    thread.start()
    port = server.getsockname()[1]
    assert main(["--json", "capture", "replay", str(HL7), "--to", f"tcp://127.0.0.1:{port}", "--speed", "max"]) == 0
    thread.join(60)
    server.close()
    assert heard == received(HL7)
    said = json.loads(capsys.readouterr().out)
    assert (said["schema"], said["bytes_sent"]) == ("orledger.capture/1", len(heard))


def test_nobody_listening_is_no_peer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert capture("replay", HL7, "--to", f"tcp://127.0.0.1:{port}", "--speed", "max") == 69


def items_so_far(path: Path) -> list[CaptureItem]:
    items: list[CaptureItem] = []
    with suppress(BadInput), open_capture(path) as reader:
        for item in reader:
            items.append(item)  # noqa: PERF402 - what came before the cut counts
    return items


def wait_until(items: Callable[[], list[CaptureItem]], count: int, process: subprocess.Popen[bytes]) -> None:
    while len(items()) < count:
        assert process.poll() is None
        time.sleep(0.05)


def test_a_serial_line_is_recorded_without_sending_a_byte(tmp_path: Path) -> None:
    said = b"\x1bQ6C\r" + bytes(range(256))
    master, slave = os.openpty()
    tty.setraw(slave)
    file = tmp_path / "a.orcap.zst"
    start = "import sys; from agent.cli.main import main; sys.exit(main())"
    record = ["capture", "record", os.ttyname(slave), str(file), "--line", "19200 8E1"]
    with subprocess.Popen([sys.executable, "-c", start, *record], cwd=FOLDER.parents[1]) as process:
        wait_until(lambda: items_so_far(file), 1, process)  # the port is open
        os.write(master, said)
        wait_until(lambda: items_so_far(file), 2, process)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert select.select([master], [], [], 0)[0] == []
    os.close(slave)
    os.close(master)
    with open_capture(file) as reader:
        assert (reader.header.line, reader.header.scrubbed) == ("19200 8E1", False)
    assert received(file) == said


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("decode", "nowhere.orcap"), 65),
        (("decode", GE, "--driver", "theremin"), 78),
        (("decode", GE, "--options", '{"waves":["THEREMIN"]}'), 65),
        (("decode", GE, "--options", "waves"), 64),
        (("replay", GE, "--to", "the moon"), 64),
        (("replay", GE, "--to", "tcp://nowhere"), 64),
        (("replay", GE, "--to", "decode", "--speed", "0"), 64),
        (("replay", GE, "--to", "decode", "--speed", "fast"), 64),
        (("record", "/dev/null", "new.orcap"), 64),
        (("record", "/dev/null", GE, "--line", "19200 8E1"), 74),
        (("record", "/dev/null", "new.orcap", "--line", "fast"), 78),
        (("record", "mllp:here", "new.orcap"), 78),
    ],
)
def test_a_mistake_is_named_and_changes_nothing(
    arguments: tuple[object, ...],
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert capture(*arguments) == code
    assert capsys.readouterr().err.startswith("orledger: ")
    assert not list(tmp_path.iterdir())


def test_a_device_on_the_network_is_recorded(tmp_path: Path) -> None:
    file = tmp_path / "a.orcap"
    with socket.create_server(("127.0.0.1", 0)) as device:
        device.settimeout(60)
        source = f"tcp:127.0.0.1:{device.getsockname()[1]}"
        command = [sys.executable, "-m", "agent", "capture", "record", source, str(file), "--for", "3600"]
        process = subprocess.Popen(command)
        caller, _ = device.accept()
        caller.sendall(b"weight 82.5 kg")
        wait_until(lambda: [item for item in items_so_far(file) if isinstance(item, Raw)], 1, process)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
        assert caller.recv(100) == b""
        caller.close()
        assert capture("record", source, str(tmp_path / "b.orcap"), "--for", "1") == 0, "it ends by itself"
    with open_capture(file) as reader:
        assert (reader.header.transport, reader.header.line) == ("tcp", "")
        heard = [item.data for item in reader if isinstance(item, Raw)]
    assert b"".join(heard) == b"weight 82.5 kg"


def test_a_network_address_that_is_none_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert capture("record", "udp:10.20.3.40", tmp_path / "a.orcap") == 78
    assert "SOURCE" in capsys.readouterr().err
    assert not (tmp_path / "a.orcap").exists()
