"""Context states (ISO/IEEE 11073-10207): which patient, where, who works here, in which workflow.

This is patient data. It leaves as events that happen once, and so is never part of the room's state that a restore
hands on; what is measured or chosen (weight, height, sex, patient type) is a setting, as from other devices. All of it
is only ever in the sealed payload, and no gap, link or log line repeats any of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from drivers.contract import Now
from drivers.sdc.codes import coded, unit_name
from drivers.sdc.description import Description, Descriptor
from drivers.sdc.metrics import decimal_of, time_of
from drivers.sdc.xml import Element
from ledger.records import Event, Quality, Record, Setting

MOST_FIELDS: Final = 64
MOST_STATES: Final = 1_024
MOST_TEXT: Final = 512
CONTEXTS: Final = frozenset({
    "PatientContext", "LocationContext", "OperatorContext", "WorkflowContext", "EnsembleContext", "MeansContext",
})  # fmt: skip
_ASSOCIATIONS: Final = {
    "": "none",
    "No": "none",
    "Pre": "pre-associated",
    "Assoc": "associated",
    "Dis": "disassociated",
}
_MEASURES: Final = {"Weight": "MDC_ATTR_PT_WEIGHT", "Height": "MDCX_SDC_PATIENT_HEIGHT"}
_CHOICES: Final = {
    "Sex": ("MDCX_SDC_PATIENT_SEX", {"M": "male", "F": "female", "Unkn": "unknown", "Unspec": "unspecified"}),
    "PatientType": (
        "MDCX_SDC_PATIENT_TYPE",
        {"Ad": "adult", "Ado": "adolescent", "Ped": "paediatric", "Inf": "infant", "Neo": "neonatal", "Oth": "other",
         "Unspec": "unspecified"},
    ),
}  # fmt: skip
_HOLDERS: Final = frozenset({"CoreData", "LocationDetail", "OperatorDetails", "WorkflowDetail"})
_NO_FIELDS: Final = frozenset({"Type", "Translation", "ConceptDescription", "Validator", *_MEASURES, *_CHOICES})
_ABOUT: Final = frozenset({
    "type", "DescriptorHandle", "DescriptorVersion", "StateVersion", "Handle", "ContextAssociation",
    "BindingMdibVersion", "UnbindingMdibVersion", "BindingStartTime", "BindingEndTime",
})  # fmt: skip


class Contexts:
    """Tells what is new in context states. ``wanted``: "none", "measures" (no identities), or "all"."""

    __slots__ = ("_last", "_wanted")

    def __init__(self, wanted: str) -> None:
        self._wanted = wanted
        self._last: dict[str, dict[str, str]] = {}

    def tell_again(self) -> None:
        """Another case: what the device says of its patient, place and so on is told though it did not change."""
        self._last.clear()

    def take(
        self, descriptor: Descriptor, state: Element, description: Description, mode: Quality, now: Now
    ) -> list[Record]:
        """Records of what is new. Raises DeviceFault ``sdc.bad-value``."""
        if self._wanted == "none":
            return []
        handle = state.get("Handle")[:MOST_TEXT] or descriptor.handle
        association = _ASSOCIATIONS.get(state.get("ContextAssociation"), "unknown")
        before = self._last.pop(handle, {})
        fields = dict(_fields(state)) if association in {"associated", "pre-associated"} else {}
        self._last[handle] = {"association": association, **fields}
        while len(self._last) > MOST_STATES:
            del self._last[next(iter(self._last))]
        if before.get("association", "none") == association == "none":
            return []
        about = _About(descriptor, state, description.sub_of(descriptor.mds), mode, now)
        records: list[Record] = []
        if before.get("association") != association:
            records.append(about.event("association", association))
        if self._wanted == "all":
            records += [about.event(name, text) for name, text in fields.items() if before.get(name) != text]
        if association == "associated" and descriptor.kind == "PatientContext":
            maker = description.maker_of(descriptor.mds)
            records += [setting for setting in about.settings(maker) if self._is_new(handle, before, setting)]
        return records

    def _is_new(self, handle: str, before: dict[str, str], setting: Setting) -> bool:
        shown = f"{setting.value} {setting.unit}"
        self._last[handle][setting.code] = shown
        return before.get(setting.code) != shown


class _About:
    """Makes the records of one context state."""

    def __init__(self, descriptor: Descriptor, state: Element, sub: str, mode: Quality, now: Now) -> None:
        self._descriptor, self._state, self._sub, self._mode, self._now = descriptor, state, sub, mode, now
        self._time = time_of(state.get("BindingEndTime")) or time_of(state.get("BindingStartTime"))
        self._word = descriptor.kind.removesuffix("Context").upper()

    def event(self, name: str, text: str) -> Event:
        """One field of the context. An association is not an identity, and is told as a mode."""
        is_mode = name == "association"
        return Event(
            sub=self._sub,
            at_ns=self._now.utc_ns,
            device_time=self._time,
            quality=self._mode,
            kind="mode" if is_mode else "operator",
            alarm_id=f"{self._descriptor.handle}/{name}",
            phase="once",
            priority="none",
            code=f"MDCX_SDC_{self._word}_{name.upper().replace('/', '_').replace(' ', '_')}",
            text=text,
            device_code=f"{self._descriptor.handle} {name}",
        )

    def settings(self, maker: str) -> Iterator[Setting]:
        """What is measured or chosen of a patient."""
        core = self._state.first("CoreData")
        for child in core.children if core is not None else ():
            if child.tag in _MEASURES and child.get("MeasuredValue"):
                unit = coded(child.first("MeasurementUnit"))
                yield Setting(
                    sub=self._sub, at_ns=self._now.utc_ns, device_time=self._time, quality=self._mode,
                    code=_MEASURES[child.tag], value=decimal_of(child.get("MeasuredValue")),
                    unit=unit_name(unit, maker) if unit is not None else "", device_code=child.tag,
                )  # fmt: skip
            elif child.tag in _CHOICES and child.text.strip():
                code, words = _CHOICES[child.tag]
                said = child.text.strip()[:MOST_TEXT]
                yield Setting(
                    sub=self._sub, at_ns=self._now.utc_ns, device_time=self._time, quality=self._mode,
                    code=code, value=words.get(said, said), unit="", device_code=child.tag,
                )  # fmt: skip


def _fields(state: Element) -> Iterator[tuple[str, str]]:
    """Every text that the state holds, by the names of the elements it lies in; identifications as ``id@system``."""
    waiting = [("", state)]
    told = 0
    while waiting and told < MOST_FIELDS:
        path, element = waiting.pop(0)
        for name, text in _texts(path, element):
            told += 1
            yield name, text[:MOST_TEXT]
        for number, child in enumerate(element.children[:MOST_FIELDS]):
            if child.tag not in _NO_FIELDS and " " not in child.tag:
                again = sum(other.tag == child.tag for other in element.children[:number])
                name = child.tag if not again else f"{child.tag}{again + 1}"
                below = path if name in _HOLDERS else f"{path}/{name}" if path else name
                waiting.append((below, child))


def _texts(path: str, element: Element) -> Iterator[tuple[str, str]]:
    if element.text.strip():
        yield path, element.text.strip()
    if "Root" in element.attributes or "Extension" in element.attributes:
        yield path, f"{element.get('Extension')}@{element.get('Root')}"
    elif "Code" in element.attributes:
        yield path, f"{element.get('Code')}@{element.get('CodingSystem')}".rstrip("@")
    else:
        for name, value in element.attributes.items():
            if name not in _ABOUT and value and " " not in name:
                yield f"{path}/{name}" if path else name, value
