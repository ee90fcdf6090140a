"""Against pyigtl, in a process of its own, over TCP in both directions."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from ipaddress import ip_network
from pathlib import Path

import pytest

from drivers.contract import Emit, Message, Now
from drivers.openigtlink import OpenIgtLink, OpenIgtLinkConfig
from drivers.transports.addresses import TcpConfig
from drivers.transports.mllp_listener import MllpConfig, MllpListener
from drivers.transports.tcp_client import TcpClient
from ledger.record_json import wave_samples
from ledger.records import Gap, LinkId, Numeric, Record, Wave
from tests.drivers.transport_log import until
from tests.processes.site import free_port

pytest.importorskip("pyigtl")
SENDER = Path(__file__).with_name("pyigtl_sender.py")


def now() -> Now:
    return Now(time.monotonic_ns(), time.time_ns())


class Shell:
    """The least that runs a driver."""

    def __init__(self) -> None:
        self.driver = OpenIgtLink(OpenIgtLinkConfig())
        self.records: list[Record] = []

    def _drain(self) -> None:
        self.records += [action.record for action in self.driver.drain() if isinstance(action, Emit)]

    def on_up(self, link: LinkId, peer: str, at: Now) -> None:
        self.driver.link_up(link, peer, at)

    def on_bytes(self, link: LinkId, data: bytes, at: Now) -> None:
        self.driver.receive(link, data, at)
        self._drain()

    def on_message(self, link: LinkId, message: Message, at: Now) -> None:
        raise AssertionError("no messages over TCP")

    def on_down(self, link: LinkId, reason: str, at: Now) -> None:
        self.driver.link_down(link, reason, at)
        self._drain()

    def on_refused(self, peer: str, reason: str, at: Now) -> None: ...

    def waves(self) -> list[Wave]:
        return [r for r in self.records if isinstance(r, Wave) and r.code == "MDCX_OPENIGTLINK_TRANSFORM_TX"]


@pytest.mark.parametrize("role", ["server", "client"])
def test_what_pyigtl_sends_is_recorded(role: str) -> None:
    port = free_port()
    shell = Shell()

    async def run() -> None:
        transport: TcpClient | MllpListener
        if role == "server":
            transport = TcpClient(TcpConfig("127.0.0.1", port), now)
        else:
            transport = MllpListener(MllpConfig("127.0.0.1", port, (ip_network("127.0.0.1"),)), now)
        transport.start(shell)
        await until(lambda: len(shell.waves()) >= 4)
        await transport.stop()

    with subprocess.Popen([sys.executable, str(SENDER), role, str(port)], stdout=subprocess.DEVNULL) as sender:
        try:
            asyncio.run(run())
        finally:
            sender.kill()
    first = shell.waves()[0]
    told = {
        wave.index + place: round(sample * wave.scale)
        for wave in shell.waves() for place, sample in enumerate(wave_samples(wave))
    }  # fmt: skip
    assert {value - index for index, value in told.items()} == {told[first.index] - first.index}
    assert {wave.rate for wave in shell.waves()} == {(100, 1)}
    values = {(r.code, r.channel): r.value for r in shell.records if isinstance(r, Numeric)}
    assert str(values["MDCX_OPENIGTLINK_TRANSFORM", "Tool"]).startswith("1 0 0 ")
    assert values["MDCX_OPENIGTLINK_METADATA", "Tool"] == "left"
    assert values["MDCX_OPENIGTLINK_POINT", "Ports/trocar"] == "1.5 2 3"
    assert str(values["MDCX_OPENIGTLINK_STRING", "Step"]).startswith("step ")
    assert not [r for r in shell.records if isinstance(r, Gap)]
