"""What the labels say: which pressure, temperature, agent, lead or heart rate source a value is of."""

from __future__ import annotations

from dataclasses import dataclass

from drivers.ge_dri.fields import Field, Group

_PRESSURE = "MDC_PRESS_BLD"

PRESSURES: dict[int, tuple[str, str | None]] = {
    1: ("ART", "MDC_PRESS_BLD_ART"),
    2: ("CVP", "MDC_PRESS_BLD_VEN_CENT"),
    3: ("PA", "MDC_PRESS_BLD_ART_PULM"),
    4: ("RAP", "MDC_PRESS_BLD_ATR_RIGHT"),
    5: ("RVP", "MDC_PRESS_BLD_VENT_RIGHT"),
    6: ("LAP", "MDC_PRESS_BLD_ATR_LEFT"),
    7: ("ICP", "MDC_PRESS_INTRA_CRAN"),
    8: ("ABP", "MDC_PRESS_BLD_ART_ABP"),
    **{8 + n: (f"P{n}", _PRESSURE) for n in range(1, 7)},
    15: ("SP", None),
    16: ("FEM", "MDC_PRESS_BLD_ART_FEMORAL"),
    17: ("UAC", "MDC_PRESS_BLD_ART_UMB"),
    18: ("UVC", "MDC_PRESS_BLD_VEN_UMB"),
    19: ("ICP2", "MDC_PRESS_INTRA_CRAN"),
    20: ("P7", _PRESSURE),
    21: ("P8", _PRESSURE),
    22: ("FEMV", "MDC_PRESS_BLD_VEN_FEMORAL"),
}
"""Label of an invasive pressure: its name, and the reference id without ``_SYS`` where one fits."""

_TEMPERATURES: dict[int, tuple[str, str | None]] = {
    1: ("ESO", "MDC_TEMP_ESOPH"),
    2: ("NASO", "MDC_TEMP_NASOPH"),
    3: ("TYMP", "MDC_TEMP_TYMP"),
    4: ("RECT", "MDC_TEMP_RECT"),
    5: ("BLAD", None),
    6: ("AXIL", "MDC_TEMP_AXIL"),
    7: ("SKIN", "MDC_TEMP_SKIN"),
    8: ("AIRW", "MDC_TEMP_AWAY"),
    9: ("ROOM", "MDC_TEMP_ROOM"),
    10: ("MYO", "MDC_TEMP_MYO"),
    **{10 + n: (f"T{n}", "MDC_TEMP") for n in range(1, 5)},
    15: ("CORE", "MDC_TEMP_CORE"),
    16: ("SURF", None),
    17: ("T5", "MDC_TEMP"),
    18: ("T6", "MDC_TEMP"),
}

_AGENTS = {2: "HALOTH", 3: "ENFL", 4: "ISOFL", 5: "DESFL", 6: "SEVOFL"}

LEADS = {1: "I", 2: "II", 3: "III", 4: "AVR", 5: "AVL", 6: "AVF", 7: "V"}

_HR_SOURCES = {
    1: ("ECG", "MDC_ECG_HEART_RATE"),
    **{n: (f"P{n - 1}", "MDC_BLD_PULS_RATE_INV") for n in range(2, 6)},
    6: ("SpO2", "MDC_PULS_OXIM_PULS_RATE"),
    7: ("P5", "MDC_BLD_PULS_RATE_INV"),
    8: ("P6", "MDC_BLD_PULS_RATE_INV"),
    9: ("ECG12", "MDC_ECG_HEART_RATE"),
    10: ("P7", "MDC_BLD_PULS_RATE_INV"),
    11: ("P8", "MDC_BLD_PULS_RATE_INV"),
    12: ("SpO2-2", "MDC_PULS_OXIM_PULS_RATE"),
}

_SECOND = {"spo2_ch2": "2", "cpp2": "2"}


@dataclass(frozen=True, slots=True)
class Named:
    """What a value is called: MDC code, channel, and the device's own name with its raw label."""

    code: str
    channel: str
    device_code: str


def agent_prefix(label: int) -> str:
    """Reference id of the anaesthetic agent's concentration, without ``_ET``."""
    return f"MDC_CONC_AWAY_{_AGENTS.get(label, 'AGENT')}"


def pressure_channel(label: int, slot: str) -> str:
    """Name of a pressure, or of the slot it is measured in when it has no label that we know."""
    return PRESSURES[label][0] if label in PRESSURES else slot


def name_field(group: Group, field: Field, status: int, label: int) -> Named:
    """Name one value by its group's status and label."""
    own = f"{group.name}.{field.name}"
    if field.code.startswith("{"):
        return _named_by_label(group, field, status, label)
    if group.name[0] == "p" and group.name[1:].isdigit():
        return Named(field.code, pressure_channel(label, group.name.upper()), f"{own}:{label}")
    if group.name == "eeg" and field.name.startswith("ch"):
        return Named(field.code, f"EEG{field.name[2]}", own)
    return Named(field.code, _SECOND.get(group.name, ""), own)


def _named_by_label(group: Group, field: Field, status: int, label: int) -> Named:
    own, slot = f"{group.name}.{field.name}", group.name.upper()
    unnamed = f"MDCX_GE_{group.name}_{field.name}"
    kind, suffix = field.code[1:].split("}")
    if kind == "agent":
        return Named(agent_prefix(label) + suffix, "", f"{own}:{label}")
    if kind == "hr":
        source = status >> 3 & 0xF
        channel, code = _HR_SOURCES.get(source, ("", "MDC_ECG_HEART_RATE"))
        return Named(code, channel, f"{own}:{source}")
    if kind.startswith("st"):
        channel_number = int(kind[2])
        lead = label >> 4 * (3 - channel_number) & 0xF  # channel 1 in bits 8-11, 3 in bits 0-3
        code = f"MDC_ECG_AMPL_ST_{LEADS[lead]}" if lead in LEADS else unnamed
        return Named(code, f"ECG{channel_number}", f"{own}:{lead}")
    known, generic = (PRESSURES, _PRESSURE) if kind == "pressure" else (_TEMPERATURES, "MDC_TEMP")
    name, prefix = known.get(label, (slot, generic if label == 0 else None))
    return Named(prefix + suffix if prefix else unnamed, name, f"{own}:{label}")
