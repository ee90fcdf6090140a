"""A Fresenius Orchestra base with three pumps, or one pump alone: ENQ each second, answers, changes told unasked."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Final

from firmware_sim.device import SimulatedDevice
from firmware_sim.faults import FaultLine
from firmware_sim.patient import Patient
from firmware_sim.syringe_pump import SyringePump

_DRUGS: Final = (("PROPOFOL 1%", 18.0), ("REMIFENTANIL", 9.6), ("NORADRENALINE", 2.4))
_DEAD_S: Final = 5.0
_COMMAND: Final = re.compile(rb"\x02(\d?)([A-Z]{1,2})(?:;([a-z]+))?([0-9A-F]{2})\x03")


@dataclass(slots=True)
class _Slot:
    drug: str
    pump: SyringePump
    open: bool = False
    told: str = ""
    last: dict[str, str] = field(default_factory=dict)


class OrchestraBase(SimulatedDevice):
    """``line.sensors_off`` knows ``line1`` … (its line to the patient is blocked), ``module1`` … (is out)."""

    def __init__(self, patient: Patient, *, base: bool = True, line: FaultLine | None = None) -> None:
        super().__init__(line)
        count = len(_DRUGS) if base else 1
        self._base = base
        self._slots = {
            (str(n + 1) if base else ""): _Slot(drug, SyringePump(rate, 4.0 + n + patient.seed % 5, 50.0, float(n)))
            for n, (drug, rate) in enumerate(_DRUGS[:count])
        }
        self._second = 0
        self.restart()

    def restart(self) -> None:
        """As after power on."""
        self._open = False
        self._pending = b""
        self._alive_s = 0.0
        for slot in self._slots.values():
            slot.open, slot.told, slot.last = False, "", {}

    def answer(self, data: bytes, now_s: float) -> list[bytes]:
        """Commands between STX and ETX; any byte shows that the computer is alive."""
        self._go_on(now_s)
        self._alive_s = now_s
        self._pending = (self._pending + data)[-256:]
        out: list[bytes] = []
        while (end := self._pending.find(b"\x03")) >= 0:
            heard, self._pending = self._pending[: end + 1], self._pending[end + 1 :]
            match = _COMMAND.search(heard)
            if match is None:
                continue
            body = heard[match.start() + 1 : match.end() - 3]
            if 0xFF - sum(body) % 256 != int(match[4], 16):
                out.append(b"\x152")
                continue
            reply = self._obey(match[1].decode(), match[2].decode(), (match[3] or b"").decode(), now_s)
            out += [b"\x06", *([_framed(match[1].decode() + reply)] if reply else [])]
        return out

    def due(self, now_s: float) -> list[bytes]:
        """ENQ and what has changed, once a second."""
        self._go_on(now_s)
        if math.floor(now_s) <= self._second:
            return []
        self._second = math.floor(now_s)
        if self._open and now_s - self._alive_s > _DEAD_S:
            self.restart()
        out = [b"\x05"]
        for number, slot in self._slots.items():
            if slot.open and slot.told and not self._is_out(number, now_s):
                told = {letter: self._variable(slot, letter) for letter in slot.told}
                changed = "".join(f";{a}{digits}" for a, digits in told.items() if slot.last.get(a) != digits)
                slot.last = told
                out += [_framed(f"{number}E{changed}")] if changed else []
        return out

    def next_due_s(self, now_s: float) -> float:
        """The next second."""
        return self._second + 1.0 if self._second + 1.0 > now_s else now_s + 1e-3

    def _go_on(self, now_s: float) -> None:
        off = self.line.sensors_off(now_s)
        for number, slot in self._slots.items():
            slot.pump.advance(now_s, blocked=f"line{number or 1}" in off)
            if self._is_out(number, now_s):
                slot.open, slot.told, slot.last = False, "", {}

    def _is_out(self, number: str, now_s: float) -> bool:
        return f"module{number}" in self.line.sensors_off(now_s)

    def _obey(self, number: str, command: str, letters: str, now_s: float) -> str:
        """The status and text of the answer; empty for what is only an acknowledgment."""
        if command in ("E", "M"):
            return ""
        if number == "0" and self._base:
            if command == "DC":
                self._open = True
                return "C"
            bits = sum(1 << n for n, slot in enumerate(self._slots) if not self._is_out(slot, now_s))
            return f"C;b{bits:02X}" if (command, letters) == ("LE", "b") and self._open else "I;0D"
        slot = self._slots.get(number)
        if slot is None or self._is_out(number, now_s):
            return "I;0E"
        if command == "DC":
            slot.open = self._open = True
            return "C"
        return self._serve(slot, command, letters) if slot.open else "I;1E"

    def _serve(self, slot: _Slot, command: str, letters: str) -> str:
        if command == "LP":
            return f"C;{slot.drug}"
        if command == "LF":
            return "C;bAGILIA SP"
        if set(letters) - set("daemr"):
            return "I;0A"
        if command == "DE":
            slot.told = letters
            return "C"
        if command == "LE":
            return "C" + "".join(f";{letter}{self._variable(slot, letter)}" for letter in letters)
        return "I;01"

    @staticmethod
    def _variable(slot: _Slot, letter: str) -> str:
        pump = slot.pump
        return {
            "d": f"{round(pump.rate_ml_h * 10):04X}",
            "r": f"{round(pump.volume_ml * 1000):06X}",
            "a": "0010" if pump.occluded else "0000",
            "e": "0000",
            "m": "01",
        }[letter]


def _framed(body: str) -> bytes:
    data = body.encode()
    return b"\x02%s%02X\x03" % (data, 0xFF - sum(data) % 256)
