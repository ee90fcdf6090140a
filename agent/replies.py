"""Answers to a restore that wait to be taken, bounded in number and in bytes."""

from __future__ import annotations

import asyncio

from ledger.limits import LIMITS
from ledger.member import RestoreReply
from ledger.messages import Range

_REPORT_BYTES = 512


class Replies(asyncio.Queue[RestoreReply]):
    """What comes while it is full is let go: whoever asked asks again, or somebody else."""

    def __init__(self) -> None:
        super().__init__(LIMITS.inbound_messages)
        self._waiting_bytes = 0

    def full(self) -> bool:
        """True when no more is taken, for number or for bytes."""
        return super().full() or self._waiting_bytes >= LIMITS.restore_waiting_bytes

    def offer(self, reply: RestoreReply) -> bool:
        """Take it in, if there is room."""
        if self.full():
            return False
        self.put_nowait(reply)
        return True

    def _put(self, item: RestoreReply) -> None:
        self._waiting_bytes += _weight(item)
        super()._put(item)

    def _get(self) -> RestoreReply:
        reply = super()._get()
        self._waiting_bytes -= _weight(reply)
        return reply


def _weight(reply: RestoreReply) -> int:
    if isinstance(reply.body, Range):
        return sum(len(signed_header) + len(payload) for signed_header, payload in reply.body.blocks)
    return _REPORT_BYTES * len(reply.body.reports)
