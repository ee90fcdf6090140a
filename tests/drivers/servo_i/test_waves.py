"""Curves into waves."""

from __future__ import annotations

from drivers.contract import Now
from drivers.servo_i.channels import channel_of
from drivers.servo_i.waves import Curves

MOST_MARKS = 64


def test_phases_without_samples_do_not_pile_up() -> None:
    curves = Curves()
    curves.configure([channel_of(100)], 20)
    for _ in range(1_000):
        curves.mark("inspiration")
    curves.mark("expiration")
    curves.take(0, 2_048, Now(0, 0))
    (wave,) = curves.settle()
    assert len(wave.marks) == MOST_MARKS
    assert wave.marks[-1] == (0, "expiration")
