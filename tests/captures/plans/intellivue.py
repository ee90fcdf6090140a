from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from drivers.contract import Transport
from firmware_sim.faults import FaultLine, parse_fault
from firmware_sim.intellivue import IntelliVueConfig, IntelliVueMonitor
from firmware_sim.patient import Patient
from ledger.limits import S_NS
from tests.captures.conversation import Plan, header

BYTE_US = 87
DEVICE = {"make": "simulated", "model": "Philips IntelliVue"}


def plans() -> Iterator[Plan]:
    waves = ["MDC_ECG_ELEC_POTL_II", "MDC_ECG_ELEC_POTL_I", "MDC_PULS_OXIM_PLETH", "MDC_AWAY_CO2"]
    yield _plan("intellivue-rs232", Patient(11), 8, {"wave_list": waves, "demographics": "all"})
    hurt = ("noise@3+2:0.0015", "cut@6+2:0.3", "sensor-off@4+3:spo2", "silence@9+12")
    yield _plan("intellivue-bad-line", Patient(12), 25, {"wave_list": ["MDC_PULS_OXIM_PLETH"]}, *hurt)
    yield _plan(
        "intellivue-lan", Patient(13), 8, {"wave_list": waves[:1]}, "frame-lost@3+2:0.3", "frame-doubled@5+2:0.5"
    )
    yield _plan("intellivue-lan-alarms", Patient(14, "arrest"), 66, {"waves": False, "enumerations": False})


def _plan(name: str, patient: Patient, seconds: float, options: dict[str, Any], *faults: str) -> Plan:
    lan = "lan" in name
    options = {"interface": "lan" if lan else "rs232"} | options
    transport, line = (Transport.UDP, {}) if lan else (Transport.SERIAL, {"line": "115200 8N1"})
    told = header("intellivue", transport, feed="monitor", device=DEVICE, options=options, **line)
    config = IntelliVueConfig(lan=lan, extra=b"" if lan else bytes.fromhex("3401c8"))
    fault_line = FaultLine(tuple(map(parse_fault, faults)))
    return Plan(name, told, IntelliVueMonitor(patient, told.t0_ns / S_NS, config, fault_line), seconds, BYTE_US)
