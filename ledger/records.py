"""The vocabulary: what is recorded. Codes are IEEE 11073 MDC reference ids, units are UCUM.

Times ending in ``_ns`` are UTC nanoseconds of the box unless they say otherwise. A device's own time is kept as sent.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, NewType

LinkId = NewType("LinkId", int)
"""One connection of a feed's transport; never reused within a process."""

SubFeed = str
"""Empty for the feed itself; else one logical device behind it: "pump-4711", "bed-OR3"."""


class Quality(enum.IntFlag):
    """IEEE 11073-10207 MeasurementValidity and GenerationMode, and what a recorder adds."""

    GOOD = 0
    INVALID = 1
    QUESTIONABLE = 2
    UNAVAILABLE = 4
    CALIBRATING = 8
    ONGOING = 16
    EARLY = 32
    VALIDATED = 64
    OVER_RANGE = 128
    UNDER_RANGE = 256
    TEST = 512
    DEMO = 1024
    STALE = 2048
    UNCHECKED = 4096
    TIME_UNCERTAIN = 8192


NOT_A_PATIENT = Quality.TEST | Quality.DEMO
"""Records so marked must never be folded into a patient's state."""


@dataclass(frozen=True, slots=True)
class DeviceTime:
    """A device's time as sent, never converted. ``local`` has no zone: none is guessed."""

    value_ns: int
    kind: Literal["utc", "local", "uptime"]
    resolution_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Common to all records. ``at_ns``: box UTC of the last byte that carried it."""

    sub: SubFeed = ""
    at_ns: int
    device_time: DeviceTime | None = None
    quality: Quality = Quality.GOOD


@dataclass(frozen=True, slots=True, kw_only=True)
class Numeric(Record):
    """A measured value. ``value`` None: the device shows no value. Decimal keeps 7.10 as 7.10."""

    code: str
    value: Decimal | str | None
    unit: str
    device_code: str = ""
    channel: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting(Numeric):
    """What the device is set to; same fields as a measured value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave(Record):
    """A run of samples. ``at_ns``: box UTC of the FIRST sample; value = scale * sample + offset.

    ``rate`` is (samples, seconds); ``index`` counts samples since link up, so that a jump is a gap; ``samples`` is
    little-endian signed of ``width`` bytes each; ``invalid`` is the sample that means "no value"; ``marks`` are
    (sample in this record, "pacer" | "lead_off" | ...).
    """

    code: str
    unit: str
    channel: str = ""
    rate: tuple[int, int]
    index: int
    width: Literal[2, 4]
    samples: bytes
    scale: float
    offset: float
    invalid: int | None = None
    marks: tuple[tuple[int, str], ...] = ()


EventKind = Literal["physiological_alarm", "technical_alarm", "advisory", "marker", "operator", "mode"]
Phase = Literal["start", "continue", "change", "end", "once"]
Priority = Literal["high", "medium", "low", "none", "unknown"]
Silence = Literal["on", "audio_paused", "audio_off", "alarm_paused", "alarm_off", "acknowledged", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(Record):
    """An alarm, advisory, marker or mode change. ``alarm_id`` ties start to end and is never the localised text."""

    kind: EventKind
    alarm_id: str
    phase: Phase
    priority: Priority
    code: str
    source: str = ""
    latched: bool = False
    silence: Silence = "unknown"
    limits: tuple[Decimal | None, Decimal | None] = (None, None)
    text: str = ""
    device_code: str = ""
    device_priority: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw(Record):
    """Bytes as they passed, one direction of one link. ``pieces``: (microseconds after at_ns, length) each."""

    link: LinkId
    direction: Literal["<", ">"]
    data: bytes
    pieces: tuple[tuple[int, int], ...]


GapCause = Literal[
    "checksum", "framing", "undecodable", "sequence", "overflow", "link_down", "silence", "device_gap",
    "oversize", "clock_jump", "agent_down", "store_refused",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap(Record):
    """Something was lost or could not be read, and when. ``detail`` is for people: no payload, no identifiers."""

    cause: GapCause
    since_ns: int
    until_ns: int
    lost_bytes: int | None = None
    lost_items: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity(Record):
    """Who a device says it is."""

    make: str
    model: str
    serial: str = ""
    software: str = ""
    protocol: str = ""
    udi: str = ""
    position: str = ""


LinkState = Literal["connecting", "up", "identified", "changed", "down", "refused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Link(Record):
    """A connection to a device changed. ``peer`` is the port or address, ``reason`` is for people."""

    link: LinkId
    state: LinkState
    peer: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock(Record):
    """Box minus device: the lower envelope over 60 s, because delay is one-way and never negative."""

    offset_ns: int
    error_ns: int
    drift_ppm: float | None
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Object(Record):
    """Something too large for a block, kept beside the log and named by the hash of its SEALED bytes."""

    sha256: bytes
    size: int
    media_type: str
    name: str
    meta: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyframe(Record):
    """The ledger's own: the whole current state (``ledger.state``), encoded, so that a restore reads seconds."""

    state: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientContext(Record):
    """What a hospital system says of a patient, a visit or an order; sealed like every record.

    ``trigger``: the kind of message, "ADT^A01". ``facts``: by the names of ``ledger.facts``; an empty text withdraws.
    """

    trigger: str
    facts: Mapping[str, str] = field(default_factory=dict)


CasePhase = Literal["open", "change", "close", "apart"]
CaseCause = Literal["hl7", "operator", "next", "idle", "restart"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseChange(Record):
    """The ledger's own: a case was opened, its context changed, or it was closed. ``apart``: this block is about
    another patient than the room's, and changes no state.

    ``by``: the message or the person that did it; ``facts``: the whole context from here on, as in PatientContext.
    """

    case_id: bytes
    phase: CasePhase
    cause: CaseCause
    by: str
    opened_ns: int
    reason: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
