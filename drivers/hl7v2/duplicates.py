"""Messages that come again: told by sender, control id and content, so that each is recorded once.

A sender that saw no acknowledgment repeats the message, unchanged (HL7 v2.9 chapter 2, section 2.9). Some senders use
one control id for everything: the same id with other content is another message.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum

from drivers.contract import Ticket
from drivers.hl7v2.ack import Header, Outcome, Problem
from ledger.limits import LIMITS


class Seen(Enum):
    """What is known of a message before it is decoded."""

    NEW = "new"
    AGAIN = "again"
    REUSED_ID = "reused id"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a message was answered: what its repeat is answered with too. ``last`` is the ticket of its last record."""

    last: Ticket
    outcome: Outcome
    problem: Problem | None


Key = tuple[str, str, str]


def key_of(header: Header) -> Key:
    """Who sent it and under which id."""
    return header.application_raw, header.facility_raw, header.control_id_raw


class Duplicates:
    """The last ``duplicates_remembered`` messages; content is remembered by its hash alone."""

    __slots__ = ("_limit", "_messages")

    def __init__(self, limit: int = LIMITS.duplicates_remembered) -> None:
        self._limit = limit
        self._messages: OrderedDict[bytes, tuple[bytes, Verdict]] = OrderedDict()

    @staticmethod
    def _name(key: Key) -> bytes:
        return hashlib.sha256("\r".join(key).encode("utf-8", "surrogatepass")).digest()

    def look(self, key: Key, content: bytes) -> tuple[Seen, Verdict | None]:
        """Whether this message was here; the verdict if it is a repeat. Without a control id, nothing is known."""
        if not key[2].strip():
            return Seen.NEW, None
        name = self._name(key)
        known = self._messages.get(name)
        if known is None:
            return Seen.NEW, None
        self._messages.move_to_end(name)
        if known[0] != hashlib.sha256(content).digest():
            return Seen.REUSED_ID, None
        return Seen.AGAIN, known[1]

    def remember(self, key: Key, content: bytes, verdict: Verdict) -> None:
        """This message is being recorded."""
        if not key[2].strip():
            return
        name = self._name(key)
        self._messages[name] = (hashlib.sha256(content).digest(), verdict)
        self._messages.move_to_end(name)
        if len(self._messages) > self._limit:
            self._messages.popitem(last=False)

    def forget(self, key: Key) -> None:
        """Its records were refused: when it comes again it is new."""
        self._messages.pop(self._name(key), None)
