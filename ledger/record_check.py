"""Plain payload bytes checked without building records: the audit's way through millions of them.

The rows' shapes are made from the record classes themselves and checked in C by msgspec. What that accepts,
``ledger.payload.decode_records`` accepts too; whatever it does not (rare forms as well as false ones) goes to
``decode_records``, which alone decides what is refused.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import fields
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, NewType, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from ledger.payload import decode_records
from ledger.record_codec import (
    COMMON_FIELDS,
    EXPONENT_MAX,
    KINDS,
    MANTISSA_END,
    QUALITY_BITS_END,
    Kind,
    check_case_id,
    check_clock,
    check_order,
)
from ledger.records import CaseChange, Clock, DeviceTime, Keyframe, Object, PatientContext, Quality, Wave

_PAIR: Final = tuple[
    Annotated[int, Meta(gt=-MANTISSA_END, lt=MANTISSA_END)], Annotated[int, Meta(ge=-EXPONENT_MAX, le=EXPONENT_MAX)]
]
_FINITE: Final = Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
_PLAIN: Final[dict[Any, Any]] = {
    Decimal: _PAIR,
    Quality: Annotated[int, Meta(ge=0, lt=QUALITY_BITS_END)],
    DeviceTime: tuple[int, Literal["utc", "local", "uptime"], int],
    float: _FINITE | int,
}
"""How a field's type stands in a row, where it does not stand as itself."""
_NARROWER: Final[dict[tuple[type, str], Any]] = {
    (Wave, "rate"): tuple[Annotated[int, Meta(ge=1)], Annotated[int, Meta(ge=1)]]
}
"""What ``ledger.record_codec`` checks beyond the type, where a shape can say it."""


def _check_case(row: Any) -> None:
    check_case_id(row.case_id)
    check_order(row.facts)


_BEYOND_TYPES: Final[dict[type, Callable[[Any], None]]] = {
    Clock: check_clock,
    Object: lambda row: check_order(row.meta),
    PatientContext: lambda row: check_order(row.facts),
    CaseChange: _check_case,
}


def _shape(annotation: Any) -> Any:
    """The type of a row's item for the type of a record's field."""
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    if isinstance(annotation, NewType):
        return _shape(annotation.__supertype__)
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return Union[tuple(_shape(each) for each in inner)]  # noqa: UP007 - made at run time
    if origin is tuple:
        return tuple.__class_getitem__(tuple(each if each is ... else _shape(each) for each in inner))
    if origin is Mapping:
        return dict.__class_getitem__(tuple(_shape(each) for each in inner))
    return annotation


def _row_type(kind: Kind) -> type[msgspec.Struct]:
    hints = get_type_hints(kind.cls)
    own = [each.name for each in fields(kind.cls) if each.name not in COMMON_FIELDS]
    shapes = [
        (name, _NARROWER.get((kind.cls, name)) or _shape(hints[name])) for name in (*COMMON_FIELDS, *own)
    ]  # fmt: skip
    return msgspec.defstruct(
        f"{kind.cls.__name__}Row", shapes, array_like=True, tag=kind.tag, forbid_unknown_fields=True, gc=False
    )


_ROW_TYPES: Final = {kind.cls: _row_type(kind) for kind in KINDS}
_CHECKS: Final = {_ROW_TYPES[cls]: check for cls, check in _BEYOND_TYPES.items()}
_KEYFRAME: Final = _ROW_TYPES[Keyframe]
_WAVE: Final = _ROW_TYPES[Wave]
_decoder: Final = msgspec.msgpack.Decoder(dict[str, list[Union[tuple(_ROW_TYPES.values())]]])  # type: ignore[misc]  # noqa: UP007
_encode_into: Final = msgspec.msgpack.Encoder().encode_into


def holds_keyframe(plain: bytes) -> bool:
    """Check plain bytes to the last record; True if they hold the ledger's keyframe.

    Raises VerificationFailed exactly where ``decode_records`` does.
    """
    tree = rows_at_once(plain)
    if tree is not None:
        return "" in tree and any(type(row) is _KEYFRAME for row in tree[""])
    # The ledger's own records have no feed's name.
    return any(type(record) is Keyframe for record in decode_records(plain).get("", ()))


def rows_at_once(plain: bytes) -> dict[str, list[Any]] | None:
    """The rows by feed if they have a usual and true form, else None: the caller must ask ``decode_records``."""
    try:
        tree: dict[str, list[Any]] = _decoder.decode(plain)
        again = bytearray(len(plain))
        _encode_into(tree, again)
        if again != plain or list(tree) != sorted(tree):
            return None
        for rows in tree.values():
            for row in rows:
                kind = type(row)
                if kind is _WAVE:  # most rows; the rest of what a wave must be, its shape says
                    if len(row.samples) % row.width:
                        return None
                elif kind in _CHECKS:
                    _CHECKS[kind](row)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return None
    return tree
