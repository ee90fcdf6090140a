"""One arm of a surgical robot in a patient who breathes: where its tool is and what it feels, as functions of time.

The tool turns about the trocar, which does not move, and slides through it. It works at a piece of tissue that the
ventilator lifts with every breath and each pulse shakes. Lengths in mm, forces in N, torques in N.m, angles in rad.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from firmware_sim.patient import Patient
from firmware_sim.waves import WaveKind

TROCAR_MM = (40.0, -25.0, 180.0)
FIDUCIALS_MM = {"trocar-1": TROCAR_MM, "trocar-2": (-45.5, -30.25, 172.125), "umbilicus": (0.0, 0.0, 165.0)}
_TISSUE_DEPTH_MM = 96.0
_LIFT_MM_PER_ML = 0.012
_PULSE_MM_PER_MMHG = 0.004
_STIFFNESS_N_PER_MM = 0.35
_DRAG_N_PER_RAD = 2.0
_TIP_LEVER_M = 0.055
_WAVE_HZ = 100
_CHUNK = 100
_STEP_S = 0.01
Matrix = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]
Vector = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Pose:
    """The tip of the tool: ``rotation`` by rows, ``place`` in the patient's coordinates (right, anterior, superior)."""

    rotation: Matrix
    place: Vector

    @property
    def quaternion(self) -> tuple[float, float, float, float]:
        """x, y, z, w of the rotation."""
        (a, b, c), (d, e, f), (g, h, i) = self.rotation
        w = math.sqrt(max(0.0, 1 + a + e + i)) / 2
        x = math.copysign(math.sqrt(max(0.0, 1 + a - e - i)) / 2, h - f)
        y = math.copysign(math.sqrt(max(0.0, 1 - a + e - i)) / 2, c - g)
        z = math.copysign(math.sqrt(max(0.0, 1 - a - e + i)) / 2, d - b)
        return x, y, z, w


class RobotArm:
    """The arm; the same patient and number give the same movement."""

    def __init__(self, patient: Patient, number: int = 1) -> None:
        self._patient = patient
        rng = random.Random(f"robot {patient.seed} {number}")
        self._slow = [(rng.uniform(0.03, 0.09), rng.uniform(0, 2 * math.pi)) for _ in range(8)]
        self._tremor = [(rng.uniform(8, 11), rng.uniform(0, 2 * math.pi)) for _ in range(3)]
        self._chunks: dict[tuple[WaveKind, int], list[float]] = {}

    def pose(self, t_s: float) -> Pose:
        """Where the tip is."""
        pitch, yaw, roll, depth = self._joints(t_s)
        cp, sp, cy, sy, cr, sr = *_turn(pitch), *_turn(yaw), *_turn(roll)
        rotation: Matrix = (
            (cy * cr, sp * sy * cr - cp * sr, cp * sy * cr + sp * sr),
            (cy * sr, sp * sy * sr + cp * cr, cp * sy * sr - sp * cr),
            (-sy, sp * cy, cp * cy),
        )
        place = tuple(origin - depth * row[2] for origin, row in zip(TROCAR_MM, rotation, strict=True))
        return Pose(rotation, (place[0], place[1], place[2]))

    def wrench(self, t_s: float) -> tuple[Vector, Vector]:
        """Force at the tip and torque at the trocar, in the tool's own coordinates."""
        pitch, yaw, _, depth = self._joints(t_s)
        before_pitch, before_yaw, _, _ = self._joints(t_s - _STEP_S)
        push = max(0.0, depth - self._tissue_mm(t_s)) * _STIFFNESS_N_PER_MM
        side = (_DRAG_N_PER_RAD * (yaw - before_yaw) / _STEP_S, _DRAG_N_PER_RAD * (pitch - before_pitch) / _STEP_S)
        force = (side[0], side[1], push)
        return force, (-side[1] * _TIP_LEVER_M, side[0] * _TIP_LEVER_M, 0.02 * push)

    def _joints(self, t_s: float) -> tuple[float, float, float, float]:
        slow = [math.sin(2 * math.pi * hz * t_s + phase) for hz, phase in self._slow]
        shake = [math.sin(2 * math.pi * hz * t_s + phase) for hz, phase in self._tremor]
        pitch = 0.22 * slow[0] + 0.05 * slow[1] + 0.0002 * shake[0]
        yaw = 0.18 * slow[2] + 0.06 * slow[3] + 0.0002 * shake[1]
        return pitch, yaw, 0.5 * slow[4] + 0.3 * slow[5], 95.0 + 6.0 * slow[6] + 2.0 * slow[7] + 0.02 * shake[2]

    def _tissue_mm(self, t_s: float) -> float:
        lift = _LIFT_MM_PER_ML * self._wave(WaveKind.VOLUME, t_s)
        return _TISSUE_DEPTH_MM - lift - _PULSE_MM_PER_MMHG * (self._wave(WaveKind.ART, t_s) - 60)

    def _wave(self, kind: WaveKind, t_s: float) -> float:
        number, at = divmod(max(0, math.floor(t_s * _WAVE_HZ + 1e-6)), _CHUNK)
        chunk = self._chunks.get((kind, number))
        if chunk is None:
            self._chunks = {key: kept for key, kept in self._chunks.items() if key[1] >= number - 1}
            chunk = list(self._patient.wave(kind, number * _CHUNK / _WAVE_HZ, _CHUNK, _WAVE_HZ))
            self._chunks[kind, number] = chunk
        return chunk[at]


def _turn(angle: float) -> tuple[float, float]:
    return math.cos(angle), math.sin(angle)
