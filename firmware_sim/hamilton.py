"""A Hamilton ventilator at one of its monitoring ports, set to the block protocol or to the polling protocol.

Written from public descriptions of both; the maker's documents are not public.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Final, Literal

from firmware_sim.alarms import MDC_EVT_HI, MDC_EVT_LO, active_alarms
from firmware_sim.device import SimulatedDevice
from firmware_sim.faults import FaultLine
from firmware_sim.patient import Numerics, Patient

_ANSWER_S: Final = 0.032
_NOTHING: Final = "9999."
_QUESTION: Final = re.compile(rb"\x02([\x1e-\x7f])\x03\r")
_ACTIVATE: Final = re.compile(rb"\x02(1[01](?:[\x40-\x7e][0-3][0-9]{3})+)\x03([0-9A-F]{2})\r")
_POLYNOMIAL: Final = 0xD5


class HamiltonVentilator(SimulatedDevice):
    """The ventilator."""

    def __init__(
        self,
        patient: Patient,
        started_unix_s: float,
        protocol: Literal["block", "poll"] = "block",
        line: FaultLine | None = None,
    ) -> None:
        super().__init__(line)
        self._patient = patient
        self._started_unix_s = started_unix_s
        self._polled = protocol == "poll"
        self.restart()

    def restart(self) -> None:
        """As after power on."""
        self._pending = b""
        self._answers: list[tuple[float, bytes]] = []
        self._groups: dict[int, int] = {}
        self._told: dict[int, list[tuple[int, str]]] = {}
        self._breath = -1

    def answer(self, data: bytes, now_s: float) -> list[bytes]:
        """Questions, or the command that turns the block protocol on."""
        self._pending = (self._pending + data)[-256:]
        while b"\r" in self._pending:
            line, self._pending = self._pending.split(b"\r", 1)
            begun = line.rfind(b"\x02")
            if begun < 0:
                continue
            frame = line[begun:] + b"\r"
            if self._polled:
                self._ask(frame, now_s)
            else:
                self._activate(frame)
        return []

    def due(self, now_s: float) -> list[bytes]:
        """Answers that are due; each breath the monitored values; what changed."""
        frames = [frame for due_s, frame in self._answers if due_s <= now_s]
        self._answers = [answer for answer in self._answers if answer[0] > now_s]
        breath = math.floor(now_s * self._patient.resp_rate / 60)
        if self._groups and breath != self._breath:
            self._breath = breath
            frames += self._blocks(now_s)
        return frames

    def next_due_s(self, now_s: float) -> float:
        """When the next answer or the next breath is due."""
        due = [due_s for due_s, _ in self._answers]
        if self._groups:
            due.append((math.floor(now_s * self._patient.resp_rate / 60) + 1) * 60 / self._patient.resp_rate)
        return max(min(due), now_s + 1e-3) if due else math.inf

    # Polling protocol -----------------------------------------------------------------------------------------

    def _ask(self, frame: bytes, now_s: float) -> None:
        asked = _QUESTION.fullmatch(frame)
        number = asked[1][0] if asked else 0
        text = self._polled_text(number, now_s)
        body = b"RERROR" if text is None else text.encode("ascii")
        self._answers.append((now_s + _ANSWER_S, b"\x02" + body + b"\x03\r"))

    def _polled_text(self, number: int, now_s: float) -> str | None:
        if number == 86:
            return "G0421"  # no number before it: the model's letter, and that of the ventilator
        head = chr(number)
        if number in (124, 125):
            return head + "G0220"
        if 80 <= number <= 85:
            local_s = self._started_unix_s + now_s + self.line.clock_error_s(now_s)
            local = datetime.fromtimestamp(local_s, UTC)
            parts = (local.second, local.minute, local.hour, local.day, local.month, local.year)
            return head + f"{parts[number - 80]:>4d}."
        if 88 <= number <= 102 or number == 120:
            return head + f"{int(number in self._polled_alarms(now_s)):>4d}." if number <= 102 else None
        values = self._values(now_s)
        if number not in values:
            return None
        value, digits = values[number]
        return head + (_NOTHING if value is None else f"{value:>5.{digits}f}" if digits else f"{value:>4.0f}.")

    def _values(self, now_s: float) -> dict[int, tuple[float | None, int]]:
        shown = self._patient.at(now_s)
        off = self.line.sensors_off(now_s)
        inspired_s = 60 / self._patient.resp_rate / 3
        flow = None if "flow" in off else 1.0
        spo2 = None if "spo2" in off else shown.spo2
        return {
            35: (None if "gas" in off else shown.etco2_mmhg, 1),
            36: (spo2, 0),
            37: (shown.pulse_rate if spo2 is not None else None, 0),
            40: (21, 0),
            41: (self._patient.resp_rate, 0),
            43: (480, 0),
            48: (5, 0),
            50: (45, 0),
            52: (35, 0),
            53: (40, 0),
            54: (3.5, 1),
            55: (10.0, 1),
            60: (flow and shown.tidal_insp, 0),
            61: (flow and shown.tidal_exp, 0),
            62: (flow and shown.minute_volume, 1),
            63: (shown.resp_rate, 0),
            64: (0, 0),
            65: (2.0, 1),
            66: (shown.ppeak, 0),
            67: (shown.peep + (shown.ppeak - shown.peep) / 3, 0),
            68: (shown.peep, 0),
            69: (shown.pplat, 0),
            71: (shown.fio2, 0),
            74: (flow and shown.compliance, 0),
            113: (inspired_s, 2),
            115: (None, 1),
        }

    def _polled_alarms(self, now_s: float) -> set[int]:
        found = set(self._alarms(self._patient.smoothed(now_s)))
        return found | {90} if found else found

    @staticmethod
    def _alarms(shown: Numerics) -> dict[int, str]:
        """By the number of the polling protocol."""
        found: dict[int, str] = {}
        for alarm in active_alarms(shown):
            if alarm.source == "ppeak" and alarm.event == MDC_EVT_HI:
                found[91] = "High pressure"
            elif alarm.source == "ppeak" and alarm.event == MDC_EVT_LO:
                found[92] = "Disconnection patient"
        if shown.minute_volume < 3.5:
            found[97] = "Low minute volume"
        return found

    # Block protocol -------------------------------------------------------------------------------------------

    def _activate(self, frame: bytes) -> None:
        told = _ACTIVATE.fullmatch(frame)
        if told is None or int(told[2], 16) != _crc8(frame[:-3]):
            return
        wanted = told[1][2:]
        self._groups = {wanted[at]: wanted[at + 1] for at in range(0, len(wanted), 5)}
        self._told.clear()
        self._breath = -1

    def _blocks(self, now_s: float) -> list[bytes]:
        """One message with what is to be told at this breath."""
        body = b""
        for group, when in self._groups.items():
            records = self._records(group, now_s)
            if when in (0x31, 0x33) and self._told.get(group) == records:
                continue
            if when == 0x31 and group in self._told:
                continue
            self._told[group] = records
            body += b"".join(b"\x0b" + bytes((group, number)) + text.encode("latin-1") for number, text in records)
            body += b"\x0b" + bytes((group, 0xFF))
        if not body:
            return []
        summed = b"\x02" + b"10" + body + b"\x03"
        return [summed + b"%02X\r" % _crc8(summed)]

    def _records(self, group: int, now_s: float) -> list[tuple[int, str]]:
        shown = self._patient.at(now_s)
        off = self.line.sensors_off(now_s)
        if group == 0x40:
            return [(0x20, "HAMILTON-G5"), (0x21, "0421")]
        if group == 0x41:
            return [(0x20, "2.20"), (0x21, "2.20")]
        if group == 0x60:
            return [(number, text) for number, text in sorted(self._alarms(self._patient.smoothed(now_s)).items())]
        if group == 0x70:
            return [(0x21, "480"), (0x22, "(S)CMV"), (0x23, "5"), (0x24, "45")]
        spo2 = None if "spo2" in off else shown.spo2
        pulse = shown.pulse_rate if spo2 is not None else None
        flow = None if "flow" in off else 1.0
        values: dict[int, tuple[float | None, int]] = {
            0x20: (self._breath % 10_000, 0),
            0x21: (shown.ppeak, 1),
            0x22: (shown.pplat, 1),
            0x23: (shown.peep + (shown.ppeak - shown.peep) / 3, 1),
            0x24: (shown.peep, 1),
            0x25: (shown.peep - 0.4, 1),
            0x2C: (flow and shown.tidal_exp, 0),
            0x2D: (flow and shown.tidal_insp, 0),
            0x2E: (flow and shown.minute_volume, 1),
            0x30: (shown.resp_rate, 0),
            0x37: (flow and shown.compliance, 1),
            0x3E: (shown.fio2, 0),
            0x4E: (pulse, 0),
            0x4F: (spo2, 0),
        }
        records = [
            (number, "" if value is None else f"{value:.{digits}f}") for number, (value, digits) in values.items()
        ]
        return [*records, (0x34, "1:2.0")]


def _crc8(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ _POLYNOMIAL if crc & 0x80 else crc << 1) & 0xFF
    return crc
