"""The structure of a device message: patients, orders, observations, and the containment tree that OBX-4 spells.

Source: IHE PCD TF vol. 2, appendix B.7 (OBR) and B.8 (OBX; OBX-4 is "mds.vmd.chan.metric[.facet]"); HL7 v2.9 chapter 7.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

from drivers.hl7v2 import datatypes, er7
from drivers.hl7v2.datatypes import Coded
from drivers.hl7v2.er7 import Delimiters, Message, Segment
from ledger.records import Quality

_OBX_8 = {
    "INV": Quality.INVALID,
    "QUES": Quality.QUESTIONABLE,
    "NAV": Quality.UNAVAILABLE,
    "NI": Quality.UNAVAILABLE,
    "OFF": Quality.UNAVAILABLE,
    "CAL": Quality.CALIBRATING,
    "TEST": Quality.TEST,
    "DEMO": Quality.DEMO,
    "EARLY": Quality.EARLY,
    "BUSY": Quality.ONGOING,
    ">": Quality.OVER_RANGE,
    "<": Quality.UNDER_RANGE,
}
_OBX_11 = {
    "": Quality.GOOD,
    "R": Quality.GOOD,  # as measured, not validated: what IHE asks of devices
    "F": Quality.VALIDATED,
    "U": Quality.VALIDATED,
    "V": Quality.VALIDATED,
    "B": Quality.GOOD,
    "C": Quality.GOOD,
    "A": Quality.EARLY,
    "P": Quality.EARLY,
    "S": Quality.EARLY,
    "D": Quality.INVALID,
    "W": Quality.INVALID,
    "I": Quality.UNAVAILABLE,
    "N": Quality.UNAVAILABLE,
    "O": Quality.UNAVAILABLE,
}
_PATH = re.compile(r"\d{1,9}(?:\.\d{1,9}){0,7}", re.ASCII)
_MAX_PATH = 100
_SCREEN_ALERT = "MDIL-ALERT"
_WAVEFORM_PARTS = frozenset({"CHN", "TIM", "WAV", "ANO"})


@dataclass(frozen=True, slots=True)
class Equipment:
    """OBX-18, one EI: entity id, namespace, universal id and its type."""

    entity: str
    namespace: str
    universal: str
    universal_type: str

    @property
    def serial(self) -> str:
        return self.entity or self.universal


@dataclass(frozen=True, slots=True)
class Obx:
    """One OBX. ``path`` is OBX-4 as numbers, empty if it is not of that form; ``flags`` are the words of OBX-8."""

    segment: Segment
    marks: Delimiters
    code: Coded
    path: tuple[int, ...]

    @property
    def type(self) -> str:
        return self.segment.get(2).strip().upper()

    @property
    def value_raw(self) -> str:
        value = self.segment.get(5)
        return "" if value == datatypes.HL7_NULL else value

    @property
    def flags(self) -> tuple[str, ...]:
        return tuple(flag.strip().upper() for flag in er7.repetitions(self.segment.get(8), self.marks))

    @property
    def quality(self) -> Quality:
        """OBX-8 and OBX-11 together, per IHE PCD TF-2 table B.8-4."""
        quality = Quality.GOOD
        for flag in self.flags:
            quality |= _OBX_8.get(flag, Quality.GOOD)
        status = self.segment.get(11).strip().upper().replace(datatypes.HL7_NULL, "")
        if status == "X":  # "cannot be obtained"; some monitors mark every value so
            said = quality & ~(Quality.TEST | Quality.DEMO)
            absent = Quality.QUESTIONABLE if self.value_raw else Quality.UNAVAILABLE
            return quality if said else quality | absent
        return quality | _OBX_11.get(status, Quality.QUESTIONABLE)

    @property
    def is_screen_alert(self) -> bool:
        """A line of Philips' alert display: OBX-3 is its class ("2^Yellow Alarm^MDIL-ALERT"), OBX-5 what it says."""
        sent = self.segment.get(3)
        return _SCREEN_ALERT in sent and er7.component(sent, 3, self.marks) == _SCREEN_ALERT

    @property
    def waveform_part(self) -> str:
        """CHN, TIM, WAV or ANO where OBX-3 ends its code with it (HL7 chapter 7, waveform results); else empty."""
        sent = self.segment.get(3)
        if not self.marks.subcomponent or self.marks.subcomponent not in sent:
            return ""
        first = er7.subcomponents(sent.split(self.marks.component, 1)[0], self.marks)
        return first[1] if len(first) > 1 and first[1] in _WAVEFORM_PARTS else ""

    @property
    def is_device(self) -> bool:
        """An MDS, VMD or channel: it describes the equipment, it measures nothing."""
        if self.type and self.value_raw:
            return False
        if len(self.path) >= 4 and self.path[-1] == 0:
            return True
        return self.code.code.startswith("MDC_DEV_")

    @property
    def equipment(self) -> Equipment | None:
        parts = [*er7.components(self.segment.get(18), self.marks), "", "", "", ""][:4]
        return Equipment(*parts) if parts[0] or parts[2] else None

    @property
    def observed_raw(self) -> str:
        return self.segment.get(14).strip()


@dataclass(slots=True)
class Order:
    """An OBR with its OBX; ``obr`` None where OBX came without one."""

    obr: Segment | None = None
    observations: list[Obx] = field(default_factory=list)

    def is_alert(self, marks: Delimiters) -> bool:
        """OBR-4 says MDC_EVT_ALARM: an alert, whatever the message's type."""
        return self.obr is not None and datatypes.coded(self.obr.get(4), marks).code == "MDC_EVT_ALARM"


@dataclass(slots=True)
class Patient:
    """One PID / PV1 group; ``location_raw`` is PV1-3 as sent."""

    location_raw: str = ""
    has_visit: bool = False
    orders: list[Order] = field(default_factory=list)


def patients(message: Message) -> list[Patient]:
    """Split a message into patients and their orders; always at least one, so that it can be routed."""
    found = [Patient()]
    for segment in message.segments[1:]:
        current = found[-1]
        begun = current.has_visit or bool(current.orders)
        if segment.name == "PID" and begun:
            found.append(Patient())
        elif segment.name == "PV1":
            if current.has_visit:
                current = Patient()
                found.append(current)
            current.has_visit = True
            current.location_raw = segment.get(3)
        elif segment.name == "OBR":
            current.orders.append(Order(segment))
        elif segment.name == "OBX":
            if not current.orders:
                current.orders.append(Order())
            current.orders[-1].observations.append(_obx(segment, message.delimiters))
    return found


def _obx(segment: Segment, marks: Delimiters) -> Obx:
    return Obx(segment, marks, datatypes.coded(segment.get(3), marks), path_of(segment.get(4)))


def path_of(raw: str) -> tuple[int, ...]:
    """OBX-4 as numbers, at most 8 of at most 9 digits; empty if it is not of that form."""
    return _path_of(raw) if len(raw) <= _MAX_PATH else ()


@lru_cache(maxsize=4_096)
def _path_of(raw: str) -> tuple[int, ...]:
    text = raw.strip()  # int() takes less for white space than strip() does
    return tuple(map(int, text.split("."))) if _PATH.fullmatch(text) else ()


class Containment:
    """The device tree of one order: names the place of a metric by what contains it.

    The numbers of OBX-4 hold within one message only (B.8.5), so a place is named by reference ids where the message
    describes its devices ("ECG_VMD/ECG_CHAN"), and by the numbers where it does not. Two of a kind in one
    message get their number ("PUMP_INFUS_VMD#2"). A bed has many pumps and each numbers itself alike: a pump's
    places begin with its OBX-18 id.
    """

    __slots__ = ("_devices", "_twins")

    def __init__(self, order: Order) -> None:
        self._devices: dict[tuple[int, ...], Obx] = {}
        for obx in order.observations:
            if obx.is_device:
                self._devices[_trimmed(obx.path)] = obx
        seen: dict[tuple[tuple[int, ...], str], int] = {}
        for path, obx in self._devices.items():
            key = (path[:-1], obx.code.code)
            seen[key] = seen.get(key, 0) + 1
        self._twins = {key for key, count in seen.items() if count > 1}

    def channel(self, obx: Obx) -> str:
        """Where a metric is, without the metric itself; empty if the message does not say. An OBX-4 that is no path
        is taken as it is: it tells two observations of one code apart.
        """
        path = _trimmed(obx.path)
        named = [self._name(path[:depth]) for depth in range(2, min(len(path), 4))]
        place = "/".join(name for name in named if name) or ".".join(map(str, _trimmed(path[:3])))
        if not obx.path:
            place = er7.unescape(obx.segment.get(4), obx.marks).replace(datatypes.HL7_NULL, "").strip()
        mds = self._devices.get(path[:1]) or self._devices.get(())
        if mds is not None and "PUMP" in mds.code.code:
            equipment = mds.equipment or obx.equipment
            if equipment is not None:
                return "/".join(part for part in (equipment.serial, place) if part)
        return place

    def _name(self, path: tuple[int, ...]) -> str:
        device = self._devices.get(path)
        if device is None:
            return ""
        name = device.code.code.removeprefix("MDC_DEV_")
        return f"{name}#{path[-1]}" if (path[:-1], device.code.code) in self._twins else name

    def equipment(self, obx: Obx) -> tuple[Equipment, str] | None:
        """The equipment that made an observation, and the reference id of its MDS ("" if not described)."""
        mds = self._devices.get(obx.path[:1]) or self._devices.get(())
        equipment = (mds.equipment if mds is not None else None) or obx.equipment
        return None if equipment is None else (equipment, mds.code.code if mds is not None else "")


def _trimmed(path: tuple[int, ...]) -> tuple[int, ...]:
    while path and path[-1] == 0:
        path = path[:-1]
    return path
