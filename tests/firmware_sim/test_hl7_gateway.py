from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

from firmware_sim.clock import SimClock
from firmware_sim.hl7_gateway import GatewayConfig, Hl7Gateway
from firmware_sim.hl7_session import SendPolicy
from firmware_sim.patient import Patient


class Listener:
    """A small MLLP receiver written for these tests: keeps every message, answers by a rule."""

    def __init__(self, answer: Callable[[int], str | None] = lambda _: "CA") -> None:
        self.answer = answer
        self.messages: list[str] = []
        self.connections = 0
        self.reads = 0
        self.port = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        buffer = b""
        while data := await reader.read(65536):
            self.reads += 1
            buffer += data
            while b"\x1c\r" in buffer:
                content, _, buffer = buffer.partition(b"\x1c\r")
                assert content.startswith(b"\x0b")
                text = content[1:].decode()
                self.messages.append(text)
                code = self.answer(len(self.messages))
                if code == "close":
                    writer.close()
                    return
                if code is not None:
                    reply = f"MSH|^~\\&|||||||ACK|a|P|2.6\rMSA|{code}|{self.control_id(text)}\r"
                    writer.write(b"\x0b" + reply.encode() + b"\x1c\r")
                    await writer.drain()
        writer.close()

    @staticmethod
    def control_id(text: str) -> str:
        return text.split("|")[9]

    @property
    def control_ids(self) -> list[str]:
        return [self.control_id(text) for text in self.messages]


def play(
    tmp_path: Path,
    listener: Listener,
    messages: int,
    policy: SendPolicy | None = None,
    meanwhile: Callable[[Hl7Gateway], Coroutine[Any, Any, None]] | None = None,
    **changes: Any,
) -> tuple[Hl7Gateway, list[str]]:
    """Send `messages` to the listener; return the gateway and the acknowledged control ids from its file."""
    acked_file = tmp_path / "acked.txt"

    async def run() -> Hl7Gateway:
        await listener.start()
        config = GatewayConfig("127.0.0.1", listener.port, interval_s=0.01, acked_file=acked_file, limit=messages)
        gateway = Hl7Gateway(
            Patient(1), SimClock(), replace(config, policy=policy or SendPolicy(retry_s=0.05), **changes)
        )
        await gateway.start()
        if meanwhile is not None:
            await meanwhile(gateway)
        while gateway.counters.acknowledged < messages:  # noqa: ASYNC110 - the counter has no event of its own
            await asyncio.sleep(0.01)
        await gateway.stop()
        await listener.stop()
        return gateway

    gateway = asyncio.run(run())
    return gateway, acked_file.read_text().split()


def test_every_acknowledged_message_is_at_the_receiver(tmp_path: Path) -> None:
    listener = Listener()
    gateway, acked = play(tmp_path, listener, 60)
    assert acked == listener.control_ids
    assert len(set(acked)) == 60
    assert listener.connections == 1
    assert gateway.waiting == 0
    assert all("ORU^R01" in text for text in listener.messages)


def test_refusals_are_met_with_the_same_message_again(tmp_path: Path) -> None:
    listener = Listener(lambda n: "CE" if n in (1, 2, 7) else "CA")
    gateway, acked = play(tmp_path, listener, 10)
    counts = Counter(listener.control_ids)
    assert sorted(counts.values(), reverse=True)[:2] == [3, 2]
    assert len(counts) == len(acked) == 10
    assert gateway.counters.refused == 3


def test_the_same_bytes_come_again_after_a_lost_connection(tmp_path: Path) -> None:
    listener = Listener(lambda n: "close" if n in (3, 4) else "AA")
    _, acked = play(tmp_path, listener, 8)
    assert listener.connections == 3
    assert len(set(listener.messages)) == len(set(acked)) == 8
    assert len(listener.messages) == 10


def test_a_silent_receiver_is_left_after_the_timeout_and_asked_again(tmp_path: Path) -> None:
    listener = Listener(lambda n: None if n == 2 else "CA")
    gateway, acked = play(tmp_path, listener, 4, SendPolicy(ack_timeout_s=0.3))
    assert gateway.counters.timeouts >= 1
    assert listener.connections >= 2
    assert set(acked) == set(listener.control_ids)


def test_a_receiver_that_comes_later_gets_everything(tmp_path: Path) -> None:
    listener = Listener()

    async def go_away_for_a_moment(gateway: Hl7Gateway) -> None:
        await listener.stop()
        while gateway.counters.offered < 20:  # noqa: ASYNC110 - the counter has no event of its own
            await asyncio.sleep(0.01)
        await listener.start()

    _, acked = play(tmp_path, listener, 25, meanwhile=go_away_for_a_moment)
    assert len(set(acked)) == 25
    assert set(acked) == set(listener.control_ids)


def test_split_writes_arrive_whole(tmp_path: Path) -> None:
    listener = Listener()
    _, acked = play(tmp_path, listener, 10, split_writes=True)
    assert acked == listener.control_ids
    assert listener.reads > 15


def test_duplicates_and_a_window_and_waves(tmp_path: Path) -> None:
    listener = Listener()
    _, acked = play(tmp_path, listener, 40, SendPolicy(window=16, duplicate_every=4), waves=True, interval_s=0.05)
    counts = Counter(listener.control_ids)
    assert set(counts) >= set(acked)
    assert sum(1 for n in counts.values() if n == 2) >= 9
    assert any("|NA|" in text for text in listener.messages)


def test_stopping_while_the_receiver_refuses_always_ends() -> None:
    async def run() -> int:
        stopped = 0
        for spins in range(60):
            gateway = Hl7Gateway(patient, SimClock(), GatewayConfig("127.0.0.1", 9))
            await gateway.start()
            for _ in range(spins % 12):
                await asyncio.sleep(0)
            await gateway.stop()
            stopped += 1
        return stopped

    patient = Patient(1)
    assert asyncio.run(run()) == 60
