from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from drivers.contract import Transport
from firmware_sim.faults import FaultLine, parse_fault
from firmware_sim.ge_s5 import S5Config, S5Monitor
from firmware_sim.patient import Patient
from ledger.limits import S_NS
from tests.captures.conversation import Plan, header

BYTE_US = 520


def plans() -> Iterator[Plan]:
    yield _plan("ge-dri-s5", Patient(3), 16, {"waves": ["ECG1", "PLETH", "CO2"]})
    hurt = ("noise@5+2:0.004", "lost@9+2:0.004", "cut@13+2:0.5", "silence@16+3", "sensor-off@10:spo2")
    yield _plan("ge-dri-s5-bad-line", Patient(4), 26, {"waves": ["PLETH"]}, *hurt)
    yield _plan("ge-dri-carescape-alarms", Patient(5, "arrest"), 100, {"carescape": True})


def _plan(name: str, patient: Patient, seconds: float, options: dict[str, Any], *faults: str) -> Plan:
    carescape = bool(options.get("carescape"))
    device = {"make": "simulated", "model": "GE CARESCAPE B650" if carescape else "GE S/5"}
    told = header("ge-dri", Transport.SERIAL, feed="monitor", line="19200 8E1", device=device, options=options)
    line = FaultLine(tuple(map(parse_fault, faults)))
    monitor = S5Monitor(patient, told.t0_ns / S_NS, S5Config(carescape=carescape), line)
    return Plan(name, told, monitor, seconds, BYTE_US)


def refit(stream: bytes) -> bytes:
    """The same with right checksums: the last byte of what stands between two flags is the sum of those before it."""
    parts = []
    for part in stream.split(b"\x7e"):
        plain = part.replace(b"\x7d\x5e", b"\x7e").replace(b"\x7d\x5d", b"\x7d")[:-1]
        summed = plain + bytes((sum(plain) & 0xFF,)) if part else b""
        parts.append(summed.replace(b"\x7d", b"\x7d\x5d").replace(b"\x7e", b"\x7d\x5e"))
    return b"\x7e".join(parts)
