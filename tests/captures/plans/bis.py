from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from drivers.contract import Transport
from firmware_sim.bis import BisMonitor
from firmware_sim.faults import FaultLine, parse_fault
from firmware_sim.patient import Patient
from tests.captures.conversation import Plan, header

BYTE_US = 174


def plans() -> Iterator[Plan]:
    yield _plan("bis-vista", Patient(21), "quatro", 12, {}, "sensor-off@6+3:eeg")
    hurt = ("noise@3+2:0.003", "lost@6+2:0.003", "silence@9+3", "reboot@15+3")
    yield _plan("bis-vista-bad-line", Patient(22), "quatro", 23, {"spectra": True}, *hurt)
    yield _plan("bis-extend-values-only", Patient(23), "extend", 10, {"eeg": False})


def _plan(name: str, patient: Patient, sensor: str, seconds: float, options: dict[str, Any], *faults: str) -> Plan:
    told = header("bis", Transport.SERIAL, feed="bis", line="57600 8N1", options=options,
                  device={"make": "simulated", "model": "BIS VISTA"})  # fmt: skip
    return Plan(name, told, BisMonitor(patient, sensor, FaultLine(tuple(map(parse_fault, faults)))), seconds, BYTE_US)


def refit(stream: bytes) -> bytes:
    """The same with right sums: the two bytes after what a packet's length covers are the sum of its bytes."""
    data, at = bytearray(stream), 0
    while (at := data.find(b"\xba\xab", at)) >= 0 and at + 8 <= len(data):
        end = at + 8 + int.from_bytes(data[at + 4 : at + 6], "little")
        if end + 2 > len(data):
            at += 2
            continue
        data[end : end + 2] = (sum(data[at + 2 : end]) & 0xFFFF).to_bytes(2, "little")
        at = end + 2
    return bytes(data)
