"""Nellcor pulse oximeters that print their state on the data port, a line every two seconds. It never sends.

Source: "Data Port Protocol" in the operator's manuals of NPB-290, NPB-295, N-395, N-595 and N-600x. There is no
checksum; a line counts only when its columns end where those of the line before do. Two bytes 03 would open an
interactive menu: none is sent.
"""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Iterator, Mapping
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
from ledger.records import DeviceTime, EventKind, Identity, LinkId, Numeric, Quality, Setting, Silence

_LONGEST_LINE_BYTES: Final = 256
_PRINTED_WITHIN_NS: Final = S_NS
_LIVE_IN_A_ROW: Final = 3
"""A trend is printed as fast as the line carries it; so many lines that each come later than that are live."""

_SAT, _RATE, _AMPLITUDE = "MDC_PULS_OXIM_SAT_O2", "MDC_PULS_OXIM_PULS_RATE", "MDCX_NELLCOR_PA"
_HEADER: Final = re.compile(
    rb"(?P<model>N[A-Z]{0,2}-?\d{3}\w?) +VERSION +(?P<version>[\d.]{1,20}) +CRC:? *(?P<crc>\w{1,8}) +"
    rb"%?SpO2 +Limit: *(?P<sat>\d{1,3} *- *\d{1,3}) *% *PR +Limit: *(?P<rate>\d{1,3} *- *\d{1,3}) *BPM\b.*",
    re.IGNORECASE,
)
"""Low limits are printed to the width of high ones, with blanks."""
_MODES: Final = re.compile(
    rb"(?P<patient>[A-Z]{2,12}) +(?P<satseconds>\d{1,3})SAT-S(?: +SPO2 +RESP +MODE: *(?P<response>\w{1,12}))?.*",
    re.IGNORECASE,
)
_TREND: Final = re.compile(rb"N[A-Z]{0,2}-?\d{3}\w? +VERSION +[\d.]{1,20} +TREND\b.*", re.IGNORECASE)
_TREND_END: Final = re.compile(rb"OUTPUT +COMPLETE\W*", re.IGNORECASE)
_INFO: Final = re.compile(rb"N[A-Z]{0,2}-?\d{3}\w? +VERSION +[\d.]{1,20} +INFO\b.*", re.IGNORECASE)
_COLUMNS: Final = re.compile(rb"TIME +%SPO2 +BPM +PA\b.*", re.IGNORECASE)
_DATA: Final = re.compile(
    rb"(\d{1,2}-[A-Z]{3}-\d\d +\d{1,2}:\d\d:\d\d) +(\d{1,3}|-{1,3}) ?(\*?) +(\d{1,3}|-{1,3}) ?(\*?) +(\d{1,3}|-{1,3})"
    rb" ?(\*?)((?: +[A-Z]{2}){0,12})",
    re.IGNORECASE,
)
_STATUS: Final[dict[str, tuple[EventKind, str, str]]] = {
    "AO": ("mode", "", "alarm off"),
    "AS": ("mode", "", "alarm silenced"),
    "LB": ("technical_alarm", "", "low battery"),
    "LM": ("physiological_alarm", _RATE, "loss of pulse with interference"),
    "LP": ("physiological_alarm", _RATE, "loss of pulse"),
    "MO": ("advisory", "", "interference"),
    "PH": ("physiological_alarm", _RATE, "pulse rate high"),
    "PL": ("physiological_alarm", _RATE, "pulse rate low"),
    "PS": ("advisory", "", "pulse search"),
    "SD": ("technical_alarm", "", "sensor disconnected"),
    "SH": ("physiological_alarm", _SAT, "saturation high"),
    "SL": ("physiological_alarm", _SAT, "saturation low"),
    "SO": ("technical_alarm", "", "sensor off"),
}
_UNKNOWN_STATUS: Final[tuple[EventKind, str, str]] = ("advisory", "", "")
_DOUBTFUL: Final = frozenset(("MO", "LM", "LP", "PS"))
_HIGHEST: Final = {_SAT: 100, _RATE: 350, _AMPLITUDE: 255}


class NellcorConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A ``nellcor`` feed has no options."""


@dataclass(frozen=True, slots=True)
class NellcorHeader:
    """The line that is printed above every page: who it is and its alarm limits (low, high)."""

    model: str
    version: str
    saturation_limits: tuple[Decimal, Decimal]
    rate_limits: tuple[Decimal, Decimal]


@dataclass(frozen=True, slots=True)
class NellcorModes:
    """The second line of a page on N-595 and later: limits for whom, SatSeconds, response; empty if not printed."""

    patient: str
    sat_seconds: Decimal
    response: str


@dataclass(frozen=True, slots=True)
class NellcorTrend:
    """The printing of the trend begins (or goes on), or is over: its lines look like live ones."""

    printing: bool


@dataclass(frozen=True, slots=True)
class NellcorLine:
    """One line of values by code (None: dashes) and two-letter status codes; ``outside``: codes beyond their limits."""

    time_s: int
    values: dict[str, Decimal | None]
    outside: frozenset[str]
    status: tuple[str, ...]
    column_ends: tuple[int, ...]


def parse_line(line: bytes) -> NellcorHeader | NellcorModes | NellcorTrend | NellcorLine | None:
    """Take a line apart; None for headings that tell nothing. Raises DeviceFault ``nellcor.line``."""
    text = line.strip()
    if not text or _COLUMNS.fullmatch(text) or _INFO.fullmatch(text):
        return None
    if (begun := _TREND.fullmatch(text)) or _TREND_END.fullmatch(text):
        return NellcorTrend(begun is not None)
    if (match := _MODES.fullmatch(text)) is not None:
        patient, response = (match[name] or b"" for name in ("patient", "response"))
        sat_seconds = Decimal(match["satseconds"].decode("ascii"))
        return NellcorModes(patient.decode("ascii").upper(), sat_seconds, response.decode("ascii").upper())
    if (match := _HEADER.fullmatch(text)) is not None:
        limits = [tuple(map(Decimal, match[name].decode("ascii").split("-"))) for name in ("sat", "rate")]
        (sat_low, sat_high), (rate_low, rate_high) = limits
        model, version = match["model"].decode("ascii"), match["version"].decode("ascii")
        return NellcorHeader(model, version, (sat_low, sat_high), (rate_low, rate_high))
    if (match := _DATA.fullmatch(text)) is None:
        raise DeviceFault("nellcor.line", "not a line of a Nellcor oximeter", "set its data port to ASCII")
    shown = {_SAT: match[2], _RATE: match[4], _AMPLITUDE: match[6]}
    values = {code: _value(code, digits) for code, digits in shown.items()}
    for code, value in values.items():
        if value is not None and value > _HIGHEST[code]:
            raise DeviceFault("nellcor.line", f"{code} is beyond {_HIGHEST[code]}")
    outside = frozenset(code for code, mark in ((_SAT, match[3]), (_RATE, match[5]), (_AMPLITUDE, match[7])) if mark)
    status = tuple(match[8].decode("ascii").upper().split())
    return NellcorLine(_clock(match[1]), values, outside, status, (match.end(2), match.end(4), match.end(6)))


def _value(code: str, digits: bytes) -> Decimal | None:
    """Dashes are none, and so are the zeros that an N-560 prints for saturation and rate while it searches."""
    if digits.startswith(b"-") or (code != _AMPLITUDE and not digits.strip(b"0")):
        return None
    return Decimal(digits.decode("ascii"))


def _clock(text: bytes) -> int:
    try:
        parsed = datetime.strptime(" ".join(text.decode("ascii").split()), "%d-%b-%y %H:%M:%S")  # noqa: DTZ007 - no zone
    except ValueError:
        raise DeviceFault("nellcor.line", "a date that is none") from None
    return timegm(parsed.timetuple())


def recognise(data: bytes) -> Heard | None:
    """Whole lines of a Nellcor oximeter in these bytes, and the model if a header is among them."""
    heard, model = 0, ""
    for line in filter(bytes.strip, re.split(rb"[\r\n]+", data)):
        try:
            told = parse_line(line)
        except DeviceFault:
            continue
        heard += 1
        if isinstance(told, NellcorHeader):
            model = f"Nellcor {told.model}"
    return Heard(heard, model) if heard else None


class Nellcor(LineDevice):
    """Reads lines; what was shown last, the limits and the conditions outlive a connection."""

    spec: ClassVar[Spec[NellcorConfig]] = Spec(
        name="nellcor",
        devices=("Nellcor N-560, N-595, N-600, N-600x", "Nellcor N-395, NPB-290, NPB-295"),
        transports=(Transport.SERIAL,),
        config=NellcorConfig,
        serial_lines=("9600 8N1", "19200 8N1", "2400 8N1"),
        passive_ok=True,
        silence_s=8.0,
        records=frozenset({"numeric", "setting", "event", "gap", "identity", "link", "clock"}),
        source="Nellcor N-595 and N-600x Operator's Manuals, Data Port Protocol",
        longest_frame_bytes=_LONGEST_LINE_BYTES,
        recognise=recognise,
    )

    def __init__(self, config: NellcorConfig) -> None:
        super().__init__(_LONGEST_LINE_BYTES, noise=NOISE)
        self._shown = ShownValues()
        self._conditions = Conditions()
        self._silence.follow(self._shown, self._conditions)
        self._settings: dict[str, Decimal | str] = {}
        self._shapes = ShapeGuard()
        self._trend = False
        self._trend_at_ns = self._slow_lines = 0

    def opened(self, link: LinkId, peer: str, now: Now) -> None:
        """The port is open."""
        super().opened(link, peer, now)
        self._trend = False

    def case_changed(self, facts: Mapping[str, str] | None) -> None:
        """Another case: limits and modes are told again, too."""
        super().case_changed(facts)
        self._settings.clear()

    def read(self, session: LineSession, line: bytes, now: Now) -> None:
        """One line. Raises DeviceFault when it is none of the device's."""
        told = parse_line(line)
        if isinstance(told, NellcorTrend | NellcorHeader):
            self._trend = isinstance(told, NellcorTrend) and told.printing
        if self._trend and not self._is_live_again(told, now):
            raise DeviceFault("nellcor.trend", "the trend is printed: nothing of it is live")
        if isinstance(told, NellcorHeader):
            self._header(session, told, now)
        elif isinstance(told, NellcorModes):
            self._modes(told, now)
        elif isinstance(told, NellcorLine):
            self._values(session, told, now)

    def _is_live_again(self, told: object, now: Now) -> bool:
        """Whether the end of the trend went by unheard."""
        is_slow = isinstance(told, NellcorLine) and now.mono_ns - self._trend_at_ns >= _PRINTED_WITHIN_NS
        self._slow_lines = self._slow_lines + 1 if is_slow else 0
        self._trend_at_ns = now.mono_ns
        self._trend = self._slow_lines < _LIVE_IN_A_ROW
        return not self._trend

    def _header(self, session: LineSession, told: NellcorHeader, now: Now) -> None:
        self.identified(session, Identity(at_ns=now.utc_ns, make="Nellcor", model=told.model, software=told.version,
                                          protocol="data port, ASCII"))  # fmt: skip
        low_high = zip(("LOW", "HIGH") * 2, (*told.saturation_limits, *told.rate_limits), ("%", "%", "/min", "/min"),
                       ("SPO2", "SPO2", "PR", "PR"), strict=True)  # fmt: skip
        for end, limit, unit, name in low_high:
            self._set(f"MDCX_NELLCOR_{name}_LIMIT_{end}", limit, unit, f"{name} Limit {end.lower()}", now)

    def _modes(self, told: NellcorModes, now: Now) -> None:
        self._set("MDCX_NELLCOR_PATIENT_TYPE", told.patient, "", "limits for", now)
        self._set("MDCX_NELLCOR_SATSECONDS", told.sat_seconds, "", "SAT-S", now)
        if told.response:
            self._set("MDCX_NELLCOR_SPO2_RESPONSE", told.response, "", "SPO2 RESP MODE", now)

    def _set(self, code: str, value: Decimal | str, unit: str, device_code: str, now: Now) -> None:
        if self._settings.get(code) != value:
            self._settings[code] = value
            self.emit(Setting(at_ns=now.utc_ns, quality=Quality.UNCHECKED, code=code, value=value, unit=unit,
                              device_code=device_code))  # fmt: skip

    def _values(self, session: LineSession, told: NellcorLine, now: Now) -> None:
        if not self._shapes.trusts(told.column_ends):
            raise DeviceFault("nellcor.columns", "columns that end elsewhere than in the line before")
        time = DeviceTime(told.time_s * S_NS, "local", S_NS)
        self.clocked(session, told.time_s * S_NS, now)
        doubt = Quality.QUESTIONABLE if _DOUBTFUL & set(told.status) else Quality.GOOD
        for (code, value), (unit, name) in zip(
            told.values.items(), (("%", "%SpO2"), ("/min", "BPM"), ("", "PA")), strict=True
        ):
            quality = Quality.UNCHECKED | (doubt if value is not None else Quality.UNAVAILABLE)
            numeric = Numeric(at_ns=now.utc_ns, device_time=time, quality=quality, code=code, value=value, unit=unit,
                              device_code=name)  # fmt: skip
            for record in self._shown.show(name, numeric):
                self.emit(record)
        for event in self._conditions.update(_conditions(told), now, time):
            self.emit(event)


def _conditions(told: NellcorLine) -> Iterator[Condition]:
    silence: Silence = "audio_off" if "AO" in told.status else "audio_paused" if "AS" in told.status else "on"
    for code in dict.fromkeys(told.status):
        kind, source, text = _STATUS.get(code, _UNKNOWN_STATUS)
        yield Condition(code, kind, "unknown", f"MDCX_NELLCOR_{code}", source, text, code, silence=silence)
    for outside in sorted(told.outside):
        name = {_SAT: "SpO2", _RATE: "BPM"}.get(outside, "PA")
        code = f"MDCX_NELLCOR_{name.upper()}_OUTSIDE_LIMITS"
        yield Condition(f"{name}*", "physiological_alarm", "unknown", code, outside, f"{name} outside its limits",
                        f"{name}*", silence=silence)  # fmt: skip
