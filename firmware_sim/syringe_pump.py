"""The mechanics of a syringe pump: it infuses at a rate; its line can be blocked; somebody starts it again."""

from __future__ import annotations

import math
from typing import Final

_CALM_MMHG: Final = 18.0
_LIMIT_MMHG: Final = 500.0
_RISE_MMHG_S: Final = 240.0
_NURSE_COMES_S: Final = 3.0


class SyringePump:
    """``advance`` it in time; what it shows are its attributes. Volumes in ml, rates in ml/h, pressure in mmHg."""

    def __init__(self, rate_ml_h: float, volume_ml: float, syringe_ml: float = 50.0, phase: float = 0.0) -> None:
        self.set_rate_ml_h = rate_ml_h
        self.volume_ml = volume_ml
        self.syringe_ml = syringe_ml
        self.pressure_mmhg = _CALM_MMHG
        self.running = True
        self.occluded = False
        self._phase = phase
        self._now_s = 0.0
        self._free_since_s = 0.0
        self.log_entry = 127_904

    @property
    def rate_ml_h(self) -> float:
        """At which it infuses now."""
        return self.set_rate_ml_h if self.running else 0.0

    @property
    def remaining_s(self) -> float:
        """Until the syringe is empty at the rate that is set."""
        return max(0.0, self.syringe_ml - self.volume_ml) / self.set_rate_ml_h * 3600

    def advance(self, now_s: float, *, blocked: bool) -> None:
        """Go on to ``now_s``; ``blocked``: nothing gets through the line."""
        step_s = max(0.0, now_s - self._now_s)
        self._now_s = now_s
        if blocked:
            self._free_since_s = now_s
            if self.running:
                self.pressure_mmhg += _RISE_MMHG_S * step_s
            if self.running and self.pressure_mmhg > _LIMIT_MMHG:
                self.running, self.occluded = False, True
                self.log_entry += 1
            return
        if self.running:
            self.volume_ml += self.set_rate_ml_h * step_s / 3600
        elif now_s - self._free_since_s > _NURSE_COMES_S:
            self.running, self.occluded = True, False
            self.log_entry += 1
        if not self.occluded:
            self.pressure_mmhg = _CALM_MMHG + 2 * math.sin(now_s / 7 + self._phase)
