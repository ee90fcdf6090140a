from __future__ import annotations

from collections.abc import Iterator

from drivers.contract import Transport
from firmware_sim.faults import FaultLine, parse_fault
from firmware_sim.patient import Patient
from firmware_sim.push_console import PushConsole
from ledger.limits import S_NS
from tests.captures.conversation import Plan, header


def plans() -> Iterator[Plan]:
    yield _plan("push-console", Patient(61), 5)
    yield _plan("push-console-bad-line", Patient(62), 7, "noise@2+1:0.0005", "lost@3+1:0.0005", "frame-lost@5+1:0.1")


def _plan(name: str, patient: Patient, seconds: float, *faults: str) -> Plan:
    told = header("push", Transport.TLS, feed="console", device={"make": "simulated", "model": "research console"})
    line = FaultLine(tuple(map(parse_fault, faults)))
    return Plan(name, told, PushConsole(patient, told.t0_ns / S_NS, "capture", line), seconds, 1)
