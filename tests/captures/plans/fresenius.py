from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from drivers.checksums import complement8
from drivers.contract import Transport
from firmware_sim.faults import FaultLine, parse_fault
from firmware_sim.orchestra import OrchestraBase
from firmware_sim.patient import Patient
from tests.captures.conversation import Plan, header

BYTE_US = 521


def plans() -> Iterator[Plan]:
    yield _plan("fresenius-orchestra", Patient(35), "base", 20, "sensor-off@6+4:line2", "sensor-off@12+4:module3")
    yield _plan("fresenius-orchestra-bad-line", Patient(36), "base", 28, "noise@5+3:0.004", "lost@10+3:0.004",
                "silence@15+5", "reboot@22+1")  # fmt: skip
    yield _plan("fresenius-agilia", Patient(37), "pump", 12)


def _plan(name: str, patient: Patient, connection: Literal["base", "pump"], seconds: float, *faults: str) -> Plan:
    told = header("fresenius", Transport.SERIAL, feed="pumps", line="19200 7E1", options={"connection": connection},
                  device={"make": "simulated", "model": "Fresenius Orchestra"})  # fmt: skip
    line = FaultLine(tuple(map(parse_fault, faults)))
    return Plan(name, told, OrchestraBase(patient, base=connection == "base", line=line), seconds, BYTE_US)


def refit(stream: bytes) -> bytes:
    """The same with the check of every message made right."""
    return re.sub(
        rb"\x02([^\x02\x03]*?)[^\x02\x03]{2}\x03", lambda m: b"\x02%s%02X\x03" % (m[1], complement8(m[1])), stream
    )
