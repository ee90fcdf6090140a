"""The BCC protocol of B. Braun Space as a ComDevice speaks it: messages, character stuffing, what a computer said.

Written from the interface specification; shares nothing with the driver.
"""

from __future__ import annotations

from dataclasses import dataclass, field

SOH, STX, ETX, EOT, ACK, NAK, ETB = 1, 2, 3, 4, 6, 21, 23
RECORD_SEPARATOR = "\x1e"
LAST_PLACE_OF_LENGTH = 6
TAIL_BYTES = 7  # ETX or ETB, five digits, EOT

_STUFF = str.maketrans({"D": "EX", "E": "EE", "d": "ex", "e": "ee"})
_UNSTUFF = {"X": "D", "E": "E", "x": "d", "e": "e"}


def block(bed_id: str, quadruples: list[str], *, last: bool, stuffing: bool) -> bytes:
    """One block of an answer on the wire."""
    text = f"{bed_id}>{RECORD_SEPARATOR.join(quadruples)}"
    length = len(text.encode()) + 14
    head = f"\x01{length:05d}\x02{text}{chr(ETX if last else ETB)}"
    check = sum(head.encode()) % 256
    whole = f"{head}{check:05d}\x04"
    return (whole.translate(_STUFF) if stuffing else whole).encode()


@dataclass(frozen=True, slots=True)
class Said:
    """What the computer said: "ACK", "NAK", "damaged" (wrong check), "unclear" (not to be understood), or a command."""

    what: str


@dataclass(slots=True)
class HostReader:
    """Bytes of the computer in, what they say out."""

    stuffing: bool
    held: bytearray = field(default_factory=bytearray)

    def feed(self, data: bytes) -> list[Said]:
        """What these bytes complete."""
        said = []
        for byte in data:
            if byte == SOH:
                self.held = bytearray((SOH,))
            elif self.held:
                self.held.append(byte)
                if byte == EOT:
                    said.append(self._read(bytes(self.held)))
                    self.held.clear()
            elif byte in (ACK, NAK):
                said.append(Said("ACK" if byte == ACK else "NAK"))
        return said

    def _read(self, wire: bytes) -> Said:
        text = wire.decode("latin-1")
        plain = _unstuffed(text) if self.stuffing else text
        if plain is None or len(plain) < LAST_PLACE_OF_LENGTH + 1 + TAIL_BYTES or plain[-TAIL_BYTES] != chr(ETX):
            return Said("unclear")
        length, check = plain[1:LAST_PLACE_OF_LENGTH], plain[-TAIL_BYTES + 1 : -1]
        if not (length.isdigit() and check.isdigit()) or int(length) != len(plain):
            return Said("unclear")
        if int(check) != sum(plain[: -TAIL_BYTES + 1].encode("latin-1")) % 256:
            return Said("damaged")
        _, _, command = plain[LAST_PLACE_OF_LENGTH + 1 : -TAIL_BYTES].partition(">")
        return Said(command)


def _unstuffed(text: str) -> str | None:
    out, at = [], 0
    while at < len(text):
        letter = text[at]
        if letter in "Ee":
            plain = _UNSTUFF.get(text[at + 1 : at + 2])
            if plain is None or plain.isupper() != letter.isupper():
                return None
            out.append(plain)
            at += 2
        else:
            out.append(letter)
            at += 1
    return "".join(out)
