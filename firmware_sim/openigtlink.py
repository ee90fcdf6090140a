"""A surgical robot that speaks OpenIGTLink: pose and force of its tool, its status, the step of the operation.

It sends pose and force by itself; tracked tools (TDATA) once a client asks. With header version 2 (protocol 3) its
messages carry ids and metadata. Written from the protocol's pages; a message is `openigtlink_wire.message`.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Final

from firmware_sim.device import SimulatedDevice
from firmware_sim.faults import FaultLine
from firmware_sim.openigtlink_wire import Around, Head, heads, message
from firmware_sim.patient import Patient
from firmware_sim.robot_arm import FIDUCIALS_MM, Pose, RobotArm

_NEWTON: Final = 0x0B << 54 | 1 << 50
_NEWTON_METRE: Final = _NEWTON | 1 << 44 | 1 << 40
_MOST_AT_ONCE: Final = 200
_TYPES: Final = ("TRANSFORM", "SENSOR", "STATUS", "STRING", "POINT", "TDATA", "CAPABILITY", "ARMSTATE")
_STEPS: Final = ((0.0, "docked"), (6.0, "dissection"), (40.0, "clipping"), (90.0, "suturing"))
_SETTLING_S: Final = 2.0
_OK, _NOT_READY, _ILLEGAL = 1, 13, 12


@dataclass(frozen=True, slots=True)
class RobotConfig:
    """Rates in Hz; ``ids``: header version 2 with message ids and metadata; ``waits``: sends nothing before asked."""

    pose_hz: int = 10
    force_hz: int = 100
    ids: bool = True
    waits: bool = False


class OpenIgtLinkRobot(SimulatedDevice):
    """The robot. ``line.sensors_off`` knows ``force`` (the sensor gives no numbers) and ``tool`` (out of sight)."""

    def __init__(
        self,
        patient: Patient,
        started_unix_s: float,
        config: RobotConfig | None = None,
        line: FaultLine | None = None,
    ) -> None:
        super().__init__(line)
        self._arm = RobotArm(patient)
        self._other_arm = RobotArm(patient, 2)
        self._started_unix_s = started_unix_s
        self._config = config or RobotConfig()
        self._on_since_s = 0.0
        self.restart()

    def restart(self) -> None:
        """As after power on."""
        self._pending = b""
        self._connected = False
        self._pushes = not self._config.waits
        self._tracks_every_s = 0.0
        self._next_s: dict[str, float] = {}
        self._step = ""
        self._id = 0
        self._arm_ticks = 0

    def set_blocked(self, blocked: bool, now_s: float) -> None:
        """A new client gets everything from the start; without one nothing is sent."""
        was_on, self._arm_ticks = self._arm_ticks, 0
        self.restart()
        self._arm_ticks = was_on
        if not blocked:
            self._connect(now_s)

    def answer(self, data: bytes, now_s: float) -> list[bytes]:
        """Questions of the client."""
        self._ready(now_s)
        self._pending += data
        found, self._pending = heads(self._pending)
        return [reply for head in found for reply in self._reply(head, now_s)]

    def due(self, now_s: float) -> list[bytes]:
        """What is due; of what was not sent in time only the newest."""
        self._ready(now_s)
        frames: list[bytes] = []
        for kind, every_s in self._rates().items():
            first_s = self._next_s.setdefault(kind, now_s)
            late = math.floor((now_s - first_s) / every_s + 1e-6)
            for tick in range(max(0, late + 1 - _MOST_AT_ONCE), late + 1):
                frames += self._frames(kind, first_s + tick * every_s)
            self._next_s[kind] = first_s + max(0, late + 1) * every_s
        return frames

    def next_due_s(self, now_s: float) -> float:
        """When the next message is due."""
        return max(min(self._next_s.values(), default=now_s), now_s + 1e-3)

    def _ready(self, now_s: float) -> None:
        """A line without connections (a capture's) is one from the start."""
        if not self._connected:
            self._connect(now_s)

    def _connect(self, now_s: float) -> None:
        self._connected = True
        self._on_since_s = now_s

    def _rates(self) -> dict[str, float]:
        rates = {"STATUS": 1.0, "STEP": 0.5}
        if self._pushes:
            rates |= {"POSE": 1 / self._config.pose_hz, "FORCE": 1 / self._config.force_hz, "ARMSTATE": 2.0}
        if self._tracks_every_s:
            rates["TDATA"] = self._tracks_every_s
        return rates

    def _reply(self, head: Head, now_s: float) -> list[bytes]:
        kind, stream = head.type[:4], head.type[4:]
        if head.type == "GET_STATUS":
            return [self._status(now_s)]
        if head.type == "GET_CAPABIL":
            known = b"".join(name.encode().ljust(12, b"\0") for name in _TYPES)
            return [self._message("CAPABILITY", "Robot", known, now_s)]
        if kind not in ("STT_", "STP_"):
            return []
        known_stream = stream in ("TDATA", "TRANS", "SENSOR")
        if stream == "TDATA":
            least_s = int.from_bytes(head.body[:4], "big") / 1000
            self._tracks_every_s = max(0.02, least_s) if kind == "STT_" else 0.0
            self._next_s.pop("TDATA", None)
        elif known_stream:
            self._pushes = kind == "STT_"
        return [self._message(f"RTS_{stream}"[:12], head.device, bytes((not known_stream,)), now_s)]

    def _frames(self, kind: str, at_s: float) -> list[bytes]:
        if kind == "POSE":
            return [self._pose(at_s)]
        if kind == "FORCE":
            return self._wrench(at_s)
        if kind == "TDATA":
            return [self._tools(at_s)]
        if kind == "STATUS":
            return [self._status(at_s)]
        if kind == "ARMSTATE":
            self._arm_ticks += 1
            return [self._message("ARMSTATE", "Arm1", struct.pack(">HI", 3, self._arm_ticks), at_s)]
        return self._operation_step(at_s)

    def _pose(self, at_s: float) -> bytes:
        seen = "tool" not in self.line.sensors_off(at_s)
        words = {"TransformValid": str(seen), "TransformStatus": "OK" if seen else "OUT_OF_VIEW"}
        return self._message("TRANSFORM", "ToolTip", _matrix(self._arm.pose(at_s)), at_s, words)

    def _wrench(self, at_s: float) -> list[bytes]:
        force, torque = self._arm.wrench(at_s)
        if "force" in self.line.sensors_off(at_s):
            force = torque = (math.nan, math.nan, math.nan)
        return [
            self._message("SENSOR", "ToolForce", struct.pack(">BBQ3d", 3, 0, _NEWTON, *force), at_s),
            self._message("SENSOR", "ToolTorque", struct.pack(">BBQ3d", 3, 0, _NEWTON_METRE, *torque), at_s),
        ]

    def _tools(self, at_s: float) -> bytes:
        tools = {"Endoscope": self._other_arm.pose(at_s)}
        if "tool" not in self.line.sensors_off(at_s):
            tools["Grasper"] = self._arm.pose(at_s)
        body = b"".join(struct.pack(">20sBx", name.encode(), 2) + _matrix(pose) for name, pose in tools.items())
        return self._message("TDATA", "Tracker", body, at_s)

    def _status(self, at_s: float) -> bytes:
        settling = at_s - self._on_since_s < _SETTLING_S
        code, name, text = (_NOT_READY, "Starting", "homing") if settling else (_OK, "OK", "")
        body = struct.pack(">Hq20s", code, 7 if settling else 0, name.encode()) + text.encode() + b"\0"
        return self._message("STATUS", "Robot", body, at_s)

    def _operation_step(self, at_s: float) -> list[bytes]:
        step = next(name for since_s, name in reversed(_STEPS) if at_s >= since_s or since_s == 0)
        if step == self._step:
            return []
        before, self._step = self._step, step
        told = [self._message("STRING", "Step", struct.pack(">HH", 3, len(step)) + step.encode(), at_s)]
        return told if before else [*told, self._points(at_s)]

    def _points(self, at_s: float) -> bytes:
        body = b"".join(
            struct.pack(">64s32s4B3ff20s", name.encode(), b"Fiducial", 255, 255, 0, 255, *place, 5.0, b"CT-1")
            for name, place in FIDUCIALS_MM.items()
        )
        return self._message("POINT", "Ports", body, at_s)

    def _message(self, kind: str, device: str, body: bytes, at_s: float, words: dict[str, str] | None = None) -> bytes:
        around = None
        if self._config.ids:
            self._id = (self._id + 1) % (1 << 32)
            around = Around(self._id, words or {})
        return message(kind, device, self._started_unix_s + at_s + self.line.clock_error_s(at_s), body, around)


def _matrix(pose: Pose) -> bytes:
    """Twelve numbers, column by column, the place last."""
    columns = zip(*pose.rotation, strict=True)
    return struct.pack(">12f", *[number for column in columns for number in column], *pose.place)
