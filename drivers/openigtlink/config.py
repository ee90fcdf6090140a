"""Options of an ``openigtlink`` feed."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

Started = Literal["TRANS", "POSITION", "QTRANS", "TDATA", "QTDATA", "SENSOR"]
NAME_BYTES: Final = 20
COORDINATES_BYTES: Final = 32
_MOST_INTERVAL_MS: Final = 10_000
_STATUS_S: Final = range(1, 3_601)


class OpenIgtLinkConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of an ``openigtlink`` feed. Without any it only listens.

    ``make`` and ``model``: what the device is, for the protocol does not tell. ``start``: the streams to ask for, with
    STT_ messages, of those that wait to be asked: any of TRANS, POSITION, QTRANS, TDATA, QTDATA, SENSOR.
    ``device``: the device name to put into questions; empty asks any. ``interval_ms``: the least time between two
    messages of TDATA or QTDATA, 0 for as many as there are. ``coordinate_system``: in which to give them; empty for
    the usual one. ``ask_status_s``: seconds between two GET_STATUS, 0 for none; then a device that does not speak for
    three times as long is connected anew. ``ask_capability``: ask once for the message types that the device knows.
    Raises ValueError naming the option.
    """

    make: str = ""
    model: str = ""
    start: tuple[Started, ...] = ()
    device: str = ""
    interval_ms: int = 0
    coordinate_system: str = ""
    ask_status_s: int = 0
    ask_capability: bool = False

    def __post_init__(self) -> None:
        """Check what the types do not say."""
        for option, text, most in (
            ("device", self.device, NAME_BYTES), ("coordinate_system", self.coordinate_system, COORDINATES_BYTES)
        ):  # fmt: skip
            if not text.isascii() or (text and not text.isprintable()) or len(text) > most:
                raise ValueError(f"{option}: must be at most {most} printable ASCII characters")
        if len(set(self.start)) != len(self.start):
            raise ValueError("start: names a stream twice")
        if not 0 <= self.interval_ms <= _MOST_INTERVAL_MS:
            raise ValueError(f"interval_ms: must be 0 to {_MOST_INTERVAL_MS}")
        if self.ask_status_s and self.ask_status_s not in _STATUS_S:
            raise ValueError(f"ask_status_s: must be 0 (never) or {_STATUS_S.start} to {_STATUS_S.stop - 1}")
