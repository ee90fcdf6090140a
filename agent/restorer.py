"""Emergency restore: ask every peer, believe the highest witnessed head, fetch keyframe to head, verify, fold.

The rules are ``ledger.recovery``'s; here are the questions, the time-outs and the story of what happened.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from agent.pump import Pump, Wire
from agent.replies import Replies
from agent.tail_restorer import LostTail, TailRestorer
from ledger.errors import NoPeer, OperatorFault, PeerFault, VerificationFailed
from ledger.instant import Now
from ledger.keyring import Keyring
from ledger.limits import LIMITS, S_NS
from ledger.member import RESTORE_REQUESTS_FROM, Member
from ledger.messages import Answer, Ask, Range
from ledger.notices import RestorePerformed
from ledger.recovery import Fetch, Restored, choose, choose_tails, may_be_newer

_FETCH_ROUNDS = 8
_SPLIT = 4


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """A restore that verified: the state, who answered of whom, how long each has not heard the box, and how long each
    step took (ms). ``tail``: beside the believed head the newest end that verified; ``lost``: ends newer than that one
    that could not be restored. ``void``: who answered, but has lost memory, or cannot tell yet.
    """

    box: str
    restored: Restored
    answered: tuple[str, ...]
    asked: tuple[str, ...]
    proofs: int
    incomplete: bool
    silent_ms: dict[str, int] = field(default_factory=dict)
    steps_ms: dict[str, float] = field(default_factory=dict)
    tail: Restored | None = None
    lost: tuple[LostTail, ...] = ()
    void: tuple[str, ...] = ()

    @property
    def vouching(self) -> int:
        """How many peers cosigned the believed head or a later one."""
        size = self.restored.candidate.believed_size
        return sum(1 for report in self.restored.candidate.cosigned.values() if report.head.size >= size)

    def notice(self) -> RestorePerformed:
        """For the chain: which head was restored, on whose word."""
        report = max(self.restored.candidate.holders.values(), key=lambda held: held.head.size)
        return RestorePerformed(report.head, self.vouching, len(self.asked), verified=True)


class Restorer:
    """Restores one box at a time; ``lock`` is held by whoever listens to the peers' answers."""

    def __init__(self, member: Member, keyring: Keyring, pump: Pump, now: Callable[[], Now]) -> None:
        self._member = member
        self._keyring = keyring
        self._pump = pump
        self._now = now
        self._tails = TailRestorer(member, keyring, pump)
        self.lock = asyncio.Lock()

    async def restore(self, box: str) -> RestoreReport:
        """The latest verified state of ``box``.

        Raises OperatorFault for an unknown box, NoPeer when too little answers, VerificationFailed or PeerFault when
        what came does not prove itself.
        """
        self.require_box(box)
        async with self.lock:
            try:
                return await self._restore(box)
            finally:
                self._pump.stop_listening()

    async def heads(self, box: str) -> dict[str, Answer]:
        """Every head of ``box`` that anyone holds, by who answered. Raises as ``restore``."""
        self.require_box(box)
        async with self.lock:
            try:
                return await self._ask(box, self._asked(box), self._pump.listen())
            finally:
                self._pump.stop_listening()

    def require_box(self, box: str) -> None:
        """Raises OperatorFault ``restore.unknown-box``."""
        manifest = self._member.manifest
        if box not in {known.id for known in manifest.boxes}:
            names = ", ".join(known.id for known in manifest.boxes)
            raise OperatorFault("restore.unknown-box", f"{box!r} is not a box of {manifest.site}", f"one of: {names}")

    def _asked(self, box: str) -> tuple[str, ...]:
        return tuple(peer.id for peer in self._member.manifest.peers_of(box) if peer.id != self._member.own_id)

    async def _restore(self, box: str) -> RestoreReport:
        replies = self._pump.listen()
        began = time.perf_counter_ns()
        asked = self._asked(box)
        answers = await self._ask(box, asked, replies)
        answered_ns = time.perf_counter_ns()
        candidate = choose(self._member.manifest, box, answers)
        fetch = Fetch(self._member.manifest, candidate, self._keyring.get, RESTORE_REQUESTS_FROM)
        await self._fetch(fetch, replies)
        fetched_ns = time.perf_counter_ns()
        restored = fetch.finish()
        verified_ns = time.perf_counter_ns()
        tails = choose_tails(self._member.manifest, box, answers, candidate)
        tail, lost = await self._tails.newest_valid(tails, replies)
        done_ns = time.perf_counter_ns()
        everyone = (*asked, self._member.own_id) if self._member.own_id != box else asked
        return RestoreReport(
            box,
            restored,
            tuple(sorted(answers)),
            tuple(sorted(everyone)),
            max(answer.proofs for answer in answers.values()),
            may_be_newer(self._member.manifest, box, answers.values()),
            {sender: answer.silent_ms for sender, answer in answers.items()},
            {
                "ask": (answered_ns - began) / 1e6,
                "fetch": (fetched_ns - answered_ns) / 1e6,
                "verify": (verified_ns - fetched_ns) / 1e6,
                "tail": (done_ns - verified_ns) / 1e6,
                "total": (done_ns - began) / 1e6,
            },
            tail,
            lost,
            tuple(sorted(sender for sender, answer in answers.items() if answer.is_void)),
        )

    def _wire(self) -> Wire:
        if self._pump.wire is None:
            raise NoPeer("restore.no-network", "this box has no peers to ask", "add [replication] and enrol peers")
        return self._pump.wire

    async def _ask(self, box: str, asked: tuple[str, ...], replies: Replies) -> dict[str, Answer]:
        """Answers by box, our own among them; ends early when everyone has answered."""
        nonce = secrets.token_bytes(16)
        answers: dict[str, Answer] = {}
        if box != self._member.own_id:
            answers[self._member.own_id] = self._member.answer(nonce, box, self._now())
        waiting = set()
        for peer in asked:
            if self._wire().send_to(peer, self._member.sign(Ask(nonce, box))):
                waiting.add(peer)
        try:
            async with asyncio.timeout(LIMITS.restore_answer_ns / S_NS):
                while waiting:
                    reply = await replies.get()
                    if isinstance(reply.body, Answer) and reply.body.nonce == nonce and reply.body.box == box:
                        answers[reply.sender] = reply.body
                        waiting.discard(reply.sender)
        except TimeoutError:
            pass
        return answers

    async def _fetch(self, fetch: Fetch, replies: Replies) -> None:
        """Every block from keyframe to head: our own disk first, then the peers, in parallel; again where it failed."""
        own = self._member.own_id
        holders = [peer for peer in fetch.candidate.holders if peer != own]
        lacking = fetch.missing() if own in fetch.candidate.holders else []
        while lacking:
            for get in fetch.gets(1):
                self._take(fetch, own, self._member.serve(get))
            before, lacking = lacking, fetch.missing()
            if lacking == before:
                break
        for round_number in range(_FETCH_ROUNDS):
            gets = fetch.gets(_SPLIT)
            if not gets or not holders:
                return
            for number, get in enumerate(gets):
                peer = holders[(number + round_number) % len(holders)]
                self._wire().send_to(peer, self._member.sign(get))
            await self._collect(fetch, {get.request_id for get in gets}, replies)

    def _take(self, fetch: Fetch, sender: str, answer: Range) -> None:
        """What one holder gave, its own replica included; a bad answer is counted and asked for elsewhere."""
        try:
            fetch.on_range(answer)
        except (PeerFault, VerificationFailed) as error:
            self._pump.count_fault(sender, error)

    async def _collect(self, fetch: Fetch, ids: set[int], replies: Replies) -> None:
        try:
            async with asyncio.timeout(LIMITS.restore_answer_ns / S_NS):
                while ids:
                    reply = await replies.get()
                    if isinstance(reply.body, Range) and reply.body.request_id in ids:
                        ids.discard(reply.body.request_id)
                        self._take(fetch, reply.sender, reply.body)
        except TimeoutError:
            return
