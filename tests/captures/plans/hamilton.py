from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal

from drivers.checksums import crc8_dvb_s2
from drivers.contract import Transport
from firmware_sim.faults import FaultLine, parse_fault
from firmware_sim.hamilton import HamiltonVentilator
from firmware_sim.patient import Patient
from ledger.limits import S_NS
from tests.captures.conversation import Plan, header

_FRAME = re.compile(rb"(\x02[^\r]*\x03)[^\r]{2}\r", re.DOTALL)


def plans() -> Iterator[Plan]:
    yield _plan("hamilton-block", Patient(31, "desaturation"), "block", 72, {}, "sensor-off@15+12:spo2")
    hurt = ["noise@15+20:0.003", "lost@40+15:0.003", "silence@60+8", "reboot@80+15"]
    yield _plan("hamilton-block-bad-line", Patient(32), "block", 120, {}, *hurt)
    yield _plan("hamilton-poll", Patient(33), "poll", 14, {"protocol": "poll"}, "sensor-off@6+4:flow")
    hurt = ["noise@3+4:0.004", "lost@9+4:0.004", "silence@15+3"]
    yield _plan("hamilton-poll-bad-line", Patient(34), "poll", 22, {"protocol": "poll"}, *hurt)


def _plan(
    name: str, patient: Patient, protocol: Literal["block", "poll"], seconds: float, options: dict[str, Any],
    *faults: str,
) -> Plan:  # fmt: skip
    line, byte_us = ("38400 8N1", 260) if protocol == "block" else ("9600 7E2", 1_150)
    told = header("hamilton", Transport.SERIAL, feed="vent", line=line, options=options,
                  device={"make": "simulated", "model": "Hamilton G5"})  # fmt: skip
    faulty = FaultLine(tuple(map(parse_fault, faults)))
    return Plan(name, told, HamiltonVentilator(patient, told.t0_ns / S_NS, protocol, faulty), seconds, byte_us)


def refit(stream: bytes) -> bytes:
    """The same with right checksums wherever a frame ends as one of the block protocol does."""
    return _FRAME.sub(lambda found: found[1] + b"%02X\r" % crc8_dvb_s2(found[1]), stream)
