"""Physiological subrecords into numerics: values, what has no value and why, and what is old.

A module that is switched off or pulled leaves one UNAVAILABLE for each of its values, and then silence.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import partial

from drivers.contract import Now
from drivers.ge_dri.fields import CLASSES, PHYSIOLOGICAL_BYTES, Field, Group
from drivers.ge_dri.labels import Named, name_field
from drivers.shown_values import ShownValues
from ledger.errors import DeviceFault
from ledger.limits import S_NS
from ledger.records import DeviceTime, Event, Numeric, Quality, Record

DISPLAYED = 1
AUXILIARY = 4

_STATUS = struct.Struct("<IH")
_I16 = struct.Struct("<h")
_TAIL = struct.Struct("<BBH")
_TAIL_OFFSET = 274
_AUX = struct.Struct("<IhIIh")
_ACTIVE = 0b11  # exists and active

_NO_VALUE_FROM = -32001
_NO_VALUE = {
    -32767: Quality.UNAVAILABLE,  # invalid
    -32766: Quality.UNAVAILABLE,  # not updated
    -32765: Quality.INVALID,  # discontinuity
    -32764: Quality.UNDER_RANGE,
    -32763: Quality.OVER_RANGE,
    -32762: Quality.CALIBRATING,  # not calibrated
}
_ZEROING = 1 << 2
_NIBP_MEASURING, _NIBP_CALIBRATING, _NIBP_OLD = 1 << 5, 1 << 7, 1 << 8
_CO_OLD, _PCWP_OLD = 1 << 0, 1 << 1
_PTC_NONE, _TOF_MAX = 31, 4


@dataclass(frozen=True, slots=True)
class Aux:
    """When spot measurements were made, by the monitor's clock (0: not told), and the patient's body surface."""

    nibp_time_s: int
    co_time_s: int
    pcwp_time_s: int
    bsa_raw: int


def parse_aux(data: bytes) -> Aux:
    """An auxiliary subrecord. Raises DeviceFault ``ge-dri.bad-record``."""
    if len(data) < _AUX.size:
        raise DeviceFault("ge-dri.bad-record", f"an auxiliary subrecord has only {len(data)} B")
    nibp_time_s, _, co_time_s, pcwp_time_s, bsa_raw = _AUX.unpack_from(data)
    return Aux(nibp_time_s, co_time_s, pcwp_time_s, bsa_raw)


def monitor_time(time_s: int) -> DeviceTime | None:
    """Seconds since 1970 on the monitor's own clock; whoever set that clock knows the zone, so ``local``."""
    return DeviceTime(time_s * S_NS, "local", S_NS) if time_s else None


@dataclass(frozen=True, slots=True)
class _Reading:
    slot: str
    named: Named
    value: Decimal | str | None
    unit: str
    quality: Quality
    device_time: DeviceTime | None


class NumericsDecoder:
    """Remembers, for each field, what was recorded last. Bounded by the number of fields."""

    __slots__ = ("_marker", "_shown")

    def __init__(self) -> None:
        self._shown = ShownValues()
        self._marker: int | None = None

    def silent(self, now: Now) -> Iterator[Numeric]:
        """The monitor fell silent: nothing it showed holds."""
        return self._shown.silent(now)

    def tell_again(self) -> None:
        """Values are told every time they come."""

    def decode(self, data: bytes, aux: Aux | None, now: Now) -> list[Record]:
        """Records of one physiological subrecord. Raises DeviceFault ``ge-dri.bad-record``."""
        if len(data) < PHYSIOLOGICAL_BYTES:
            raise DeviceFault("ge-dri.bad-record", f"a physiological subrecord has only {len(data)} B")
        marker, _, kind = _TAIL.unpack_from(data, _TAIL_OFFSET)
        number = kind >> 8 & 0xF
        if number >= len(CLASSES):
            raise DeviceFault("ge-dri.bad-record", f"physiological class {number} is unknown")
        time_s = int.from_bytes(data[:4], "little")
        records: list[Record] = [*self._marked(marker, time_s, now)]
        for group in CLASSES[number]:
            status, label = _STATUS.unpack_from(data, group.status_offset)
            if status & _ACTIVE == _ACTIVE:
                for reading in _readings(group, data, status, label, _times(group.name, time_s, aux)):
                    records += self._report(reading, now)
            else:
                records += self._shown.withdraw(now.utc_ns, partial(_is_of, group))
        if number == 0 and aux is not None:
            records += self._report(_body_surface(aux), now)
        return records

    def _marked(self, marker: int, time_s: int, now: Now) -> Iterator[Event]:
        before, self._marker = self._marker, marker
        if before is None or marker in (before, 0):
            return  # the number of the last mark set: the first we hear of may be hours old
        yield Event(
            at_ns=now.utc_ns,
            device_time=monitor_time(time_s),
            kind="marker",
            alarm_id=f"marker-{marker}",
            phase="once",
            priority="none",
            code="MDCX_GE_marker",
            device_code=str(marker),
        )

    def _report(self, reading: _Reading, now: Now) -> Iterator[Numeric]:
        named = reading.named
        numeric = Numeric(
            at_ns=now.utc_ns,
            device_time=reading.device_time,
            quality=reading.quality,
            code=named.code,
            value=reading.value,
            unit=reading.unit,
            device_code=named.device_code,
            channel=named.channel,
        )
        return self._shown.show(reading.slot, numeric)


def _is_of(group: Group, slot: str) -> bool:
    return slot.startswith(group.name + ".")


def _times(group: str, time_s: int, aux: Aux | None) -> dict[str, DeviceTime | None]:
    """Device time by field, "" for all others. Spot measurements have the time they were made or none at all."""
    if group == "nibp":
        return {"": monitor_time(aux.nibp_time_s) if aux else None}
    if group == "co_wedge":
        co = monitor_time(aux.co_time_s) if aux else None
        pcwp = monitor_time(aux.pcwp_time_s) if aux else None
        return {"": monitor_time(time_s), "co": co, "ref": co, "pcwp": pcwp}
    return {"": monitor_time(time_s)}


def _readings(
    group: Group, data: bytes, status: int, label: int, times: dict[str, DeviceTime | None]
) -> Iterator[_Reading]:
    for field in group.fields:
        raw: int = _I16.unpack_from(data, field.offset)[0]
        value, quality = _value(raw, field.exponent)
        quality |= _quality(group.name, field.name, status, label)
        named = name_field(group, field, status, label)
        time = times.get(field.name, times[""])
        yield _Reading(f"{group.name}.{field.name}", named, value, field.unit, quality, time)
    if group.name == "nmt":
        yield from _neuromuscular(data, times[""])
    elif group.name == "arrh_ecg":
        yield from _arrhythmia(data, times[""])


def _value(raw: int, exponent: int) -> tuple[Decimal | None, Quality]:
    if raw <= _NO_VALUE_FROM:
        return None, _NO_VALUE.get(raw, Quality.INVALID)
    return Decimal(raw).scaleb(exponent), Quality.GOOD


def _quality(group: str, field: str, status: int, label: int) -> Quality:
    quality = Quality.GOOD
    if group == "nibp":
        quality |= Quality.STALE if label & _NIBP_OLD else Quality.GOOD
        quality |= Quality.ONGOING if label & _NIBP_MEASURING else Quality.GOOD
        quality |= Quality.CALIBRATING if label & _NIBP_CALIBRATING else Quality.GOOD
    elif group == "co_wedge":
        old = _PCWP_OLD if field == "pcwp" else _CO_OLD if field in ("co", "ref") else 0
        quality |= Quality.STALE if label & old else Quality.GOOD
    elif group[0] == "p" and group[1:].isdigit() and status & _ZEROING:
        quality |= Quality.CALIBRATING
    return quality


_PTC = Field("ptc", 228, 0, "1", "MDCX_GE_nmt_ptc")
_TOF = Field("tof_count", 228, 0, "1", "MDCX_GE_nmt_tof_count")
_STIMULUS = Field("stimulus", 228, 0, "mA", "MDCX_GE_nmt_stimulus")
_ARRHYTHMIA = Field("arrh_status", 16, 0, "", "MDCX_GE_arrh_ecg_arrh_status")


def _neuromuscular(data: bytes, time: DeviceTime | None) -> Iterator[_Reading]:
    """One word: bits 0-4 post-tetanic count, 5-8 train-of-four count, 9-15 stimulus in mA."""
    word = int.from_bytes(data[_PTC.offset : _PTC.offset + 2], "little")
    none = word - 0x10000 in _NO_VALUE
    ptc, tof, stimulus = word & 0x1F, word >> 5 & 0xF, word >> 9
    for field, value, known in (
        (_PTC, ptc, ptc != _PTC_NONE),
        (_TOF, tof, tof <= _TOF_MAX),
        (_STIMULUS, stimulus, True),
    ):
        yield _special("nmt", field, None if none or not known else Decimal(value), time)


def _arrhythmia(data: bytes, time: DeviceTime | None) -> Iterator[_Reading]:
    """Bits of a meaning that the specification leaves to the module: kept as eight hex digits."""
    word = int.from_bytes(data[_ARRHYTHMIA.offset : _ARRHYTHMIA.offset + 4], "little")
    yield _special("arrh_ecg", _ARRHYTHMIA, f"{word:08X}", time)


def _body_surface(aux: Aux) -> _Reading:
    value, _ = _value(aux.bsa_raw, -2)
    field = Field("bsa", 14, -2, "m2", "MDC_AREA_BODY_SURF_ACTUAL")
    return _special("aux", field, value or None, None)


def _special(group: str, field: Field, value: Decimal | str | None, time: DeviceTime | None) -> _Reading:
    slot = f"{group}.{field.name}"
    quality = Quality.GOOD if value is not None else Quality.UNAVAILABLE
    return _Reading(slot, Named(field.code, "", slot), value, field.unit, quality, time)
