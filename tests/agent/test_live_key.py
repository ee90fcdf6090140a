from __future__ import annotations

import threading

from agent.live_key import Live, LiveKey
from ledger.log import LogId
from ledger.sealing import DataKey

LOG = LogId("or-1", 1, b"i" * 16, True)
ROOM, APART = DataKey(bytes(32)), DataKey(bytes(range(32)))


def test_a_thread_never_sees_the_key_of_a_block_that_stands_apart() -> None:
    seen: list[DataKey] = []
    key, begun, asked = ROOM, threading.Event(), threading.Event()

    def now() -> Live:
        return LOG, key

    def ask() -> None:
        begun.wait()
        for _ in range(200):
            told = live()
            assert told is not None
            seen.append(told[1])
        asked.set()

    live = LiveKey(now)
    live.begin()
    asking = threading.Thread(target=ask)
    asking.start()
    while not asked.is_set():
        with live.apart():
            key = APART
            begun.set()  # it asks while the other key is there
            key = ROOM
    asking.join()
    assert seen == [ROOM] * 200


def test_nothing_is_told_before_it_begins_and_after_it_ended() -> None:
    live = LiveKey(lambda: (LOG, ROOM))
    assert live() is None
    live.begin()
    assert live() == (LOG, ROOM)
    live.end()
    assert live() is None
