"""Beside the believed head, the newest end that verifies: fetched in bounded time, never at the believed one's cost.

Which ends there are ``ledger.recovery.choose_tails`` says. Any of them may be a liar's invention, so all are asked for
at once, of all that speak of them; the newest that proves itself is taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.pump import Pump
from agent.replies import Replies
from ledger.errors import OrledgerError, PeerFault, StoreFault, VerificationFailed
from ledger.keyring import Keyring
from ledger.limits import LIMITS, S_NS
from ledger.log import LogId
from ledger.member import RESTORE_REQUESTS_FROM, Member
from ledger.messages import Range
from ledger.recovery import Candidate, Fetch, Restored

_ROUNDS = 8
_SPLIT = 4
_IDS_APIECE = 1 << 16


@dataclass(frozen=True, slots=True)
class LostTail:
    """An end that was spoken of and could not be restored."""

    log: LogId
    size: int
    fault: OrledgerError


class TailRestorer:
    """Fetches tails while the caller listens to the peers' answers."""

    def __init__(self, member: Member, keyring: Keyring, pump: Pump) -> None:
        self._member = member
        self._keyring = keyring
        self._pump = pump

    async def newest_valid(
        self, tails: Sequence[Candidate], replies: Replies
    ) -> tuple[Restored | None, tuple[LostTail, ...]]:
        """The first of ``tails`` that can be fetched and verified, and those before it that could not.

        Takes at most ``LIMITS.restore_tail_ns``; what came by then counts.
        """
        fetches = [
            Fetch(self._member.manifest, tail, self._keyring.get, RESTORE_REQUESTS_FROM + number * _IDS_APIECE)
            for number, tail in enumerate(tails[: LIMITS.restore_tails], 1)
        ]
        if not fetches:
            return None, ()
        loop = asyncio.get_running_loop()
        until = loop.time() + LIMITS.restore_tail_ns / S_NS
        queues = {fetch.candidate.log: Replies() for fetch in fetches}
        work = [loop.create_task(self._fetch(fetch, queues[fetch.candidate.log])) for fetch in fetches]
        router = loop.create_task(_route(replies, queues))
        lost: list[LostTail] = []
        try:
            for fetch, task in zip(fetches, work, strict=True):
                await asyncio.wait({task}, timeout=max(0.0, until - loop.time()))
                if task.done():
                    task.result()  # it raises nothing; a bug shall not pass for a lost tail
                try:
                    return fetch.finish_tail(), tuple(lost)
                except OrledgerError as fault:
                    lost.append(LostTail(fetch.candidate.log, fetch.candidate.newest_size, fault))
        finally:
            for task in (*work, router):
                task.cancel()
            await asyncio.gather(*work, router, return_exceptions=True)
        return None, tuple(lost)

    async def _fetch(self, fetch: Fetch, replies: Replies) -> None:
        """Our own disk first; then every holder is asked for all that is missing, for any of them may be silent."""
        own, log = self._member.own_id, fetch.candidate.log
        holders = [peer for peer in fetch.candidate.holders if peer != own]
        if own in fetch.candidate.holders:
            self._from_own(fetch)
        for _ in range(_ROUNDS):
            lacking = fetch.missing()
            waiting = set()
            for get in fetch.gets(_SPLIT):
                wire = self._member.sign(get)
                for peer in holders:
                    if self._pump.wire is not None and self._pump.wire.send_to(peer, wire):
                        waiting.add((get.request_id, peer))
            while waiting and fetch.missing():
                reply = await replies.get()
                if isinstance(reply.body, Range) and reply.body.log == log:
                    waiting.discard((reply.body.request_id, reply.sender))
                    self._take(fetch, reply.sender, reply.body)
            if fetch.missing() in (lacking, []):
                return

    def _from_own(self, fetch: Fetch) -> None:
        for _ in range(_ROUNDS):
            lacking = fetch.missing()
            try:
                for get in fetch.gets(1):
                    self._take(fetch, self._member.own_id, self._member.serve(get))
            except StoreFault as fault:  # our disk: the peers may hold it
                self._pump.count_fault(self._member.own_id, fault)
                return
            if fetch.missing() in (lacking, []):
                return

    def _take(self, fetch: Fetch, sender: str, answer: Range) -> None:
        try:
            fetch.on_range(answer)
        except (PeerFault, VerificationFailed) as error:
            self._pump.count_fault(sender, error)


async def _route(replies: Replies, queues: Mapping[LogId, Replies]) -> None:
    """Each answer to the fetch of its log; what belongs to none came too late."""
    while True:
        reply = await replies.get()
        queue = queues.get(reply.body.log) if isinstance(reply.body, Range) else None
        if queue is not None:
            queue.offer(reply)
