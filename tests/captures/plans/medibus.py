from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from drivers.contract import Transport
from firmware_sim.faults import FaultLine, parse_fault
from firmware_sim.medibus_device import MedibusConfig, MedibusDevice
from firmware_sim.medibus_profiles import EVITA_4, PRIMUS, Profile
from firmware_sim.patient import Patient
from ledger.limits import S_NS
from tests.captures.conversation import Plan, header

_SLOWER = {"alarms_s": 3.0, "numerics_s": 4.0, "settings_s": 10.0}


def plans() -> Iterator[Plan]:
    waves = {"waves": ["PAW", "FLOW", "CO2", "VOLUME"]}
    yield _plan("medibus-evita4", Patient(8), 12, EVITA_4, waves)
    yield _plan("medibus-evita4-desaturation", Patient(9, "desaturation"), 300, EVITA_4, _SLOWER)
    hurt = ("noise@6+2:0.004", "lost@9+2:0.004", "cut@12+2:0.5", "silence@15+5", "sensor-off@21+2:gas")
    yield _plan("medibus-evita4-bad-line", Patient(10), 25, EVITA_4, {"waves": ["PAW"], "wave_multiplier": 4}, *hurt)
    gases = {"waves": ["PAW", "CO2", "PLETH"], "wave_multiplier": 2, "clock_s": 3.0}
    happens = {"suspend_every_s": 4.0, "co2_to_kpa_s": 9.5}
    yield _plan("medibus-primus", Patient(11), 16, PRIMUS, gases, happens=happens)


def refit(data: bytes) -> bytes:
    """The same bytes with the checksum of every frame made right."""
    return re.sub(rb"[\x01\x1b][^\x01\x0d\x1b]*\x0d", lambda frame: _refit_frame(frame.group()), data)


def _refit_frame(frame: bytes) -> bytes:
    slow = [at for at, byte in enumerate(frame) if byte < 0x80 and byte not in b"\x11\x13\x18"]
    if len(slow) < 5:
        return frame
    *content, high, low, _ = slow
    digits = b"%02X" % (sum(frame[at] for at in content) & 0xFF)
    out = bytearray(frame)
    out[high], out[low] = digits
    return bytes(out)


def _plan(
    name: str,
    patient: Patient,
    seconds: float,
    profile: Profile,
    options: dict[str, Any],
    *faults: str,
    happens: dict[str, float] | None = None,
) -> Plan:
    baud, byte_us = (9600, 1146) if profile is PRIMUS else (19200, 573)
    device = {"make": "simulated", "model": profile.name}
    told = header("medibus", Transport.SERIAL, feed="vent", line=f"{baud} 8E1", device=device, options=options)
    line = FaultLine(tuple(map(parse_fault, faults)))
    config = MedibusConfig(profile, line_bytes_a_s=1e6 / byte_us, **happens or {})
    return Plan(name, told, MedibusDevice(patient, told.t0_ns / S_NS, config, line), seconds, byte_us)
