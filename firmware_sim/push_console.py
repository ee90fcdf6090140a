"""The console of a research robot that pushes what it knows, as JSON lines: its tool, a torque, settings, the pedals.

It keeps every line until it is acknowledged, and after a new connection goes on where the box says it is. To show what
becomes of them it sends one line twice and one with a field that does not exist.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from firmware_sim.device import SimulatedDevice
from firmware_sim.faults import FaultLine
from firmware_sim.patient import Patient
from firmware_sim.robot_arm import RobotArm

_TORQUE_HZ: Final = 200
_BATCH: Final = 20
_TICK_S: Final = _BATCH / _TORQUE_HZ
_DOUBLED_TICK, _WRONG_TICK = 15, 25
_PEDAL_EVERY_TICKS: Final = 30
_MOST_KEPT: Final = 1_000
_MOST_AT_ONCE: Final = 20


class PushConsole(SimulatedDevice):
    """The console; ``session`` tells this start of it from others."""

    def __init__(
        self, patient: Patient, started_unix_s: float, session: str = "first", line: FaultLine | None = None
    ) -> None:
        super().__init__(line)
        self._arm = RobotArm(patient)
        self._started_unix_s = started_unix_s
        self._session = session
        self._kept: dict[int, bytes] = {}
        self._seq = 0
        self._tick = 0
        self._pending = b""
        self._connected = self._welcome = False
        self.refused = 0

    @property
    def waiting(self) -> int:
        """Lines that are not acknowledged."""
        return len(self._kept)

    def set_blocked(self, blocked: bool, now_s: float) -> None:
        """A new connection begins with a greeting."""
        self._connected = self._welcome = False
        self._pending = b""

    def answer(self, data: bytes, now_s: float) -> list[bytes]:
        """Answers of the box."""
        *lines, self._pending = (self._pending + data).split(b"\n")
        out: list[bytes] = []
        for line in lines:
            told = json.loads(line)
            if told["type"] == "ack":
                self._kept.pop(told["seq"], None)
            elif told["type"] == "error":
                self.refused += 1
                if not told["again"]:
                    self._kept.pop(told["seq"], None)
            elif told["type"] == "welcome":
                self._welcome = True
                out += self._kept.values()
        return out

    def due(self, now_s: float) -> list[bytes]:
        """A greeting first; then ten times a second what there is."""
        frames: list[bytes] = []
        if not self._connected:
            self._connected = True
            frames.append(self._hello())
        due_tick = math.floor(now_s / _TICK_S + 1e-6)
        for tick in range(max(self._tick, due_tick - _MOST_AT_ONCE), due_tick):
            said = self._say(tick)
            frames += said if self._welcome else []
        self._tick = max(self._tick, due_tick)
        return frames

    def next_due_s(self, now_s: float) -> float:
        """The next tick."""
        return max((self._tick + 1) * _TICK_S, now_s + 1e-3)

    def _hello(self) -> bytes:
        return _line({
            "type": "hello", "version": 1, "session": self._session, "make": "simulated", "model": "research console",
            "serial": "RC-0007", "software": "0.3",
        })  # fmt: skip

    def _say(self, tick: int) -> list[bytes]:
        t_s = tick * _TICK_S
        pose = self._arm.pose(t_s)
        said = [
            self._data("numeric", t_s, code=f"MDCX_RC_TIP_{axis}", value=round(place, 3), unit="mm", channel="arm-1")
            for axis, place in zip("XYZ", pose.place, strict=True)
        ]
        said.append(self._torque(tick))
        if tick == 0:
            said.append(self._data("setting", t_s, code="MDCX_RC_SCALING", value=0.2, unit="1"))
            said.append(self._data("setting", t_s, code="MDCX_RC_MODE", value="teleoperation", unit=""))
        if tick % _PEDAL_EVERY_TICKS in (5, 12):
            phase = "start" if tick % _PEDAL_EVERY_TICKS == 5 else "end"
            said.append(self._data("event", t_s, kind="operator", id="pedal-clutch", phase=phase, priority="none",
                                   code="MDCX_RC_CLUTCH", text="clutch pedal"))  # fmt: skip
        if tick == _DOUBLED_TICK:
            said.append(said[0])
        if tick == _WRONG_TICK:
            said.append(self._data("numeric", t_s, code="MDCX_RC_TIP_X", value=1.0, units="mm"))
        return said

    def _torque(self, tick: int) -> bytes:
        first = tick * _BATCH
        samples = [round(self._arm.wrench((first + n) / _TORQUE_HZ)[1][0] * 1e5) for n in range(_BATCH)]
        return self._data("wave", first / _TORQUE_HZ, code="MDCX_RC_TORQUE", unit="N.m", channel="joint-4",
                          rate_hz=_TORQUE_HZ, index=first, scale=1e-5, samples=samples)  # fmt: skip

    def _data(self, kind: str, t_s: float, /, **more: Any) -> bytes:
        self._seq += 1
        unix_s = self._started_unix_s + t_s + self.line.clock_error_s(t_s)
        time = datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="microseconds")
        line = _line({"type": kind, "seq": self._seq, "time": time, **more})
        if len(self._kept) < _MOST_KEPT:
            self._kept[self._seq] = line
        return line


def _line(fields: Mapping[str, Any]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"
