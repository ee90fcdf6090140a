"""The answers that wait for a restore: bounded in number and in bytes."""

from __future__ import annotations

from agent.replies import Replies
from ledger.limits import LIMITS
from ledger.member import RestoreReply
from ledger.messages import Answer, Range
from tests.ledger.peers import log_of


def piece(size: int) -> RestoreReply:
    return RestoreReply("or-2", Range(1, log_of(1), 0, b"", ((b"", bytes(size)),)))


def test_it_is_bounded_in_bytes_and_takes_more_once_read() -> None:
    replies, large = Replies(), piece(LIMITS.restore_waiting_bytes // 4)
    assert [replies.offer(large) for _ in range(6)] == [True] * 4 + [False] * 2
    replies.get_nowait()
    assert replies.offer(large)
    assert not replies.offer(piece(0))
    assert [replies.get_nowait() for _ in range(4)] == [large] * 4
    assert replies.offer(piece(0))


def test_it_is_bounded_in_number_too() -> None:
    replies, empty = Replies(), RestoreReply("or-2", Answer(bytes(16), "or-1", (), 0, 0))
    assert sum(replies.offer(empty) for _ in range(LIMITS.inbound_messages + 5)) == LIMITS.inbound_messages
