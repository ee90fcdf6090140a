"""A Terumo CDI 500 at the heart-lung machine: blood gases of the one patient, a packet every six seconds."""

from __future__ import annotations

import math
import time

from firmware_sim.faults import FaultLine
from firmware_sim.patient import Numerics, Patient
from firmware_sim.printing import PrintingDevice

_PERIOD_S = 6.0
_ENVELOPE_CHARS = 13
"""STX, X, sequence, length, command, subcommand, check value, ETX."""
_NIBBLES = bytes.fromhex("00cdd914f13c28e5a16c78b5509d8944")
"""What the manual's own table of the check value says."""


class Cdi500Monitor(PrintingDevice):
    """The monitor; `sensor-off:gas` takes the arterial cuvette away."""

    def __init__(self, patient: Patient, started_unix_s: float, line: FaultLine | None = None) -> None:
        super().__init__(_PERIOD_S, line)
        self._patient = patient
        self._started_unix_s = started_unix_s

    def frame(self, number: int, now_s: float) -> bytes:
        """One analyte packet."""
        off = "gas" in self.line.sensors_off(now_s)
        values = _blood(self._patient.at(now_s))
        fields = []
        for code, value in enumerate(values):
            gone = off and code < 8
            fields.append(f"{code:02X}{'01' if gone else '00'}{'-----' if gone else value}")
        clock = time.strftime("%H:%M:%S", time.gmtime(self._started_unix_s + now_s + self.line.clock_error_s(now_s)))
        data = "\t".join([clock, *fields, ""])
        packet = f"\x02X{number & 0xFF:02X}{len(data) + _ENVELOPE_CHARS:04X}A0{data}".encode("ascii")
        return packet + b"%02X\x03\r\n" % _check(packet)


def _check(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc = crc >> 4 ^ _NIBBLES[(crc ^ byte) & 0x0F]
        crc = crc >> 4 ^ _NIBBLES[(crc ^ byte >> 4) & 0x0F]
    return crc


def _blood(shown: Numerics) -> list[str]:
    """Values by code: what gas exchange leaves in arterial blood, and the body in venous blood."""
    pco2 = shown.etco2_mmhg + 4.0
    ph = 6.1 + math.log10(24.0 / (0.0307 * pco2))
    po2 = max(40.0, shown.fio2 * 7.13 - pco2 - 80.0)
    saturation = shown.spo2 if shown.spo2 is not None else 60.0
    base = (24.0 - 24.4) + 16.2 * (ph - 7.4)
    arterial = [f"{ph:.2f}", f"{pco2:.0f}", f"{po2:.0f}", f"{shown.temp:.1f}", f"{saturation:.0f}", "24", f"{base:.0f}"]
    venous = [f"{ph - 0.04:.2f}", f"{pco2 + 6:.0f}", "42", f"{shown.temp - 0.2:.1f}", f"{saturation - 24:.0f}", "26"]
    return [*arterial, "4.1", "180", *venous, f"{base + 0.5:.0f}", "28", "9.4"]
