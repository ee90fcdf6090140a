"""What the monitor says of how it measures: the mode of a measurement, and a remark beside its label."""

from __future__ import annotations

import struct
from collections import OrderedDict
from typing import Final

from drivers.contract import Now
from drivers.intellivue.names import OBJECTS, code_name, device_code
from drivers.intellivue.objects import Attribute, Metric, MetricStore
from drivers.intellivue.rose import Observation, PollReply
from drivers.intellivue.values import text, unpack
from ledger.records import DeviceTime, Quality, Setting

MAX_DESCRIPTIONS: Final = 1_024
_U16 = struct.Struct(">H")
_MODES: Final = (
    (0x0400, "CO2 sidestream"),
    (0x0200, "ECG paced"),
    (0x0100, "ECG not paced"),
    (0x0080, "ECG diagnostic"),
    (0x0040, "ECG monitoring"),
    (0x0020, "ECG filter"),
    (0x0008, "ECG derived (EASI)"),
    (0x0004, "ECG primary lead"),
)


class DescriptionTracker:
    """The last description of each object. Bounded by ``MAX_DESCRIPTIONS``, oldest out first."""

    __slots__ = ("_last", "_metrics")

    def __init__(self, metrics: MetricStore) -> None:
        self._metrics = metrics
        self._last: OrderedDict[tuple[int, ...], str] = OrderedDict()

    def tell_again(self) -> None:
        """Another case: descriptions are told as they come."""
        self._last.clear()

    def update(
        self, reply: PollReply, observation: Observation, time: DeviceTime, mode: Quality, now: Now
    ) -> list[Setting]:
        """Settings that are new. Raises DeviceFault ``intellivue.bad-message``."""
        told = dict(observation.attributes)
        described = {attribute: told[attribute] for attribute in _WORDS if attribute in told}
        if not described:
            return []
        key = (reply.object_class, observation.context, observation.handle)
        metric = self._metrics.known(key, told)
        settings = []
        for attribute, value in described.items():
            words = _WORDS[attribute](value)
            place = (*key, metric.text_id, attribute)
            before = self._last.pop(place, "")
            self._last[place] = words
            if len(self._last) > MAX_DESCRIPTIONS:
                self._last.popitem(last=False)
            if words != before:
                settings.append(_setting(metric, attribute, words, time, mode, now))
        return settings


def _mode_words(value: bytes) -> str:
    (mode,) = unpack(_U16, value, "a measure mode")
    known = sum(bit for bit, _ in _MODES)
    rest = [f"{mode & ~known:04X}"] if mode & ~known else []
    return ", ".join([word for bit, word in _MODES if mode & bit] + rest)


_WORDS: Final = {Attribute.MEASURE_MODE: _mode_words, Attribute.INFO_LABEL_STRING: text}


def _setting(metric: Metric, attribute: Attribute, words: str, time: DeviceTime, mode: Quality, now: Now) -> Setting:
    return Setting(
        at_ns=now.utc_ns,
        device_time=time,
        quality=mode,
        code=code_name(OBJECTS, int(attribute)),
        value=words,
        unit="",
        device_code=device_code(OBJECTS, int(attribute), metric.label),
        channel=metric.label or f"{metric.text_id:08X}",
    )
