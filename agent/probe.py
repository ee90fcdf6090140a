"""Listens to a serial port at each likely setting and finds out which protocol it is; sends only if it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from drivers.contract import Driver, Message, Now
from drivers.recognition import Recognised, lines, opening, recognised
from drivers.transports.links import LinkTransport
from ledger.errors import OperatorFault
from ledger.records import LinkId

_HEARD_BYTES = 65_536
_SILENT_S = 9.0
_ENOUGH_FRAMES = 3
_LOOK_S = 0.1

OpenPort = Callable[[str], LinkTransport]
"""A transport to the port at a line setting like ``19200 8E1``."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """``heard``: the drivers that know what came, the surest first. ``bytes_at``: how much came at each setting."""

    heard: tuple[Recognised, ...]
    bytes_at: dict[str, int]
    asked: bool


@dataclass(slots=True)
class _Ear:
    """``LinkEvents``: keeps what is heard."""

    data: bytearray = field(default_factory=bytearray)
    link: LinkId | None = None
    refused: str = ""

    def on_up(self, link: LinkId, peer: str, at: Now) -> None:
        self.link = link

    def on_bytes(self, link: LinkId, data: bytes, at: Now) -> None:
        self.data += data[: _HEARD_BYTES - len(self.data)]

    def on_message(self, link: LinkId, message: Message, at: Now) -> None:
        """A serial port delivers none."""

    def on_down(self, link: LinkId, reason: str, at: Now) -> None:
        self.refused = self.refused or reason

    def on_refused(self, peer: str, reason: str, at: Now) -> None:
        self.refused = self.refused or reason


class Probe:
    """One port. ``say`` is told what is being done."""

    def __init__(
        self, kinds: Sequence[type[Driver]], open_port: OpenPort, listen_s: float, say: Callable[[str], None]
    ) -> None:
        self._kinds = kinds
        self._open_port = open_port
        self._listen_s = listen_s
        self._say = say
        self._bytes_at: dict[str, int] = {}

    async def run(self, *, ask: bool) -> Outcome:
        """Listen at every setting; then, if told to, ask at every setting of every driver.

        Stops at the first setting at which a protocol is surely heard. Who talks is heard at any setting, if garbled:
        after some seconds of silence it is time to ask. Raises OperatorFault if the port cannot be opened or goes away.
        """
        for number, line in enumerate(lines(kind.spec for kind in self._kinds)):
            if ask and number * self._listen_s >= _SILENT_S and not any(self._bytes_at.values()):
                break
            self._say(f"listening at {line}")
            heard = await self._try(line, [], self._kinds)
            if heard:
                return Outcome(tuple(heard), self._bytes_at, asked=False)
        for kind, line in self._askings() if ask else ():
            self._say(f"asking as {kind.spec.name} at {line}")
            heard = await self._try(line, opening(kind), [kind])
            if heard:
                return Outcome(tuple(heard), self._bytes_at, asked=True)
        return Outcome((), self._bytes_at, ask)

    def _askings(self) -> list[tuple[type[Driver], str]]:
        """Every driver that can ask, at each of its settings: the likeliest of all first."""
        places = [
            (place, kind, line)
            for kind in self._kinds
            if opening(kind)
            for place, line in enumerate(kind.spec.serial_lines)
        ]
        return [(kind, line) for _, kind, line in sorted(places, key=lambda each: each[0])]

    async def _try(self, line: str, requests: Sequence[bytes], kinds: Sequence[type[Driver]]) -> list[Recognised]:
        ear = _Ear()
        port = self._open_port(line)
        port.start(ear)
        try:
            loop = asyncio.get_running_loop()
            until_s = loop.time() + self._listen_s
            asked = False
            heard: list[Recognised] = []
            while loop.time() < until_s:
                await asyncio.sleep(_LOOK_S)
                if ear.refused:
                    raise OperatorFault(
                        "probe.port", f"the port cannot be used: {ear.refused}", "free it, or name one that is there"
                    )
                if ear.link is not None and not asked:
                    asked = True
                    for request in requests:
                        port.send(ear.link, request)
                heard = recognised(kinds, line, bytes(ear.data))
                if heard and heard[0].frames >= _ENOUGH_FRAMES:
                    break
            return heard
        finally:
            self._bytes_at[line] = self._bytes_at.get(line, 0) + len(ear.data)
            await port.stop()
