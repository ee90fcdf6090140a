"""One record ⇄ one compact row, checked by one table in both directions. ``ledger.payload`` packs rows into bytes.

A row is ``(tag, at_ns minus that of the row before, sub, device_time, quality, the record's own fields in order)``.
Every refusal here is a ``ValueError``; the callers know whose fault it is and say so.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from operator import attrgetter
from types import NoneType
from typing import Any, Final, get_args

import msgpack

from ledger.records import (
    CaseCause,
    CaseChange,
    CasePhase,
    Clock,
    DeviceTime,
    Event,
    EventKind,
    Gap,
    GapCause,
    Identity,
    Keyframe,
    Link,
    LinkState,
    Numeric,
    Object,
    PatientContext,
    Phase,
    Priority,
    Quality,
    Raw,
    Record,
    Setting,
    Silence,
    Wave,
)

Row = tuple[Any, ...]

EXT_BIG_INT: Final = 1
"""msgpack extension: an integer beyond 64 bits, signed big-endian, as short as possible."""
EXT_DECIMAL: Final = 2
"""msgpack extension: a decimal that ``[mantissa, exponent]`` cannot hold (-0, over 18 digits), as its text."""

MANTISSA_END: Final = 10**18
EXPONENT_MAX: Final = 6_144
_DECIMAL_TEXT_MAX: Final = 64
_INTEGER_BYTES_MAX: Final = 16
_SIGNATURES_REMEMBERED: Final = 1_024
COMMON_FIELDS: Final = ("at_ns", "sub", "device_time", "quality")
_COMMON_TYPES: Final[tuple[tuple[type, ...], ...]] = ((int,), (str,), (NoneType, DeviceTime), (Quality,))
QUALITY_BITS_END: Final = 2 * max(Quality)
_DEVICE_CLOCKS: Final = frozenset(("utc", "local", "uptime"))


@dataclass(frozen=True, slots=True)
class Kind:
    """How one record type is laid out: its own fields with the types they may hold, and what else must be true.

    ``lift`` turns a row's plain values into the record's (pairs into decimals); ``lower`` does the reverse where
    msgpack cannot do it by itself; ``admitted`` remembers type signatures already checked.
    """

    tag: int
    cls: type[Record]
    names: tuple[str, ...]
    types: tuple[tuple[type, ...], ...]
    getter: Callable[[Record], Row]
    setters: tuple[Callable[[Record, Any], None], ...]
    check: Callable[[Any], None] | None
    lift: Callable[[list[Any]], None] | None
    lower: Callable[[Row], Row] | None
    admitted: set[tuple[type, ...]]

    def build(self, values: Iterable[Any]) -> Record:
        """The record of these values, slot by slot: a frozen dataclass's own __init__ takes twice as long."""
        record = object.__new__(self.cls)
        for put, value in zip(self.setters, values, strict=True):
            put(record, value)
        return record

    def admit(self, values: Row) -> None:
        """Refuse values whose types the record does not declare; ``bool`` is never an integer here."""
        for name, types, value in zip(self.names, self.types, values, strict=True):
            if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
                raise ValueError(f"{self.cls.__name__}.{name} holds {type(value).__name__}")
        if len(self.admitted) < _SIGNATURES_REMEMBERED:
            self.admitted.add(tuple(map(type, values)))


def _choice(record: str, name: str, value: str, choices: frozenset[str]) -> None:
    if value not in choices:
        raise ValueError(f"{record}.{name} is none of the known words")


def _pairs(record: str, name: str, pairs: tuple[Any, ...], second: type) -> None:
    for pair in pairs:
        if type(pair) is not tuple or len(pair) != 2 or type(pair[0]) is not int or not isinstance(pair[1], second):
            raise ValueError(f"{record}.{name} is not a run of pairs")


def _check_numeric(record: Numeric) -> None:
    if isinstance(record.value, Decimal) and not record.value.is_finite():
        raise ValueError("Numeric.value is not a number")


def check_wave(record: Wave) -> None:
    """What a wave's types do not say. Raises ``ValueError``."""
    rate: tuple[Any, ...] = record.rate
    if len(rate) != 2 or type(rate[0]) is not int or type(rate[1]) is not int or rate[0] < 1 or rate[1] < 1:
        raise ValueError("Wave.rate is not (samples, seconds)")
    if record.width not in (2, 4) or len(record.samples) % record.width:
        raise ValueError("Wave.samples is not a whole number of samples of 2 or 4 bytes")
    if not (math.isfinite(record.scale) and math.isfinite(record.offset)):
        raise ValueError("Wave.scale or Wave.offset is not a number")
    if record.marks:
        _pairs("Wave", "marks", record.marks, str)


_EVENT_KINDS: Final = frozenset(get_args(EventKind))
_PHASES: Final = frozenset(get_args(Phase))
_PRIORITIES: Final = frozenset(get_args(Priority))
_SILENCES: Final = frozenset(get_args(Silence))
_GAP_CAUSES: Final = frozenset(get_args(GapCause))
_LINK_STATES: Final = frozenset(get_args(LinkState))
_DIRECTIONS: Final = frozenset("<>")
_CASE_PHASES: Final = frozenset(get_args(CasePhase))
_CASE_CAUSES: Final = frozenset(get_args(CaseCause))
CASE_ID_BYTES: Final = 16


def _check_event(record: Event) -> None:
    _choice("Event", "kind", record.kind, _EVENT_KINDS)
    _choice("Event", "phase", record.phase, _PHASES)
    _choice("Event", "priority", record.priority, _PRIORITIES)
    _choice("Event", "silence", record.silence, _SILENCES)
    if len(record.limits) != 2:
        raise ValueError("Event.limits is not (low, high)")
    limits: tuple[Any, ...] = record.limits
    for limit in limits:
        if limit is not None and not (isinstance(limit, Decimal) and limit.is_finite()):
            raise ValueError("Event.limits holds what is not a number")


def _check_raw(record: Raw) -> None:
    _choice("Raw", "direction", record.direction, _DIRECTIONS)
    _pairs("Raw", "pieces", record.pieces, int)


def _check_gap(record: Gap) -> None:
    _choice("Gap", "cause", record.cause, _GAP_CAUSES)


def _check_link(record: Link) -> None:
    _choice("Link", "state", record.state, _LINK_STATES)


def check_clock(record: Clock) -> None:
    """What a clock's types do not say. Raises ``ValueError``."""
    if record.drift_ppm is not None and not math.isfinite(record.drift_ppm):
        raise ValueError("Clock.drift_ppm is not a number")


def _check_texts(what: str, texts: Mapping[Any, Any]) -> None:
    if not all(isinstance(text, str) for text in (*texts, *texts.values())):
        raise ValueError(f"{what} holds what is not text")


def _check_object(record: Object) -> None:
    _check_texts("Object.meta", record.meta)


def _check_context(record: PatientContext) -> None:
    _check_texts("PatientContext.facts", record.facts)


def check_case_id(case_id: bytes) -> None:
    """A case is named by 16 random bytes. Raises ``ValueError``."""
    if len(case_id) != CASE_ID_BYTES:
        raise ValueError("CaseChange.case_id is not 16 bytes")


def _check_case(record: CaseChange) -> None:
    check_case_id(record.case_id)
    _choice("CaseChange", "phase", record.phase, _CASE_PHASES)
    _choice("CaseChange", "cause", record.cause, _CASE_CAUSES)
    _check_texts("CaseChange.facts", record.facts)


def decimal_of_pair(pair: Any) -> Any:
    """``[mantissa, exponent]`` to the decimal it stands for; anything else passes unchanged, to be judged later."""
    if type(pair) is not tuple:
        return pair
    if len(pair) != 2 or type(pair[0]) is not int or type(pair[1]) is not int:
        raise ValueError("a decimal is not [mantissa, exponent]")
    mantissa, exponent = pair
    if not -MANTISSA_END < mantissa < MANTISSA_END or not -EXPONENT_MAX <= exponent <= EXPONENT_MAX:
        raise ValueError("a decimal's mantissa or exponent is out of range")
    return Decimal(f"{mantissa}E{exponent}")


def _lift_numeric(values: list[Any]) -> None:
    values[5] = decimal_of_pair(values[5])


def _lift_event(values: list[Any]) -> None:
    limits = values[12]
    if type(limits) is tuple:
        values[12] = tuple(map(decimal_of_pair, limits))


def check_order(texts: Mapping[Any, Any]) -> None:
    """A row holds a record's texts (meta, facts) in the order of their names. Raises ``ValueError``."""
    if list(texts) != sorted(texts):
        raise ValueError("a record's texts are not in order")


def _lift_texts(values: list[Any]) -> None:
    texts = values[-1]
    if type(texts) is dict:
        check_order(texts)


def _lower_texts(values: Row) -> Row:
    return (*values[:-1], dict(sorted(values[-1].items())))


_NUMERIC_TYPES: Final[tuple[tuple[type, ...], ...]] = ((str,), (NoneType, Decimal, str), (str,), (str,), (str,))
_OPT_INT: Final = (int, NoneType)
_FLOAT: Final = (float, int)


def _kind(
    tag: int,
    cls: type[Any],
    own: tuple[tuple[type, ...], ...],
    check: Callable[[Any], None] | None = None,
    lift: Callable[[list[Any]], None] | None = None,
    lower: Callable[[Row], Row] | None = None,
) -> Kind:
    names = COMMON_FIELDS + tuple(f.name for f in fields(cls) if f.name not in COMMON_FIELDS)
    setters = tuple(getattr(cls, name).__set__ for name in names)
    return Kind(tag, cls, names, _COMMON_TYPES + own, attrgetter(*names), setters, check, lift, lower, set())


KINDS: Final[tuple[Kind, ...]] = (
    _kind(1, Numeric, _NUMERIC_TYPES, _check_numeric, _lift_numeric),
    _kind(2, Setting, _NUMERIC_TYPES, _check_numeric, _lift_numeric),
    _kind(
        3, Wave,
        ((str,), (str,), (str,), (tuple,), (int,), (int,), (bytes,), _FLOAT, _FLOAT, _OPT_INT, (tuple,)),
        check_wave,
    ),
    _kind(
        4, Event,
        ((str,), (str,), (str,), (str,), (str,), (str,), (bool,), (str,), (tuple,), (str,), (str,), (str,)),
        _check_event, _lift_event,
    ),
    _kind(5, Raw, ((int,), (str,), (bytes,), (tuple,)), _check_raw),
    _kind(6, Gap, ((str,), (int,), (int,), _OPT_INT, _OPT_INT, (str,)), _check_gap),
    _kind(7, Identity, ((str,),) * 7),
    _kind(8, Link, ((int,), (str,), (str,), (str,)), _check_link),
    _kind(9, Clock, ((int,), (int,), (float, int, NoneType), (int,)), check_clock),
    _kind(10, Object, ((bytes,), (int,), (str,), (str,), (Mapping,)), _check_object, _lift_texts, _lower_texts),
    _kind(11, Keyframe, ((bytes,),)),
    _kind(12, PatientContext, ((str,), (Mapping,)), _check_context, _lift_texts, _lower_texts),
    _kind(
        13, CaseChange, ((bytes,), (str,), (str,), (str,), (int,), (str,), (Mapping,)),
        _check_case, _lift_texts, _lower_texts,
    ),
)  # fmt: skip
_BY_CLASS: Final[dict[type, Kind]] = {kind.cls: kind for kind in KINDS}
_BY_TAG: Final[dict[int, Kind]] = {kind.tag: kind for kind in KINDS}


def tag_and_values(record: Record) -> tuple[int, Row]:
    """A record's tag and fields, checked, ``at_ns`` first. Raises ``ValueError`` for what its type does not declare."""
    kind = _BY_CLASS.get(type(record))
    if kind is None:
        raise ValueError(f"{type(record).__name__} is not a record type of this format")
    values = kind.getter(record)
    if tuple(map(type, values)) not in kind.admitted:
        kind.admit(values)
    if kind.check is not None:
        kind.check(record)
    return kind.tag, values if kind.lower is None else kind.lower(values)


def rows_of(records: Iterable[Record]) -> list[Row]:
    """Records to rows, in order. Raises ``ValueError`` for a record that holds what its type does not declare."""
    rows: list[Row] = []
    before_ns = 0
    for record in records:
        tag, values = tag_and_values(record)
        rows.append((tag, values[0] - before_ns, *values[1:]))
        before_ns = values[0]
    return rows


def records_of(rows: Iterable[Any]) -> tuple[Record, ...]:
    """Rows (as unpacked, arrays as tuples) to records. Raises ``ValueError`` for whatever ``rows_of`` never makes."""
    records: list[Record] = []
    before_ns = 0
    for row in rows:
        record = _record_of(row, before_ns)
        before_ns = record.at_ns
        records.append(record)
    return tuple(records)


def _record_of(row: Any, before_ns: int) -> Record:
    if type(row) is not tuple or len(row) < 5 or type(row[0]) is not int or type(row[1]) is not int:
        raise ValueError("a record is not a row that starts with its tag and time")
    kind = _BY_TAG.get(row[0])
    if kind is None:
        raise ValueError(f"record tag {row[0]} is unknown")
    values = list(row[1:])
    if len(values) != len(kind.names):
        raise ValueError(f"{kind.cls.__name__} has {len(values)} fields, not {len(kind.names)}")
    values[0] += before_ns
    if values[2] is not None:
        values[2] = _device_time_of(values[2])
    values[3] = _quality_of(values[3])
    if kind.lift is not None:
        kind.lift(values)
    if tuple(map(type, values)) not in kind.admitted:
        kind.admit(tuple(values))
    record = kind.build(values)
    if kind.check is not None:
        kind.check(record)
    return record


def _quality_of(value: Any) -> Quality:
    if type(value) is not int or not 0 <= value < QUALITY_BITS_END:
        raise ValueError("quality is not a set of known flags")
    return _quality_of_bits(value)


@functools.lru_cache(maxsize=1_024)
def _quality_of_bits(bits: int) -> Quality:
    return Quality(bits)  # takes longer than the rest of a record


def _device_time_of(value: Any) -> DeviceTime:
    if type(value) is not tuple or len(value) != 3 or value[1] not in _DEVICE_CLOCKS:
        raise ValueError("a device time is not [ns, kind, resolution]")
    if type(value[0]) is not int or type(value[2]) is not int:
        raise ValueError("a device time is not in whole nanoseconds")
    return DeviceTime(*value)


def pack_other(value: Any) -> Any:
    """What msgpack asks for values it does not know: decimals, device times, integers beyond 64 bits."""
    if type(value) is Decimal:
        return _packed_decimal(value)
    if type(value) is DeviceTime:
        return value.value_ns, value.kind, value.resolution_ns
    if type(value) is int:
        if _bytes_for(value) > _INTEGER_BYTES_MAX:
            raise ValueError("an integer is too long")
        return msgpack.ExtType(EXT_BIG_INT, value.to_bytes(_bytes_for(value), "big", signed=True))
    raise ValueError(f"{type(value).__name__} has no place in a record")


def unpack_ext(code: int, data: bytes) -> int | Decimal:
    """The inverse of the extensions made by ``pack_other``; a form it would not make is refused."""
    if code == EXT_BIG_INT:
        number = int.from_bytes(data, "big", signed=True)
        if -(1 << 63) <= number < 1 << 64 or len(data) != _bytes_for(number):
            raise ValueError("an integer is not in its shortest form")
        return number
    if code == EXT_DECIMAL:
        try:
            value = Decimal(data.decode("ascii"))
        except ArithmeticError as error:
            raise ValueError("a decimal cannot be read") from error
        if _packed_decimal(value) != (code, data):
            raise ValueError("a decimal is not in its shortest form")
        return value
    raise ValueError(f"msgpack extension {code} is unknown")


def _bytes_for(number: int) -> int:
    return (number if number >= 0 else ~number).bit_length() // 8 + 1


def _packed_decimal(value: Decimal) -> tuple[int, int] | msgpack.ExtType:
    text = str(value)
    whole, _, fraction = text.partition(".")
    if len(text) < 18 and text[0] != "-" and (whole + fraction).isdigit():  # the common case, without as_tuple
        return int(whole + fraction), -len(fraction)
    if not value.is_finite():
        raise ValueError("a decimal is not a number")
    sign, digits, _ = parts = value.as_tuple()
    exponent = int(parts.exponent)
    if len(digits) > 18 or abs(exponent) > EXPONENT_MAX or (sign and digits == (0,)):
        if len(text) > _DECIMAL_TEXT_MAX:
            raise ValueError("a decimal is too long")
        return msgpack.ExtType(EXT_DECIMAL, text.encode("ascii"))
    mantissa = int("".join(map(str, digits)))
    return -mantissa if sign else mantissa, exponent
