"""What a ventilator tells into numerics, settings and alarms. Outlives a connection."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Final, cast

from drivers.conditions import Condition, Conditions
from drivers.contract import Now
from drivers.hamilton.block import ALARMS, IDENTIFICATIONS, MONITORED, Block
from drivers.hamilton.config import HamiltonConfig
from drivers.hamilton.parameters import BLOCK, MODES, POLLED, Parameter, number_or_text, private
from drivers.hamilton.poll import Answer, parse_value
from drivers.shown_values import ShownValues
from ledger.records import Event, EventKind, Numeric, Quality, Record, Setting

_MODE: Final = 40


class Values:
    """What was told last of each number."""

    def __init__(self, config: HamiltonConfig) -> None:
        self._units = {"{p}": config.pressure_unit, "{c}": config.co2_unit}
        self._shown = ShownValues()
        self._settings: dict[str, Decimal | str | None] = {}
        self._alarms = Conditions()
        self._polled_alarms: dict[int, Condition] = {}

    def silent(self, now: Now) -> Iterator[Record]:
        """The ventilator fell silent: nothing it showed holds."""
        yield from self._shown.silent(now)
        yield from self._alarms.silent(now)

    def tell_again(self) -> None:
        """Another case: settings and alarms are told again as they come."""
        self._settings.clear()
        self._alarms.tell_again()

    def polled(self, answer: Answer, now: Now) -> Iterator[Record]:
        """An answer of the polling protocol, which has no checksum."""
        parameter = POLLED[answer.number]
        value = parse_value(answer.text) if answer.text is not None else None
        if parameter.kind == "alarm":
            yield from self._polled_alarm(answer.number, parameter, value, now)
        elif answer.text is not None or str(answer.number) in self._shown:
            if answer.number == _MODE and isinstance(value, Decimal):
                value = MODES.get(int(value), value)
            yield from self._value(str(answer.number), parameter, value, Quality.UNCHECKED, now)

    def _polled_alarm(
        self, number: int, parameter: Parameter, value: Decimal | str | None, now: Now
    ) -> Iterator[Event]:
        """Not zero is taken for active: what else than 0 and 1 there is has not been published."""
        self._polled_alarms.pop(number, None)
        if value is not None and value != 0:
            kind = cast(EventKind, parameter.code)
            name = str(number)
            self._polled_alarms[number] = Condition(
                name, kind, "unknown", private(name), "", parameter.name, name, str(value)
            )
        for event in self._alarms.update(self._polled_alarms.values(), now):
            yield replace(event, quality=Quality.UNCHECKED)

    def told(self, message: Block, now: Now) -> Iterator[Record]:
        """A message of the block protocol."""
        alarms: list[Condition] = []
        for record in message.records:
            if record.group == ALARMS:
                code = private(record.number)
                alarms.append(
                    Condition(record.number, "technical_alarm", "unknown", code, "", record.text, record.number)
                )
                continue
            kind = "measured" if record.group == MONITORED else "setting"
            parameter = BLOCK.get(record.number) or Parameter(kind, "", "", private(record.number))
            value = number_or_text(record.text) if record.group != IDENTIFICATIONS else record.text
            yield from self._value(record.number, parameter, value, Quality.GOOD, now)
        if ALARMS in message.groups:
            yield from self._alarms.update(alarms, now)

    def _value(
        self, number: str, parameter: Parameter, value: Decimal | str | None, quality: Quality, now: Now
    ) -> Iterator[Record]:
        numeric = Numeric(
            at_ns=now.utc_ns,
            quality=quality if value is not None else quality | Quality.UNAVAILABLE,
            code=parameter.code,
            value=value,
            unit=self._unit(parameter.unit),
            device_code=number,
        )
        if parameter.kind == "measured":
            yield from self._shown.show(number, numeric)
        elif number not in self._settings or self._settings[number] != value:
            self._settings[number] = value
            yield Setting(at_ns=numeric.at_ns, quality=numeric.quality, code=numeric.code, value=value,
                          unit=numeric.unit, device_code=number)  # fmt: skip

    def _unit(self, unit: str) -> str:
        for place, chosen in self._units.items():
            unit = unit.replace(place, chosen)
        return unit
