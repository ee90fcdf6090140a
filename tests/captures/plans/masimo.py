from __future__ import annotations

from collections.abc import Iterator

from drivers.contract import Transport
from firmware_sim.faults import FaultLine, parse_fault
from firmware_sim.masimo import RAD_8, RADICAL_7, MasimoModel, MasimoOximeter
from firmware_sim.patient import Patient
from tests.captures.conversation import Plan, header

BYTE_US = 1_042


def plans() -> Iterator[Plan]:
    yield _plan("masimo-radical-7", Patient(11, "desaturation"), RADICAL_7, 130, "sensor-off@20+8:spo2")
    yield _plan("masimo-rad-8-bad-line", Patient(12), RAD_8, 60, "noise@8+10:0.004", "lost@22+10:0.004",
                "cut@36+8:0.4", "silence@46+6", "step@54+60:90")  # fmt: skip


def _plan(name: str, patient: Patient, model: MasimoModel, seconds: float, *faults: str) -> Plan:
    device = {"make": "simulated", "model": "Masimo Radical-7" if model.rainbow else "Masimo Rad-8"}
    told = header("masimo", Transport.SERIAL, feed="oximeter", line="9600 8N1", device=device)
    line = FaultLine(tuple(map(parse_fault, faults)))
    return Plan(name, told, MasimoOximeter(patient, told.t0_ns / 1e9, model, line), seconds, BYTE_US)
