import copy
import dataclasses
import inspect
import pickle
from dataclasses import field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Ours:
    name: str
    size: int = 3
    parts: tuple[object, ...] = ()
    seen: int = field(default=0, compare=False)
    secret: bytes = field(default=b"", repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Standard:
    name: str
    size: int = 3
    parts: tuple[object, ...] = ()
    seen: int = field(default=0, compare=False)
    secret: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Narrower(Ours):
    extra: float
    made: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.extra < 0:
            raise ValueError("extra is negative")


@dataclass(slots=True)
class Changing:
    first: int
    kept: dict[str, int] = field(default_factory=dict)
    fixed: int = field(default=7, init=False)
    later: int = field(init=False)


@dataclass(slots=True, eq=False)
class ByIdentity:
    only: int


@dataclass(frozen=True, slots=True)
class WithOwn:
    name: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WithOwn)

    def __hash__(self) -> int:
        return 1

    def __repr__(self) -> str:
        return "mine"


@dataclass(frozen=True, slots=True)
class Empty:
    pass


VALUES = st.tuples(
    st.text(max_size=1), st.integers(0, 1), st.tuples(st.just(float("nan")) | st.none()), st.integers(0, 1),
    st.binary(max_size=1),
)  # fmt: skip


@given(VALUES, VALUES)
def test_equality_hash_and_text_are_those_of_the_standard_decorator(left: Any, right: Any) -> None:
    ours, standard = (Ours(*left), Ours(*right)), (Standard(*left), Standard(*right))
    assert (ours[0] == ours[1]) is (standard[0] == standard[1])
    assert hash(ours[0]) == hash(standard[0])
    assert repr(ours[0]) == repr(standard[0]).replace("Standard", "Ours")
    assert ours[0].__eq__(standard[0]) is NotImplemented


@given(VALUES)
def test_copies_pickles_replaces_and_matches(values: Any) -> None:
    ours = Ours(*values)
    assert copy.copy(ours) == ours
    assert repr(pickle.loads(pickle.dumps(ours))) == repr(ours)
    assert replace(ours, size=9).size == 9
    match ours:
        case Ours(name, size):
            assert (name, size) == values[:2]


def test_its_signature_is_the_standard_one_without_being_made_first() -> None:
    assert str(inspect.signature(Ours)) == str(inspect.signature(Standard))
    assert Ours.__init__.__annotations__ == Standard.__init__.__annotations__
    assert str(inspect.signature(Narrower)).endswith("extra: float, made: list[int] = <factory>) -> None")


@pytest.mark.parametrize("arguments", [(), ("a", 1, (), 0, b"", "more")])
def test_a_wrong_number_of_arguments_is_refused(arguments: Any) -> None:
    with pytest.raises(TypeError):
        Ours(*arguments)


def test_a_frozen_one_cannot_be_changed() -> None:
    ours = Ours("a")
    with pytest.raises(dataclasses.FrozenInstanceError, match="size"):
        ours.size = 4  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError, match="size"):
        del ours.size
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(ours, "other", 4)  # noqa: B010 - no type knows it


def test_inherited_fields_come_first_and_keywords_stay_keywords() -> None:
    one = Narrower("a", extra=1.5)
    assert (one.name, one.size, one.extra, one.made) == ("a", 3, 1.5, [])
    assert one.made is not Narrower("a", extra=1.5).made
    assert one != Ours("a")
    assert Ours("a") != one
    with pytest.raises(TypeError):
        Narrower("a", 1, (), 0, b"", 1.5)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="negative"):
        Narrower("a", extra=-1)


def test_what_is_not_frozen_changes_and_has_no_hash() -> None:
    one = Changing(1)
    one.first = 2
    one.kept["x"] = 1
    assert (one.first, one.fixed, Changing(1).kept) == (2, 7, {})
    assert not hasattr(one, "later")
    with pytest.raises(TypeError):
        hash(one)
    with pytest.raises(AttributeError):
        setattr(one, "other", 1)  # noqa: B010 - no type knows it


def test_what_a_class_says_itself_stays() -> None:
    assert ByIdentity(1) != ByIdentity(1)
    assert hash(ByIdentity(1)) != hash(None)
    assert (WithOwn("a") == WithOwn("b"), hash(WithOwn("a")), repr(WithOwn("a"))) == (True, 1, "mine")
    assert (Empty() == Empty(), repr(Empty()), hash(Empty())) == (True, "Empty()", hash(()))


def test_a_value_that_holds_itself_can_be_shown() -> None:
    one = Changing(1)
    one.kept["me"] = one  # type: ignore[assignment]
    one.later = 0
    assert "..." in repr(one)


def test_a_class_without_slots_is_refused() -> None:
    with pytest.raises(TypeError, match="slots"):
        dataclass(slots=False)
