from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_sim.signals import Signal, Trajectory, wander

KEYFRAMES = st.lists(
    st.tuples(st.integers(0, 1000), st.floats(-100, 100)), min_size=1, max_size=5, unique_by=lambda f: f[0]
).map(lambda frames: tuple((float(t), v) for t, v in sorted(frames)))


@given(KEYFRAMES, st.floats(0, 1200), st.integers(0, 99))
def test_the_integral_is_what_adding_up_small_steps_gives(
    frames: tuple[tuple[float, float], ...], t_s: float, seed: int
) -> None:
    signal = Signal(Trajectory(frames), wander(random.Random(seed), 3.0))
    from_s, steps = t_s, 64
    width = 8.0 / steps
    added = sum(signal.at(from_s + (i + 0.5) * width) * width for i in range(steps))
    assert signal.integral(from_s + 8.0) - signal.integral(from_s) == pytest.approx(added, abs=2.0)
    assert signal.integral(0.0) == pytest.approx(0.0, abs=1e-9)


@given(KEYFRAMES, st.floats(-10, 1200))
def test_a_trajectory_never_leaves_the_range_of_its_keyframes(
    frames: tuple[tuple[float, float], ...], t_s: float
) -> None:
    values = [v for _, v in frames]
    assert min(values) - 1e-9 <= Trajectory(frames).at(t_s) <= max(values) + 1e-9


@pytest.mark.parametrize("frames", [(), ((1.0, 0.0), (1.0, 2.0)), ((2.0, 0.0), (1.0, 2.0))])
def test_keyframes_out_of_order_are_refused(frames: tuple[tuple[float, float], ...]) -> None:
    with pytest.raises(ValueError, match="keyframes"):
        Trajectory(frames)
