"""Smooth curves of time with an exact integral: what the patient's slow values are made of."""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise

Keyframe = tuple[float, float]


class Trajectory:
    """Keyframes (t_s, value) joined by smoothstep curves; constant before the first and after the last."""

    __slots__ = ("_areas", "_times", "_values")

    def __init__(self, keyframes: tuple[Keyframe, ...]) -> None:
        if not keyframes or any(a[0] >= b[0] for a, b in pairwise(keyframes)):
            raise ValueError("keyframes must be given, in rising order of time")
        self._times = [t for t, _ in keyframes]
        self._values = [v for _, v in keyframes]
        self._areas = [self._times[0] * self._values[0]]
        for (t0, v0), (t1, v1) in pairwise(keyframes):
            self._areas.append(self._areas[-1] + (t1 - t0) * (v0 + v1) / 2)

    def at(self, t_s: float) -> float:
        """Value at t_s."""
        i = bisect_right(self._times, t_s) - 1
        if i < 0:
            return self._values[0]
        if i == len(self._times) - 1:
            return self._values[i]
        u = (t_s - self._times[i]) / (self._times[i + 1] - self._times[i])
        return self._values[i] + (self._values[i + 1] - self._values[i]) * u * u * (3 - 2 * u)

    def integral(self, t_s: float) -> float:
        """Integral from 0 to t_s."""
        i = bisect_right(self._times, t_s) - 1
        if i < 0:
            return self._values[0] * t_s
        x = t_s - self._times[i]
        area = self._areas[i] + self._values[i] * x
        if i < len(self._times) - 1:
            length = self._times[i + 1] - self._times[i]
            u = x / length
            area += (self._values[i + 1] - self._values[i]) * length * (u**3 - u**4 / 2)
        return area


@dataclass(frozen=True, slots=True)
class Sine:
    """One component of a slow wander."""

    amplitude: float
    omega: float
    phase: float


class Signal:
    """A trajectory with a slow seeded wander on top of it."""

    __slots__ = ("_sines", "_trajectory")

    def __init__(self, trajectory: Trajectory, sines: tuple[Sine, ...] = ()) -> None:
        self._trajectory = trajectory
        self._sines = sines

    def smooth(self, t_s: float) -> float:
        """Value without the wander."""
        return self._trajectory.at(t_s)

    def at(self, t_s: float) -> float:
        """Value with the wander."""
        value = self._trajectory.at(t_s)
        for sine in self._sines:
            value += sine.amplitude * math.sin(sine.omega * t_s + sine.phase)
        return value

    def integral(self, t_s: float) -> float:
        """Integral of `at` from 0 to t_s."""
        area = self._trajectory.integral(t_s)
        for sine in self._sines:
            area += sine.amplitude / sine.omega * (math.cos(sine.phase) - math.cos(sine.omega * t_s + sine.phase))
        return area


_PERIODS_S = (17.0, 43.0, 131.0)


def wander(rng: random.Random, amplitude: float) -> tuple[Sine, ...]:
    """A slow wander whose components share `amplitude`, with seeded periods and phases."""
    share = amplitude / len(_PERIODS_S)
    return tuple(
        Sine(share, 2 * math.pi / (period * rng.uniform(0.8, 1.25)), rng.uniform(0, 2 * math.pi))
        for period in _PERIODS_S
    )
