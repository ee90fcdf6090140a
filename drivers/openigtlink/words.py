"""What devices of a connection said in words, followed so that none of it stands once the connection is silent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from drivers.contract import Now
from drivers.openigtlink.frame import Frame
from drivers.openigtlink.stream import device_time
from ledger.limits import KIB
from ledger.records import Numeric, Quality

_MOST: Final = 512
_MOST_CHARACTERS: Final = 16 * KIB
Key = tuple[str, str, str]
"""(code, device, what the device calls it)."""


class Words:
    """Bounded: beyond 512 the one said first is withdrawn for the next."""

    __slots__ = ("_said",)

    def __init__(self) -> None:
        self._said: dict[Key, str | None] = {}

    def __contains__(self, key: Key) -> bool:
        return key in self._said

    def say(
        self, frame: Frame, code: str, device_code: str, text: str, now: Now, *, always: bool = False
    ) -> Iterator[Numeric]:
        """Record a text, if it is new or ``always``."""
        key = (code, frame.device, "STATUS" if code == "STATUS" else device_code)
        told = text if len(text) <= _MOST_CHARACTERS else text[:_MOST_CHARACTERS] + "…"
        if not always and self._said.get(key) == told:
            return
        if key not in self._said and len(self._said) >= _MOST:
            yield from self.withdraw(now, [next(iter(self._said))])
        self._said[key] = None if always else told
        yield Numeric(
            at_ns=now.utc_ns,
            device_time=device_time(frame.told_ns),
            code=f"MDCX_OPENIGTLINK_{code}",
            value=told,
            unit="",
            device_code=key[2],
            channel=frame.device,
        )

    def silent(self, now: Now, elsewhere: Callable[[Key], bool]) -> Iterator[Numeric]:
        """The connection is silent or gone; what another says is true ``elsewhere``, and stays."""
        yield from self.withdraw(now, [key for key in self._said if not elsewhere(key)])
        self._said.clear()

    def withdraw(self, now: Now, keys: list[Key]) -> Iterator[Numeric]:
        """These no longer hold."""
        for key in keys:
            del self._said[key]
            code, device, device_code = key
            yield Numeric(
                at_ns=now.utc_ns,
                quality=Quality.UNAVAILABLE,
                code=f"MDCX_OPENIGTLINK_{code}",
                value=None,
                unit="",
                device_code=device_code,
                channel=device,
            )
