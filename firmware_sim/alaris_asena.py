"""An Alaris Asena GH syringe pump on RS-232: it answers questions, and to commands that control it nothing."""

from __future__ import annotations

import math
import re
from binascii import crc_hqx

from firmware_sim.device import SimulatedDevice
from firmware_sim.faults import FaultLine
from firmware_sim.patient import Patient
from firmware_sim.syringe_pump import SyringePump

_QUESTION = re.compile(rb"!([A-Z_]{2,32})\|([0-9A-F]{4})\r")


class AsenaPump(SimulatedDevice):
    """The pump. ``line.sensors_off`` knows ``line``: the patient's line is blocked."""

    def __init__(self, patient: Patient, serial: str = "8002-51740", line: FaultLine | None = None) -> None:
        super().__init__(line)
        self._serial = serial
        self._pump = SyringePump(6.0 + patient.seed % 7, 11.4)
        self._asked = b""

    def restart(self) -> None:
        """As after power on."""
        self._asked = b""

    def answer(self, data: bytes, now_s: float) -> list[bytes]:
        """A line for each question whose check value is right."""
        self._pump.advance(now_s, blocked="line" in self.line.sensors_off(now_s))
        self._asked = (self._asked + data)[-256:]
        replies = []
        while (match := _QUESTION.search(self._asked)) is not None:
            self._asked = self._asked[match.end() :]
            if int(match[2], 16) == crc_hqx(match[1], 0xFFFF):
                replies += self._reply(match[1].decode())
        return replies

    def due(self, now_s: float) -> list[bytes]:
        """It says nothing unasked."""
        return []

    def next_due_s(self, now_s: float) -> float:
        """Never."""
        return math.inf

    def _reply(self, word: str) -> list[bytes]:
        pump = self._pump
        hours = pump.remaining_s / 3600
        left = "24+" if hours > 24 else f"{int(hours):02d}:{int(hours * 60) % 60:02d}:{int(pump.remaining_s) % 60:02d}"
        state = "-^SET" if pump.running else "A^HLD" if pump.occluded else "-^HLD"
        fields = {
            "INST_SERIALNO": self._serial,
            "COMMS_PROTOCOL": "Asena Rev 2.1.5",
            "SYRINGE_STATUS": "BD PLASTIPAK^ 50^CONF",
            "INF_RATE_MAX_SYRINGE": "1200.00^ml/h",
            "INF_VTBI": "ACTIV^40.000^ml^STOP",
            "ALARM": "AL_OCCLU^OCCLUSION^ " if pump.occluded else "AL_NOALM^ ^ ",
            "INF": f"{self._serial}^{state}^{pump.rate_ml_h:.2f}^ml/h^^{pump.volume_ml:.3f}^ml^"
            f"{pump.pressure_mmhg:.2f}^mmHg^{left}^EVENT^{pump.log_entry}",
        }.get(word)
        if fields is None:
            return []
        body = f"{word}^{fields}".encode()
        return [b"!%s|%04X\r" % (body, crc_hqx(body, 0xFFFF))]
