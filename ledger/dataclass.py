"""``dataclass`` for classes with slots, without the standard one's price at import: its methods are not compiled.

The standard decorator generates and compiles up to six methods for each class: that was 40 % of the processor time that
an agent takes to start. Here ``__eq__``, ``__hash__`` and ``__repr__`` are made of what Python has, and ``__init__``
is compiled when it is first looked up. Fields, slots, defaults and what ``dataclasses.replace`` and ``fields`` need
remain the standard library's work; type checkers see the standard decorator.

One difference: a class decorated here counts as not frozen for the standard decorator, so none of the one kind may
inherit from a frozen one of the other.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from operator import attrgetter
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass  # noqa: PLC0414 - explicitly handed on
else:

    def dataclass(
        *, slots: bool, frozen: bool = False, eq: bool = True, kw_only: bool = False
    ) -> Callable[[type], type]:
        """As ``dataclasses.dataclass``. Raises TypeError for a class without slots, which it does not make."""
        if not slots:
            raise TypeError("a dataclass of ledger.dataclass has slots")

        def decorate(cls: type) -> type:
            return _make(cls, frozen=frozen, eq=eq, kw_only=kw_only)

        return decorate


def _make(cls: type, *, frozen: bool, eq: bool, kw_only: bool) -> type:
    own = frozenset(cls.__dict__)
    made: Any = dataclasses.dataclass(init=False, repr=False, eq=False, slots=True, kw_only=kw_only)(cls)
    if "__init__" not in own:
        made.__init__ = _Init(made, frozen=frozen)
    if "__repr__" not in own:
        made.__repr__ = _repr
    if eq and "__eq__" not in own:
        _compare_by_fields(made, hashable=frozen, keep_hash="__hash__" in own)
    if frozen:
        made.__setattr__, made.__delattr__ = _refuse_to_set, _refuse_to_delete
        for name, function in (("__getstate__", _get_state), ("__setstate__", _set_state)):
            if name not in own:
                setattr(made, name, function)
    return made  # type: ignore[no-any-return]


# ---- what all classes share ------------------------------------------------------------------------------------


@recursive_repr()
def _repr(self: Any) -> str:
    shown = (f"{each.name}={getattr(self, each.name)!r}" for each in dataclasses.fields(self) if each.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _refuse_to_set(_self: object, name: str, _value: object) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(_self: object, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


def _get_state(self: Any) -> list[object]:
    return [getattr(self, each.name) for each in dataclasses.fields(self)]


def _set_state(self: Any, state: list[object]) -> None:
    for each, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, each.name, value)


# ---- equality --------------------------------------------------------------------------------------------------


def _compare_by_fields(cls: Any, *, hashable: bool, keep_hash: bool) -> None:
    values = _values_getter([each.name for each in dataclasses.fields(cls) if each.compare])

    def __eq__(self: object, other: object) -> Any:  # noqa: N807 - it is one
        return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

    cls.__eq__ = __eq__
    if not keep_hash:
        cls.__hash__ = _hash_by(values) if hashable else None


def _hash_by(values: Callable[[object], tuple[object, ...]]) -> Callable[[object], int]:
    def __hash__(self: object) -> int:  # noqa: N807 - it is one
        return hash(values(self))

    return __hash__


def _values_getter(names: list[str]) -> Callable[[object], tuple[object, ...]]:
    """Of an object the tuple of these attributes."""
    match names:
        case []:
            return lambda _: ()
        case [name]:
            get = attrgetter(name)
            return lambda each: (get(each),)
    return attrgetter(*names)


# ---- __init__ --------------------------------------------------------------------------------------------------


class _Init:
    """Stands in for ``__init__`` until somebody looks it up, which compiles it."""

    __slots__ = ("_cls", "_frozen")

    def __init__(self, cls: Any, *, frozen: bool) -> None:
        self._cls = cls
        self._frozen = frozen

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        function = _init_of(self._cls, frozen=self._frozen)
        self._cls.__init__ = function
        return function if instance is None else function.__get__(instance, owner)


class _Factory:
    __slots__ = ()

    def __repr__(self) -> str:
        return "<factory>"


_OMITTED = _Factory()


def _init_of(cls: Any, *, frozen: bool) -> Any:
    """The function that the standard decorator would have made, but for how a frozen one sets its slots."""
    known: dict[str, object] = {"_omitted": _OMITTED}
    positional: list[str] = []
    keywords: list[str] = []
    body: list[str] = []
    annotations: dict[str, object] = {}
    for each in dataclasses.fields(cls):
        name, value = each.name, each.name
        parameter = name
        if each.default_factory is not dataclasses.MISSING:
            known[f"_new_{name}"] = each.default_factory
            parameter = f"{name}=_omitted"
            value = f"_new_{name}() if {name} is _omitted else {name}" if each.init else f"_new_{name}()"
        elif each.default is not dataclasses.MISSING:
            known[f"_default_{name}"] = each.default
            parameter = f"{name}=_default_{name}"
            value = name if each.init else f"_default_{name}"
        elif not each.init:
            continue
        if each.init:
            (keywords if each.kw_only else positional).append(parameter)
            annotations[name] = each.type
        if frozen:
            known[f"_set_{name}"] = getattr(cls, name).__set__
        body.append(f"_set_{name}(self, {value})" if frozen else f"self.{name} = {value}")
    if hasattr(cls, "__post_init__"):
        body.append("self.__post_init__()")
    parameters = ", ".join(["self", *positional, *(["*", *keywords] if keywords else [])])
    lines = "".join(f"\n  {line}" for line in body or ["pass"])
    source = f"def make({', '.join(known)}):\n def __init__({parameters}):{lines}\n return __init__"
    found: dict[str, Any] = {}
    exec(source, sys.modules[cls.__module__].__dict__, found)  # noqa: S102 - of field names alone
    function = found["make"](**known)
    function.__qualname__ = f"{cls.__qualname__}.__init__"
    function.__module__ = cls.__module__
    function.__annotations__ = {**annotations, "return": None}
    return function
