"""Masimo Radical-5, Radical-7, Rad-8, Rad-87, Root oximeters that print "ASCII 1" lines each second. It never sends.

Sources: the serial sections of Masimo's Rad-8 and Rad-87 operator's manuals (line settings, exception bits); MD PnP's
older C++ adapter for Radical-5 and Radical-7 (further bits); recorded lines published with it, with OpenICE (mdpnp) and
masimo-datacapture. The lines have no checksum, so a line counts only when its
fields and their widths are those of the line before; models differ in both.
"""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import ClassVar, Final

import msgspec

from drivers.conditions import Condition, Conditions
from drivers.contract import Heard, Now, Spec, Transport
from drivers.line_device import NOISE, LineDevice, LineSession, ShapeGuard
from drivers.shown_values import ShownValues
from ledger.errors import DeviceFault
from ledger.limits import S_NS
from ledger.records import DeviceTime, EventKind, Identity, Numeric, Quality

_LONGEST_LINE_BYTES: Final = 512
_MOST_KEYS: Final = 48
_HEAD: Final = re.compile(rb"(\d\d/\d\d/\d\d \d\d:\d\d:\d\d) (\S.*)")
_FIELD: Final = re.compile(rb"([A-Z][A-Z0-9]{0,15})=(?:([+-]?\d{1,8}(?:\.\d{1,4})?)|\+?-{1,8}(?:\.-{1,4})?)%?")
_OTHER: Final = re.compile(rb"([A-Z][A-Z0-9]{0,15})=([!-~]{0,24})")
"""A field that other boards or later software may have."""

_WORD: Final = re.compile(rb"(?:(ALARM)=([0-9A-Fa-f]{2,8})|(EXC\d?)=([0-9A-Fa-f]{3,8}))")
"""A Radical-5 has two digits of alarms and three of exceptions; later boards have more of both."""

_IS_WORD: Final = re.compile(r"ALARM|EXC\d?")
_SERIAL: Final = re.compile(rb"SN=([0-9A-Za-z-]{1,20})")
_TREND: Final = re.compile(rb"SpO2=|PR=")


_SAT, _RATE = "MDC_PULS_OXIM_SAT_O2", "MDC_PULS_OXIM_PULS_RATE"


@dataclass(frozen=True, slots=True)
class _Shown:
    """How a field is coded, and what no value of it exceeds."""

    code: str
    unit: str
    most: int


_SHOWN: Final = {
    "SPO2": _Shown(_SAT, "%", 100),
    "BPM": _Shown(_RATE, "/min", 500),
    "PI": _Shown("MDC_BLD_PERF_INDEX", "%", 100),
    "SPCO": _Shown("MDCX_MASIMO_SPCO", "%", 100),
    "SPMET": _Shown("MDCX_MASIMO_SPMET", "%", 100),
    "SPHB": _Shown("MDCX_MASIMO_SPHB", "g/dL", 100),
    "SPOC": _Shown("MDCX_MASIMO_SPOC", "mL/dL", 100),
    "PVI": _Shown("MDCX_MASIMO_PVI", "%", 100),
    "DESAT": _Shown("MDCX_MASIMO_DESAT", "", 100),
    "PIDELTA": _Shown("MDCX_MASIMO_PIDELTA", "", 100),
}
_NEEDED: Final = frozenset(("SPO2", "BPM", "EXC"))
_QUESTIONABLE_BITS: Final = 0x19D5FF  # but for SET, life that is over, calibration, and one value's low confidence
_CALIBRATING: Final = 0x020000
_LOW_CONFIDENCE: Final = {"SPCO": 0x200000, "SPMET": 0x400000}
_SET_ACTIVE: Final = 0x800
_BITS: Final[dict[tuple[str, int], tuple[EventKind, str, str]]] = {
    ("EXC", 0x001): ("technical_alarm", "", "no sensor"),
    ("EXC", 0x002): ("technical_alarm", "", "defective sensor"),
    ("EXC", 0x004): ("advisory", "", "low perfusion"),
    ("EXC", 0x008): ("advisory", "", "pulse search"),
    ("EXC", 0x010): ("advisory", "", "interference"),
    ("EXC", 0x020): ("technical_alarm", "", "sensor off"),
    ("EXC", 0x040): ("advisory", "", "ambient light"),
    ("EXC", 0x080): ("technical_alarm", "", "unrecognised sensor"),
    ("EXC", 0x100): ("technical_alarm", "", "incompatible sensor"),
    ("EXC", 0x400): ("advisory", "", "low signal IQ"),
    ("EXC", 0x001000): ("technical_alarm", "", "no cable"),
    ("EXC", 0x002000): ("technical_alarm", "", "life of the cable is over"),
    ("EXC", 0x004000): ("technical_alarm", "", "incompatible cable"),
    ("EXC", 0x008000): ("technical_alarm", "", "unrecognised cable"),
    ("EXC", 0x010000): ("technical_alarm", "", "defective cable"),
    ("EXC", 0x020000): ("advisory", "", "sensor is calibrating"),
    ("EXC", 0x040000): ("technical_alarm", "", "life of the sensor is over"),
    ("EXC", 0x080000): ("technical_alarm", "", "temperature of the emitter out of range"),
    ("EXC", 0x100000): ("technical_alarm", "", "current of the sensor beyond its limit"),
    ("EXC", 0x200000): ("advisory", "MDCX_MASIMO_SPCO", "low confidence in SpCO"),
    ("EXC", 0x400000): ("advisory", "MDCX_MASIMO_SPMET", "low confidence in SpMet"),
    ("ALARM", 0x01): ("physiological_alarm", _SAT, "SpO2 high"),
    ("ALARM", 0x02): ("physiological_alarm", _SAT, "SpO2 low"),
    ("ALARM", 0x04): ("physiological_alarm", _RATE, "pulse rate high"),
    ("ALARM", 0x08): ("physiological_alarm", _RATE, "pulse rate low"),
    ("ALARM", 0x10): ("advisory", "", "an alarm is active"),
    ("ALARM", 0x20): ("mode", "", "alarms are muted"),
    ("ALARM", 0x40): ("technical_alarm", "", "low battery"),
    ("ALARM", 0x0100): ("physiological_alarm", "MDCX_MASIMO_SPCO", "SpCO high"),
    ("ALARM", 0x0200): ("physiological_alarm", "MDCX_MASIMO_SPCO", "SpCO low"),
    ("ALARM", 0x0400): ("physiological_alarm", "MDCX_MASIMO_SPMET", "SpMet high"),
    ("ALARM", 0x0800): ("physiological_alarm", "MDCX_MASIMO_SPMET", "SpMet low"),
    ("ALARM", 0x1000): ("physiological_alarm", "MDCX_MASIMO_DESAT", "desaturation index"),
    ("ALARM", 0x2000): ("physiological_alarm", "MDCX_MASIMO_PIDELTA", "change of the perfusion index"),
}
_UNKNOWN_BIT: Final[tuple[EventKind, str, str]] = ("advisory", "", "")


class MasimoConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A ``masimo`` feed has no options."""


@dataclass(frozen=True, slots=True)
class MasimoLine:
    """One line taken apart: the clock's seconds, the serial number, values by key, and the words of bits by key.

    A value None is shown as dashes, one of a field that is not known may be text.
    ``shape``: the fields in their order, each with its width.
    """

    time_s: int
    serial: str
    values: dict[str, Decimal | str | None]
    words: dict[str, int]
    shape: tuple[tuple[str, int], ...]


def parse_line(line: bytes) -> MasimoLine:
    """Take a line apart. Raises DeviceFault ``masimo.line``, or ``masimo.trend`` for a line of stored trends."""
    head = _HEAD.fullmatch(line.strip())
    if head is None:
        raise DeviceFault("masimo.line", "not a line of a Masimo oximeter", "set its serial output to ASCII 1")
    if _TREND.search(line):
        raise DeviceFault("masimo.trend", "a stored trend or ASCII 2 was sent, not live values", "set ASCII 1")
    time_s = _clock(head[1])
    serial, values, words = "", dict[str, Decimal | str | None](), dict[str, int]()
    shape: list[tuple[str, int]] = []
    for token in head[2].split():
        if b"=" not in token and token.isascii():
            continue  # such as #, which stands where a field has a meaning of its own on some boards
        shape.append((token.partition(b"=")[0].decode("ascii", "replace"), len(token.rstrip(b"%"))))
        if (match := _SERIAL.fullmatch(token)) is not None:
            serial = match[1].decode("ascii").strip("-")
        elif (match := _WORD.fullmatch(token)) is not None:
            words[(match[1] or match[3]).decode("ascii")] = int(match[2] or match[4], 16)
        else:
            key, value = _value(token)
            values[key] = value
    keys = [key for key, _ in shape]
    if not _NEEDED.issubset(keys) or len(set(keys)) != len(keys) or len(keys) > _MOST_KEYS:
        raise DeviceFault("masimo.line", "a line without SPO2, BPM or EXC, or with a field twice")
    if any(_IS_WORD.fullmatch(key) for key in values):
        raise DeviceFault("masimo.line", "alarms or exceptions that are no hexadecimal word")
    return MasimoLine(time_s, serial, values, words, tuple(shape))


def _clock(text: bytes) -> int:
    try:
        return timegm(datetime.strptime(text.decode("ascii"), "%m/%d/%y %H:%M:%S").timetuple())  # noqa: DTZ007 - no zone
    except ValueError:
        raise DeviceFault("masimo.line", "a date that is none") from None


def _value(token: bytes) -> tuple[str, Decimal | str | None]:
    match = _FIELD.fullmatch(token)
    if match is None:
        other = _OTHER.fullmatch(token)
        key = "" if other is None else other[1].decode("ascii")
        if other is not None and key not in _SHOWN and _IS_WORD.fullmatch(key) is None:
            return key, other[2].decode("ascii") or None
        raise DeviceFault("masimo.line", "a field that is none of the format's")
    key, digits = match[1].decode("ascii"), match[2]
    if digits is None:
        return key, None
    value, known = Decimal(digits.decode("ascii")), _SHOWN.get(key)
    if known is not None and value > known.most:
        raise DeviceFault("masimo.line", f"{key} is beyond {known.most}")
    return key, value


def recognise(data: bytes) -> Heard | None:
    """Whole lines of a Masimo oximeter in these bytes."""
    heard = 0
    for line in re.split(rb"[\r\n]+", data):
        try:
            parse_line(line)
        except DeviceFault:
            continue
        heard += 1
    return Heard(heard, "Masimo oximeter, ASCII 1") if heard else None


class Masimo(LineDevice):
    """Reads lines; what was shown last and the conditions outlive a connection."""

    spec: ClassVar[Spec[MasimoConfig]] = Spec(
        name="masimo",
        devices=("Masimo Radical-5, Radical-7, Rad-8, Rad-87 (ASCII 1)", "Masimo Root with Radical-7 (ASCII 1)"),
        transports=(Transport.SERIAL,),
        config=MasimoConfig,
        serial_lines=("9600 8N1",),
        passive_ok=True,
        silence_s=5.0,
        records=frozenset({"numeric", "event", "gap", "identity", "link", "clock"}),
        source="Masimo, Rad-8 and Rad-87 Operator's Manuals, serial interface",
        longest_frame_bytes=_LONGEST_LINE_BYTES,
        recognise=recognise,
    )

    def __init__(self, config: MasimoConfig) -> None:
        super().__init__(_LONGEST_LINE_BYTES, noise=NOISE)
        self._shown = ShownValues()
        self._conditions = Conditions()
        self._silence.follow(self._shown, self._conditions)
        self._shapes = ShapeGuard()

    def read(self, session: LineSession, line: bytes, now: Now) -> None:
        """One line. Raises DeviceFault when it is none, or when its fields are not those of the line before."""
        told = parse_line(line)
        if not self._shapes.trusts(told.shape):
            raise DeviceFault("masimo.fields", "other fields or widths than in the line before")
        time = DeviceTime(told.time_s * S_NS, "local", S_NS)
        self.identified(session, Identity(at_ns=now.utc_ns, make="Masimo", model="oximeter with ASCII 1 output",
                                          serial=told.serial, protocol="ASCII 1"))  # fmt: skip
        self.clocked(session, told.time_s * S_NS, now)
        for numeric in self._numerics(told, time, now):
            self.emit(numeric)
        for event in self._conditions.update(_conditions(told), now, time):
            self.emit(event)

    def _numerics(self, told: MasimoLine, time: DeviceTime, now: Now) -> Iterator[Numeric]:
        exceptions = told.words["EXC"]
        of_all = Quality.QUESTIONABLE if exceptions & _QUESTIONABLE_BITS else Quality.GOOD
        of_all |= Quality.CALIBRATING if exceptions & _CALIBRATING else Quality.GOOD
        for key, value in told.values.items():
            known = _SHOWN.get(key) or _Shown(f"MDCX_MASIMO_{key}", "", 0)
            doubt = of_all | (Quality.QUESTIONABLE if exceptions & _LOW_CONFIDENCE.get(key, 0) else Quality.GOOD)
            quality = Quality.UNCHECKED | (doubt if value is not None else Quality.UNAVAILABLE)
            yield from self._shown.show(
                key,
                Numeric(at_ns=now.utc_ns, device_time=time, quality=quality, code=known.code, value=value,
                        unit=known.unit, device_code=key),
            )  # fmt: skip
        yield from self._shown.withdraw(now.utc_ns, lambda key: key not in told.values)


def _conditions(told: MasimoLine) -> Iterator[Condition]:
    for word, bits in told.words.items():
        for bit in (1 << n for n in range(bits.bit_length())):
            if bits & bit and not (word == "EXC" and bit == _SET_ACTIVE):
                yield _condition(word, bit)


def _condition(word: str, bit: int) -> Condition:
    kind, source, text = _BITS.get((word, bit), _UNKNOWN_BIT)
    device_code = f"{word}.{bit:X}"
    return Condition(device_code, kind, "unknown", f"MDCX_MASIMO_{word}_{bit:X}", source, text, device_code)
