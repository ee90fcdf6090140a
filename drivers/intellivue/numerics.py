"""Numeric and enumeration objects into values.

A value is recorded every time it comes; a value of none only when it becomes so, or its reason changes. An object that
is no longer in the monitor's answers leaves one UNAVAILABLE for each of its values.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from drivers.contract import Now
from drivers.intellivue.clock import MonitorClock
from drivers.intellivue.names import channel, code_name, device_code, unit_name
from drivers.intellivue.objects import Attribute, Metric, MetricStore
from drivers.intellivue.rose import Observation, PollReply
from drivers.intellivue.values import absolute_time_ns, bad, entries, float_value, joined, state_quality, unpack
from ledger.limits import S_NS
from ledger.records import DeviceTime, Numeric, Quality, Setting

_OBSERVED = struct.Struct(">HHHI")
_ENUMERATED = struct.Struct(">HHHH")
_ENUMERATED_VALUE = struct.Struct(">HIH")
_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")
_OBJECT_ID, _OBJECT_ID_AND_VALUE = 1, 4

MAX_VALUES: Final = 4_096
OLD_NS: Final = 60 * S_NS
"""A spot measurement of longer ago is old however often the monitor repeats it."""
GONE_NS: Final = 10 * S_NS
"""An object is gone when it was in no answer for so long, though answers came."""

Value = Decimal | str | None


@dataclass(slots=True)
class _Track:
    """The last of one value that was recorded, when it was in an answer, and when the monitor says it was measured."""

    numeric: Numeric
    heard_mono_ns: int
    stamp: bytes | None


class NumericsDecoder:
    """Remembers what was recorded last of each value; bounded by ``MAX_VALUES``, oldest out first."""

    __slots__ = ("_metrics", "_tracks")

    def __init__(self, metrics: MetricStore) -> None:
        self._metrics = metrics
        self._tracks: OrderedDict[tuple[int, ...], _Track] = OrderedDict()

    def decode(
        self, reply: PollReply, observation: Observation, clock: MonitorClock, mode: Quality, now: Now
    ) -> list[Numeric]:
        """Records of one object. ``mode``: DEMO or TEST when the whole monitor is. Raises DeviceFault."""
        told = dict(observation.attributes)
        key = (reply.object_class, observation.context, observation.handle)
        metric = self._metrics.learn(key, None, told)
        time, old = _time(told, reply.ticks, clock)
        stamp = told.get(Attribute.ABSOLUTE_STAMP) or told.get(Attribute.RELATIVE_STAMP)
        whole = joined(mode, Quality.STALE if old else Quality.GOOD)
        records: list[Numeric] = []
        for physio_id, value, unit, quality, more in _observed(told, metric):
            numeric = _numeric(metric, physio_id, value, unit, joined(quality, whole), more, time, now)
            if not metric.text_id and (apart := self._metrics.unlabelled(key, numeric.code, now.mono_ns)):
                numeric = replace(numeric, channel=f"{numeric.channel} {apart}".lstrip())
            records += self._report((*key, physio_id), numeric, stamp, now)
        return records

    def withdraw(self, object_class: int, now: Now) -> list[Numeric]:
        """One UNAVAILABLE for each value of this class in no answer for ``GONE_NS``; call when answers come."""
        late_ns = now.mono_ns - GONE_NS
        gone = [key for key, track in self._tracks.items() if key[0] == object_class and track.heard_mono_ns < late_ns]
        if not gone:
            return []
        ended = [self._tracks.pop(key).numeric for key in gone]
        # After a restart the same value may come from an object of another handle.
        alive = {_identity(track.numeric) for track in self._tracks.values()}
        return [none for numeric in ended if _identity(numeric) not in alive for none in _withdrawn(numeric, now)]

    def silent(self, now: Now) -> list[Numeric]:
        """No answers come: one UNAVAILABLE for each value."""
        tracks = list(self._tracks.values())
        self._tracks.clear()
        return [none for track in tracks for none in _withdrawn(track.numeric, now)]

    def tell_again(self) -> None:
        """Values are told every time they come."""

    def resume(self, now: Now) -> None:
        """Answers come again after none did: give each object its time to come."""
        for track in self._tracks.values():
            track.heard_mono_ns = now.mono_ns

    def _report(self, key: tuple[int, ...], numeric: Numeric, stamp: bytes | None, now: Now) -> Iterator[Numeric]:
        track = self._tracks.get(key)
        if track is None:
            self._tracks[key] = _Track(numeric, now.mono_ns, stamp)
            if len(self._tracks) > MAX_VALUES:
                self._tracks.popitem(last=False)
            yield numeric
            return
        before, track.heard_mono_ns = track.numeric, now.mono_ns
        repeated, track.stamp = stamp is not None and track.stamp == stamp, stamp
        if repeated and numeric.value is not None and not numeric.quality & Quality.STALE:
            numeric = replace(numeric, quality=numeric.quality | Quality.STALE)
        if _identity(before) != _identity(numeric):
            yield from _withdrawn(before, now)
        elif numeric.value is None and (before.value, before.quality) == (None, numeric.quality):
            return
        track.numeric = numeric
        yield numeric


def _observed(told: dict[int, bytes], metric: Metric) -> Iterator[tuple[int, Value, str, Quality, str]]:
    """(physiological id, value, unit, quality, further channel) of each value there is."""
    if Attribute.NUMERIC in told:
        yield _one(told[Attribute.NUMERIC], 0)
    if Attribute.COMPOUND_NUMERIC in told:
        compound = told[Attribute.COMPOUND_NUMERIC]
        for at in entries(compound, _OBSERVED.size, "a compound numeric"):
            yield _one(compound, at)
    if Attribute.ENUMERATION in told:
        yield _enumerated(told[Attribute.ENUMERATION], metric.partition)


def _one(value: bytes, at: int) -> tuple[int, Value, str, Quality, str]:
    physio_id, state, unit, raw = unpack(_OBSERVED, value, "a numeric", at)
    number, special = float_value(raw)
    return physio_id, number, unit_name(unit), joined(state_quality(state), special), ""


def _enumerated(value: bytes, partition: int) -> tuple[int, Value, str, Quality, str]:
    physio_id, state, choice, _ = unpack(_ENUMERATED, value, "an enumeration")
    quality, at = state_quality(state), _ENUMERATED.size
    if choice == _OBJECT_ID:
        (identifier,) = unpack(_U16, value, "an enumeration", at)
        return physio_id, code_name(partition, identifier), "", quality, ""
    if choice == _OBJECT_ID_AND_VALUE:
        identifier, raw, unit = unpack(_ENUMERATED_VALUE, value, "an enumeration", at)
        number, special = float_value(raw)
        return physio_id, number, unit_name(unit), quality | special, code_name(partition, identifier)
    raise bad(f"choice {choice} of an enumeration is unknown")


def _time(told: dict[int, bytes], ticks: int, clock: MonitorClock) -> tuple[DeviceTime | None, bool]:
    """When it was measured by the monitor, and whether that is long ago. Its own stamp, else the answer's."""
    answered = clock.at(ticks)
    if Attribute.ABSOLUTE_STAMP in told:
        date_ns = absolute_time_ns(told[Attribute.ABSOLUTE_STAMP])
        if date_ns is None:
            return None, False
        return DeviceTime(date_ns, "local", S_NS), answered.kind == "local" and answered.value_ns - date_ns > OLD_NS
    if Attribute.RELATIVE_STAMP in told:
        measured = clock.at(unpack(_U32, told[Attribute.RELATIVE_STAMP], "a time stamp")[0])
        return measured, answered.value_ns - measured.value_ns > OLD_NS
    return answered, False


def _numeric(
    metric: Metric,
    physio_id: int,
    value: Value,
    unit: str,
    quality: Quality,
    more: str,
    time: DeviceTime | None,
    now: Now,
) -> Numeric:
    if metric.is_off and value is None:
        quality |= Quality.UNAVAILABLE
    names = [name for name in (channel(metric.partition, physio_id, metric.text_id, metric.label), more) if name]
    kind = Setting if metric.is_setting else Numeric
    return kind(
        at_ns=now.utc_ns,
        device_time=time,
        quality=quality,
        code=code_name(metric.partition, physio_id),
        value=value,
        unit=unit,
        device_code=device_code(metric.partition, physio_id, metric.label),
        channel=" ".join(names),
    )


def _identity(numeric: Numeric) -> tuple[str, str, str, bool]:
    return numeric.code, numeric.channel, numeric.device_code, isinstance(numeric, Setting)


def _withdrawn(before: Numeric, now: Now) -> Iterator[Numeric]:
    if before.value is not None or not before.quality & Quality.UNAVAILABLE:
        mode = before.quality & (Quality.TEST | Quality.DEMO)
        quality = Quality.UNAVAILABLE | mode
        yield replace(before, at_ns=now.utc_ns, device_time=None, quality=quality, value=None)
