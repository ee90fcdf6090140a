"""A driver and its simulated device on a line that is bad for a while: afterwards everything is read as before."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from drivers.built_in import BUILT_IN
from ledger.limits import S_NS
from ledger.records import Numeric, Wave
from tests.captures.conversation import Conversation, Plan, driver_of
from tests.captures.make import plans
from tests.fuzz.mutations import mutated

BAD_FROM_S, BAD_UNTIL_S = 8.0, 12.0
LAST_S = 15.0
RUN_S = BAD_UNTIL_S + 20.0 + LAST_S
DRIVERS = sorted({plan.header.driver for plan in plans() if plan.device is not None} & BUILT_IN.keys())


class BadLine(Conversation):
    """Half of what the device sends while the line is bad is damaged."""

    def _carry(self, frames: list[bytes]) -> None:
        rng = self._cuts
        if BAD_FROM_S <= self.now_ns / S_NS < BAD_UNTIL_S:
            frames = [mutated(frame, rng, b"") if rng.random() < 0.5 else frame for frame in frames]
        super()._carry([frame for frame in frames if frame])


def first_plan(driver: str) -> Plan:
    """Made anew, so that its device has said nothing yet."""
    return next(plan for plan in plans() if plan.header.driver == driver)


def read_at_last(talk: Conversation) -> Counter[str]:
    """What is measured in the last seconds, by code."""
    plan = talk.plan
    talk.run(RUN_S)
    since_ns = plan.header.t0_ns + int((RUN_S - LAST_S) * S_NS)
    return Counter(
        record.code for record in talk.records if isinstance(record, Numeric | Wave) and record.at_ns >= since_ns
    )


@pytest.mark.parametrize("driver", DRIVERS)
def test_after_a_bad_line_everything_is_read_again(driver: str) -> None:
    sound, bad = first_plan(driver), first_plan(driver)
    expected = read_at_last(Conversation(driver_of(sound.header), sound.device, sound))  # type: ignore[arg-type]
    hurt = BadLine(driver_of(bad.header), bad.device, bad)  # type: ignore[arg-type]
    hurt._cuts = random.Random("bad line")
    again = read_at_last(hurt)
    assert expected
    often = {code for code, count in expected.items() if count > 1}
    assert often <= again.keys()
