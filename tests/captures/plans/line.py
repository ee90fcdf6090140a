from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from functools import reduce
from operator import xor

from drivers.contract import Transport
from firmware_sim.faults import FaultLine, parse_fault
from firmware_sim.line_devices import EXAMPLES
from firmware_sim.patient import Patient
from tests.captures.conversation import Plan, header

BYTE_US = 1_042


def plans() -> Iterator[Plan]:
    yield _plan("oximeter", 5, 30, "", "sensor-off@12+6:spo2")
    yield _plan("scale", 6, 60, "", "silence@22+8")
    yield _plan("blood-gas", 7, 90, "")
    yield _plan("oximeter", 8, 40, "-bad-line", "noise@5+6:0.01", "lost@14+6:0.01", "cut@24+6:0.4", "reboot@33+3")
    yield _plan("blood-gas", 9, 120, "-bad-line", "noise@20+40:0.02", "lost@70+40:0.02")


def _plan(example: str, seed: int, seconds: float, more: str, *faults: str) -> Plan:
    device, told = EXAMPLES[example]
    options = tomllib.loads(f"options = {{ {told} }}")["options"]
    about = {"make": "simulated", "model": example}
    head = header("line", Transport.SERIAL, feed="simple", line="9600 8N1", device=about, options=options)
    line = FaultLine(tuple(map(parse_fault, faults)))
    return Plan(f"line-{example}{more}", head, device(Patient(seed), line), seconds, BYTE_US)


def refit(data: bytes) -> bytes:
    """The blood-gas analyser's check digits made right."""

    def right(match: re.Match[bytes]) -> bytes:
        return b"\x02" + match[1] + b"*%02X\r\n" % reduce(xor, match[1], 0)

    return re.sub(rb"\x02([^\x02\r\n]*)\*..\r\n", right, data)
