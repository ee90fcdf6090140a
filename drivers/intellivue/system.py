"""The monitor as a whole (its MDS): who it is, its operating mode, its two clocks."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import Final

from drivers.contract import Now
from drivers.intellivue.names import OBJECTS, code_name
from drivers.intellivue.objects import Attribute
from drivers.intellivue.values import absolute_time_ns, label_text, text, unpack
from ledger.records import DeviceTime, Event, Identity, Quality

_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")
_LIST = struct.Struct(">HH")
_PRODUCTION = struct.Struct(">HHH")
_SERIAL_NUMBER, _SOFTWARE, _FIRMWARE = 1, 4, 5
_OF_PRODUCT = 0x0008
_MAX_TEXT = 200

MONITORING, DEMO, SERVICE = 0x4000, 0x2000, 0x1000
_MODES: Final = (
    (MONITORING, "monitoring"),
    (DEMO, "demo"),
    (SERVICE, "service"),
    (0x0002, "standby"),
    (0x0001, "configuration"),
    (0x8000, "unspecified"),
)


@dataclass(frozen=True, slots=True)
class _Who:
    make: str = ""
    model: str = ""
    serial: str = ""
    software: str = ""
    system_id: str = ""
    bed: str = ""


class SystemDecoder:
    """Remembers who the monitor is and how it runs, and tells what changed."""

    __slots__ = ("_mode", "_untold", "_who")

    def __init__(self) -> None:
        self._who = _Who()
        self._mode: int | None = None
        self._untold = False

    @property
    def quality(self) -> Quality:
        """What the operating mode makes of every value: DEMO, or TEST in service mode."""
        mode = self._mode or 0
        quality = Quality.DEMO if mode & DEMO else Quality.GOOD
        return quality | Quality.TEST if mode & SERVICE else quality

    def identify(self, told: dict[int, bytes], now: Now) -> Identity | None:
        """The identity, when these attributes make it another one. Raises DeviceFault ``intellivue.bad-message``."""
        who = self._who
        if Attribute.MODEL in told:
            make, model = _model(told[Attribute.MODEL])
            who = replace(who, make=make, model=model)
        if Attribute.PRODUCTION in told:
            serial, software = _production(told[Attribute.PRODUCTION])
            who = replace(who, serial=serial, software=software)
        if Attribute.SYSTEM_ID in told:
            value = told[Attribute.SYSTEM_ID]
            length = int.from_bytes(value[:2], "big")
            who = replace(who, system_id=value[2 : 2 + min(length, _MAX_TEXT)].hex())
        if Attribute.BED_LABEL in told:
            who = replace(who, bed=text(told[Attribute.BED_LABEL])[:_MAX_TEXT])
        if who == self._who:
            return None
        self._who = who
        protocol = "Data Export" + (f", system id {who.system_id}" if who.system_id else "")
        return Identity(
            at_ns=now.utc_ns,
            make=who.make,
            model=who.model,
            serial=who.serial,
            software=who.software,
            protocol=protocol,
            position=who.bed,
        )

    def tell_again(self) -> None:
        """Another case: the operating mode is told though it is the same; values go on being of it."""
        self._untold = True

    def mode_event(self, told: dict[int, bytes], time: DeviceTime | None, now: Now) -> Event | None:
        """The operating mode, when it is another one. Raises DeviceFault ``intellivue.bad-message``."""
        if Attribute.OPERATING_MODE not in told:
            return None
        (mode,) = unpack(_U16, told[Attribute.OPERATING_MODE], "an operating mode")
        if mode == self._mode and not self._untold:
            return None
        self._mode, self._untold = mode, False
        return Event(
            at_ns=now.utc_ns,
            device_time=time,
            kind="mode",  # of good quality even in demo mode: that the monitor demonstrates is no demonstration
            alarm_id="operating-mode",
            phase="change",
            priority="none",
            code=code_name(OBJECTS, int(Attribute.OPERATING_MODE)),
            text=", ".join(word for bit, word in _MODES if mode & bit),
            device_code=f"{mode:04X}",
        )


def clocks(told: dict[int, bytes], ticks: int) -> tuple[int, int] | None:
    """(ticks, date as if UTC in ns) that belong together; None if there is no date. ``ticks``: of the message."""
    date = told.get(Attribute.DATE_TIME)
    date_ns = absolute_time_ns(date) if date is not None else None
    if date_ns is None:
        return None
    relative = told.get(Attribute.RELATIVE_TIME)
    return (unpack(_U32, relative, "a relative time")[0] if relative is not None else ticks), date_ns


def _model(value: bytes) -> tuple[str, str]:
    parts = []
    at = 0
    for _ in range(2):
        (length,) = unpack(_U16, value, "a system model", at)
        at += _U16.size
        parts.append(label_text(value[at : at + length])[:_MAX_TEXT])
        at += length
    return parts[0], parts[1]


def _production(value: bytes) -> tuple[str, str]:
    """Serial number of the product (or of whatever has one), and the software and firmware revisions."""
    count, _ = unpack(_LIST, value, "a production specification")
    at = _LIST.size
    serials: dict[bool, str] = {}
    revisions: list[str] = []
    for _ in range(count):
        if at + _PRODUCTION.size > len(value):
            break
        kind, component, length = _PRODUCTION.unpack_from(value, at)
        at += _PRODUCTION.size
        words = label_text(value[at : at + length])
        at += length
        if not words.strip("-"):
            continue  # dashes stand for a revision that is not there
        if kind == _SERIAL_NUMBER:
            serials.setdefault(component == _OF_PRODUCT, words)
        elif kind in (_SOFTWARE, _FIRMWARE) and words not in revisions:
            revisions.append(words)
    serial = serials.get(True) or serials.get(False, "")
    return serial[:_MAX_TEXT], ", ".join(revisions)[:_MAX_TEXT]
