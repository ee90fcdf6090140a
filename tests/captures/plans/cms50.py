from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from drivers.contract import Transport
from firmware_sim.cms50 import Cms50Oximeter
from firmware_sim.faults import FaultLine, parse_fault
from firmware_sim.patient import Patient
from tests.captures.conversation import Plan, header


def plans() -> Iterator[Plan]:
    yield _plan("cms50-firmware-7", Patient(17), "7", 20, "sensor-off@7+4:spo2")
    yield _plan("cms50-old-bad-line", Patient(18), "old", 24, "noise@3+3:0.004", "lost@8+3:0.004", "silence@14+3",
                "sensor-off@19+2:spo2")  # fmt: skip


def _plan(name: str, patient: Patient, firmware: Literal["7", "old"], seconds: float, *faults: str) -> Plan:
    line, byte_us = ("115200 8N1", 87) if firmware == "7" else ("19200 8O1", 573)
    told = header("cms50", Transport.SERIAL, feed="oximeter", line=line, options={"firmware": firmware},
                  device={"make": "simulated", "model": "Contec CMS50"})  # fmt: skip
    return Plan(
        name, told, Cms50Oximeter(patient, firmware, FaultLine(tuple(map(parse_fault, faults)))), seconds, byte_us
    )
