"""Version 1 of the push intake: what a client may say and what it is answered. The published schema is made of this.

A line is one JSON object in UTF-8, ended by LF. Fields that are not named here are refused.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from ledger.limits import LIMITS
from ledger.records import EventKind, Phase, Priority, Silence

VERSION: Final = 1
LONGEST_LINE_BYTES: Final = LIMITS.frame_bytes
_INT64: Final = 1 << 63
_MOST_SAMPLES: Final = 16_384

Seq = Annotated[int, Meta(ge=1, lt=1 << 53, description="counts the lines of a session that carry data, from 1")]
Code = Annotated[
    str,
    Meta(
        pattern=r"^MDCX?_[A-Z0-9_]+$",
        max_length=96,
        description="a reference id of IEEE 11073-10101, or a private one: MDCX_<MAKER>_<NAME>",
    ),
]
Unit = Annotated[str, Meta(pattern=r"^[!-~]*$", max_length=32, description='UCUM, "1" for a ratio, "" for a text')]
Name = Annotated[str, Meta(max_length=64)]
Text = Annotated[str, Meta(max_length=4_096)]
Finite = Annotated[float, Meta(ge=-1e300, le=1e300)]
Whole = Annotated[int, Meta(ge=-_INT64, le=_INT64 - 1)]
Sample = Annotated[int, Meta(ge=-(1 << 31), lt=1 << 31)]
Time = Annotated[datetime, Meta(tz=True, description="the client's own time, RFC 3339 with a zone")]
QualityName = Literal[
    "invalid", "questionable", "unavailable", "calibrating", "ongoing", "early", "validated", "over_range",
    "under_range", "test", "demo", "stale",
]  # fmt: skip


class _Said(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="type", gc=False):
    """Any line."""


class Hello(_Said, frozen=True, kw_only=True, tag="hello"):
    """The first line of a connection: who speaks. A client that counts from 1 again takes another ``session``."""

    version: Literal[1]
    session: Annotated[str, Meta(pattern=r"^[!-~]+$", max_length=64)]
    make: Annotated[str, Meta(min_length=1, max_length=128)]
    model: Annotated[str, Meta(min_length=1, max_length=128)]
    serial: Annotated[str, Meta(max_length=128)] = ""
    software: Annotated[str, Meta(max_length=128)] = ""


class Ping(_Said, frozen=True, kw_only=True, tag="ping"):
    """Asks for a ``pong``; a connection on which nothing comes for five minutes is closed."""


class _Data(_Said, frozen=True, kw_only=True):
    """What is recorded. ``quality`` empty: good."""

    seq: Seq
    time: Time | None = None
    quality: tuple[QualityName, ...] = ()


class Numeric(_Data, frozen=True, kw_only=True, tag="numeric"):
    """A measured value; null: there is none now."""

    code: Code
    value: Whole | Finite | Text | None
    unit: Unit
    channel: Name = ""


class Setting(_Data, frozen=True, kw_only=True, tag="setting"):
    """What the system is set to."""

    code: Code
    value: Whole | Finite | Text | None
    unit: Unit
    channel: Name = ""


class Wave(_Data, frozen=True, kw_only=True, tag="wave"):
    """A run of samples: value = scale * sample + offset. ``time``: of the first.

    ``samples``: integers, or in base64 little-endian signed ones of ``width`` bytes. ``index``: how many samples of
    this code and channel came before it in the session; what it jumps over is missing. ``invalid``: the sample that
    means "no value".
    """

    code: Code
    unit: Unit
    channel: Name = ""
    rate_hz: Annotated[float, Meta(ge=0.001, le=1_000_000)]
    index: Annotated[int, Meta(ge=0, lt=1 << 53)]
    width: Literal[2, 4] = 2
    samples: Annotated[list[Sample], Meta(min_length=1, max_length=_MOST_SAMPLES)] | bytes
    scale: Finite = 1.0
    offset: Finite = 0.0
    invalid: Sample | None = None


class Event(_Data, frozen=True, kw_only=True, tag="event"):
    """An alarm, advisory, marker or mode. ``id`` ties its start to its end."""

    kind: EventKind
    id: Annotated[str, Meta(min_length=1, max_length=128)]
    phase: Phase
    priority: Priority
    code: Code
    source: Name = ""
    text: Text = ""
    latched: bool = False
    silence: Silence = "unknown"


Line = Hello | Ping | Numeric | Setting | Wave | Event
"""All that a client may say."""

FIELDS: Final = frozenset(
    name for kind in (Hello, Ping, Numeric, Setting, Wave, Event) for name in ("type", *kind.__struct_fields__)
)


class _Answered(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="type"):
    """Any answer."""


class Welcome(_Answered, frozen=True, kw_only=True, tag="welcome"):
    """To ``hello``. ``seq``: the last line of this session that the box has taken; 0 if it knows of none."""

    version: Literal[1] = 1
    seq: int


class Ack(_Answered, frozen=True, kw_only=True, tag="ack"):
    """Every line up to ``seq`` that was not refused is on the box's disk."""

    seq: int


class Pong(_Answered, frozen=True, kw_only=True, tag="pong"):
    """To ``ping``."""


class Error(_Answered, frozen=True, kw_only=True, tag="error"):
    """A line was refused, and nothing of it recorded. ``line`` counts the connection's lines from 1.

    ``again``: it was not the line's fault: send it again, without ``seq`` all after the last acknowledged.
    """

    line: int
    field: str
    text: str
    seq: int | None = None
    again: bool = False


Answer = Welcome | Ack | Pong | Error
"""All that a client may hear."""


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a line; that of an answer is ``#/$defs/Answer``."""
    (line, answer), parts = msgspec.json.schema_components([Line, Answer], ref_template="#/$defs/{name}")
    line.pop("discriminator")  # OpenAPI's, not JSON Schema's; each "type" says the same
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"orledger push intake, version {VERSION}: one line of a client",
        **line,
        "$defs": {**dict(sorted(parts.items())), "Answer": answer},
    }
