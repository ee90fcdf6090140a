"""A room with a ventilator whose cable was pulled once, and a rack of two pumps."""

from __future__ import annotations

from typing import Any

from agent.demo.watch import Reading


def value(
    feed: str, code: str, shown: str | None, sub: str = "", at: str = "12:46:30.1", **other: Any
) -> dict[str, Any]:
    return {
        "feed": feed, "sub": sub, "code": code, "value": shown, "unit": "", "at": f"2026-01-02T{at}00Z", **other,
    }  # fmt: skip


def image(instance: str, at: str = "12:46:20.0", sha256: str = "ab" * 32, size: int = 1_049_374) -> dict[str, Any]:
    return {
        "feed": "imaging", "at": f"2026-01-02T{at}00Z", "sha256": sha256, "size": size, "name": f"{instance}.dcm",
        "meta": {"sop_instance": instance, "modality": "XA", "ae_title": "SIM_CARM"},
    }  # fmt: skip


def room_state() -> dict[str, Any]:
    drug, rate, runs = "MDC_DRUG_NAME_LABEL", "MDC_FLOW_FLUID_PUMP", "MDCX_BBRAUN_RUNSTATE"
    return {
        "values": [
            value("ventilator", "MDC_PRESS_AWAY_END_EXP_POS", "5"),
            value("ventilator", "MDC_PRESS_AWAY_INSP_PEAK", None),
            value("pumps", rate, "4.50", "pump-2", unit="mL/h", at="12:46:31.0"),
            value("pumps", rate, None, "pump-1", unit="mL/h"),
            value("pumps", drug, None, "pump-2", text_value="Propofol 2%"),
        ],
        "modes": [{"feed": "pumps", "sub": "pump-2", "code": runs, "text": "running"}],
        "devices": [{"feed": "ventilator"}, *[{"feed": "pumps"}] * 3],
        "waves": [],
        "gaps": [
            {
                "feed": "ventilator", "cause": "link_down", "since": "2026-01-02T12:46:22.300000000Z",
                "until": "2026-01-02T12:46:25.500000000Z",
            },
        ],
    }  # fmt: skip


def feed(name: str, device: str, devices: int, state: str, gaps: int) -> dict[str, Any]:
    return {
        "name": name, "device": device, "devices": devices, "state": state, "last_age_s": 0.25, "gaps_24h": gaps,
        "gap_causes": ["link_down"] if gaps else [],
    }  # fmt: skip


def room_reading() -> Reading:
    status = {
        "recording": True, "state": "ok", "log": None, "alerts": [], "peers": [],
        "feeds": [feed("ventilator", "Dräger Evita4", 1, "down", 1), feed("pumps", "B. Braun ComDevice", 3, "ok", 0)],
    }  # fmt: skip
    return Reading("or-2", status, {}, room_state())
