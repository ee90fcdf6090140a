"""What the answers of an Asena pump mean in the record."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from drivers.alaris.frame import Reply, number_of, seconds_of
from drivers.conditions import Condition
from drivers.contract import Now
from ledger.errors import DeviceFault
from ledger.records import Numeric, Quality, Setting

_UNITS: Final = {"ml/h": "mL/h", "ml": "mL", "mmHg": "mm[Hg]", "kPa": "kPa", "": ""}
_INF_FIELDS: Final = 11
_ALARM_CODE: Final = re.compile(r"AL[_ ][A-Z]{2,8}")
_NO_ALARM: Final = "AL_NOALM"
_MOST_ALARMS: Final = 16
_CALM: Final = "-"


def serial_of(infusion: Reply) -> str:
    """The serial number that stands in an answer to INF. Raises DeviceFault ``alaris.field``."""
    _need(infusion, _INF_FIELDS)
    return infusion.fields[0].strip()


def measured(infusion: Reply, now: Now) -> Iterator[Numeric]:
    """Rate, volume infused, pressure and the time that is left, of an answer to INF. Raises DeviceFault."""
    _need(infusion, _INF_FIELDS)
    fields = infusion.fields
    for name, code, value, unit in (
        ("rate", "MDC_FLOW_FLUID_PUMP", fields[3], fields[4]),
        ("volume infused", "MDC_VOL_INFUS_ACTUAL_TOTAL", fields[6], fields[7]),
        ("pressure", "MDCX_ALARIS_PRESSURE", fields[8], fields[9]),
    ):
        yield _numeric(name, code, value, unit, now)
    try:
        left, more = seconds_of(fields[10])
        lacking = Quality.UNAVAILABLE
    except DeviceFault:  # one field that is not known costs no other
        left, more, lacking = None, False, Quality.INVALID
    yield Numeric(
        at_ns=now.utc_ns,
        quality=lacking if left is None else Quality.OVER_RANGE if more else Quality.GOOD,
        code="MDC_TIME_PD_REMAIN",
        value=left,
        unit="s",
        device_code="time remaining",
    )


def infusion_settings(infusion: Reply, now: Now) -> Iterator[Setting]:
    """The mode, what stands between unit and volume (not published), and the last entry of the pump's log."""
    _need(infusion, _INF_FIELDS)
    fields = infusion.fields
    for name, code, text in (
        ("mode", "MDCX_ALARIS_MODE", fields[2]),
        ("INF field 6", "MDCX_ALARIS_INF_6", fields[5]),
        ("log", "MDCX_ALARIS_LOG", " ".join(fields[11:13])),
    ):
        if text.strip():
            yield Setting(at_ns=now.utc_ns, code=code, value=text.strip(), unit="", device_code=name)


def slow_settings(reply: Reply, now: Now) -> Iterator[Setting]:
    """Syringe, volume to be infused, highest rate. Raises DeviceFault."""
    _need(reply, 1)
    fields = (*reply.fields, "", "")  # what is not active has fewer
    if reply.word == "SYRINGE_STATUS":
        yield Setting(at_ns=now.utc_ns, code="MDCX_ALARIS_SYRINGE", value=fields[0].strip() or None, unit="",
                      device_code="syringe")  # fmt: skip
        yield _setting("syringe size", "MDCX_ALARIS_SYRINGE_SIZE", fields[1], "ml", now)
        yield Setting(at_ns=now.utc_ns, code="MDCX_ALARIS_SYRINGE_STATE", value=fields[2].strip() or None, unit="",
                      device_code="syringe state")  # fmt: skip
    elif reply.word == "INF_VTBI":
        yield Setting(at_ns=now.utc_ns, code="MDCX_ALARIS_VTBI_STATE", value=fields[0].strip() or None, unit="",
                      device_code="VTBI state")  # fmt: skip
        yield _setting("VTBI", "MDC_VOL_FLUID_TBI", fields[1], fields[2], now)
    else:
        yield _setting("highest rate", "MDCX_ALARIS_RATE_MAX_SYRINGE", fields[0], fields[1], now)


def other_answer(reply: Reply, now: Now) -> Setting:
    """An answer that is not known here, as its text."""
    return Setting(at_ns=now.utc_ns, code=f"MDCX_ALARIS_{reply.word}", value="^".join(reply.fields) or None, unit="",
                   device_code=reply.word)  # fmt: skip


def alarm_flag(infusion: Reply) -> Iterator[Condition]:
    """What INF says of alarms: a letter, or a dash for none."""
    letter = infusion.fields[1].strip()
    if letter and letter != _CALM:
        device_code = f"INF.{letter}"
        yield Condition(
            device_code, "advisory", "unknown", "MDCX_ALARIS_INF_ALARM", "", "an alarm is active", device_code
        )


def alarms(reply: Reply) -> Iterator[Condition]:
    """The alarms of an answer to ALARM, each with the pump's own text. Raises DeviceFault."""
    _need(reply, 1)
    for at, field in enumerate(reply.fields[:_MOST_ALARMS]):
        code = field.strip()
        if _ALARM_CODE.fullmatch(code) and code != _NO_ALARM:
            following = reply.fields[at + 1].strip() if at + 1 < len(reply.fields) else ""
            text = "" if _ALARM_CODE.fullmatch(following) else following
            yield Condition(code, "technical_alarm", "unknown", f"MDCX_ALARIS_{code.replace(' ', '_')}", "", text, code)
        elif at == 0 and code != _NO_ALARM:
            raise DeviceFault("alaris.alarm", "an answer to ALARM without a code")


def _need(reply: Reply, fields: int) -> None:
    if len(reply.fields) < fields:
        raise DeviceFault("alaris.field", f"an answer to {reply.word} with too few fields")


def _numeric(name: str, code: str, text: str, unit: str, now: Now) -> Numeric:
    known = _UNITS.get(unit.strip())
    try:
        value, lacking = number_of(text), Quality.UNAVAILABLE
    except DeviceFault:
        value, lacking = None, Quality.INVALID
    quality = lacking if value is None else Quality.GOOD if known is not None else Quality.QUESTIONABLE
    return Numeric(at_ns=now.utc_ns, quality=quality, code=code, value=value, unit=known or "",
                   device_code=name if known is not None else f"{name} [{unit.strip()}]")  # fmt: skip


def _setting(name: str, code: str, value: str, unit: str, now: Now) -> Setting:
    told = _numeric(name, code, value, unit, now)
    return Setting(at_ns=told.at_ns, quality=told.quality, code=told.code, value=told.value, unit=told.unit,
                   device_code=told.device_code)  # fmt: skip
