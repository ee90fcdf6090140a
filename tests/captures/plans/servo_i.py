from __future__ import annotations

import re
from collections.abc import Iterator
from functools import reduce
from operator import xor
from typing import Any

from drivers.contract import Transport
from firmware_sim.faults import FaultLine, parse_fault
from firmware_sim.patient import Patient
from firmware_sim.servo_i import ServoI, ServoIConfig
from tests.captures.conversation import Plan, header

_FEW: dict[str, Any] = {
    "breath": [200, 201, 204, 205, 208, 209, 260],
    "settings": [300, 308, 310, 323, 334],
    "alarms": [401, 407],
}


def plans() -> Iterator[Plan]:
    quiet = ServoIConfig(peep_set_s=9.0)
    yield _plan("servo-i-quiet", Patient(13), 15, quiet, _FEW | {"curves": [100, 113, 114]})
    hurt = ("noise@8+3:0.01", "lost@13+3:0.01", "cut@16+2:0.3", "silence@19+5", "sensor-off@25+5:o2")
    yield _plan(
        "servo-i-bad-line",
        Patient(14),
        30,
        ServoIConfig(),
        _FEW | {"curves": [100, 113], "breath": [200, 205, 209]},
        *hurt,
    )
    rests = ServoIConfig(standby_s=(8.0, 20.0), newest_protocol=3)
    more = _FEW | {"curves": [100], "settings": [300, 308, 310], "sample_ms": 40}
    yield _plan("servo-i-standby", Patient(15), 34, rests, more)


def refit(data: bytes) -> bytes:
    """The same bytes with the check of every answer and block made right."""
    texts = re.sub(rb"[ -~]{3,}\x04", lambda found: _refit_text(found.group()), data)
    out, start = bytearray(texts), 0
    while (end := out.find(b"\x7f", start)) >= 0 and end + 1 < len(out):
        begin = max(start, out.rfind(b"\x04", start, end) + 1)
        out[end + 1] = reduce(xor, out[begin : end + 1], 0)
        start = end + 2
    return bytes(out)


def _refit_text(message: bytes) -> bytes:
    if message == b"900PCI\x04":
        return message
    text = message[:-3]
    return text + b"%02X\x04" % reduce(xor, text, 0)


def _plan(
    name: str, patient: Patient, seconds: float, config: ServoIConfig, options: dict[str, Any], *faults: str
) -> Plan:
    device = {"make": "simulated", "model": "Servo-i"}
    told = header("servo-i", Transport.SERIAL, feed="ventilator", line="9600 8E1", device=device, options=options)
    line = FaultLine(tuple(map(parse_fault, faults)))
    return Plan(name, told, ServoI(patient, config, line), seconds, byte_us=1_146)
