from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from drivers.contract import Transport
from firmware_sim.faults import FaultLine, parse_fault
from firmware_sim.nonin import NoninModule
from firmware_sim.patient import Patient
from tests.captures.conversation import Plan, header

BYTE_US = 1_042


def plans() -> Iterator[Plan]:
    yield _plan("nonin-format-7", Patient(15), 7, 24, "sensor-off@8+5:spo2")
    yield _plan("nonin-format-2-bad-line", Patient(16), 2, 26, "noise@3+4:0.004", "lost@9+4:0.004", "cut@15+2:0.3",
                "silence@20+3")  # fmt: skip


def _plan(name: str, patient: Patient, data_format: Literal[2, 7], seconds: float, *faults: str) -> Plan:
    told = header("nonin", Transport.SERIAL, feed="oximeter", line="9600 8N1", options={"data_format": data_format},
                  device={"make": "simulated", "model": "Nonin OEM III"})  # fmt: skip
    return Plan(
        name, told, NoninModule(patient, data_format, FaultLine(tuple(map(parse_fault, faults)))), seconds, BYTE_US
    )
