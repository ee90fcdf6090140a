"""The EEG of one connection as waves: where each piece belongs, and what is missing before it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from drivers.bis.messages import Eeg, Processed
from drivers.bis.values import eeg_quality
from drivers.contract import Now
from ledger.limits import S_NS
from ledger.records import Gap, Quality, Wave

_NUMBERS: Final = 0x10000
_MOST_OFF_PIECES: Final = 4
"""So far may the count of lost pieces by their numbers be from that by the time, and still be believed."""


class EegTrack:
    """Turns pieces into waves. Samples are in microvolts once the monitor has told its gain; before, as converted."""

    __slots__ = ("_gain", "_index", "_last", "_number", "_offset", "_quality")

    def __init__(self) -> None:
        self._index = 0
        self._last: Now | None = None
        self._number = 0
        self._gain: float | None = None
        self._offset = 0.0
        self._quality = Quality.GOOD

    def processed(self, told: Processed) -> None:
        """What a second of processed variables says of the EEG."""
        self._gain, self._offset = told.gain, told.offset
        self._quality = eeg_quality(told)

    def take(self, number: int, piece: Eeg, now: Now) -> Iterator[Wave | Gap]:
        """One piece; ``number`` is its message's."""
        missing = self._missing(number, piece, now)
        if missing and self._last is not None:
            self._index += missing * piece.count
            yield Gap(at_ns=now.utc_ns, cause="sequence", since_ns=self._last.utc_ns,
                      until_ns=max(self._last.utc_ns, now.utc_ns - piece.count * S_NS // piece.rate_hz),
                      lost_items=missing * piece.count, detail="EEG samples of each channel")  # fmt: skip
        for at, samples in enumerate(piece.channels):
            yield self._wave(str(at + 1), samples, piece, now)
        self._index += piece.count
        self._last, self._number = now, number

    def _wave(self, channel: str, samples: bytes, piece: Eeg, now: Now) -> Wave:
        gain = self._gain
        return Wave(
            at_ns=now.utc_ns - piece.count * S_NS // piece.rate_hz,
            quality=self._quality,
            code="MDC_EEG_ELEC_POTL_CRTX" if gain is not None else "MDCX_ASPECT_EEG_UNSCALED",
            unit="uV" if gain is not None else "",
            channel=channel,
            rate=(piece.rate_hz, 1),
            index=self._index,
            width=2,
            samples=samples,
            scale=gain if gain is not None else 1.0,
            offset=-gain * self._offset if gain is not None else 0.0,
        )

    def _missing(self, number: int, piece: Eeg, now: Now) -> int:
        """Pieces lost before this one: by their numbers, if those agree with the time; else by the time."""
        if self._last is None:
            return 0
        elapsed_ns = now.mono_ns - self._last.mono_ns
        by_time = max(0, elapsed_ns * piece.rate_hz // (S_NS * piece.count) - 1)
        by_number = (number - self._number - 1) % _NUMBERS
        if abs(by_number - by_time) <= _MOST_OFF_PIECES + by_time // 10:
            return by_number
        return by_time if elapsed_ns > S_NS else 0
