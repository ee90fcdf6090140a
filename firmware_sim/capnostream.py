"""A Capnostream 20 capnograph: silent until communication is enabled; then a waveform sample every 50 ms and the values
every second, once real-time data are asked for.
"""

from __future__ import annotations

import math
from functools import reduce
from operator import xor
from typing import Final

from firmware_sim.alarms import Limits
from firmware_sim.device import SimulatedDevice
from firmware_sim.faults import FaultLine
from firmware_sim.patient import Numerics, Patient
from firmware_sim.waves import WaveKind

_RATE_HZ: Final = 20
_MOST_AT_ONCE: Final = 8
_CHUNK: Final = 20
_SEARCH_S: Final = 4.0
_ENABLE, _DISABLE, _START, _STOP, _REVISION = 1, 2, 4, 5, 9
_NONE: Final = 255
_RR_LIMITS, _FICO2_HIGH, _NO_BREATH_S = (5, 30), 8, 30
_DEVICE_ID: Final = b"V04.54 02/24/2011 B355987654  "


class CapnostreamMonitor(SimulatedDevice):
    """The monitor. ``line.sensors_off`` knows ``co2`` (the filter line) and ``spo2``."""

    def __init__(self, patient: Patient, started_unix_s: float, line: FaultLine | None = None) -> None:
        super().__init__(line)
        self._patient = patient
        self._started_unix_s = started_unix_s
        self._limits = Limits()
        self._chunk_number = -1
        self._chunk: list[float] = []
        self._was_co2 = 0.0
        self._spo2_off_until_s = 0.0
        self._co2_off_until_s = 0.0
        self.restart()

    def restart(self) -> None:
        """As after power on."""
        self._pending = b""
        self._enabled = self._real_time = False
        self._sample = self._second = 0
        self._number = 0

    def answer(self, data: bytes, now_s: float) -> list[bytes]:
        """Commands without data: 85, length 1, code, check."""
        self._pending = (self._pending + data)[-64:]
        replies: list[bytes] = []
        while (at := self._pending.find(b"\x85")) >= 0 and len(self._pending) >= at + 4:
            length, code, check = self._pending[at + 1 : at + 4]
            self._pending = self._pending[at + 1 :]
            if length == 1 and length ^ code == check:
                replies += self._command(code, now_s)
        return replies

    def _command(self, code: int, now_s: float) -> list[bytes]:
        if code == _ENABLE:
            self._enabled = True
            return [_framed(4, _DEVICE_ID)]
        if not self._enabled:
            return []
        if code == _REVISION:
            return [_framed(9, b"B\x05")]
        if code == _START and not self._real_time:
            self._real_time = True
            self._sample, self._second = math.floor(now_s * _RATE_HZ), math.floor(now_s)
        elif code in (_STOP, _DISABLE):
            self._real_time = False
            self._enabled = code != _DISABLE
        return []

    def due(self, now_s: float) -> list[bytes]:
        """Samples and values that are due; what was not sent in time is gone."""
        if not self._real_time:
            return []
        until = math.floor(now_s * _RATE_HZ + 1e-6)
        first = max(self._sample, until - _MOST_AT_ONCE)
        frames = [self._wave(number) for number in range(first, until)]
        self._sample = max(self._sample, until)
        if math.floor(now_s) > self._second:
            self._second = math.floor(now_s)
            frames.append(self._numerics(now_s))
        return frames

    def next_due_s(self, now_s: float) -> float:
        """When the next sample is due."""
        return max((self._sample + 1) / _RATE_HZ, now_s + 1e-3) if self._real_time else math.inf

    def _wave(self, number: int) -> bytes:
        now_s = number / _RATE_HZ
        self._number = (self._number + 1) % 256
        co2, status = self._co2(number), 0
        if "co2" in self.line.sensors_off(now_s):
            self._co2_off_until_s = now_s + _SEARCH_S
            co2, status = 0.0, 0x41
        elif now_s < self._co2_off_until_s:
            co2, status = 0.0, 0x21
        elif co2 < 8 <= self._was_co2:
            status = 0x08
        self._was_co2 = co2
        return _framed(0, bytes((self._number, *divmod(round(max(0.0, co2) * 256), 256), status)))

    def _co2(self, number: int) -> float:
        chunk, at = divmod(number, _CHUNK)
        if chunk != self._chunk_number:
            wave = self._patient.wave(WaveKind.CO2, chunk * _CHUNK / _RATE_HZ, _CHUNK, _RATE_HZ)
            self._chunk_number, self._chunk = chunk, list(wave)
        return self._chunk[at]

    def _numerics(self, now_s: float) -> bytes:
        shown = self._patient.at(now_s)
        if "spo2" in self.line.sensors_off(now_s):
            self._spo2_off_until_s = now_s + _SEARCH_S
        co2_off = now_s < self._co2_off_until_s
        spo2_off = now_s < self._spo2_off_until_s
        time_s = int(self._started_unix_s + now_s + self.line.clock_error_s(now_s))
        gas = (_NONE,) * 3 if co2_off else (shown.etco2_mmhg, shown.fico2_mmhg, shown.resp_rate)
        oximetry = (_NONE,) * 2 if spo2_off else (shown.spo2, shown.pulse_rate)
        co2_alarms, spo2_alarms = self._alarms(self._patient.smoothed(now_s), co2_off=co2_off, spo2_off=spo2_off)
        sounds = 0x08 if co2_alarms | spo2_alarms else 0
        limits = self._limits
        tail = (
            *(0, 0, 0), co2_alarms, spo2_alarms, _NO_BREATH_S, limits.etco2_mmhg[1], limits.etco2_mmhg[0],
            _RR_LIMITS[1], _RR_LIMITS[0], _FICO2_HIGH, 100, limits.spo2[0], limits.hr[1], limits.hr[0], 1, 0,
        )  # fmt: skip
        values = (_NONE if value is None else round(value) for value in (*gas, *oximetry))
        return _framed(1, time_s.to_bytes(4, "big") + bytes((*values, sounds, *(round(byte) for byte in tail))))

    def _alarms(self, smooth: Numerics, *, co2_off: bool, spo2_off: bool) -> tuple[int, int]:
        co2 = spo2 = 0
        if not co2_off:
            low, high = self._limits.etco2_mmhg
            co2 = 0x02 * (smooth.etco2_mmhg > high) | 0x04 * (smooth.etco2_mmhg < low)
        if spo2_off:
            spo2 = 0x40
        elif smooth.spo2 is None or smooth.pulse_rate is None:
            spo2 = 0x01
        else:
            low, high = self._limits.hr
            spo2 = 0x04 * (smooth.spo2 < self._limits.spo2[0])
            spo2 |= 0x08 * (smooth.pulse_rate > high) | 0x10 * (smooth.pulse_rate < low)
        return co2, spo2


def _framed(code: int, payload: bytes) -> bytes:
    plain = bytes((len(payload) + 1, code)) + payload
    plain += bytes((reduce(xor, plain),))
    stuffed = b"".join({0x80: b"\x80\x00", 0x85: b"\x80\x05"}.get(byte, bytes((byte,))) for byte in plain)
    return b"\x85" + stuffed
