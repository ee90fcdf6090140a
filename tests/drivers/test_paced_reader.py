"""When a busy line is read: on real sockets, with beats so short or so long that no test waits for one in time."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field

from drivers.transports.paced_reader import PacedReader
from ledger.limits import S_NS
from tests.drivers.transport_log import until

NEVER_NS = 3_600 * S_NS
SOON_NS = 1_000_000


@dataclass
class Line:
    """A line's two ends; ``got`` is what was read, ``asked`` what each read was told, ``waited`` each that got any."""

    near: socket.socket
    far: socket.socket
    reads_bytes: int = 1 << 20
    got: bytearray = field(default_factory=bytearray)
    waited: list[bool] = field(default_factory=list)
    asked: list[bool] = field(default_factory=list)

    def read(self, waited: bool) -> int:
        self.asked.append(waited)
        try:
            data = self.near.recv(self.reads_bytes)
        except BlockingIOError:
            return 0
        self.got += data
        self.waited.append(waited)
        return len(data)

    async def pieces(self, count: int) -> None:
        """Send pieces, each once the one before was read."""
        for _ in range(count):
            whole = len(self.got) + 1
            self.far.send(b"x")
            await until(lambda whole=whole: len(self.got) >= whole)  # type: ignore[misc]


def run(body: Callable[[Line, PacedReader], Coroutine[None, None, None]], pace_ns: int, busy_ns: int = 0) -> Line:
    near, far = socket.socketpair()
    near.setblocking(False)
    line = Line(near, far)

    async def main() -> None:
        reader = PacedReader(near.fileno(), line.read, pace_ns, busy_ns)
        try:
            await body(line, reader)
        finally:
            reader.stop()

    asyncio.run(main())
    near.close()
    far.close()
    return line


def test_a_quiet_line_is_read_at_once() -> None:
    async def body(line: Line, reader: PacedReader) -> None:
        await line.pieces(3)
        assert not reader.is_paced

    assert run(body, NEVER_NS).waited == [False] * 3


def test_a_busy_line_is_read_at_the_beat_and_when_asked() -> None:
    async def body(line: Line, reader: PacedReader) -> None:
        await line.pieces(4)
        assert reader.is_paced
        for piece in (b"waits", b"longer"):
            line.far.send(piece)
            await asyncio.sleep(0.01)
            assert not line.got.endswith(piece)
            reader.read_waiting()
            assert line.got.endswith(piece)
            assert reader.is_paced
        reader.read_waiting()  # finds nothing: the line is still taken for busy until a beat finds nothing
        assert reader.is_paced

    assert run(body, NEVER_NS).waited == [False] * 4 + [True] * 2


def test_a_beat_that_finds_nothing_ends_the_pacing_and_nothing_is_lost() -> None:
    async def body(line: Line, reader: PacedReader) -> None:
        for _ in range(200):
            await line.pieces(1)
        await until(lambda: not reader.is_paced)
        await line.pieces(1)

    assert run(body, SOON_NS).got == b"x" * 201


def test_a_line_slower_than_its_beat_is_left_to_who_asks_and_stays_busy() -> None:
    async def body(line: Line, reader: PacedReader) -> None:
        await line.pieces(4)
        far_ahead_s = asyncio.get_running_loop().time() + NEVER_NS / S_NS / 2
        await until(lambda: reader._timer is not None and reader._timer.when() > far_ahead_s)  # a beat found nothing
        for _ in range(3):
            line.far.send(b"x")
            reader.read_waiting()
            assert reader.is_paced

    line = run(body, SOON_NS, NEVER_NS)
    assert line.waited == [False] * 4 + [True] * 3


def test_no_pace_no_beats() -> None:
    async def body(line: Line, reader: PacedReader) -> None:
        await line.pieces(20)
        assert not reader.is_paced

    assert run(body, 0, NEVER_NS).waited == [False] * 20


def test_a_flood_is_not_paced() -> None:
    async def body(line: Line, reader: PacedReader) -> None:
        line.far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        await line.pieces(4)
        await asyncio.get_running_loop().sock_sendall(line.far, bytes(100_000))
        await until(lambda: len(line.got) == 100_004)

    line = run(body, SOON_NS)
    assert len(line.got) == 100_004


def test_nothing_is_read_after_stop_whether_paced_or_not() -> None:
    for count in (1, 4):

        async def body(line: Line, reader: PacedReader, count: int = count) -> None:
            await line.pieces(count)
            assert reader.is_paced is (count == 4)
            reader.stop()
            line.far.send(b"late")
            reader.read_waiting()
            await asyncio.sleep(0.01)

        assert not run(body, NEVER_NS).got.endswith(b"late")
