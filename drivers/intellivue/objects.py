"""What the monitor has told of each object: label, partition, scale and so on. It comes seldom and is remembered.

In an extended poll of all groups the context of one object comes about every second, the values of all each time.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

from drivers.intellivue.names import SCADA
from drivers.intellivue.values import entries, text, unpack
from ledger.limits import S_NS

MAX_OBJECTS: Final = 1_024
"""A monitor says that it has some 200 numerics and 60 waves at most."""

_MAX_PER_HANDLE: Final = 64

_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")
_TYPE = struct.Struct(">HH")
_METRIC = struct.Struct(">IHHBBH")
_SAMPLES = struct.Struct(">HBBH")
_SCALE = struct.Struct(">IIHH")
_METRIC_OFF = 0x8000
_SETTING_CATEGORIES = frozenset({3, 4, 130})  # automatic setting, manual setting, alarm limit


class Attribute(IntEnum):
    """Attribute ids (partition 1) that are read."""

    P_ALARMS = 0x0902
    T_ALARMS = 0x0904
    ALERT_CONDITION = 0x0916
    BED_LABEL = 0x091E
    LABEL = 0x0924
    LABEL_STRING = 0x0927
    MODEL = 0x0928
    PRODUCTION = 0x092D
    TYPE = 0x092F
    INFO_LABEL_STRING = 0x093D
    METRIC_SPECIFICATION = 0x093F
    METRIC_STATE = 0x0940
    MEASURE_MODE = 0x0945
    OPERATING_MODE = 0x0946
    COMPOUND_NUMERIC = 0x094B
    NUMERIC = 0x0950
    CALIBRATION = 0x0964
    COMPOUND_SAMPLES = 0x0967
    SAMPLE_SPECIFICATION = 0x096D
    SAMPLES = 0x096E
    SCALE = 0x096F
    SYSTEM_ID = 0x0984
    DATE_TIME = 0x0987
    SAMPLE_PERIOD = 0x098D
    RELATIVE_TIME = 0x098F
    ABSOLUTE_STAMP = 0x0990
    RELATIVE_STAMP = 0x0991
    UNIT = 0x0996
    ENUMERATION = 0x099E
    FIXED_VALUES = 0x0A16
    WAVE_PRIORITY = 0xF23A


@dataclass(frozen=True, slots=True)
class Scale:
    """Two points of a line: FLOATs and the samples that mean them."""

    lower: int
    upper: int
    lower_scaled: int
    upper_scaled: int


@dataclass(frozen=True, slots=True)
class Metric:
    """Context of one numeric, wave or enumeration; what was never told has its default."""

    partition: int = SCADA
    text_id: int = 0
    label: str = ""
    is_setting: bool = False
    is_off: bool = False
    unit: int = 0
    period_ticks: int = 0
    sample_bits: int = 16
    significant_bits: int = 16
    sample_flags: int = 0
    scale: Scale | None = None
    calibration: Scale | None = None
    fixed_values: tuple[tuple[int, int], ...] = ()


UNLABELLED_GONE_NS: Final = 10 * S_NS
"""An object of which nothing came for so long leaves its code to another one."""


class MetricStore:
    """The newest context by (class, context, handle); what was heard of longest ago makes room.

    ECG waves share one handle and differ by physiological id: context that comes with a wave's samples is that wave's,
    context that comes alone is that of the wave its label names, or without a label of all.
    """

    __slots__ = ("_families", "_unlabelled")

    def __init__(self) -> None:
        self._families: OrderedDict[tuple[int, int, int], dict[int | None, Metric]] = OrderedDict()
        self._unlabelled: OrderedDict[tuple[int, str], tuple[tuple[int, int, int], int]] = OrderedDict()

    def clear(self) -> None:
        """Forget everything: handles may mean other objects now."""
        self._families.clear()
        self._unlabelled.clear()

    def unlabelled(self, key: tuple[int, int, int], code: str, mono_ns: int) -> str:
        """The channel of an object whose label was not told: its handle, while another one has this code, else none."""
        owner = (key[0], code)
        first, heard_ns = self._unlabelled.get(owner, (key, mono_ns))
        if first != key and mono_ns - heard_ns < UNLABELLED_GONE_NS:
            return f"object {key[2]:04X}"
        self._unlabelled[owner] = (key, mono_ns)
        self._unlabelled.move_to_end(owner)
        if len(self._unlabelled) > MAX_OBJECTS:
            self._unlabelled.popitem(last=False)
        return ""

    def known(self, key: tuple[int, int, int], told: dict[int, bytes]) -> Metric:
        """What is known of an object, with what ``told`` says of it. Raises DeviceFault ``intellivue.bad-message``."""
        return _with(self._families.get(key, {}).get(None) or Metric(), told)

    def learn(self, key: tuple[int, int, int], physio_id: int | None, told: dict[int, bytes]) -> Metric:
        """Take in what attributes tell of an object. Raises DeviceFault ``intellivue.bad-message``."""
        family = self._families.setdefault(key, {})
        self._families.move_to_end(key)
        if len(self._families) > MAX_OBJECTS:
            self._families.popitem(last=False)
        if physio_id is None:
            return _learn_alone(family, told)
        metric = _with(family.get(physio_id) or _inherited(family, physio_id), told)
        if len(family) >= _MAX_PER_HANDLE and physio_id not in family:
            family.clear()
        family[physio_id] = metric
        family.setdefault(None, metric)
        return metric


def _learn_alone(family: dict[int | None, Metric], told: dict[int, bytes]) -> Metric:
    """Context without samples of one wave."""
    metric = family[None] = _with(family.get(None) or Metric(), told)
    if Attribute.COMPOUND_SAMPLES in told:
        return metric  # a wave of the compound may come alone as well, with a context of its own
    if Attribute.LABEL in told:
        labelled = metric.text_id & 0xFFFF
        if labelled in family or len(family) < _MAX_PER_HANDLE:
            family[labelled] = _with(family.get(labelled) or metric, told)
    else:
        family.update({other: _with(known, told) for other, known in family.items() if other is not None})
    return metric


def _inherited(family: dict[int | None, Metric], physio_id: int) -> Metric:
    """What is known of a wave's handle, but not the label of another wave of it.

    Labels of the nomenclature are the waves' own ids; others, such as that of the right hand's pleth, are not.
    """
    known = family.get(None) or Metric()
    is_others = known.text_id >> 16 == SCADA and known.text_id & 0xFFFF != physio_id
    return replace(known, text_id=0, label="") if is_others else known


def _with(metric: Metric, told: dict[int, bytes]) -> Metric:
    for attribute, value in told.items():
        reader = _READERS.get(attribute)
        if reader is not None:
            metric = reader(metric, value)
    return metric


def _scale(value: bytes, what: str) -> Scale:
    return Scale(*unpack(_SCALE, value, what))


def _type(metric: Metric, value: bytes) -> Metric:
    return replace(metric, partition=unpack(_TYPE, value, "a type")[0])


def _label(metric: Metric, value: bytes) -> Metric:
    return replace(metric, text_id=unpack(_U32, value, "a label")[0])


def _specification(metric: Metric, value: bytes) -> Metric:
    category = unpack(_METRIC, value, "a metric specification")[1]
    return replace(metric, is_setting=category in _SETTING_CATEGORIES)


def _samples(metric: Metric, value: bytes) -> Metric:
    _, sample_bits, significant_bits, flags = unpack(_SAMPLES, value, "a sample array specification")
    return replace(metric, sample_bits=sample_bits, significant_bits=significant_bits, sample_flags=flags)


def _fixed_values(metric: Metric, value: bytes) -> Metric:
    pairs = [_TYPE.unpack_from(value, at) for at in entries(value, _TYPE.size, "a fixed value specification")]
    return replace(metric, fixed_values=tuple((identifier, mask) for identifier, mask in pairs))


_READERS: Final[dict[int, Callable[[Metric, bytes], Metric]]] = {
    Attribute.TYPE: _type,
    Attribute.LABEL: _label,
    Attribute.LABEL_STRING: lambda metric, value: replace(metric, label=text(value)),
    Attribute.METRIC_SPECIFICATION: _specification,
    Attribute.METRIC_STATE: lambda metric, value: replace(
        metric, is_off=bool(unpack(_U16, value, "a metric state")[0] & _METRIC_OFF)
    ),
    Attribute.UNIT: lambda metric, value: replace(metric, unit=unpack(_U16, value, "a unit")[0]),
    Attribute.SAMPLE_PERIOD: lambda metric, value: replace(metric, period_ticks=unpack(_U32, value, "a period")[0]),
    Attribute.SAMPLE_SPECIFICATION: _samples,
    Attribute.SCALE: lambda metric, value: replace(metric, scale=_scale(value, "a scale")),
    Attribute.CALIBRATION: lambda metric, value: replace(metric, calibration=_scale(value, "a calibration")),
    Attribute.FIXED_VALUES: _fixed_values,
}
