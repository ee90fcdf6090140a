"""What one logical device shows, a pump or the ComDevice itself: values, settings, alarms, modes, as records.

A report names all that there is now, so what it leaves out is over. It may come in several blocks: only when it is
whole is that told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from drivers.bbraun_bcc.parameters import (
    ALARMS,
    DOSE,
    IDENTITY,
    MODES,
    PRE_ALARMS,
    PRIVATE,
    UNKNOWN_REMAINING_S,
    Meaning,
    is_flag,
    is_number,
    is_number_of_unit,
    meaning_of,
    state_text,
)
from drivers.bbraun_bcc.quadruple import SYSTEM, Quadruple, slot_of
from drivers.bbraun_bcc.units import unit_of
from drivers.conditions import Condition, Conditions
from drivers.contract import Now
from drivers.shown_values import ShownValues
from ledger.limits import S_NS
from ledger.records import DeviceTime, Event, Numeric, Quality, Setting

MAX_PARAMETERS: Final = 192


@dataclass(frozen=True, slots=True)
class Report:
    """What one block says of one address: the last quadruple of each parameter, and when it came."""

    address: str
    told: Mapping[str, Quadruple]
    now: Now

    @property
    def device_time(self) -> DeviceTime | None:
        """Seconds since the start of the ComDevice."""
        first = next(iter(self.told.values()), None)
        return None if first is None else DeviceTime(first.uptime_s * S_NS, "uptime", S_NS)

    def value(self, parameter: str) -> str | None:
        """What it says of a parameter, if anything."""
        found = self.told.get(parameter)
        return None if found is None else found.value


class Source:
    """Follows one logical device. Bounded: remembers ``MAX_PARAMETERS``; ``overflowed`` counts what found no room."""

    __slots__ = ("_conditions", "_kept", "_on", "_retell", "_seen", "_shown", "_sound", "_sub", "overflowed")

    def __init__(self, sub: str) -> None:
        self._sub = sub
        self._shown = ShownValues()
        self._kept: dict[str, Numeric] = {}
        self._on: dict[str, Condition] = {}
        self._conditions = Conditions(sub)
        self._seen: set[str] = set()
        self._retell: set[str] = set()
        self._sound = True
        self.overflowed = 0

    def tell_anew(self) -> None:
        """There is a new connection: with the next report settings, alarms and modes are told though unchanged."""
        self._retell = {condition.alarm_id for condition in self._on.values()}
        self._kept.clear()
        self._seen.clear()
        self._sound = True

    def tell_again(self) -> None:
        """The same in the middle of a report: what came of it before this counts as nothing that it left out."""
        self.tell_anew()
        self.incomplete()

    def report(self, report: Report) -> Iterator[Numeric | Event]:
        """What one block says of it."""
        place = "" if slot_of(report.address) is not None or report.address == SYSTEM else report.address
        for parameter, told in report.told.items():
            name = f"{place}:{parameter}"
            if parameter in IDENTITY or (place == "" and parameter in ("GNERR", "GNACK")):
                continue
            if name not in self._seen and len(self._seen) >= MAX_PARAMETERS:
                self.overflowed += 1
                continue
            self._seen.add(name)
            if is_flag(parameter) or parameter == "INDOCAL" or state_text(parameter, "") is not None:
                self._switch(name, parameter, place, told)
            if not is_flag(parameter):
                yield from self._show(name, _numeric(self._sub, place, told, report))
        yield from self._events(report.now, report.device_time)
        yield from self._again(report)

    def complete(self, now: Now) -> Iterator[Numeric | Event]:
        """The report is whole: what it did not name is no longer shown."""
        seen, self._seen = self._seen, set()
        sound, self._sound = self._sound, True
        if seen and sound:
            yield from self._shown.withdraw(now.utc_ns, lambda name: name not in seen)
            self._kept = {name: numeric for name, numeric in self._kept.items() if name in seen}
            self._on = {name: condition for name, condition in self._on.items() if name in seen}
            yield from self._events(now, None)

    def incomplete(self) -> None:
        """Part of the report may have been lost: nobody knows what it left out."""
        self._sound = False

    def silent(self, now: Now) -> Iterator[Numeric | Event]:
        """Nobody answers for it: its values are withdrawn, and nobody knows of its alarms."""
        self._seen.clear()
        self._kept.clear()
        yield from self._shown.silent(now)
        yield from self._conditions.silent(now)

    def withdraw(self, now: Now) -> Iterator[Numeric | Event]:
        """It is gone: its values once as none, and its alarms and modes end."""
        self._seen.clear()
        self._kept.clear()
        self._on.clear()
        yield from self._shown.withdraw(now.utc_ns)
        yield from self._conditions.update((), now)

    def _show(self, name: str, numeric: Numeric) -> Iterator[Numeric]:
        before, self._kept[name] = self._kept.get(name), numeric
        if isinstance(numeric, Setting) and before is not None and _told(before) == _told(numeric):
            return
        shown = list(self._shown.show(name, numeric))
        yield from shown or ([numeric] if before is None else [])  # after a new connection it still has no value

    def _switch(self, name: str, parameter: str, place: str, told: Quadruple) -> None:
        condition = _condition(parameter, place, told.value)
        if condition is None:
            self._on.pop(name, None)
        else:
            self._on[name] = condition

    def _events(self, now: Now, device_time: DeviceTime | None) -> Iterator[Event]:
        yield from self._conditions.update(self._on.values(), now, device_time)

    def _again(self, report: Report) -> Iterator[Event]:
        """Alarms and modes of before this connection that the report tells again."""
        if self._retell:
            for event in self._conditions.again(report.now, report.device_time):
                if event.alarm_id in self._retell and event.alarm_id.rpartition(":")[2] in report.told:
                    self._retell.discard(event.alarm_id)
                    yield event


def _told(numeric: Numeric) -> tuple[object, ...]:
    return numeric.value, numeric.quality, numeric.unit


def _condition(parameter: str, place: str, value: str | None) -> Condition | None:
    """The alarm or mode that is on; None if it is off, or has no value."""
    if value is None or value == "0":
        return None
    state = state_text(parameter, value)
    alarm = parameter.startswith("INA")
    text = state if state is not None else ALARMS.get(parameter, "") or MODES.get(parameter, "")
    return Condition(
        alarm_id=f"{place}:{parameter}" if place else parameter,
        kind="technical_alarm" if alarm else "mode",
        priority="unknown" if alarm else "none",
        code=PRIVATE + parameter,
        source=place,
        text=text,
        device_code=f"{parameter}={value}",
        device_priority=("pre-alarm" if parameter in PRE_ALARMS else "alarm") if alarm and text else "",
    )


def _numeric(sub: str, place: str, told: Quadruple, report: Report) -> Numeric:
    parameter = told.parameter
    meaning = meaning_of(parameter)
    value, quality = _value(told, meaning)
    unit = meaning.unit
    if meaning.unit_in:
        unit_code = report.value(meaning.unit_in)
        unit = unit_of(unit_code or "") or ""
        if not unit and value is not None:
            quality |= Quality.QUESTIONABLE  # a number whose unit nobody knows
    if parameter in DOSE and value == 0 and report.value("INDOCAL") == "0":
        quality = Quality.INVALID
    kind = Numeric if meaning.kind == "measured" else Setting
    return kind(
        sub=sub,
        at_ns=report.now.utc_ns,
        device_time=DeviceTime(told.uptime_s * S_NS, "uptime", S_NS),
        quality=quality,
        code=meaning.refid,
        value=value,
        unit=unit,
        device_code=parameter,
        channel=place,
    )


def _value(told: Quadruple, meaning: Meaning) -> tuple[Decimal | str | None, Quality]:
    text = told.value
    if text is None or (told.parameter == "INRMT" and text == UNKNOWN_REMAINING_S):
        return None, Quality.UNAVAILABLE
    quality = Quality.QUESTIONABLE if told.doubtful else Quality.GOOD
    known_number = bool(meaning.unit or meaning.unit_in) and meaning.kind != "text"
    if is_number_of_unit(text) if known_number else meaning.kind != "text" and is_number(text):
        return Decimal(text.rstrip(".")), quality
    return text, quality | Quality.QUESTIONABLE if known_number else quality
