from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from drivers.checksums import crc64_ecma_182
from drivers.contract import Transport
from firmware_sim.faults import FaultLine, parse_fault
from firmware_sim.openigtlink import OpenIgtLinkRobot, RobotConfig
from firmware_sim.patient import Patient
from ledger.limits import S_NS
from tests.captures.conversation import Plan, header

_HEAD = struct.Struct(">H12s20sQQQ")


def plans() -> Iterator[Plan]:
    told = {"make": "simulated", "model": "surgical robot"}
    asking = told | {"start": ["TDATA"], "interval_ms": 60, "ask_status_s": 2, "ask_capability": True}
    yield _plan("openigtlink-robot", Patient(51), 6, RobotConfig(force_hz=50), asking, "sensor-off@2.5+1:tool",
                "sensor-off@4+0.5:force")  # fmt: skip
    bad = ("noise@2+1:0.0005", "lost@4+1:0.0005", "frame-lost@6+1:0.05", "silence@8+1.5", "drift@10:6")
    yield _plan("openigtlink-robot-bad-line", Patient(52), 12, RobotConfig(5, 50), told, *bad)
    yield _plan("openigtlink-version-1", Patient(53), 5, RobotConfig(25, 100, ids=False), told, "frame-lost@3+1:0.05")


def _plan(
    name: str, patient: Patient, seconds: float, config: RobotConfig, options: dict[str, Any], *faults: str
) -> Plan:
    told = header("openigtlink", Transport.TCP, feed="robot", device={"make": "simulated", "model": "surgical robot"},
                  options=options)  # fmt: skip
    line = FaultLine(tuple(map(parse_fault, faults)))
    return Plan(name, told, OpenIgtLinkRobot(patient, told.t0_ns / S_NS, config, line), seconds, 1)


def refit(stream: bytes) -> bytes:
    """The same with right CRCs, wherever a header and its body still stand where the one before ends."""
    out, at = [], 0
    while at + _HEAD.size <= len(stream):
        version, kind, device, time, size, _ = _HEAD.unpack_from(stream, at)
        start = at + _HEAD.size
        if not 1 <= version <= 3 or size > len(stream) - start:
            out.append(stream[at : at + 1])
            at += 1
            continue
        body = stream[start : start + size]
        out.append(_HEAD.pack(version, kind, device, time, size, crc64_ecma_182(body)) + body)
        at = start + size
    return b"".join((*out, stream[at:]))
