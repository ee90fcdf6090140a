"""Finds drivers by name: our own in a table, others by the entry-point group ``orledger.drivers``.

Nothing is imported before it is asked for, so a broken plug-in stops nobody but itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points

from drivers.built_in import BUILT_IN
from drivers.contract import Driver, Spec
from ledger.errors import ConfigurationFault

GROUP = "orledger.drivers"

_METHODS = ("link_up", "receive", "link_down", "wake", "refused", "deadline_ns", "drain")


def names() -> tuple[str, ...]:
    """Every driver there is, sorted; none is loaded, so one of them may still prove broken."""
    return tuple(sorted({point.name for point in _points()}))


def get(name: str) -> type[Driver]:
    """The driver class of this name; call it with one value of its ``spec.config``.

    Raises ConfigurationFault: ``driver.unknown``, ``driver.ambiguous`` (two packages claim the name) or
    ``driver.broken`` (it cannot be loaded or is no driver), each naming the driver and where it comes from.
    """
    points = {point.value: point for point in _points() if point.name == name}
    if not points:
        raise ConfigurationFault("driver.unknown", f"there is no driver {name!r}", f"use one of: {', '.join(names())}")
    if len(points) > 1:
        sources = " and ".join(sorted(map(_source, points.values())))
        raise ConfigurationFault("driver.ambiguous", f"{sources} both claim driver {name!r}", "uninstall one of them")
    return _load(points.popitem()[1])


def _points() -> list[EntryPoint]:
    ours = [EntryPoint(name, value, GROUP) for name, value in BUILT_IN.items()]
    return [*ours, *_installed(entry_points)]


@lru_cache(maxsize=1)
def _installed(find: Callable[..., Iterable[EntryPoint]]) -> tuple[EntryPoint, ...]:
    """Of other packages, as ``find`` knows them: it looks through every installed one, so it is asked once."""
    return tuple(find(group=GROUP))


def _source(point: EntryPoint) -> str:
    return f"{point.value} of {point.dist.name} {point.dist.version}" if point.dist else f"{point.value} of orledger"


def _load(point: EntryPoint) -> type[Driver]:
    try:
        loaded = point.load()
    except Exception as error:  # a plug-in's import may raise anything at all
        raise _broken(point, f"cannot be loaded: {type(error).__name__}: {error}") from error
    spec = getattr(loaded, "spec", None)
    if not isinstance(loaded, type) or not isinstance(spec, Spec):
        raise _broken(point, "is not a class with a spec")
    if spec.name != point.name:
        raise _broken(point, f"calls itself {spec.name!r}")
    missing = [method for method in _METHODS if not callable(getattr(loaded, method, None))]
    if missing:
        raise _broken(point, f"lacks {', '.join(missing)}")
    return loaded


def _broken(point: EntryPoint, why: str) -> ConfigurationFault:
    return ConfigurationFault("driver.broken", f"driver {point.name!r} ({_source(point)}) {why}", "repair or remove it")
