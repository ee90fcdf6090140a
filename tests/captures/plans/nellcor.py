from __future__ import annotations

from collections.abc import Iterator

from drivers.contract import Transport
from firmware_sim.faults import FaultLine, parse_fault
from firmware_sim.nellcor import NellcorOximeter
from firmware_sim.patient import Patient
from tests.captures.conversation import Plan, header

BYTE_US = 1_042


def plans() -> Iterator[Plan]:
    yield _plan("nellcor-n-595", Patient(13, "desaturation"), 230, "sensor-off@24+8:spo2")
    yield _plan("nellcor-n-595-bad-line", Patient(14), 90, "noise@8+20:0.004", "lost@32+16:0.006", "cut@50+12:0.4",
                "silence@64+9", "step@76:-120")  # fmt: skip


def _plan(name: str, patient: Patient, seconds: float, *faults: str) -> Plan:
    told = header("nellcor", Transport.SERIAL, feed="oximeter", line="9600 8N1",
                  device={"make": "simulated", "model": "Nellcor N-595"})  # fmt: skip
    line = FaultLine(tuple(map(parse_fault, faults)))
    return Plan(name, told, NellcorOximeter(patient, told.t0_ns / 1e9, line), seconds, BYTE_US)
