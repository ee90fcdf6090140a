from __future__ import annotations

import re
from collections.abc import Iterator

from drivers.checksums import crc16_ccitt_false
from drivers.contract import Transport
from firmware_sim.alaris_asena import AsenaPump
from firmware_sim.faults import FaultLine, parse_fault
from firmware_sim.patient import Patient
from tests.captures.conversation import Plan, header

BYTE_US = 260


def plans() -> Iterator[Plan]:
    yield _plan("alaris-asena-gh", Patient(33), 20, "sensor-off@6+4:line")
    yield _plan("alaris-asena-gh-bad-line", Patient(34), 30, "noise@4+4:0.004", "lost@10+4:0.004", "cut@15+2:0.3",
                "silence@18+5")  # fmt: skip


def _plan(name: str, patient: Patient, seconds: float, *faults: str) -> Plan:
    told = header("alaris-asena", Transport.SERIAL, feed="pump", line="38400 8N1",
                  device={"make": "simulated", "model": "Alaris Asena GH"})  # fmt: skip
    return Plan(name, told, AsenaPump(patient, line=FaultLine(tuple(map(parse_fault, faults)))), seconds, BYTE_US)


def refit(stream: bytes) -> bytes:
    """The same with the check value of every line made right."""
    return re.sub(rb"!([^!|\r]*)\|[^!|\r]{0,6}\r", lambda m: b"!%s|%04X\r" % (m[1], crc16_ccitt_false(m[1])), stream)
