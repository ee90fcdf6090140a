"""What devices of a connection said in words, followed so that none of it stands once the connection is silent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from drivers.contract import Now
from drivers.openigtlink.frame import Frame
from drivers.openigtlink.stream import device_time
from ledger.limits import KIB
from ledger.records import DeviceTime, Numeric, Quality

_MOST: Final = 512
_MOST_CHARACTERS: Final = 16 * KIB
Key = tuple[str, str, str]
"""(code, device, what the device calls it)."""


class Words:
    """Bounded: beyond 512 the one said first is withdrawn for the next."""

    __slots__ = ("_said", "_untold")

    def __init__(self) -> None:
        self._said: dict[Key, str | None] = {}
        self._untold = False

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
        yield _numeric(key, told, device_time(frame.told_ns), now)

    def tell_again(self) -> None:
        """Another case has begun: what is said is told though it is the same."""
        self._untold = True
        self._said = {key: told if _is_of_connection(key) else None for key, told in self._said.items()}

    def again(self, now: Now) -> Iterator[Numeric]:
        """A message came: what a device can do, and whether it streams, it said once and for the whole connection."""
        if self._untold:
            self._untold = False
            for key, told in self._said.items():
                if told is not None and _is_of_connection(key):
                    yield _numeric(key, told, None, now)

    def silent(self, now: Now, elsewhere: Callable[[Key], bool]) -> Iterator[Numeric]:
        """The connection is silent or gone; what another says is true ``elsewhere``, and stays."""
        yield from self.withdraw(now, [key for key in self._said if not elsewhere(key)])
        self._said.clear()

    def withdraw(self, now: Now, keys: list[Key]) -> Iterator[Numeric]:
        """These no longer hold."""
        for key in keys:
            del self._said[key]
            yield _numeric(key, None, None, now)


def _is_of_connection(key: Key) -> bool:
    return key[0] == "CAPABILITY" or key[0].startswith("RTS_")


def _numeric(key: Key, told: str | None, time: DeviceTime | None, now: Now) -> Numeric:
    code, device, device_code = key
    return Numeric(
        at_ns=now.utc_ns,
        device_time=time,
        quality=Quality.GOOD if told is not None else Quality.UNAVAILABLE,
        code=f"MDCX_OPENIGTLINK_{code}",
        value=told,
        unit="",
        device_code=device_code,
        channel=device,
    )
