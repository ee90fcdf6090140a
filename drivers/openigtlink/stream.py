"""One stream of measured vectors: all messages of one type and device name.

A slow stream is recorded message by message. A fast one becomes waves, a record for each number and tenth of a second,
and beside them its latest vector as a value, so that state always holds it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from drivers.contract import Now
from drivers.gaps import GapCollector
from drivers.openigtlink.content import Vector
from drivers.openigtlink.frame import Frame
from drivers.openigtlink.pace import MessageIds, Pace
from drivers.openigtlink.vectors import NO_SAMPLE, Shape, quantised
from drivers.shown_values import ShownValues
from ledger.limits import KIB, S_NS
from ledger.records import DeviceTime, Numeric, Quality, Record, Wave

_MOST_TRACK_BYTES: Final = 64 * KIB
_SILENT_NS: Final = 5 * S_NS
_SILENT_INTERVALS: Final = 3
_LONGEST_SILENT_NS: Final = 600 * S_NS
_YEAR_2000_NS: Final = 946_684_800 * S_NS


def device_time(told_ns: int | None) -> DeviceTime | None:
    """A header's time. UTC by the protocol; a clock that counts from the device's start is far below any date."""
    if told_ns is None:
        return None
    return DeviceTime(told_ns, "utc" if told_ns >= _YEAR_2000_NS else "uptime", 1)


@dataclass(slots=True)
class _Track:
    """Vectors of one channel, one after the other, that no record holds yet."""

    shape: Shape
    kind: str
    index: int
    first: Now
    first_time: DeviceTime | None
    raw: bytearray = field(default_factory=bytearray)
    count: int = 0
    latest: bytes = b""
    latest_at: Now | None = None
    latest_time: DeviceTime | None = None
    valid: bool = True


class Stream:
    """See above. ``ShownValues`` are the session's; the caller bounds the number of streams and channels."""

    __slots__ = (
        "_device",
        "_heard_at",
        "_ids",
        "_index",
        "_rate",
        "_shown",
        "_silent_ns",
        "_skipped",
        "_told",
        "_tracks",
        "_type",
        "pace",
    )

    def __init__(self, type_name: str, device: str, shown: ShownValues) -> None:
        self._type = type_name
        self._device = device
        self._shown = shown
        self._ids = MessageIds()
        self.pace = Pace()
        self._rate: tuple[int, int] | None = None
        self._index = 0
        self._skipped = 0
        self._told: set[str] = set()
        self._tracks: dict[str, _Track] = {}
        self._heard_at: Now | None = None
        self._silent_ns: int | None = None

    @property
    def pending(self) -> bool:
        """Whether something waits for ``flush``."""
        return bool(self._tracks)

    def lost(self, frame: Frame, told_missing: int | None, now: Now, gaps: GapCollector, *, explained: bool) -> None:
        """See what is missing before this message. ``told_missing``: by the ids of the whole connection, None: unknown.

        ``explained``: a pause now has been told as a loss of the connection already.
        """
        at_ns = now.mono_ns if frame.told_ns is None else frame.told_ns
        by_time = self.pace.missing(at_ns, stamped=frame.told_ns is not None)
        by_id = told_missing or 0
        if told_missing is None and frame.message_id is not None:
            by_id = self._ids.missing(frame.message_id)
            if by_id:
                detail = f"the ids of {self._type} messages jumped"
                gaps.add("sequence", now, None, detail, since=self._heard_at, lost_items=by_id)
        if by_time and not by_id and not explained:
            detail = f"{self._type} messages paused"
            gaps.add("device_gap", now, None, detail, since=self._heard_at, lost_items=by_time)
        if self._heard_at is not None:
            usual_ns = _SILENT_INTERVALS * (now.mono_ns - self._heard_at.mono_ns)
            self._silent_ns = min(max(_SILENT_NS, usual_ns), _LONGEST_SILENT_NS)
        self._heard_at = now
        self._skipped = max(by_id, by_time)

    def take(self, vectors: list[Vector], frame: Frame, valid: bool, now: Now) -> Iterator[Record]:
        """The vectors of one message."""
        if self._skipped or self.pace.rate != self._rate:
            yield from self.flush()
            self._rate = self.pace.rate
            self._index += self._skipped
            self._skipped = 0
        time = device_time(frame.told_ns)
        told = set()
        for vector in vectors:
            channel = self._channel(vector.name)
            told.add(channel)
            if self._rate is None:
                yield from self._show(channel, vector.shape, vector.raw, vector.kind, valid, now, time)
            else:
                yield from self._append(channel, vector, valid, now, time)
        self._index += 1
        yield from self._gone(told, now)

    def flush(self) -> Iterator[Record]:
        """Make records of what waits."""
        for channel in list(self._tracks):
            yield from self._end(channel)

    def silent_at_ns(self) -> int | None:
        """When it is silent if nothing comes: after three of its intervals, at least 5 s. None: it came but once."""
        if self._heard_at is None or self._silent_ns is None:
            return None
        return self._heard_at.mono_ns + self._silent_ns

    def silent(self, now: Now) -> Iterator[Record]:
        """Nothing came for too long: what it showed holds no more."""
        self._silent_ns = None
        yield from self.flush()
        yield from self._gone(set(), now)

    def _channel(self, name: str) -> str:
        return f"{self._device}/{name}" if name else self._device

    def _slot(self, channel: str) -> str:
        return f"{self._type} {self._device} {channel}"

    def _gone(self, told: set[str], now: Now) -> Iterator[Record]:
        """Tools that the device no longer sees are left out of its messages."""
        before, self._told = self._told, told
        if before <= told:
            return
        begin = f"{self._type} {self._device} "
        slots = {begin + channel for channel in told}
        for channel in [channel for channel in self._tracks if channel not in told]:
            yield from self._end(channel)
        yield from self._shown.withdraw(now.utc_ns, lambda slot: slot.startswith(begin) and slot not in slots)

    def _append(self, channel: str, vector: Vector, valid: bool, now: Now, time: DeviceTime | None) -> Iterator[Record]:
        track = self._tracks.get(channel)
        if track is not None and (
            track.shape is not vector.shape
            or track.index + track.count != self._index
            or len(track.raw) >= _MOST_TRACK_BYTES
        ):
            yield from self._end(channel)
            track = None
        if track is None:
            track = self._tracks[channel] = _Track(vector.shape, vector.kind, self._index, now, time)
        track.raw += vector.raw if valid else vector.shape.no_value
        track.count += 1
        track.latest, track.latest_at, track.latest_time = vector.raw, now, time
        track.valid, track.kind = valid, vector.kind

    def _end(self, channel: str) -> Iterator[Record]:
        track = self._tracks.pop(channel)
        rate = self._rate
        if rate is None or track.latest_at is None:  # a track begins with a message of a fast stream
            return
        shape, width = track.shape, len(track.shape.elements)
        values = shape.values(track.raw)
        for place, (name, unit, least_exponent) in enumerate(shape.elements):
            samples, scale = quantised(values[place::width], least_exponent)
            yield Wave(
                at_ns=track.first.utc_ns,
                device_time=track.first_time,
                code=f"{shape.code}_{name}",
                unit=unit,
                channel=channel,
                rate=rate,
                index=track.index,
                width=4,
                samples=samples,
                scale=scale,
                offset=0.0,
                invalid=NO_SAMPLE,
            )
        yield from self._show(channel, shape, track.latest, track.kind, track.valid, track.latest_at, track.latest_time)

    def _show(
        self, channel: str, shape: Shape, raw: bytes, kind: str, valid: bool, at: Now, time: DeviceTime | None
    ) -> Iterator[Numeric]:
        quality = Quality.GOOD if valid and shape.whole(raw) else Quality.INVALID
        numeric = Numeric(
            at_ns=at.utc_ns,
            device_time=time,
            quality=quality,
            code=shape.code,
            value=shape.text(raw),
            unit=shape.unit,
            device_code=f"{self._type} {kind}".strip(),
            channel=channel,
        )
        yield from self._shown.show(self._slot(channel), numeric)
