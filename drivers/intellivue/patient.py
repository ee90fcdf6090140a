"""The patient demographics object: what is measured or chosen becomes settings, who it is becomes operator events.

Settings (age, height, weight …) are part of the room's state, which a restore may hand on as HL7. Who the patient is
(name, number, date of birth, notes) must never get there: as events that happen once it is only in the log, sealed, and
only if the options ask for it.
"""

from __future__ import annotations

import struct
from decimal import Decimal
from typing import Final

from drivers.contract import Now
from drivers.intellivue.names import OBJECTS, code_name, device_code, unit_name
from drivers.intellivue.values import absolute_time_ns, float_value, text, unpack
from ledger.records import DeviceTime, Event, Quality, Record, Setting

_U16 = struct.Struct(">H")
_MEASURE = struct.Struct(">IH")

STATE: Final = 0x0957
_MEASURES: Final = {0x0956: "body surface", 0x09D8: "age", 0x09DC: "height", 0x09DF: "weight"}
_CHOICES: Final[dict[int, tuple[str, dict[int, str]]]] = {
    0x0961: ("sex", {0: "unknown", 1: "male", 2: "female", 9: "unspecified"}),
    0x0962: ("patient type", {0: "unspecified", 1: "adult", 2: "paediatric", 3: "neonatal"}),
    0x0A1E: ("paced mode", {0: "not paced", 1: "paced"}),
}
_STATES: Final = {0: "empty", 1: "pre-admitted", 2: "admitted", 8: "discharged"}
_BIRTH_DATE: Final = 0x0958
_NAMES: Final = {
    STATE: "patient state",
    _BIRTH_DATE: "date of birth",
    0x095A: "patient id",
    0x095C: "family name",
    0x095D: "given name",
    0x095F: "middle name",
    0xF129: "notes 1",
    0xF12A: "notes 2",
}
_HANDLE: Final = 0x0921
_TEXT_BYTES: Final = 4


class PatientDecoder:
    """Tells what changed. Bounded by the number of attributes read."""

    __slots__ = ("_identified", "_last")

    def __init__(self, *, identified: bool) -> None:
        self._identified = identified
        self._last: dict[int, tuple[Decimal | str | None, str]] = {}

    def tell_again(self) -> None:
        """Another case: what the monitor says of its patient is told though it says the same."""
        self._last.clear()

    def update(self, told: dict[int, bytes], time: DeviceTime | None, mode: Quality, now: Now) -> list[Record]:
        """Records of what is new. Raises DeviceFault ``intellivue.bad-message``."""
        records: list[Record] = []
        for attribute, value in told.items():
            if attribute == STATE:
                (state,) = unpack(_U16, value, "a patient state")
                if self._is_new(attribute, _STATES.get(state, str(state)), ""):
                    records.append(_event("mode", attribute, _STATES.get(state, str(state)), time, mode, now))
            elif attribute in _MEASURES:
                raw, unit = unpack(_MEASURE, value, "a patient measure")
                number, special = float_value(raw)
                if self._is_new(attribute, number, unit_name(unit)):
                    records.append(
                        _setting(attribute, _MEASURES[attribute], number, unit_name(unit), special | mode, time, now)
                    )
            elif attribute in _CHOICES:
                name, words = _CHOICES[attribute]
                (choice,) = unpack(_U16, value, "a patient choice")
                word = words.get(choice, str(choice))
                if self._is_new(attribute, word, ""):
                    records.append(_setting(attribute, name, word, "", mode, time, now))
            elif self._identified and attribute != _HANDLE:
                told_text = _date(value) if attribute == _BIRTH_DATE else _words(value)
                if self._is_new(attribute, told_text, ""):
                    records.append(_event("operator", attribute, told_text, time, mode, now))
        return records

    def _is_new(self, attribute: int, value: Decimal | str | None, unit: str) -> bool:
        before, self._last[attribute] = self._last.get(attribute), (value, unit)
        return before != (value, unit) and (before is not None or value not in (None, ""))


def _words(value: bytes) -> str:
    """Text where it is one by its length; other attributes, whose meaning is not public, as hex digits."""
    is_text = len(value) >= _TEXT_BYTES and int.from_bytes(value[:2], "big") == len(value) - 2
    return text(value) if is_text else value.hex()


def _date(value: bytes) -> str:
    return "" if absolute_time_ns(value) is None else f"{value[:2].hex()}-{value[2:3].hex()}-{value[3:4].hex()}"


def _setting(
    attribute: int,
    name: str,
    value: Decimal | str | None,
    unit: str,
    quality: Quality,
    time: DeviceTime | None,
    now: Now,
) -> Setting:
    return Setting(
        at_ns=now.utc_ns,
        device_time=time,
        quality=quality,
        code=code_name(OBJECTS, attribute),
        value=value,
        unit=unit,
        device_code=device_code(OBJECTS, attribute, name),
    )


def _event(kind: str, attribute: int, words: str, time: DeviceTime | None, mode: Quality, now: Now) -> Event:
    is_mode = kind == "mode"
    return Event(
        at_ns=now.utc_ns,
        device_time=time,
        quality=mode,
        kind="mode" if is_mode else "operator",
        alarm_id=f"patient-{attribute:04X}",
        phase="change" if is_mode else "once",
        priority="none",
        code=code_name(OBJECTS, attribute),
        text=words,
        device_code=device_code(OBJECTS, attribute, _NAMES.get(attribute, "")),
    )
