"""A Puritan Bennett 840 at its serial ports: reports when asked, or waveforms by itself. Pure.

It sends the reports of its manual: comma separated fields of fixed width, blank where it has no value.
"""

from __future__ import annotations

import math
import time
from array import array
from collections.abc import Callable
from functools import lru_cache

from firmware_sim.alarms import Limits, active_alarms
from firmware_sim.device import SimulatedDevice
from firmware_sim.faults import FaultLine
from firmware_sim.patient import Patient
from firmware_sim.waves import WaveKind

RATE_HZ = 50
BLOCK_POINTS = 100
INSPIRATION = 1 / 3
BATCH_S = 0.1
MAX_CATCH_UP_S = 2.0
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
WIDTHS = {
    "MISCF": {6: 18, 7: 12, 8: 9, 50: 9, 53: 18, 55: 9, 66: 9},
    "MISCA": {6: 18, 8: 12, 62: 12, 100: 9},
}
FIELDS = {"MISCF": 169, "MISCA": 97}
ASKED = {b"SNDF": "MISCF", b"SNDA": "MISCA"}
_ALARMS_F = {"ppeak": 110}


class Pb840(SimulatedDevice):
    """The port set to DCI. ``knows_sndf`` False: older software that only has SNDA. A change of the set rate from
    ``rate_set_s`` on.
    """

    def __init__(
        self,
        patient: Patient,
        started_unix_s: float,
        line: FaultLine | None = None,
        *,
        knows_sndf: bool = True,
        rate_set_s: float = math.inf,
    ) -> None:
        super().__init__(line)
        self._patient = patient
        self._started_unix_s = started_unix_s
        self._knows_sndf = knows_sndf
        self._rate_set_s = rate_set_s
        self._asked = bytearray()

    def restart(self) -> None:
        """Forget half a question."""
        self._asked.clear()

    def answer(self, data: bytes, now_s: float) -> list[bytes]:
        """Commands of four characters and CR; others are passed over."""
        self._asked += data
        *commands, rest = bytes(self._asked).split(b"\r")
        self._asked = bytearray(rest[-16:])
        names = [ASKED[command] for command in commands if command in ASKED]
        return [self.report(name, now_s) for name in names if name == "MISCA" or self._knows_sndf]

    def due(self, now_s: float) -> list[bytes]:
        """Nothing: it speaks when it is asked."""
        return []

    def next_due_s(self, now_s: float) -> float:
        """Never."""
        return math.inf

    def report(self, name: str, now_s: float) -> bytes:
        """One report, whole."""
        texts = self._full(now_s) if name == "MISCF" else self._short(now_s)
        widths = WIDTHS[name]
        numbers = range(5, 5 + FIELDS[name])
        body = "".join(texts.get(number, "").ljust(widths.get(number, 6)) + "," for number in numbers)
        count = f"{FIELDS[name]:<4}" if name == "MISCF" else str(FIELDS[name])
        return f"{name},{len(body)},{count},\x02{body}\x03\r".encode("ascii")

    def _moment(self, now_s: float) -> tuple[str, str]:
        at = time.gmtime(self._started_unix_s + now_s + self.line.clock_error_s(now_s))
        return f"{at.tm_hour:02d}:{at.tm_min:02d}", f"{MONTHS[at.tm_mon - 1]} {at.tm_mday:02d} {at.tm_year}"

    def _full(self, now_s: float) -> dict[int, str]:
        shown, off = self._patient.at(now_s), self.line.sensors_off(now_s)
        clock, date = self._moment(now_s)
        rate_set = shown.resp_rate + (2 if now_s >= self._rate_set_s else 0)
        ratio = f"{(1 - INSPIRATION) / INSPIRATION:.2f}"
        texts = {
            5: clock, 6: "840 3510000001", 7: date, 8: "INVASIVE", 9: "A/C", 10: "VC", 12: "V-Trig",
            13: f"{rate_set:.1f}", 14: "0.480", 15: "30.0", 16: "45", 18: "5.0", 19: "0.0", 20: "20",
            27: "RAMP", 28: "VC", 32: "SQUARE", 33: "OFF", 34: f"{Limits().ppeak[1]:.0f}", 36: "12.000", 37: "3.000",
            38: "1200", 39: "250", 42: "30", 44: "3.5", 45: "2.0", 53: "HME", 55: "Enabled", 56: "75", 60: "70.0",
            66: "ADULT", 69: f"{shown.pplat:.1f}", 73: f"{shown.ppeak:.1f}",
            74: f"{shown.peep + (shown.ppeak - shown.peep) * 0.3:.1f}", 75: ratio, 76: f"1:{ratio}",
            87: f"{shown.peep:.1f}", 105: "OFF",
        }  # fmt: skip
        if "flow" not in off:
            texts |= {
                70: f"{shown.resp_rate:.1f}",
                71: f"{shown.tidal_exp / 1000:.3f}",
                72: f"{shown.minute_volume:.3f}",
                78: f"{shown.tidal_insp / 1000:.3f}",
                96: f"{shown.compliance:.1f}",
            }
        if "o2" not in off:
            texts[77] = f"{shown.fio2:.0f}"
        active = {_ALARMS_F.get(alarm.source, 0) for alarm in active_alarms(self._patient.smoothed(now_s))}
        texts |= {number: "HIGH" if number in active else "NORMAL" for number in range(106, 154)}
        return texts

    def _short(self, now_s: float) -> dict[int, str]:
        shown = self._patient.at(now_s)
        clock, date = self._moment(now_s)
        texts = {
            5: clock, 6: "840 3510000001", 8: date, 9: "CMV", 10: f"{shown.resp_rate:.1f}", 11: "0.48", 12: "30",
            13: "45", 15: "5.0", 21: "20", 27: "SQUARE", 30: "OFF", 34: f"{shown.resp_rate:.0f}",
            35: f"{shown.tidal_exp / 1000:.2f}", 36: f"{shown.minute_volume:.2f}", 37: "0.0", 38: f"{shown.ppeak:.1f}",
            39: f"{shown.peep + (shown.ppeak - shown.peep) * 0.3:.1f}", 40: f"{shown.pplat:.1f}", 41: "2.00", 42: "40",
            45: "0.25", 46: "3.0", 47: "30", 60: clock, 62: date, 65: f"{shown.compliance:.0f}", 93: "OFF",
            94: "NORMAL", 95: "NORMAL", 101: "1:2.00",
        }  # fmt: skip
        return texts | dict.fromkeys((48, 51, 52, 53, 54, 55, 57), "NORMAL")


class Pb840Waves(SimulatedDevice):
    """The port set to waveforms: breath start, a line every 20 ms, breath end."""

    def __init__(self, patient: Patient, line: FaultLine | None = None) -> None:
        super().__init__(line)
        self._patient = patient
        self._block: Callable[[WaveKind, int], array[float]] = lru_cache(maxsize=64)(self._draw)
        self._step = 0
        self._breath = 100
        self._in_breath = False

    def answer(self, data: bytes, now_s: float) -> list[bytes]:
        """It does not listen."""
        return []

    def due(self, now_s: float) -> list[bytes]:
        """Lines up to now."""
        last = math.floor(now_s * RATE_HZ + 1e-6)
        self._step = max(self._step, last - round(MAX_CATCH_UP_S * RATE_HZ))
        lines = []
        while self._step < last:
            self._step += 1
            lines += self._lines(self._step)
        return lines

    def next_due_s(self, now_s: float) -> float:
        """The next batch."""
        return math.floor(now_s / BATCH_S + 1e-6) * BATCH_S + BATCH_S

    def _lines(self, step: int) -> list[bytes]:
        breath_s = 60 / self._patient.resp_rate
        lines = []
        if (step / RATE_HZ / breath_s) % 1 < ((step - 1) / RATE_HZ / breath_s) % 1:
            if self._in_breath:
                lines.append(b"BE\r\n")
            self._in_breath = True
            self._breath += 1
            lines.append(b"BS, S:%d,\r\n" % self._breath)
        if self._in_breath:
            flow, pressure = self._sample(WaveKind.FLOW, step), self._sample(WaveKind.AWP, step)
            lines.append(f"{flow:.2f}, {pressure:.2f}\r\n".encode("ascii"))
        return lines

    def _sample(self, kind: WaveKind, step: int) -> float:
        return self._block(kind, step // BLOCK_POINTS)[step % BLOCK_POINTS]

    def _draw(self, kind: WaveKind, block: int) -> array[float]:
        return self._patient.wave(kind, block * BLOCK_POINTS / RATE_HZ, BLOCK_POINTS, RATE_HZ)
