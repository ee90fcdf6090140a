"""What a driver is, for people: made of its ``Spec`` and of the schema of its options, so that it cannot drift."""

from __future__ import annotations

import re
import types
import typing
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from drivers.contract import Spec

_NAMES: Final = r"``\w+``(?: \([^)]*\))?(?:(?:, | and |, and )``\w+``(?: \([^)]*\))?)*: "
_OPTION: Final = re.compile(rf"({_NAMES})(.*?)(?=\s{_NAMES}|\sRaises ValueError|\Z)", re.DOTALL)
_NAME: Final = re.compile(r"``(\w+)``")


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its type in words, its default as TOML would have it (None: it must be given), what it means."""

    name: str
    type: str
    default: str | None
    help: str


def options(spec: Spec[Any]) -> tuple[Option, ...]:
    """The options of a driver, those of nested tables as ``beds[].match``."""
    config: Any = spec.config
    if not (isinstance(config, type) and issubclass(config, msgspec.Struct)):
        return ()
    return tuple(_options(config, ""))


def pattern_text(pattern: re.Pattern[bytes]) -> str:
    r"""A pattern in ASCII: bytes that are none as ``\xNN``."""
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}" for byte in pattern.pattern)


def _options(config: type[msgspec.Struct], prefix: str) -> list[Option]:
    helps = _helps(config.__doc__ or "")
    hints = typing.get_type_hints(config, include_extras=True)
    found = []
    for field in msgspec.structs.fields(config):
        hint = hints[field.name]
        description = helps.get(field.name, "")
        if typing.get_origin(hint) is typing.Annotated:
            hint, *metas = typing.get_args(hint)
            described = [meta.description for meta in metas if isinstance(meta, msgspec.Meta) and meta.description]
            description = described[0] if described else description
        found.append(Option(prefix + field.encode_name, _type_text(hint), _default(field), description))
        nested = _struct_in(hint)
        if nested is not None:
            mark = "[]." if typing.get_origin(hint) in (tuple, list) else "."
            found += _options(nested, f"{prefix}{field.encode_name}{mark}")
    return found


def _helps(text: str) -> dict[str, str]:
    """Of a docstring like "``rate_s``: seconds between …. ``waves``: names …" what is said of each option."""
    found = {}
    for names, said in _OPTION.findall(" ".join(text.split())):
        for name in _NAME.findall(names):
            found[name] = said.removesuffix(".").replace("``", "")
    return found


def _default(field: Any) -> str | None:
    if field.required:
        return None
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return "none" if value is None else msgspec.json.encode(value).decode()


def _type_text(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _type_text(arguments[0])
    if origin is typing.Literal:
        return " or ".join(msgspec.json.encode(argument).decode() for argument in arguments)
    if origin in (tuple, list, frozenset, set):
        return f"list of {_type_text(arguments[0])}"
    if origin is dict:
        return f"table of {_type_text(arguments[1])}"
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_type_text(argument) for argument in arguments if argument is not type(None))
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return "table"
    words = {"int": "whole number", "float": "number", "str": "text", "bool": "true or false"}
    name = getattr(hint, "__name__", str(hint))
    return words.get(name, name.lower())


def _struct_in(hint: Any) -> type[msgspec.Struct] | None:
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return hint
    structs = (found for argument in typing.get_args(hint) if (found := _struct_in(argument)) is not None)
    return next(structs, None)
