"""What a Servo-i told last: breath values, settings, alarms. Outlives a connection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from drivers.conditions import Condition, Conditions
from drivers.contract import Now
from drivers.servo_i.channels import Channel
from drivers.shown_values import ShownValues
from ledger.records import Numeric, Quality, Record, Setting

_RECORDED: Final = {"B": Numeric, "S": Setting}


class Told:
    """Bounded by the number of channels."""

    __slots__ = ("_alarms", "_settings", "_shown", "_untold")

    def __init__(self) -> None:
        self._shown = ShownValues()
        self._settings: dict[int, Numeric] = {}
        self._alarms = Conditions()
        self._untold = False

    def read(
        self, kind: str, channels: Sequence[Channel], raws: Sequence[int], now: Now, *, of_text: bool
    ) -> Iterator[Record]:
        """Records of a block, or of a text answer, of this kind: B breath, S settings, A alarms."""
        told = [
            (channel, raw, channel.value_of_text(raw) if of_text else channel.value(raw))
            for channel, raw in zip(channels, raws, strict=True)
        ]
        if kind == "A":
            active = [_alarm(channel, raw) for channel, raw, value in told if raw and value is not None]
            yield from self._alarms.update(active, now)
            return
        for channel, _, value in told:
            numeric = _RECORDED[kind](
                at_ns=now.utc_ns,
                quality=Quality.UNAVAILABLE if value is None else Quality.GOOD,
                code=channel.code,
                value=value,
                unit=channel.unit,
                device_code=str(channel.number),
            )
            if kind == "S":
                before, self._settings[channel.number] = self._settings.get(channel.number), numeric
                if before is not None and before.value == value:
                    continue  # a setting is told when it changes
            yield from self._shown.show(str(channel.number), numeric)

    def withdraw(self, now: Now) -> Iterator[Record]:
        """It sends no breath values: those it sent last do not hold; settings do."""
        return self._shown.withdraw(now.utc_ns, lambda slot: slot < "300")

    def silent(self, now: Now) -> Iterator[Record]:
        """The ventilator fell silent: what it measured does not hold, and nobody knows of its alarms."""
        yield from self.withdraw(now)
        yield from self._alarms.silent(now)

    def tell_again(self) -> None:
        """Another case has begun."""
        self._untold = True

    def again(self, now: Now) -> Iterator[Record]:
        """It sends: settings and alarms come only when they change, so those told last hold in the new case too."""
        if self._untold:
            self._untold = False
            yield from (replace(setting, at_ns=now.utc_ns) for setting in self._settings.values())
            yield from self._alarms.again(now)


def _alarm(channel: Channel, raw: int) -> Condition:
    return Condition(
        alarm_id=f"alarm {channel.number}",
        kind="physiological_alarm",
        priority="unknown",
        code=channel.code,
        text=channel.name,
        device_code=f"{channel.number}={raw}",
    )
