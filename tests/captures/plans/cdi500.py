from __future__ import annotations

from collections.abc import Iterator

from drivers.contract import Transport
from firmware_sim.cdi500 import Cdi500Monitor
from firmware_sim.faults import FaultLine, parse_fault
from firmware_sim.patient import Patient
from tests.captures.conversation import Plan, header

BYTE_US = 1_042


def plans() -> Iterator[Plan]:
    yield _plan("cdi500", Patient(19), 130, "sensor-off@60+20:gas")
    yield _plan("cdi500-bad-line", Patient(20), 100, "noise@10+30:0.003", "lost@50+25:0.003", "cut@80+15:0.5")


def _plan(name: str, patient: Patient, seconds: float, *faults: str) -> Plan:
    told = header("cdi500", Transport.SERIAL, feed="blood-gas", line="9600 8N1",
                  device={"make": "simulated", "model": "Terumo CDI 500"})  # fmt: skip
    line = FaultLine(tuple(map(parse_fault, faults)))
    return Plan(name, told, Cdi500Monitor(patient, told.t0_ns / 1e9, line), seconds, BYTE_US)
