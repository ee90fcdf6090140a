"""One fencing dialogue: which promises came, and which count. The epoch counter is burnt whatever comes of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ledger.errors import PeerFault
from ledger.limits import LIMITS
from ledger.log import LogId
from ledger.manifest import Manifest
from ledger.messages import Promise, Signed
from ledger.notices import Head
from ledger.replica import LogReader
from ledger.start import promised_in
from ledger.tree import leaf_hash


@dataclass(frozen=True, slots=True)
class _Giver:
    wire: bytes
    promise: Promise
    until_ns: int


@dataclass(slots=True)
class Attempt:
    """Asks for (counter, incarnation) under ``groups``: the manifest now in force and, if that is another, the one of
    the log to be continued. ``live`` is this process's own log: nobody needs to deliver that.
    """

    box: str
    counter: int
    incarnation: bytes
    nonce: bytes
    until_ns: int
    groups: tuple[Manifest, ...]
    live: LogId
    givers: dict[str, _Giver] = field(default_factory=dict)

    def take(self, signed: Signed, promise: Promise, reader: LogReader, now_ns: int) -> None:
        """A promise counts for exactly this attempt only; its giver has 5 s to deliver what it reports.

        Raises PeerFault ``promise.names`` for one that reports ends of other boxes' logs: nobody would take the epoch.
        """
        asked = (self.box, self.counter, self.incarnation, self.nonce, self.groups[0].hash)
        if (promise.box, promise.counter, promise.incarnation, promise.nonce, signed.manifest_hash) != asked:
            return
        if signed.sender in self.givers:
            return
        if any(head.log.box != self.box for head in (*promise.fenced, *promise.provisional)):
            raise PeerFault(
                "promise.names", f"{signed.sender} promised {self.box} an epoch with ends of other boxes' logs",
                f"look at {signed.sender}",
            )  # fmt: skip
        until_ns = now_ns + LIMITS.promise_headers_ns
        self.givers[signed.sender] = _Giver(signed.wire, promise, until_ns)
        if self.lacking(promise, reader):
            self.until_ns = max(self.until_ns, until_ns)

    def lacking(self, promise: Promise, reader: LogReader) -> list[Head]:
        """The heads it reports that our disk does not hold, or holds otherwise: such a head nobody can deliver."""
        return [head for head in (*promise.fenced, *promise.provisional)
                if head.log != self.live and not _holds(reader, head)]  # fmt: skip

    def all_lacking(self, reader: LogReader) -> Iterator[tuple[str, Head]]:
        """(giver, head) for everything still to be delivered."""
        for name, giver in self.givers.items():
            for head in self.lacking(giver.promise, reader):
                yield name, head

    def counted(self, reader: LogReader, now_ns: int) -> Mapping[str, tuple[bytes, Promise]]:
        """The promises that count; givers that did not deliver in time are dropped."""
        counted = {}
        for name, giver in list(self.givers.items()):
            if not self.lacking(giver.promise, reader):
                counted[name] = (giver.wire, giver.promise)
            elif now_ns >= giver.until_ns:
                del self.givers[name]
        return counted

    def is_enough(self, givers: Mapping[str, object]) -> bool:
        """True when F peers of every group concerned have promised."""
        return all(promised_in(group, self.box, givers) >= group.quorum_of(self.box).fence for group in self.groups)


def _holds(reader: LogReader, head: Head) -> bool:
    if head.size == 0:
        return True
    last = reader.signed_header(head.log, head.size - 1)
    return last is not None and leaf_hash(last) == head.leaf
