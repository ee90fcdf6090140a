from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from drivers.contract import Transport
from firmware_sim.device import SimulatedDevice
from firmware_sim.faults import FaultLine, parse_fault
from firmware_sim.patient import Patient
from firmware_sim.pb840 import Pb840, Pb840Waves
from tests.captures.conversation import Plan, header

_STARTED_UNIX_S = 1_795_421_642.1


def plans() -> Iterator[Plan]:
    reports = Pb840(Patient(21, "desaturation"), _STARTED_UNIX_S, rate_set_s=12.0)
    yield _plan("pb840-reports", reports, 76, {"poll_s": 8.0})
    hurt = _line("noise@5+6:0.002", "lost@12+5:0.002", "cut@16+2:0.7", "silence@19+4", "sensor-off@24+4:o2")
    yield _plan("pb840-bad-line", Pb840(Patient(22), _STARTED_UNIX_S, hurt), 28, {})
    waves = _line("noise@7+2:0.004", "lost@9+2:0.004", "silence@11+2")
    yield _plan("pb840-waves", Pb840Waves(Patient(23), waves), 18, {"port": "waves"}, baud=38_400)
    older = Pb840(Patient(24), _STARTED_UNIX_S, knows_sndf=False)
    yield _plan("pb840-older", older, 18, {"poll_s": 3.0})


def refit(data: bytes) -> bytes:
    """The same bytes with the count of fields in every report made right."""
    return re.sub(
        rb"(MISC[AF],\d+ *,)\d+( *,\x02)([^\x02\x03]*)\x03",
        lambda found: found[1] + b"%d" % found[3].count(b",") + found[2] + found[3] + b"\x03",
        data,
    )


def _line(*faults: str) -> FaultLine:
    return FaultLine(tuple(map(parse_fault, faults)))


def _plan(name: str, device: SimulatedDevice, seconds: float, options: dict[str, Any], baud: int = 9_600) -> Plan:
    made = {"make": "simulated", "model": "Puritan Bennett 840"}
    told = header("pb840", Transport.SERIAL, feed="ventilator", line=f"{baud} 8N1", device=made, options=options)
    return Plan(name, told, device, seconds, byte_us=10_000_000 // baud)
