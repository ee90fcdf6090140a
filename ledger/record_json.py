"""Records as JSON, for people, consoles and tests. One way only: what is believed is read from blocks.

Decimals are text ("7.10" stays 7.10) under ``value``; a value the device gave as text is under ``text_value``. Times
are RFC 3339 with nanoseconds; bytes are hex; wave samples are whole numbers.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from ledger.limits import S_NS
from ledger.records import DeviceTime, Numeric, Quality, Record, Wave

_EPOCH_END_S: Final = 253_402_300_800
"""The first second of the year 10000, which RFC 3339 cannot write."""
_INSTANTS: Final = frozenset(("since_ns", "until_ns", "opened_ns"))
_COMMON: Final = frozenset(field.name for field in fields(Record))


def record_to_json(record: Record) -> dict[str, Any]:
    """A record as a plain dict for ``json.dumps``: ``type``, ``sub``, ``at``, then its own fields by their names."""
    document: dict[str, Any] = {"type": type(record).__name__.lower(), "sub": record.sub, "at": utc_text(record.at_ns)}
    if record.device_time is not None:
        document["device_time"] = device_time_json(record.device_time)
    if record.quality:
        document["quality"] = quality_names(record.quality)
    for field in fields(record):
        if field.name not in _COMMON:
            value = getattr(record, field.name)
            if field.name in _INSTANTS:
                document[field.name.removesuffix("_ns")] = utc_text(value)
            else:
                document[field.name] = _field_json(value)
    if isinstance(record, Wave):
        document["samples"] = wave_samples(record)
    if isinstance(record, Numeric):
        document |= value_json(record)
    return document


def utc_text(at_ns: int) -> str:
    """Nanoseconds since 1970 UTC as RFC 3339 with all nine decimals; beyond its years, the plain number."""
    seconds, rest = divmod(at_ns, S_NS)
    if not 0 <= seconds < _EPOCH_END_S:
        return f"{at_ns}ns"
    return f"{_second_text(seconds)}.{rest:09d}Z"


@lru_cache(maxsize=64)
def _second_text(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def device_time_json(time: DeviceTime) -> dict[str, Any]:
    """A device's time as it told it: ``local`` without a zone, ``uptime`` in seconds."""
    if time.kind == "uptime":
        at = f"{Decimal(time.value_ns).scaleb(-9)}s"
    else:
        at = utc_text(time.value_ns)
        at = at.removesuffix("Z") if time.kind == "local" else at
    return {"at": at, "kind": time.kind, "resolution_ns": time.resolution_ns}


def quality_names(quality: Quality) -> list[str]:
    """The flags by their names, in order of their bits; none is good."""
    return [str(flag.name).lower() for flag in quality]


def value_json(record: Numeric) -> dict[str, str | None]:
    """``value`` is a decimal's digits or null; ``text_value`` is there if the device gave words instead."""
    if isinstance(record.value, str):
        return {"value": None, "text_value": record.value}
    return {"value": None if record.value is None else str(record.value)}


def wave_samples(record: Wave) -> list[int]:
    """The samples as sent; value = scale * sample + offset."""
    width = "h" if record.width == 2 else "i"
    return list(struct.unpack(f"<{len(record.samples) // record.width}{width}", record.samples))


def _field_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, tuple):
        return [_field_json(item) for item in value]
    if isinstance(value, Mapping):
        return dict(sorted(value.items()))
    return value
