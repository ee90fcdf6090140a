"""A Nellcor N-595 on its data port: a line every two seconds, a header above every page, as the manual prints them."""

from __future__ import annotations

import time

from firmware_sim.faults import FaultLine
from firmware_sim.patient import Numerics, Patient
from firmware_sim.printing import PrintingDevice

_PERIOD_S = 2.0
_LINES_A_PAGE = 25
_SAT_LIMITS, _RATE_LIMITS = (90, 100), (50, 140)
_SEARCH_S = 8.0


class NellcorOximeter(PrintingDevice):
    """The oximeter."""

    def __init__(self, patient: Patient, started_unix_s: float, line: FaultLine | None = None) -> None:
        super().__init__(_PERIOD_S, line)
        self._patient = patient
        self._started_unix_s = started_unix_s
        self._off_until_s = 0.0

    def frame(self, number: int, now_s: float) -> bytes:
        """One line of values, below a header where a page begins."""
        shown = self._patient.at(now_s)
        off = "spo2" in self.line.sensors_off(now_s)
        if off:
            self._off_until_s = now_s + _SEARCH_S
        searching = not off and (now_s < self._off_until_s or shown.spo2 is None)
        head = self._header() if number % _LINES_A_PAGE == 0 else ""
        moment = time.gmtime(self._started_unix_s + now_s + self.line.clock_error_s(now_s))
        stamp = time.strftime("%d-%b-%y %H:%M:%S", moment).upper()
        values, status = self._measured(shown) if not off and not searching else ("---   ---    ---", [])
        status += ["SD"] if off else ["PS"] if searching else []
        return f"{head}{stamp}   {values}   {' '.join(status)}\r\n".encode("ascii")

    @staticmethod
    def _header() -> str:
        sat, rate = "-".join(map(str, _SAT_LIMITS)), "-".join(map(str, _RATE_LIMITS))
        return (
            f"N-595    VERSION 2.0.0.0   CRC: 4F1A   SpO2 Limit: {sat}%   PR Limit: {rate}BPM\r\n"
            "TIME                 %SpO2   BPM   PA   Status\r\n"
        )

    @staticmethod
    def _measured(shown: Numerics) -> tuple[str, list[str]]:
        sat, rate = round(shown.spo2 or 0), round(shown.pulse_rate or 0)
        status = [code for code, is_so in (
            ("SL", sat < _SAT_LIMITS[0]), ("PL", rate < _RATE_LIMITS[0]), ("PH", rate > _RATE_LIMITS[1]),
        ) if is_so]  # fmt: skip
        sat_mark = "*" if "SL" in status else " "
        rate_mark = "*" if status and status[-1] in ("PL", "PH") else " "
        amplitude = min(254, round(shown.perfusion_index * 40))
        return f"{sat:3d}{sat_mark}  {rate:3d}{rate_mark}   {amplitude:3d}", status
