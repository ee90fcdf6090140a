"""The options of one Servo-i or Servo-s."""

from __future__ import annotations

from typing import Final

import msgspec

from drivers.servo_i.channels import documented

MAX_CURVES: Final = 4
MAX_BREATH: Final = 50
MAX_SETTINGS: Final = 75
MAX_ALARMS: Final = 50
_BREATH: Final = (
    200, 201, 202, 203, 204, 205, 206, 207, 208, 209, 225, 231, 232, 233, 236, 239, 241, 243, 244, 245, 246, 247, 248,
    250, 251, 252, 254, 255, 256, 260,
)  # fmt: skip


class ServoIConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of a ``servo-i`` feed.

    ``curves``: up to 4 channels of 100 to 199, such as 100 flow, 113 airway pressure, 114 volume, 118 Edi.
    ``breath``: up to 50 channels of 200 to 299, measured breath by breath. ``settings``: up to 75 channels of 300 to
    399. ``alarms``: up to 50 channels of 400 to 499. A channel that the ventilator does not have is left out.
    ``sample_ms``: milliseconds between two samples of a curve, 10 to 224. ``listen_only``: never send, only read along
    on a Y-cable; then the four lists must be, in order, those that the other computer asks for. Raises ValueError
    naming the option.
    """

    curves: tuple[int, ...] = (100, 113, 114)
    breath: tuple[int, ...] = _BREATH
    settings: tuple[int, ...] = (*documented(300, 309), 310, *documented(311, 399))
    alarms: tuple[int, ...] = tuple(range(400, 450))
    sample_ms: int = 20
    listen_only: bool = False

    def __post_init__(self) -> None:
        for option, first, most in (
            ("curves", 100, MAX_CURVES),
            ("breath", 200, MAX_BREATH),
            ("settings", 300, MAX_SETTINGS),
            ("alarms", 400, MAX_ALARMS),
        ):
            channels: tuple[int, ...] = getattr(self, option)
            if len(channels) > most:
                raise ValueError(f"{option}: {len(channels)} named, the ventilator sends at most {most}")
            if len(set(channels)) != len(channels):
                raise ValueError(f"{option}: a channel is there twice")
            for channel in channels:
                if not first <= channel <= first + 99:
                    raise ValueError(f"{option}: {channel} is not within {first} to {first + 99}")
        if not 10 <= self.sample_ms <= 224:
            raise ValueError(f"sample_ms: {self.sample_ms} is not within 10 to 224")
