from __future__ import annotations

import asyncio
import threading

from agent.live_key import Live, LiveKey
from ledger.log import LogId
from ledger.sealing import DataKey

LOG = LogId("or-1", 1, b"i" * 16, True)
ROOM, APART = DataKey(bytes(32)), DataKey(bytes(range(32)))


def test_a_thread_never_sees_the_key_of_a_block_that_stands_apart() -> None:
    seen: list[DataKey] = []
    key, begun = ROOM, threading.Event()

    async def scenario() -> None:
        nonlocal key
        live.begin()
        assert live() == (LOG, ROOM)
        asking = asyncio.get_running_loop().run_in_executor(None, ask)
        begun.wait()
        for _ in range(50):  # as a block of another case is closed: without giving up the loop
            key = APART
            key = ROOM
            await asyncio.sleep(0)
        await asking

    def ask() -> None:
        begun.set()
        for _ in range(20):
            told = live()
            assert told is not None
            seen.append(told[1])

    def now() -> Live:
        assert threading.current_thread() is threading.main_thread()
        return LOG, key

    live = LiveKey(now)
    assert live() is None
    asyncio.run(scenario())
    assert seen == [ROOM] * 20
    told: list[Live | None] = []
    late = threading.Thread(target=lambda: told.append(live()))
    late.start()
    late.join()
    assert told == [None], "the loop has ended"
