"""A Masimo oximeter that prints "ASCII 1": one line a second, as the makers' manuals and recorded lines show it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from firmware_sim.faults import FaultLine
from firmware_sim.patient import Numerics, Patient
from firmware_sim.printing import PrintingDevice

_SET, _SENSOR_OFF, _PULSE_SEARCH, _LOW_PERFUSION = 0x800, 0x020, 0x008, 0x004
_SPO2_LOW, _RATE_LOW, _RATE_HIGH, _ANY = 0x02, 0x08, 0x04, 0x10
_SEARCH_S = 6.0


@dataclass(frozen=True, slots=True)
class MasimoModel:
    """What a model prints. ``rainbow``: haemoglobin fields too; ``alarm_digits`` and ``exception_digits`` differ."""

    rainbow: bool = False
    serial: str = "0000093112"
    alarm_digits: int = 4
    exception_digits: int = 6


RAD_8 = MasimoModel()
RADICAL_7 = MasimoModel(rainbow=True, serial="----------", alarm_digits=6, exception_digits=7)


class MasimoOximeter(PrintingDevice):
    """The oximeter; its low limit of SpO2 is 90 %, those of the pulse rate 50 and 140."""

    def __init__(
        self, patient: Patient, started_unix_s: float, model: MasimoModel = RAD_8, line: FaultLine | None = None
    ) -> None:
        super().__init__(1.0, line)
        self._patient = patient
        self._started_unix_s = started_unix_s
        self._model = model
        self._off_until_s = 0.0

    def frame(self, number: int, now_s: float) -> bytes:
        """One line."""
        shown = self._patient.at(now_s)
        off = "spo2" in self.line.sensors_off(now_s)
        if off:
            self._off_until_s = now_s + _SEARCH_S
        searching = not off and (now_s < self._off_until_s or shown.spo2 is None)
        measured = None if off or searching else shown
        fields = [*self._oximetry(measured), *self._haemoglobin(measured), "DESAT=--"]
        if not self._model.rainbow:
            fields.append("#")
        fields += ["PIDELTA=+--", *(("PVI=" + ("014" if measured else "---"),) if self._model.rainbow else ())]
        fields += [
            f"ALARM={self._alarms(measured):0{self._model.alarm_digits}X}",
            f"EXC={self._exceptions(shown, off, searching):0{self._model.exception_digits}X}",
        ]
        if self._model.rainbow:
            fields.append("EXC1=00000000")
        return f"{self._clock(now_s)} SN={self._model.serial} {' '.join(fields)}\r\n".encode("ascii")

    def _clock(self, now_s: float) -> str:
        moment = self._started_unix_s + now_s + self.line.clock_error_s(now_s)
        return time.strftime("%m/%d/%y %H:%M:%S", time.gmtime(moment))

    def _oximetry(self, measured: Numerics | None) -> list[str]:
        if measured is None or measured.spo2 is None or measured.pulse_rate is None:
            return ["SPO2=---%", "BPM=---", "PI=--.--%" if self._model.rainbow else "PI=--.--"]
        perfusion = f"PI={measured.perfusion_index:05.2f}"
        return [f"SPO2={round(measured.spo2):03d}%", f"BPM={round(measured.pulse_rate):03d}", perfusion]

    def _haemoglobin(self, measured: Numerics | None) -> list[str]:
        if not self._model.rainbow:
            return []
        if measured is None:
            return ["SPCO=--%", "SPMET=--.-%", "SPHB=--.-", "SPOC=--", "RESVD=---"]
        return ["SPCO=02%", "SPMET=00.8%", "SPHB=13.1", "SPOC=17", "RESVD=---"]

    @staticmethod
    def _alarms(measured: Numerics | None) -> int:
        if measured is None or measured.spo2 is None or measured.pulse_rate is None:
            return 0
        bits = _SPO2_LOW if measured.spo2 < 90 else 0
        bits |= _RATE_LOW if measured.pulse_rate < 50 else _RATE_HIGH if measured.pulse_rate > 140 else 0
        return bits | _ANY if bits else 0

    @staticmethod
    def _exceptions(shown: Numerics, off: bool, searching: bool) -> int:
        if off:
            return _SENSOR_OFF
        if searching:
            return _PULSE_SEARCH
        return _SET | (_LOW_PERFUSION if shown.perfusion_index < 0.3 else 0)
