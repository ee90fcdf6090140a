"""Measured values, alarm limits and settings: what was recorded last, and what the device shows no more.

A measured value is recorded every time it comes; limits and settings when they change. A code that is absent from its
list has no valid value now: that is told once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Final

from drivers.contract import Now
from drivers.medibus.codes import limit_of, value_of
from drivers.medibus.slow import parse_value
from drivers.shown_values import ShownValues
from ledger.records import Numeric, Setting

_SETTINGS: Final = "29"
_MEASURED: Final = ("24", "2B")
_LOW, _HIGH = "25", "26"


class Values:
    """The last value of each page and code. Bounded: a page has 256 codes."""

    __slots__ = ("_again", "_kept", "_shown")

    def __init__(self) -> None:
        self._shown: dict[str, ShownValues] = {}
        self._kept: dict[str, dict[str, Numeric]] = {}
        self._again: set[str] = set()

    def take(self, page: str, values: Sequence[tuple[str, str]], now: Now, *, x: bool) -> Iterator[Numeric]:
        """Records of one list, whole: what is not in it is not valid now."""
        shown = self._shown.setdefault(page, ShownValues())
        before, after = self._kept.get(page, {}), {}
        all_of_it = page in _MEASURED or page in self._again
        self._again.discard(page)
        for code, text in values:
            numeric = after[code] = _numeric(page, code, text, now, x=x)
            if all_of_it or code not in before or _told(before[code]) != _told(numeric):
                yield from shown.show(code, numeric)
        self._kept[page] = after
        yield from shown.withdraw(now.utc_ns, lambda code: code not in after)

    def tell_again(self) -> None:
        """With its next list each page tells limits and settings though they did not change."""
        self._again.update(self._kept)

    def silent(self, now: Now) -> Iterator[Numeric]:
        """The device fell silent: what it measured does not hold; limits and settings stay."""
        for page in _MEASURED:
            if page in self._shown:
                yield from self._shown[page].silent(now)

    def limits(self, code: str) -> tuple[Decimal | None, Decimal | None]:
        """The low and high alarm limit of a measured value of code page 1."""
        low, high = (self._kept.get(page, {}).get(code) for page in (_LOW, _HIGH))
        return _decimal(low), _decimal(high)


def _numeric(page: str, code: str, text: str, now: Now, *, x: bool) -> Numeric:
    measured = page in _MEASURED
    meaning = value_of(page, code, x=x) if measured or page == _SETTINGS else limit_of(page, code, x=x)
    value, quality = parse_value(text)
    kind = Numeric if measured else Setting
    return kind(
        at_ns=now.utc_ns,
        quality=quality,
        code=meaning.refid,
        value=value,
        unit=meaning.unit,
        device_code=f"{page}:{code}",
    )


def _told(numeric: Numeric) -> tuple[object, ...]:
    return numeric.value, numeric.quality, numeric.code, numeric.unit


def _decimal(numeric: Numeric | None) -> Decimal | None:
    return numeric.value if numeric is not None and isinstance(numeric.value, Decimal) else None
