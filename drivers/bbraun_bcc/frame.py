"""BCC messages: SOH, length, STX, bed id, text, ETX or ETB, check, EOT; with or without character stuffing.

Length and check are of the message before stuffing. Stuffing replaces D, E, d and e all over the message, so control
characters and digits stay what they are, and a message that is right one way is never right the other way.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from drivers.checksums import sum8
from ledger.limits import LIMITS
from ledger.records import GapCause

SOH, STX, ETX, EOT, ACK, NAK, ETB = 0x01, 0x02, 0x03, 0x04, 0x06, 0x15, 0x17
ACK_BYTE: Final = bytes((ACK,))
NAK_BYTE: Final = bytes((NAK,))
MAX_MESSAGE_BYTES: Final = LIMITS.frame_bytes
_JUNK_TOLD_BYTES: Final = 1024
_AROUND_BYTES: Final = 14
_ESCAPED: Final = re.compile(rb"[DEde]")
_PAIR: Final = re.compile(rb"[Ee](.?)", re.DOTALL)
_STUFFED: Final = {b"D": b"EX", b"E": b"EE", b"d": b"ex", b"e": b"ee"}
_PLAIN: Final = {pair: plain for plain, pair in _STUFFED.items()}
_MESSAGE: Final = re.compile(
    rb"\x01(\d{5})\x02([^>\x00-\x1f]{1,64})>([^\x01-\x04\x17]*)([\x03\x17])(\d{5})\x04", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Block:
    """One message of the ComDevice. ``stuffed`` None: it holds nothing that stuffing would change."""

    bed_id: str
    text: bytes
    last: bool
    stuffed: bool | None
    size: int


@dataclass(frozen=True, slots=True)
class Fault:
    """Bytes that are no message. ``answerable``: it was one, but damaged, and can be asked for again."""

    cause: GapCause
    lost_bytes: int
    detail: str
    answerable: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """The device did not understand what was sent to it (NAK)."""


Item = Block | Fault | Refusal


def stuff(message: bytes) -> bytes:
    """Character stuffing on."""
    return _ESCAPED.sub(lambda found: _STUFFED[found.group()], message)


def destuff(wire: bytes) -> bytes | None:
    """The message without stuffing, read from left to right; None if it cannot have been stuffed."""
    out, at = bytearray(), 0
    for found in _PAIR.finditer(wire):
        plain = _PLAIN.get(found.group())
        if plain is None:
            return None
        out += wire[at : found.start()] + plain
        at = found.end()
    out += wire[at:]
    unescaped = _PAIR.sub(b"", wire)
    return None if b"D" in unescaped or b"d" in unescaped else bytes(out)


def message(bed_id: str, text: str, *, stuffed: bool) -> bytes:
    """A message of ours on the wire."""
    body = f"{bed_id}>{text}".encode()
    covered = b"\x01%05d\x02%s\x03" % (len(body) + _AROUND_BYTES, body)
    whole = covered + b"%05d\x04" % sum8(covered)
    return stuff(whole) if stuffed else whole


def parse(wire: bytes) -> Block | Fault:
    """What stands from SOH to EOT, with or without stuffing."""
    destuffed = destuff(wire)
    plain = _read(wire, len(wire), stuffed=False if _ESCAPED.search(wire) else None)
    if isinstance(plain, Block) or destuffed is None or destuffed == wire:
        return plain
    other = _read(destuffed, len(wire), stuffed=True)
    return plain if isinstance(other, Fault) and other.cause == "framing" else other


def _read(whole: bytes, size: int, *, stuffed: bool | None) -> Block | Fault:
    found = _MESSAGE.fullmatch(whole)
    if found is None:
        return Fault("framing", size, "a message without its parts", answerable=True)
    length, bed_id, text, end, check = found.groups()
    if int(length) != len(whole):
        return Fault("framing", size, "a message of another length than it says", answerable=True)
    if int(check) != sum8(whole[:-6]):
        return Fault("checksum", size, "a message with a wrong check value", answerable=True)
    return Block(bed_id.decode("utf-8", "replace"), text, end[0] == ETX, stuffed, size)


class Deframer:
    """Bytes in, messages out. Bounded: holds one message; SOH begins another whatever came before."""

    __slots__ = ("_held", "_junk", "_state")

    def __init__(self) -> None:
        self._held = bytearray()
        self._junk = 0
        self._state: Literal["outside", "inside"] = "outside"

    def feed(self, data: bytes) -> Iterator[Item]:
        """What these bytes complete."""
        at = 0
        while at < len(data):
            if self._state == "outside":
                at = yield from self._outside(data, at)
            else:
                at = yield from self._inside(data, at)

    def _outside(self, data: bytes, at: int) -> Generator[Item, None, int]:
        start = data.find(SOH, at)
        until = len(data) if start < 0 else start
        for byte in data[at:until]:
            if byte == NAK:
                yield Refusal()
            elif byte != ACK:
                self._junk += 1
                if self._junk >= _JUNK_TOLD_BYTES:
                    yield from self._tell_junk()
        if start < 0:
            return until
        yield from self._tell_junk()
        self._state = "inside"
        self._held = bytearray((SOH,))
        return start + 1

    def _inside(self, data: bytes, at: int) -> Generator[Item, None, int]:
        begun, ended = data.find(SOH, at), data.find(EOT, at)
        room = MAX_MESSAGE_BYTES - len(self._held)
        stops = [place for place in (begun, ended) if place >= 0]
        until = min([*stops, len(data), at + room])
        self._held += data[at:until]
        if until == begun and begun >= 0:
            self._state = "outside"
            yield Fault("framing", len(self._held), "a message that another one cut", answerable=False)
        elif until == ended and ended >= 0 and room > 0:
            self._held.append(EOT)
            self._state = "outside"
            yield parse(bytes(self._held))
            until += 1
        elif len(self._held) >= MAX_MESSAGE_BYTES:
            self._state = "outside"
            yield Fault("oversize", len(self._held), "a message without end", answerable=False)
        return until

    @property
    def inside(self) -> bool:
        """Whether a message has begun and not yet ended."""
        return self._state == "inside"

    def _tell_junk(self) -> Iterator[Fault]:
        if self._junk:
            yield Fault("framing", self._junk, "bytes outside of messages", answerable=False)
            self._junk = 0

    def abandon(self) -> int:
        """Forget what was begun; how many bytes that was."""
        begun = self._junk + (len(self._held) if self._state == "inside" else 0)
        self._held, self._junk, self._state = bytearray(), 0, "outside"
        return begun
