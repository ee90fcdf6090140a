"""Faults on demand: a seeded transformer of the bytes a device sends, driven by a timeline. Pure.

Byte faults (noise, lost, doubled) draw once per byte, so that cutting the stream into calls in any way gives the same
bytes. `cut` works on frames: one call of `FaultLine.apply` is one frame.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from enum import StrEnum


class FaultKind(StrEnum):
    """What goes wrong. `value` of the event means what stands here."""

    NOISE = "noise"  # a random byte slips in; chance per byte
    LOST = "lost"  # a byte is lost; chance per byte
    DOUBLED = "doubled"  # a byte comes twice; chance per byte
    CUT = "cut"  # a frame ends early; chance per frame
    FRAME_LOST = "frame-lost"  # a whole frame (datagram) is lost; chance per frame
    FRAME_DOUBLED = "frame-doubled"  # a whole frame (datagram) comes twice; chance per frame
    SILENCE = "silence"  # nothing is heard; no value
    REBOOT = "reboot"  # the device is off for the duration and forgets what was asked of it; no value
    DRIFT = "drift"  # the device's clock runs fast by `value` parts per million
    STEP = "step"  # the device's clock jumps by `value` seconds at the start
    SENSOR_OFF = "sensor-off"  # `target` is unplugged; no value


_DEFAULT_VALUE = {
    FaultKind.NOISE: 0.01,
    FaultKind.LOST: 0.01,
    FaultKind.DOUBLED: 0.01,
    FaultKind.CUT: 0.2,
    FaultKind.FRAME_LOST: 0.1,
    FaultKind.FRAME_DOUBLED: 0.1,
    FaultKind.DRIFT: 200.0,
    FaultKind.STEP: 30.0,
}
_FRAME_CHANCES = (FaultKind.FRAME_LOST, FaultKind.FRAME_DOUBLED)
_CHANCES = frozenset({FaultKind.NOISE, FaultKind.LOST, FaultKind.DOUBLED, FaultKind.CUT, *_FRAME_CHANCES})


class FaultError(ValueError):
    """A fault that cannot be understood."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault from start_s on for duration_s."""

    kind: FaultKind
    start_s: float = 0.0
    duration_s: float = math.inf
    value: float = 0.0
    target: str = ""

    def active(self, now_s: float) -> bool:
        """Whether it acts at now_s."""
        return self.start_s <= now_s < self.start_s + self.duration_s


def parse_fault(text: str) -> Fault:
    """Read `kind[@start[+duration]][:value or sensor]`, seconds; for example `noise@30+10:0.02`, `sensor-off@5:spo2`.

    Raises FaultError.
    """
    head, _, tail = text.partition(":")
    name, _, when = head.partition("@")
    start, _, duration = when.partition("+")
    if name == FaultKind.SENSOR_OFF and not tail:
        raise FaultError(f"cannot read fault {text!r}: name the sensor, for example sensor-off:spo2")
    try:
        kind = FaultKind(name)
        start_s = float(start or 0)
        duration_s = float(duration or "inf")
        if kind is FaultKind.SENSOR_OFF:
            return Fault(kind, start_s, duration_s, target=tail)
        value = float(tail) if tail else _DEFAULT_VALUE.get(kind, 0.0)
    except ValueError as e:
        kinds = ", ".join(FaultKind)
        raise FaultError(f"cannot read fault {text!r}: {e}. Form: kind@start+duration:value; kinds: {kinds}") from e
    if kind in _CHANCES and not 0 <= value <= 1:
        raise FaultError(f"cannot read fault {text!r}: the chance must lie between 0 and 1")
    if kind is FaultKind.REBOOT and math.isinf(duration_s):
        duration_s = 20.0
    return Fault(kind, start_s, duration_s, value)


class FaultLine:
    """The line between a device and its reader, with its faults; times are seconds since the device started."""

    def __init__(self, faults: tuple[Fault, ...] = (), seed: int = 1) -> None:
        self.faults = faults
        self._bytes = random.Random(f"fault bytes {seed}")
        self._frames = random.Random(f"fault frames {seed}")
        self.hurt_frames = 0

    def apply(self, frame: bytes, now_s: float) -> bytes:
        """What arrives of a frame sent at now_s."""
        active = [f for f in self.faults if f.active(now_s)]
        if not active:
            return frame
        data = frame
        for fault in active:
            if fault.kind in (FaultKind.SILENCE, FaultKind.REBOOT):
                data = b""
            elif fault.kind is FaultKind.CUT and self._frames.random() < fault.value:
                data = data[: self._frames.randrange(len(data))] if data else data
        rates = [f for f in active if f.kind in (FaultKind.NOISE, FaultKind.LOST, FaultKind.DOUBLED)]
        if rates:
            data = self._hurt_bytes(data, rates)
        if data != frame:
            self.hurt_frames += 1
        return data

    def frames(self, frame: bytes, now_s: float) -> list[bytes]:
        """What arrives of a frame sent at now_s, where frames may also be lost whole or come twice."""
        arriving = [self.apply(frame, now_s)]
        for fault in self.faults:
            if fault.kind in _FRAME_CHANCES and fault.active(now_s) and self._frames.random() < fault.value:
                arriving = [] if fault.kind is FaultKind.FRAME_LOST else arriving * 2
                self.hurt_frames += 1
        return arriving

    def _hurt_bytes(self, data: bytes, faults: list[Fault]) -> bytes:
        out = bytearray()
        draw = self._bytes.random
        for byte in data:
            piece = bytes((byte,))
            for fault in faults:
                if draw() >= fault.value:
                    continue
                if fault.kind is FaultKind.LOST:
                    piece = b""
                elif fault.kind is FaultKind.DOUBLED:
                    piece += piece
                else:
                    piece = bytes((self._bytes.randrange(256),)) + piece
            out += piece
        return bytes(out)

    def clock_error_s(self, now_s: float) -> float:
        """How far the device's clock is ahead of true time at now_s."""
        error = 0.0
        for fault in self.faults:
            if fault.kind is FaultKind.DRIFT:
                error += fault.value * 1e-6 * min(max(0.0, now_s - fault.start_s), fault.duration_s)
            elif fault.kind is FaultKind.STEP and fault.active(now_s):
                error += fault.value
        return error

    def off(self, now_s: float) -> bool:
        """Whether the device is rebooting at now_s."""
        return any(f.kind is FaultKind.REBOOT and f.active(now_s) for f in self.faults)

    def sensors_off(self, now_s: float) -> frozenset[str]:
        """Names of the sensors unplugged at now_s."""
        return frozenset(f.target for f in self.faults if f.kind is FaultKind.SENSOR_OFF and f.active(now_s))
