from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.sd_notify import Notifier
from ledger.errors import ConfigurationFault


def _listen(address: str | bytes) -> socket.socket:
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(address)
    manager.settimeout(60)
    return manager


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    if request.param == "path":
        notify_socket = str(tmp_path / "notify")
        listening = _listen(notify_socket)
    else:
        notify_socket = f"@orledger-test-{os.getpid()}"
        listening = _listen(b"\0" + notify_socket[1:].encode())
    with listening:
        yield listening, notify_socket


def test_every_word_arrives_as_systemd_spells_it(manager: tuple[socket.socket, str]) -> None:
    listening, notify_socket = manager
    notifier = Notifier({"NOTIFY_SOCKET": notify_socket})
    delivered = [
        notifier.ready("recording monitor"),
        notifier.ready(),
        notifier.status("epoch 17\nREADY=0 forged"),
        notifier.watchdog(),
        notifier.extend_timeout(2_000_000),
        notifier.stopping(),
    ]
    notifier.close()
    assert all(delivered)
    assert [listening.recv(4096).decode() for _ in delivered] == [
        "READY=1\nSTATUS=recording monitor",
        "READY=1",
        "STATUS=epoch 17 READY=0 forged",
        "WATCHDOG=1",
        "EXTEND_TIMEOUT_USEC=2000000",
        "STOPPING=1",
    ]
    assert notifier.watchdog() is False


def test_without_systemd_nothing_is_said_and_nothing_fails() -> None:
    notifier = Notifier({})
    assert notifier.ready() is False
    assert notifier.watchdog_interval_s is None


def test_a_vanished_socket_is_logged_once_and_never_raised(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    assert [notifier.watchdog() for _ in range(3)] == [False, False, False]
    assert len(caplog.records) == 1
    with _listen(str(tmp_path / "gone")):
        assert notifier.watchdog()
    assert notifier.watchdog() is False
    assert len(caplog.records) == 2
    notifier.close()


def test_a_full_socket_does_not_block(tmp_path: Path) -> None:
    with _listen(str(tmp_path / "full")):
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "full")})
        assert any(not notifier.status("x" * 500) for _ in range(10_000))
        notifier.close()


def test_watchdog_interval_is_half_of_what_systemd_waits_and_only_for_us() -> None:
    assert Notifier({"WATCHDOG_USEC": "10000000"}).watchdog_interval_s == 5.0
    assert Notifier({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "41"}, pid=41).watchdog_interval_s == 5.0
    assert Notifier({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "41"}, pid=42).watchdog_interval_s is None
    assert Notifier({"WATCHDOG_USEC": "soon"}).watchdog_interval_s is None


def test_an_address_of_no_known_kind_is_refused() -> None:
    with pytest.raises(ConfigurationFault, match="NOTIFY_SOCKET"):
        Notifier({"NOTIFY_SOCKET": "vsock:2:1234"})
