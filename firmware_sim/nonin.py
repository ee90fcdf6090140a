"""A Nonin OEM III module: 75 frames of 5 bytes a second, 25 to a packet, in serial data format 2 or 7."""

from __future__ import annotations

import math
from typing import Final, Literal

from firmware_sim.device import SimulatedDevice
from firmware_sim.faults import FaultLine
from firmware_sim.patient import Numerics, Patient
from firmware_sim.waves import WaveKind

_RATE_HZ, _PACKET = 75, 25
_PACKET_S: Final = _PACKET / _RATE_HZ
_NO_RATE, _NO_SATURATION = 511, 127
_SEARCH_S: Final = 4.0
_MOST_AT_ONCE: Final = 8
_GREEN, _RED, _SENSOR_ALARM, _OUT_OF_TRACK, _DISCONNECTED = 0x02, 0x04, 0x08, 0x10, 0x40


class NoninModule(SimulatedDevice):
    """The module; it takes no commands here."""

    def __init__(self, patient: Patient, data_format: Literal[2, 7] = 2, line: FaultLine | None = None) -> None:
        super().__init__(line)
        self._patient = patient
        self._format = data_format
        self._sent = 0
        self._packet_number = -1
        self._packet_frames: list[bytes] = []
        self._off_until_s = 0.0

    def answer(self, data: bytes, now_s: float) -> list[bytes]:
        """Nothing."""
        return []

    def due(self, now_s: float) -> list[bytes]:
        """The frames that are due by now; what was not asked for in time is gone."""
        until = math.floor(now_s * _RATE_HZ + 1e-6)
        first = max(self._sent, until - _MOST_AT_ONCE)
        self._sent = max(self._sent, until)
        return [self._frame_of(number) for number in range(first, until)]

    def next_due_s(self, now_s: float) -> float:
        """When the next frame is due."""
        return max((self._sent + 1) / _RATE_HZ, now_s + 1e-3)

    def _frame_of(self, number: int) -> bytes:
        packet, at = divmod(number, _PACKET)
        if packet != self._packet_number:
            self._packet_number, self._packet_frames = packet, self._packet(packet)
        return self._packet_frames[at]

    def _packet(self, number: int) -> list[bytes]:
        begun_s = number * _PACKET_S
        shown = self._patient.at(begun_s)
        off = "spo2" in self.line.sensors_off(begun_s)
        if off:
            self._off_until_s = begun_s + _SEARCH_S
        lost = off or begun_s < self._off_until_s or shown.spo2 is None
        status = 0x80 | self._status(shown, off=off, lost=lost)
        values = self._values(None if lost else shown)
        pleth = self._patient.wave(WaveKind.PLETH, begun_s, _PACKET, _RATE_HZ)
        samples = [0.0] * _PACKET if off else list(pleth)
        return [
            self._frame(status | (at == 0), sample, value)
            for at, (sample, value) in enumerate(zip(samples, values, strict=True))
        ]

    @staticmethod
    def _status(shown: Numerics, *, off: bool, lost: bool) -> int:
        if off:
            return _DISCONNECTED | _SENSOR_ALARM | _OUT_OF_TRACK
        if lost:
            return _OUT_OF_TRACK | _RED
        perfusion = shown.perfusion_index
        return _GREEN if perfusion > 1.0 else _GREEN | _RED if perfusion > 0.4 else _RED

    def _values(self, shown: Numerics | None) -> list[int]:
        spo2, rate = _NO_SATURATION, _NO_RATE
        if shown is not None and shown.spo2 is not None and shown.pulse_rate is not None:
            spo2, rate = round(shown.spo2), round(shown.pulse_rate)
        high, low = rate >> 7 & 0x03, rate & 0x7F
        smart_point = 0x20 if shown is not None else 0
        # fmt: off
        return [
            high, low, spo2, 27, 0, 0, 0, smart_point, spo2, spo2, spo2, 0, 0,
            high, low, spo2, spo2, 0, 0, high, low, high, low, 0, 0,
        ]
        # fmt: on

    def _frame(self, status: int, sample: float, value: int) -> bytes:
        share = min(1.0, max(0.0, 0.5 + sample / 40.0))
        if self._format == 2:
            body = bytes((1, status, round(share * 255), value))
        else:
            body = bytes((status, *round(share * 65_535).to_bytes(2, "big"), value))
        return body + bytes((sum(body) & 0xFF,))
