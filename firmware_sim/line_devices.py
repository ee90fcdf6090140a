"""Simple devices that send lines of ASCII text: an oximeter, a bed scale that is asked, a blood-gas analyser."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from functools import reduce
from operator import xor

from firmware_sim.device import SimulatedDevice
from firmware_sim.faults import FaultLine
from firmware_sim.patient import Patient

_SAMPLE_EVERY_S = 8.0


class LineOximeter(SimulatedDevice):
    """`SPO2=097 PR=072 PI=03.1`, once a second, dashes where it finds no pulse."""

    def __init__(self, patient: Patient, line: FaultLine | None = None) -> None:
        super().__init__(line)
        self._patient = patient
        self._due_s = 0.0

    def answer(self, data: bytes, now_s: float) -> list[bytes]:
        """It does not listen."""
        return []

    def due(self, now_s: float) -> list[bytes]:
        """One line a second; none is made up for."""
        if now_s < self._due_s:
            return []
        self._due_s = math.floor(now_s) + 1.0
        seen = self._patient.at(now_s)
        if "spo2" in self.line.sensors_off(now_s) or seen.spo2 is None or seen.pulse_rate is None:
            return [b"SPO2=--- PR=--- PI=--.-\r\n"]
        text = f"SPO2={seen.spo2:03.0f} PR={seen.pulse_rate:03.0f} PI={min(seen.perfusion_index, 99.9):04.1f}\r\n"
        return [text.encode("ascii")]

    def next_due_s(self, now_s: float) -> float:
        """The next second."""
        return self._due_s


class LineScale(SimulatedDevice):
    """A bed scale: to `SI` it says `S S      82.45 kg`, or `S D` and a weight while the patient moves."""

    def __init__(self, patient: Patient, line: FaultLine | None = None) -> None:
        super().__init__(line)
        self._weight_kg = 55 + random.Random(f"scale {patient.seed}").random() * 45
        self._asked = bytearray()

    def restart(self) -> None:
        """Forget half a question."""
        self._asked.clear()

    def answer(self, data: bytes, now_s: float) -> list[bytes]:
        """`SI` is answered at once, all else with `ES` (not understood)."""
        self._asked += data
        *questions, rest = self._asked.split(b"\n")
        self._asked = bytearray(rest[-64:])
        return [self._answer(bytes(question.strip()), now_s) for question in questions]

    def due(self, now_s: float) -> list[bytes]:
        """Nothing: it speaks when it is asked."""
        return []

    def next_due_s(self, now_s: float) -> float:
        """Never."""
        return math.inf

    def _answer(self, question: bytes, now_s: float) -> bytes:
        if question != b"SI":
            return b"ES\r\n"
        moves = int(now_s) % 20 >= 16
        weight_kg = self._weight_kg + (math.sin(now_s * 3) * 0.8 if moves else 0.0)
        return f"S {'D' if moves else 'S'} {weight_kg:10.2f} kg\r\n".encode("ascii")


class LineBloodGas(SimulatedDevice):
    """An analyser: a result every few seconds, comma separated after STX, with an XOR in hexadecimal after `*`."""

    def __init__(self, patient: Patient, line: FaultLine | None = None) -> None:
        super().__init__(line)
        self._patient = patient
        self._noise = random.Random(f"blood gas {patient.seed}")
        self._due_s = 1.0
        self._sample = 0

    def answer(self, data: bytes, now_s: float) -> list[bytes]:
        """It does not listen."""
        return []

    def due(self, now_s: float) -> list[bytes]:
        """The result of a sample; one in five could not measure the oxygen."""
        if now_s < self._due_s:
            return []
        self._due_s = now_s + _SAMPLE_EVERY_S
        self._sample += 1
        pco2_mmhg = self._patient.at(now_s).etco2_mmhg + 4 + self._noise.gauss(0, 0.4)
        hco3 = 24 + self._noise.gauss(0, 0.2)
        ph = 6.1 + math.log10(hco3 / (0.0307 * max(5.0, pco2_mmhg)))
        po2 = "----" if self._sample % 5 == 0 else f"{95 + self._noise.gauss(0, 3):.1f}"
        text = f"BGA,{self._sample:05d},{ph:.2f},{pco2_mmhg:.1f},{po2},{hco3:.1f}".encode("ascii")
        return [b"\x02" + text + b"*%02X\r\n" % reduce(xor, text, 0)]

    def next_due_s(self, now_s: float) -> float:
        """The next sample."""
        return self._due_s


_OXIMETER = (
    'make = "Acme", model = "OxyLine 3", silence_s = 5.0, '
    "lines = [{ regex = 'SPO2=(?P<spo2>\\d{3}|---) PR=(?P<pr>\\d{3}|---) PI=(?P<pi>\\d\\d\\.\\d|--\\.-)' }], "
    'values = [{ field = "spo2", code = "MDC_PULS_OXIM_SAT_O2", unit = "%", name = "SPO2", none = ["---"] }, '
    '{ field = "pr", code = "MDC_PULS_OXIM_PULS_RATE", unit = "/min", name = "PR", none = ["---"] }, '
    '{ field = "pi", code = "MDC_PULS_OXIM_PERF_REL", unit = "%", name = "PI", none = ["--.-"] }]'
)
_SCALE = (
    'make = "Acme", model = "BedScale", silence_s = 20.0, poll = { text = "SI\\r\\n", every_s = 5.0 }, '
    "lines = [{ columns = { stable = [3, 3], weight = [5, 14] } }], "
    'values = [{ field = "stable", code = "MDCX_ACME_STABLE", text = true }, '
    '{ field = "weight", code = "MDCX_ACME_BED_WEIGHT", unit = "kg", name = "weight" }]'
)
_BLOOD_GAS = (
    'make = "Acme", model = "BG 500", start = "\\u0002", silence_s = 3600.0, '
    'checksum = { kind = "xor8", after = "*" }, '
    'lines = [{ fields = ["", "sample", "ph", "pco2", "po2", "hco3"] }], '
    'values = [{ field = "sample", code = "MDCX_ACME_SAMPLE", text = true }, '
    '{ field = "ph", code = "MDC_CONC_PH_ART", unit = "[pH]" }, '
    '{ field = "pco2", code = "MDC_CONC_PCO2_ART", unit = "mm[Hg]" }, '
    '{ field = "po2", code = "MDC_CONC_PO2_ART", unit = "mm[Hg]", none = ["----"] }, '
    '{ field = "hco3", code = "MDC_CONC_HCO3_GEN", unit = "mmol/L" }]'
)
EXAMPLES: Mapping[str, tuple[Callable[[Patient, FaultLine], SimulatedDevice], str]] = {
    "oximeter": (LineOximeter, _OXIMETER),
    "scale": (LineScale, _SCALE),
    "blood-gas": (LineBloodGas, _BLOOD_GAS),
}
"""By name: the device, and the driver's options for it, as the inside of a TOML inline table."""
