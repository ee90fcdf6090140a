"""States of the device itself, and what it tells of its own use, as events and numerics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from drivers.contract import Now
from drivers.sdc.codes import coded, unit_name
from drivers.sdc.description import Description, Descriptor
from drivers.sdc.metrics import MOST_TEXT, decimal_of
from drivers.sdc.xml import Element
from drivers.shown_values import ShownValues
from ledger.records import Event, EventKind, Numeric, Quality, Record

OPERATING: Final = {
    "": Quality.GOOD,
    "Nml": Quality.GOOD,
    "Dmo": Quality.DEMO,
    "Srv": Quality.TEST,
    "Mtn": Quality.TEST,
}
"""MdsState/@OperatingMode: what the device shows in demo, service and maintenance is no patient's."""
COMPONENTS: Final = frozenset({"Mds", "Vmd", "Channel", "Battery", "Clock", "Sco", "SystemContext"})
_BATTERY: Final = {
    "CapacityRemaining": "MDCX_SDC_BATTERY_CAPACITY_REMAINING",
    "Voltage": "MDCX_SDC_BATTERY_VOLTAGE",
    "Temperature": "MDCX_SDC_BATTERY_TEMPERATURE",
    "RemainingBatteryTime": "MDCX_SDC_BATTERY_REMAINING_TIME",
}
_ACTIVATIONS: Final = {
    "On": "on", "NotRdy": "not ready", "StndBy": "standby", "Off": "off", "Shtdn": "shutting down", "Fail": "failed",
}  # fmt: skip
_MODES: Final = {"Nml": "normal", "Dmo": "demo", "Srv": "service", "Mtn": "maintenance"}


class Components:
    """Tells when a part of the device changes; that all is on and normal need not be told. Bounded as it is given."""

    __slots__ = ("_last", "_shown")

    def __init__(self) -> None:
        self._last: dict[str, str] = {}
        self._shown = ShownValues()

    def tell_again(self) -> None:
        """Another case: what is not on and normal is told though it did not change."""
        self._last.clear()

    def silent(self, now: Now) -> Iterator[Numeric]:
        """The device is lost: what it told of its batteries holds no more."""
        return self._shown.silent(now)

    def take(
        self, descriptor: Descriptor, state: Element, description: Description, mode: Quality, now: Now
    ) -> list[Record]:
        """Records of what is new. Raises DeviceFault ``sdc.bad-value``."""
        activation = state.get("ActivationState", "On")[:16]
        words = _ACTIVATIONS.get(activation, activation)
        if descriptor.kind == "Mds":
            operating = state.get("OperatingMode", "Nml")[:16]
            words += f", {_MODES.get(operating, operating)}"
        usual = "on, normal" if descriptor.kind == "Mds" else "on"
        records: list[Record] = []
        if self._last.get(descriptor.handle, usual) != words:
            self._last[descriptor.handle] = words
            records.append(
                _event("mode", f"component/{descriptor.handle}", words, description.sub_of(descriptor.mds), mode, now)
            )
        if descriptor.kind == "Battery":
            for told in _battery(descriptor, state, description, mode, now):
                records += self._shown.show(f"{told.code} {told.channel}", told)
        return records


def operation_invoked(report: Element, mode: Quality, now: Now) -> Iterator[Event]:
    """Somebody else operates the device over the network: who, what, and how it went."""
    for part in report.all("ReportPart"):
        info, source = part.first("InvocationInfo"), part.first("InvocationSource")
        handle, target = part.get("OperationHandleRef")[:256], part.get("OperationTarget")[:256]
        number = info.text_of("TransactionId") if info is not None else ""
        state = info.text_of("InvocationState") if info is not None else ""
        error = info.text_of("InvocationError") if info is not None else ""
        by = f"{source.get('Extension')}@{source.get('Root')}" if source is not None else "unknown"
        words = f"{state or 'unknown'}{f' ({error})' if error else ''}, target {target or 'unknown'}, by {by}"
        yield _event("operator", f"operation/{handle}/{number[:20]}", words[:MOST_TEXT], "", mode, now)


def system_error(report: Element, mode: Quality, now: Now) -> Iterator[Event]:
    """The device tells of a fault of its own."""
    for part in report.all("ReportPart"):
        code = coded(part.first("ErrorCode"))
        name = code.code if code is not None else ""
        words = part.text_of("ErrorInfo") or (code.text if code is not None else "")
        yield _event("technical_alarm", f"system-error/{name}", words[:MOST_TEXT], "", mode, now)


def _event(kind: EventKind, alarm_id: str, text: str, sub: str, mode: Quality, now: Now) -> Event:
    return Event(
        sub=sub,
        at_ns=now.utc_ns,
        quality=mode,
        kind=kind,
        alarm_id=alarm_id,
        phase="once",
        priority="none" if kind in {"mode", "operator"} else "unknown",
        code=f"MDCX_SDC_{alarm_id.partition('/')[0].upper().replace('-', '_')}",
        text=text,
        device_code=alarm_id.partition("/")[2],
    )


def _battery(
    descriptor: Descriptor, state: Element, description: Description, mode: Quality, now: Now
) -> Iterator[Numeric]:
    for child in state.children:
        if child.tag in _BATTERY and child.get("MeasuredValue"):
            unit = coded(child.first("MeasurementUnit"))
            yield Numeric(
                sub=description.sub_of(descriptor.mds),
                at_ns=now.utc_ns,
                quality=mode,
                code=_BATTERY[child.tag],
                value=decimal_of(child.get("MeasuredValue")),
                unit=unit_name(unit, description.maker_of(descriptor.mds)) if unit is not None else "",
                device_code=child.tag,
                channel=descriptor.handle,
            )
    if state.get("ChargeStatus"):
        yield Numeric(
            sub=description.sub_of(descriptor.mds),
            at_ns=now.utc_ns,
            quality=mode,
            code="MDCX_SDC_BATTERY_CHARGE_STATUS",
            value=state.get("ChargeStatus")[:16],
            unit="",
            device_code="ChargeStatus",
            channel=descriptor.handle,
        )
