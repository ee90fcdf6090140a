"""After a case's boundary the new case soon holds all that still is true, from every driver with a simulated device.

What a device tells only when it changes, or is asked seldom, must be told again: settings, modes, alarms.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import import_module

import pytest

from drivers.contract import Action, Emit
from ledger.limits import S_NS
from ledger.records import Event, Numeric, Quality, Record, Setting
from tests.captures.conversation import Conversation, Plan, driver_of

SECONDS = {
    "alaris-asena": (12.0, 12.0),
    "bis": (8.0, 12.0),
    "capnostream": (8.0, 12.0),
    "fresenius": (12.0, 12.0),
    "ge-dri": (8.0, 12.0),
    "hamilton": (8.0, 32.0),
    "intellivue": (6.0, 6.0),
    "nellcor": (8.0, 60.0),
    "openigtlink": (3.0, 4.0),
    "pb840": (8.0, 12.0),
    "servo-i": (30.0, 8.0),
}
"""How long until the device has told everything once, and until it has told it again."""

OF_THE_CASE = {"MDCX_OPENIGTLINK_POINT", "MDCX_OPENIGTLINK_STRING"}
"""Places in a patient and steps of an operation, told once, are of the case in which they are told."""


@dataclass(slots=True)
class WithBoundary(Conversation):
    """Another case opens in the middle of it; ``before`` and ``after`` are what the driver records."""

    before: list[Record] = field(default_factory=list)
    after: list[Record] = field(default_factory=list)
    opened: bool = False

    def watch(self) -> None:
        """Note what the driver records."""
        drain = self.driver.drain

        def noted() -> list[Action]:
            actions = drain()
            into = self.after if self.opened else self.before
            into += [action.record for action in actions if isinstance(action, Emit)]
            return actions

        self.driver.drain = noted  # type: ignore[method-assign]

    def _step(self) -> None:
        if not self.opened and self.now_ns >= SECONDS[self.plan.header.driver][0] * S_NS:
            self.opened = True
            self.driver.case_changed({"patient_ids": "5^^^A"})
        Conversation._step(self)


def first_plan(driver: str) -> Plan:
    """Made anew, so that its device has said nothing yet."""
    module = import_module(f"tests.captures.plans.{driver.replace('-', '_')}")
    plan: Plan = next(iter(module.plans()))
    return plan


def state(records: Iterable[Record]) -> dict[object, Record]:
    """Values, settings, alarms and modes that hold at the end."""
    held: dict[object, Record] = {}
    for record in records:
        if isinstance(record, Numeric):
            place = (isinstance(record, Setting), record.sub, record.code, record.channel, record.device_code)
            held[place] = record
            if record.value is None:
                del held[place]
        elif isinstance(record, Event) and record.kind != "operator" and record.phase != "once":
            held[record.sub, record.alarm_id] = record
            if record.phase == "end" or record.quality & Quality.UNAVAILABLE:
                del held[record.sub, record.alarm_id]
    return held


@pytest.mark.parametrize("driver", SECONDS)
def test_the_new_case_holds_all_that_still_is_true(driver: str) -> None:
    plan = first_plan(driver)
    talk = WithBoundary(driver_of(plan.header), plan.device, plan)  # type: ignore[arg-type]
    talk.watch()
    talk.run(sum(SECONDS[driver]))
    everything = state(talk.before + talk.after)
    assert everything
    missing = everything.keys() - state(talk.after).keys()
    assert not {place for place in missing if getattr(everything[place], "code", "") not in OF_THE_CASE}
