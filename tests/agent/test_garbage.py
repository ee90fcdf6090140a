from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from agent.garbage import Garbage, seldom_collected
from drivers.contract import Now
from ledger.limits import S_NS


class Knot:
    """An object that only the collector can free."""

    def __init__(self) -> None:
        self.itself = self


def at(seconds: float) -> Now:
    return Now(int(seconds * S_NS), 0)


@pytest.fixture
def garbage() -> Iterator[Garbage]:
    made = Garbage()
    yield made
    made.release()


def test_what_became_garbage_goes_in_the_next_pause_after_a_second(garbage: Garbage) -> None:
    garbage.settle(at(0))
    garbage.collect(at(1))
    knot = weakref.ref(Knot())
    garbage.collect(at(1.9))
    assert knot() is not None
    garbage.collect(at(2))
    assert knot() is None


def test_old_garbage_goes_within_a_minute(garbage: Garbage) -> None:
    garbage.settle(at(0))
    knot = Knot()
    gc.collect(1)  # survives: it is old from here on
    old = weakref.ref(knot)
    del knot
    garbage.collect(at(59))
    assert old() is not None
    garbage.collect(at(60))
    assert old() is None


def test_what_the_start_loaded_is_not_looked_through_again(garbage: Garbage) -> None:
    loaded = [[] for _ in range(10)]  # type: list[list[object]]
    garbage.settle(at(0))
    assert not any(each is loaded for each in gc.get_objects())


def test_the_collector_is_left_as_it_was_found() -> None:
    before = gc.get_threshold(), gc.isenabled()
    garbage = Garbage()
    garbage.settle(at(0))
    assert gc.get_threshold() != before[0]
    garbage.release()
    assert (gc.get_threshold(), gc.isenabled()) == before
    assert gc.get_freeze_count() == 0


def test_a_command_that_makes_many_objects_leaves_the_collector_as_it_was() -> None:
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    with seldom_collected():
        assert gc.get_threshold()[0] > before[0]
        assert gc.get_freeze_count() > frozen
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0
