"""What one OR costs that decodes, records and decides nothing: the floor under ``bench_site``'s processor time.

The same bytes on the same ways in bare Python: device bytes at the room's rates, ten times a second a block of the same
size compressed, sealed, hashed, signed twice, sent to two neighbours over mutual TLS and committed to LMDB on a thread;
each neighbour's word verified; each neighbour's own block once a second verified, committed and answered. No driver, no
record, no MQTT, no chain, no state.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import queue
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import lmdb
import zstandard
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_encrypt as seal

from agent.tls import client_context, create_identity, load_identity, server_context
from benchmarks.site import HOST, cpu_s, free_ports
from ledger.signing import SEED_BYTES, SigningKey, signature_is_valid

TICK_S = 0.1
_BEAT_S = 0.05
_SETTLE_S = 3.0
_KEY = SigningKey(bytes(SEED_BYTES))
_WORD = b"durably stored here"
_BLOCK = b"what a block signs" * 20
_LENGTH = struct.Struct("!I")
_SIZES = {"block": 2_300, "neighbour's block": 900, "word": 150}


@dataclass(frozen=True, slots=True)
class _Device:
    """So many bytes every ``every_s``; read as they come, or with the tick and at the beat between."""

    every_s: float
    size: int
    is_paced: bool
    kind: socket.SocketKind = socket.SOCK_STREAM


_DEVICES = (
    _Device(0.154, 1_200, is_paced=False, kind=socket.SOCK_DGRAM),  # a monitor's datagrams
    _Device(0.0154, 20, is_paced=True),  # a ventilator's pieces
    _Device(0.1, 106, is_paced=True),  # a robot's pose
    _Device(0.5, 600, is_paced=False),  # a rack of pumps
)


class _Frames(asyncio.Protocol):
    """Length and bytes, both ways."""

    def __init__(self, took: Callable[[_Frames, bytes], None]) -> None:
        self._took = took
        self._buffer = bytearray()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        while len(buffer) >= _LENGTH.size and len(buffer) >= (end := _LENGTH.size + _LENGTH.unpack_from(buffer)[0]):
            frame = bytes(buffer[_LENGTH.size : end])
            del buffer[:end]
            self._took(self, frame)

    def send(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(_LENGTH.pack(len(data)) + data)


class _Room:
    """The process that is measured."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._plan = plan
        self._env = lmdb.open(plan["store"], map_size=1 << 30, max_dbs=4)
        self._tables = [self._env.open_db(name) for name in (b"blocks", b"tips", b"checkpoints")]
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._neighbours: list[_Frames] = []
        self._paced: list[socket.socket] = []
        self._got = bytearray()
        self._seq = 0
        self._compressor = zstandard.ZstdCompressor()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._work, daemon=True).start()
        own = load_identity(Path(self._plan["room"]))
        tls = server_context(own, [load_identity(Path(pem)).certificate_der for pem in self._plan["neighbours"]])
        await loop.create_server(self._neighbour, HOST, self._plan["port"], ssl=tls)
        bound = [_bound(device, port) for device, port in zip(_DEVICES, self._plan["ports"], strict=True)]
        for device, listener in zip(_DEVICES, bound, strict=True):
            sock = listener
            if device.kind is socket.SOCK_STREAM:
                sock, _ = await loop.sock_accept(listener)
            sock.setblocking(False)
            if device.is_paced:
                self._paced.append(sock)
            else:
                loop.add_reader(sock, self._read, sock)
        due = loop.time()
        while True:
            due += TICK_S
            await asyncio.sleep(due - loop.time() - _BEAT_S)
            self._read_paced()
            await asyncio.sleep(due - loop.time())
            self._read_paced()
            self._tick()

    def _neighbour(self) -> _Frames:
        self._neighbours.append(_Frames(self._took))
        return self._neighbours[-1]

    def _read(self, sock: socket.socket) -> None:
        with suppress(BlockingIOError):
            self._got += sock.recv(65_536)

    def _read_paced(self) -> None:
        for sock in self._paced:
            self._read(sock)

    def _tick(self) -> None:
        got, self._got = bytes(self._got), bytearray()
        packed = self._compressor.compress(os.urandom(max(0, 1_600 - len(got))) + got + bytes(2_400))
        sealed = seal(packed, b"header", self._seq.to_bytes(24, "big"), bytes(32))
        header = hashlib.sha256(sealed).digest() + _KEY.sign(b"block", _BLOCK) + _KEY.sign(b"checkpoint", _BLOCK)
        block = (header + sealed).ljust(_SIZES["block"], b"\0")
        for neighbour in self._neighbours:
            neighbour.send(block)
        self._commit(block, lambda: None)

    def _took(self, neighbour: _Frames, frame: bytes) -> None:
        """A neighbour's word, or a block of its own, which is answered once it is durable."""
        signature_is_valid(_KEY.public, b"word", _WORD, frame[:64])
        if len(frame) > _SIZES["word"]:
            signature_is_valid(_KEY.public, b"word", _WORD, frame[:64])
            self._commit(frame, lambda: neighbour.send(_KEY.sign(b"word", _WORD).ljust(_SIZES["word"], b"\0")))

    def _commit(self, block: bytes, done: Callable[[], None]) -> None:
        self._seq += 1
        key, loop = self._seq.to_bytes(8, "big"), asyncio.get_running_loop()

        def work() -> None:
            with self._env.begin(write=True) as txn:
                for table, name, row in zip(self._tables, (key, b"tip", key), (block, block[:200], b""), strict=True):
                    txn.put(name, row, db=table)
            loop.call_soon_threadsafe(done)

        self._jobs.put(work)

    def _work(self) -> None:
        while True:
            self._jobs.get()()


def _bound(device: _Device, port: int) -> socket.socket:
    sock = socket.socket(type=device.kind)
    sock.bind((HOST, port))
    sock.setblocking(False)
    if device.kind is socket.SOCK_STREAM:
        sock.listen()
    return sock


async def _neighbour(plan: dict[str, Any]) -> None:
    """Answers each block as if it were durable some milliseconds later, and has one of its own once a second."""
    loop = asyncio.get_running_loop()
    word = _KEY.sign(b"word", _WORD)

    def took(frames: _Frames, frame: bytes) -> None:
        if len(frame) > _SIZES["word"]:
            loop.call_later(0.005, frames.send, word.ljust(_SIZES["word"], b"\0"))

    tls = client_context(load_identity(Path(plan["pem"])), load_identity(Path(plan["room"])).certificate_der)
    _, frames = await loop.create_connection(lambda: _Frames(took), HOST, plan["port"], ssl=tls)
    while True:
        await asyncio.sleep(1)
        frames.send(word.ljust(_SIZES["neighbour's block"], b"\0"))


async def _devices(ports: list[int]) -> None:
    async def send(device: _Device, port: int) -> None:
        with socket.socket(type=device.kind) as sock:
            sock.connect((HOST, port))
            while True:
                sock.send(os.urandom(device.size))
                await asyncio.sleep(device.every_s)

    await asyncio.gather(*(send(device, port) for device, port in zip(_DEVICES, ports, strict=True)))


def measure(folder: Path, seconds: float) -> float:
    """Part of one core that the bare room uses over ``seconds``; ``folder`` is for its keys and its store."""
    pems = [create_identity(name, folder / f"{name}.pem").pem_path for name in ("or-1", "or-2", "or-3")]
    room, *neighbours = (str(pem) for pem in pems)
    port, *ports = free_ports(1 + len(_DEVICES))
    plans: list[tuple[str, object]] = [
        (
            "room",
            {"store": str(folder / "store"), "room": room, "neighbours": neighbours, "port": port, "ports": ports},
        ),
        *(("neighbour", {"room": room, "pem": pem, "port": port}) for pem in neighbours),
    ]
    with ExitStack() as running:

        def start(role: str, plan: object) -> int:
            command = [sys.executable, "-m", "benchmarks.bare_room", role, json.dumps(plan)]
            process = running.enter_context(subprocess.Popen(command))
            running.callback(process.kill)
            return process.pid

        pid = start(*plans[0])
        time.sleep(_SETTLE_S)
        for role, plan in [*plans[1:], ("devices", ports)]:
            start(role, plan)
        time.sleep(_SETTLE_S)
        before, began = cpu_s(pid), time.monotonic()
        time.sleep(seconds)
        return (cpu_s(pid) - before) / (time.monotonic() - began)


def _main(role: str, plan: Any) -> None:
    roles = {
        "room": lambda: _Room(plan).run(),
        "neighbour": lambda: _neighbour(plan),
        "devices": lambda: _devices(plan),
    }
    asyncio.run(roles[role]())


if __name__ == "__main__":
    _main(sys.argv[1], json.loads(sys.argv[2]))
