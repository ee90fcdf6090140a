"""A Contec CMS50 finger oximeter: 60 frames a second, of 5 bytes with old firmware, of 9 with firmware 7.

With firmware 7 it sends once asked to, and stops, saying so, when it has not been kept alive for five seconds.
"""

from __future__ import annotations

import math
from typing import Final, Literal

from firmware_sim.device import SimulatedDevice
from firmware_sim.faults import FaultLine
from firmware_sim.patient import Patient
from firmware_sim.waves import WaveKind

_RATE_HZ: Final = 60
_MOST_AT_ONCE: Final = 8
_ALIVE_S: Final = 5.0
_SEARCH_S: Final = 4.0
_BEGIN, _END, _ALIVE = 0xA1, 0xA2, 0xAF
_CHUNK: Final = 60


class Cms50Oximeter(SimulatedDevice):
    """The oximeter."""

    def __init__(self, patient: Patient, firmware: Literal["7", "old"] = "7", line: FaultLine | None = None) -> None:
        super().__init__(line)
        self._patient = patient
        self._old = firmware == "old"
        self._sent = 0
        self._off_until_s = 0.0
        self._chunk_number = -1
        self._chunk: list[float] = []
        self._pending = b""
        self.restart()

    def restart(self) -> None:
        """Old firmware sends from power on, new firmware waits to be asked."""
        self._sending = self._old
        self._alive_until_s = math.inf if self._old else 0.0

    def answer(self, data: bytes, now_s: float) -> list[bytes]:
        """Commands of 9 bytes: 7D 81, what to do, 80 six times."""
        self._pending = (self._pending + data)[-64:]
        while (at := self._pending.find(b"\x7d\x81")) >= 0 and len(self._pending) >= at + 9:
            command, self._pending = self._pending[at + 2], self._pending[at + 9 :]
            if self._old or command not in (_BEGIN, _END, _ALIVE):
                continue
            if command == _BEGIN and not self._sending:
                self._sending, self._sent = True, math.floor(now_s * _RATE_HZ)
            elif command == _END:
                self._sending = False
            self._alive_until_s = now_s + _ALIVE_S
        return []

    def due(self, now_s: float) -> list[bytes]:
        """The frames that are due by now."""
        if not self._sending:
            return []
        if now_s > self._alive_until_s:
            self._sending = False
            return [self._packed(0x0D, [0])]
        until = math.floor(now_s * _RATE_HZ + 1e-6)
        first = max(self._sent, until - _MOST_AT_ONCE)
        self._sent = max(self._sent, until)
        return [self._frame(number) for number in range(first, until)]

    def next_due_s(self, now_s: float) -> float:
        """When the next frame is due."""
        return max((self._sent + 1) / _RATE_HZ, now_s + 1e-3) if self._sending else math.inf

    def _frame(self, number: int) -> bytes:
        now_s = number / _RATE_HZ
        shown = self._patient.at(now_s)
        off = "spo2" in self.line.sensors_off(now_s)
        if off:
            self._off_until_s = now_s + _SEARCH_S
        searching = not off and (now_s < self._off_until_s or shown.spo2 is None)
        measured = not off and not searching and shown.spo2 is not None and shown.pulse_rate is not None
        sample = 0 if off else min(127, max(0, round(64 + self._pleth(number) * 3)))
        strength = 0 if off else min(8, round(shown.perfusion_index * 3))
        rate, spo2 = (round(shown.pulse_rate or 0), round(shown.spo2 or 0)) if measured else (0xFF, 0x7F)
        if self._old:
            first = 0x80 | strength | (0x10 if off else 0)
            third = min(15, sample // 8) | (0x20 if searching else 0) | rate >> 1 & 0x40
            return bytes((first, sample, third, rate & 0x7F, spo2))
        index = round(shown.perfusion_index * 10) if measured else 0xFFFF
        return self._packed(0x01, [strength, sample, min(15, sample // 8), rate, spo2, index & 0xFF, index >> 8])

    def _pleth(self, number: int) -> float:
        chunk, at = divmod(number, _CHUNK)
        if chunk != self._chunk_number:
            wave = self._patient.wave(WaveKind.PLETH, chunk * _CHUNK / _RATE_HZ, _CHUNK, _RATE_HZ)
            self._chunk_number, self._chunk = chunk, list(wave)
        return self._chunk[at]

    @staticmethod
    def _packed(kind: int, data: list[int]) -> bytes:
        high = sum((byte >> 7) << at for at, byte in enumerate(data))
        return bytes((kind, 0x80 | high, *(0x80 | byte for byte in data)))
