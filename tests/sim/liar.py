"""A peer that does what it likes with its own key: vouches for anything, withholds, replays, forks its log, lies."""

from __future__ import annotations

from dataclasses import replace

from ledger.block import decode_signed_header, sign_header
from ledger.checkpoint import Checkpoint, cosign
from ledger.member import Member, WireMessage
from ledger.message_codec import decode_message, encode_plain
from ledger.messages import Answer, BlockMessage, Cosign, Heads, Promise, Range, Signed
from ledger.notices import Head
from tests.sim.world import Process, World

_KEPT = 64


class Liar:
    """Changes what one box sends. Each habit is on or off for the whole seed."""

    def __init__(self, world: World, name: str) -> None:
        self.name = name
        self._world = world
        self._random = world.random
        self._sent: list[WireMessage] = []
        habits = [
            "cosigns unseen",
            "withholds",
            "replays",
            "forks",
            "hides heads",
            "invents heads",
            "keeps payloads to itself",
            "spoils payloads",
        ]
        self.habits = {habit for habit in habits if self._random.random() < 0.5}
        world.tell(f"{name} lies: {', '.join(sorted(self.habits)) or 'not today'}")
        for process in world.alive(name):
            self.possess(process)

    def possess(self, process: Process) -> None:
        """Every message of this process passes through here."""
        process.outgoing = lambda message: self._change(process, message)

    def answer(self, answer: Answer) -> Answer:
        """What a restore hears from it."""
        if "hides heads" in self.habits:
            return replace(answer, reports=answer.reports[1:])
        if "invents heads" in self.habits and answer.reports:
            first = answer.reports[0]
            log = replace(first.head.log, counter=first.head.log.counter + 7, incarnation=self._random.randbytes(16))
            return replace(answer, reports=(replace(first, head=replace(first.head, log=log)), *answer.reports))
        return answer

    def _change(self, process: Process, message: WireMessage) -> list[WireMessage]:
        body = decode_message(message.wire)
        out = [message]
        if isinstance(body, Range) and "withholds" in self.habits and self._random.random() < 0.7:
            return []
        if isinstance(body, Range) and "keeps payloads to itself" in self.habits:
            out = [replace(message, wire=encode_plain(replace(body, blocks=tuple((h, b"") for h, _ in body.blocks))))]
        elif isinstance(body, Range) and "spoils payloads" in self.habits and self._random.random() < 0.5:
            spoilt = tuple((header, bytes(len(payload))) for header, payload in body.blocks)
            out = [replace(message, wire=encode_plain(replace(body, blocks=spoilt)))]
        if isinstance(body, BlockMessage) and "forks" in self.habits and self._random.random() < 0.2:
            out.append(replace(message, wire=encode_plain(self._forked(process.member, body))))
        if isinstance(body, Signed) and isinstance(body.body, Promise):
            out = [replace(message, wire=process.member.sign(self._promise(body.body)))]
        if isinstance(body, Signed) and isinstance(body.body, Heads) and "cosigns unseen" in self.habits:
            out += self._cosign_everything(process.member)
        if "replays" in self.habits:
            self._sent = [*self._sent, message][-_KEPT:]
            if self._random.random() < 0.2:
                out.append(self._random.choice(self._sent))
        return out

    def _forked(self, member: Member, block: BlockMessage) -> BlockMessage:
        header = decode_signed_header(block.signed_header)
        key = self._world.identities[self.name].secrets.signing
        other = sign_header(replace(header, closed_ns=header.closed_ns + 1), key)
        return BlockMessage(other, block.payload, bytes(32), bytes(64))

    def _promise(self, promise: Promise) -> Promise:
        if "hides heads" in self.habits:
            return replace(promise, fenced=promise.fenced[1:], provisional=())
        if "invents heads" in self.habits and promise.fenced:
            first = promise.fenced[0]
            return replace(promise, fenced=(replace(first, size=first.size + 50, leaf=bytes(32)), *promise.fenced[1:]))
        return promise

    def _cosign_everything(self, member: Member) -> list[WireMessage]:
        """A word on the newest head of every log it has heard of, held or not."""
        key = self._world.identities[self.name].secrets.signing
        out = []
        for replica in list(member.witness.replicas.values()):
            if replica.log.box == self.name or not replica.size or not replica.log.fenced:
                continue
            head: Head = replica.newest_head()
            checkpoint = Checkpoint(head.log.origin(member.manifest.site), head.size, head.root)
            word = Cosign(self.name, head.log, head.size, head.root, 1, cosign(key, checkpoint, 1))
            out.append(WireMessage(head.log.box, encode_plain(word), Cosign, bulk=False))
        return out
