"""A line's bytes to what it says, and that to a record; or why it is refused, with the field."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final

import msgspec

from drivers.nomenclature import is_known
from drivers.push import schema
from ledger.errors import DeviceFault
from ledger.limits import S_NS
from ledger.records import DeviceTime, Event, Numeric, Quality, Record, Setting, Wave

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_RESOLUTION_NS: Final = 1_000
_INT16: Final = 1 << 15
_decoder: Final[msgspec.json.Decoder[schema.Line]] = msgspec.json.Decoder(schema.Line)


class Refused(DeviceFault):
    """A line that is not taken: ``field`` as a path like ``$.value``, empty if it is the line as a whole.

    ``again``: it is not the line's fault.
    """

    def __init__(self, field: str, text: str, *, again: bool = False) -> None:
        super().__init__("push.line", text)
        self.field = field
        self.again = again


class _Seq(msgspec.Struct, frozen=True):
    seq: int | None = None


_seq_decoder: Final = msgspec.json.Decoder(_Seq)


def parse(line: bytes) -> schema.Line:
    """What a line says. Raises Refused."""
    try:
        return _decoder.decode(line)
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at `")
        if not path and "`" in what:  # "Object contains unknown field `x`", "… missing required field `x`"
            path = f"$.{what.split('`')[1]}" if "field" in what else "$"
        raise Refused(path.removesuffix("`"), what) from None
    except (ValueError, RecursionError) as error:
        raise Refused("", f"not JSON in UTF-8: {error}") from None


def seq_of(line: bytes) -> int | None:
    """The number of a line that is refused, if it can be seen."""
    try:
        seq = _seq_decoder.decode(line).seq
    except (ValueError, RecursionError):
        return None
    return seq if seq is not None and 0 < seq < 1 << 53 else None


def record_of(said: schema.Numeric | schema.Setting | schema.Wave | schema.Event, sub: str, at_ns: int) -> Record:
    """The record of a line. Raises Refused for what the schema cannot say."""
    for name in ("code", "unit"):
        if getattr(said, name, "").endswith("\n"):  # a pattern's $ lets it pass
            raise Refused(f"$.{name}", "ends with a line feed")
    if not said.code.startswith("MDCX_") and not is_known(said.code):
        raise Refused("$.code", "not a reference id that is known here; a private one is MDCX_<MAKER>_<NAME>")
    common: dict[str, Any] = {
        "sub": sub, "at_ns": at_ns, "device_time": device_time(said.time), "quality": _quality(said.quality)
    }  # fmt: skip
    if isinstance(said, schema.Wave):
        return _wave(said, common)
    if isinstance(said, schema.Event):
        return Event(
            **common,
            kind=said.kind,
            alarm_id=said.id,
            phase=said.phase,
            priority=said.priority,
            code=said.code,
            source=said.source,
            text=said.text,
            latched=said.latched,
            silence=said.silence,
        )
    kind = Numeric if isinstance(said, schema.Numeric) else Setting
    value = said.value if said.value is None or isinstance(said.value, str) else Decimal(repr(said.value))
    return kind(**common, code=said.code, value=value, unit=said.unit, channel=said.channel)


def sample_count(said: schema.Wave) -> int:
    """How many samples a wave has. Raises Refused if its bytes are not a whole number of them."""
    if not isinstance(said.samples, bytes):
        return len(said.samples)
    count, rest = divmod(len(said.samples), said.width)
    if rest or not count:
        raise Refused("$.samples", f"{len(said.samples)} bytes are not whole samples of {said.width}")
    return count


def device_time(told: datetime | None) -> DeviceTime | None:
    """A client's time, to the microsecond."""
    if told is None:
        return None
    passed = told - _EPOCH
    return DeviceTime(
        (passed.days * 86_400 + passed.seconds) * S_NS + passed.microseconds * 1_000, "utc", _RESOLUTION_NS
    )


@lru_cache(maxsize=256)
def _quality(names: tuple[str, ...]) -> Quality:
    quality = Quality.GOOD
    for name in names:
        quality |= Quality[name.upper()]
    return quality


@lru_cache(maxsize=256)
def _rate(rate_hz: float) -> tuple[int, int]:
    rate = Fraction(repr(rate_hz)).limit_denominator(1_000_000)
    return rate.numerator, rate.denominator


def _wave(said: schema.Wave, common: dict[str, Any]) -> Wave:
    sample_count(said)
    samples = said.samples
    if said.width == 2 and not -_INT16 <= (said.invalid or 0) < _INT16:
        raise Refused("$.invalid", "does not fit into two bytes, so no sample can be it: give width 4")
    if not isinstance(samples, bytes):
        if said.width == 2 and not -_INT16 <= min(samples) <= max(samples) < _INT16:
            raise Refused("$.samples", "a sample does not fit into two bytes: give width 4")
        samples = struct.pack(f"<{len(samples)}{'h' if said.width == 2 else 'i'}", *samples)
    return Wave(
        **common,
        code=said.code,
        unit=said.unit,
        channel=said.channel,
        rate=_rate(said.rate_hz),
        index=said.index,
        width=said.width,
        samples=samples,
        scale=float(said.scale),
        offset=float(said.offset),
        invalid=said.invalid,
    )
