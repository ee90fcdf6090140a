"""Handing a peer's answers through: what is handed through is not copied at the same time as well."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.relay import Relay
from ledger.catchup import serve_range
from ledger.errors import NoPeer
from ledger.limits import LIMITS
from ledger.log import LogId
from ledger.member import RESTORE_REQUESTS_FROM, WireMessage
from ledger.message_codec import decode_message, encode_plain
from ledger.messages import Get, Range, Signed, Want
from tests.agent.pumped import PumpedBox, PumpedGroup

LOG, OTHER = (LogId("or-3", counter, bytes(16), fenced=True) for counter in (1, 2))


class Wire:
    """Notes what was sent; ``reachable`` or not."""

    def __init__(self, *, reachable: bool = True) -> None:
        self.sent: list[bytes] = []
        self.reachable = reachable

    def broadcast_live(self, data: bytes) -> bool:
        return self.reachable

    def broadcast_heads(self, data: bytes) -> bool:
        return self.reachable

    def send_to(self, peer: str, data: bytes, *, bulk: bool = False) -> bool:
        self.sent.append(data)
        return self.reachable

    def reply_to(self, peer: str, data: bytes, *, bulk: bool = False) -> bool:
        return self.send_to(peer, data, bulk=bulk)


def _sent(box: PumpedBox, log: LogId, *, bulk: bool, request_id: int = 7) -> bool:
    wire = Wire()
    box.pump.wire = wire
    box.pump._send(WireMessage("or-2", box.member.sign(Get(request_id, log, 0, 9, Want.BLOCKS)), Get, bulk))
    return bool(wire.sent)


def test_only_the_copying_in_bulk_of_a_log_that_is_rebuilt_waits(tmp_path: Path) -> None:
    async def main() -> None:
        async with PumpedGroup(3, tmp_path) as group:
            box = group.boxes["or-1"]
            assert _sent(box, LOG, bulk=True)
            box.pump.rebuilding = {LOG}
            assert not _sent(box, LOG, bulk=True)
            assert _sent(box, LOG, bulk=False), "a gap in what comes live"
            assert _sent(box, OTHER, bulk=True)
            assert _sent(box, LOG, bulk=True, request_id=RESTORE_REQUESTS_FROM)

    asyncio.run(main())


@pytest.mark.parametrize("ended_after_s", [0.0, 3_600.0])
def test_a_log_is_rebuilt_as_long_as_its_pieces_are_handed_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended_after_s: float
) -> None:
    monkeypatch.setattr("agent.relay._ENDED_AFTER_S", ended_after_s)

    async def main() -> None:
        async with PumpedGroup(3, tmp_path) as group:
            box = group.boxes["or-1"]
            relay = Relay(box.member, box.pump)
            box.pump.wire = Wire()

            async def send(_wire: bytes) -> None:
                raise AssertionError("nobody answers")

            task = asyncio.create_task(relay.fetch("or-2", LOG, 0, 9, Want.BLOCKS, send))
            await asyncio.sleep(0)
            assert LOG in box.pump.rebuilding
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await asyncio.sleep(0.01)
            assert (LOG in box.pump.rebuilding) is (ended_after_s > 0), "its next piece is asked for soon"
            box.pump.wire = Wire(reachable=False)
            with pytest.raises(NoPeer):
                await relay.fetch("or-2", LOG, 0, 9, Want.BLOCKS, send)
            await asyncio.sleep(0.01)
            assert (LOG in box.pump.rebuilding) is (ended_after_s > 0)

    asyncio.run(main())


class Peer(Wire):
    """Answers as a box that holds ``BLOCKS`` blocks does; one of before knows no answer larger than it always was."""

    BLOCKS = 400

    def __init__(self, relay: Callable[[], Relay], *, knows_large: bool, lost: frozenset[int] = frozenset()) -> None:
        super().__init__()
        self.asked: list[Get] = []
        self._relay = relay
        self._knows_large = knows_large
        self._lost = lost

    def send_to(self, peer: str, data: bytes, *, bulk: bool = False) -> bool:
        message = decode_message(data)
        assert bulk
        assert isinstance(message, Signed)
        assert isinstance(message.body, Get)
        get = message.body
        self.asked.append(get)
        is_refused = get.reply_bytes != LIMITS.range_reply_bytes and not self._knows_large
        if not is_refused and len(self.asked) not in self._lost:
            answer = encode_plain(serve_range(get, b"", _held))
            asyncio.get_running_loop().call_soon(self._relay().take, peer, answer)
        return True


def _held(_log: LogId, first: int, end: int) -> list[tuple[bytes, bytes]]:
    return [(seq.to_bytes(4, "big"), bytes(3_000)) for seq in range(first, min(end, Peer.BLOCKS))]


async def _fetched(box: PumpedBox, peer: Peer, first: int, end: int, relay: Relay) -> list[int]:
    came: list[int] = []

    async def send(wire: bytes) -> None:
        message = decode_message(wire)
        assert isinstance(message, Range)
        came.extend(int.from_bytes(header, "big") for header, payload in message.blocks if payload)

    box.pump.wire = peer
    await relay.fetch("or-2", LOG, first, end, Want.BLOCKS, send)
    return sorted(came)


@pytest.mark.parametrize("knows_large", [True, False])
def test_large_answers_are_asked_for_and_small_ones_of_who_knows_no_others(tmp_path: Path, knows_large: bool) -> None:
    async def main() -> None:
        async with PumpedGroup(3, tmp_path) as group:
            box = group.boxes["or-1"]
            relay = Relay(box.member, box.pump)
            peer = Peer(lambda: relay, knows_large=knows_large)
            assert await _fetched(box, peer, 0, 300, relay) == list(range(300))
            assert await _fetched(box, peer, 300, 500, relay) == list(range(300, Peer.BLOCKS))
            sizes = [get.reply_bytes for get in peer.asked]
            assert sizes[:2] == [LIMITS.relayed_reply_bytes, LIMITS.range_reply_bytes]
            usual = LIMITS.relayed_reply_bytes if knows_large else LIMITS.range_reply_bytes
            assert set(sizes[2:]) == {usual}
            assert (len(sizes) < 12) is knows_large

    asyncio.run(main())


def test_a_range_is_asked_for_in_parts_of_one_size_once_it_is_known_what_fits_an_answer(tmp_path: Path) -> None:
    async def main() -> None:
        async with PumpedGroup(3, tmp_path) as group:
            box = group.boxes["or-1"]
            relay = Relay(box.member, box.pump)
            peer = Peer(lambda: relay, knows_large=True)
            for _ in range(3):
                peer.asked.clear()
                assert await _fetched(box, peer, 0, 300, relay) == list(range(300))
            assert [(get.first, get.end) for get in peer.asked] == [(0, 150), (150, 300)], "174 fit"

    asyncio.run(main())


def test_a_large_answer_that_was_lost_is_asked_for_in_small_ones(tmp_path: Path) -> None:
    async def main() -> None:
        async with PumpedGroup(3, tmp_path) as group:
            box = group.boxes["or-1"]
            relay = Relay(box.member, box.pump)
            peer = Peer(lambda: relay, knows_large=True, lost=frozenset({1}))
            assert await _fetched(box, peer, 0, 50, relay) == list(range(50))

    asyncio.run(main())


def test_two_streams_that_learn_at_the_same_time_that_a_peer_is_of_before_both_get_all(tmp_path: Path) -> None:
    async def main() -> None:
        async with PumpedGroup(3, tmp_path) as group:
            box = group.boxes["or-1"]
            relay = Relay(box.member, box.pump)
            peer = Peer(lambda: relay, knows_large=False)
            came = await asyncio.gather(*(_fetched(box, peer, first, first + 50, relay) for first in (0, 100)))
            assert came == [list(range(50)), list(range(100, 150))]

    asyncio.run(main())
