r"""Regular expressions whose cost is bounded: a subset of Python's, checked before it is compiled.

Allowed: characters, ``.``, ``[...]``, ``\d \w \s`` and escaped marks; after each of them ``? * + {m} {m,n}``; groups
``(?P<name>...)`` and ``(?:...)``, with ``|`` and ``?``. What is repeated must not be able to match what may follow it,
so that few ways to match a line are tried: instead of ``.*,`` write ``[^,]*,``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

LONGEST_PATTERN: Final = 512
_MOST_WAYS: Final = 64
_DEEPEST: Final = 8
_MOST_REPEATS: Final = 1_024
_QUANTIFIER: Final = re.compile(r"[?*+]|\{(\d{1,4})(?:(,)(\d{1,4})?)?\}")
_GROUP: Final = re.compile(r"\((?:\?P<([a-z][a-z0-9_]*)>|\?:)")
_CLASS: Final = re.compile(r"\[\^?\]?(?:[^\]\\]|\\.)*\]")
_ESCAPE: Final = re.compile(r"\\[dDwWsS.\\^$*+?{}\[\]|()/,:;=#%&~<>@!\"' -]")
_MARKS: Final = frozenset("*+?{}[]|()^$\\")


@dataclass(slots=True)
class _Repeated:
    """One character out of ``chosen``, ``least`` to ``most`` times."""

    text: str
    chosen: frozenset[int]
    least: int = 1
    most: int = 1


@dataclass(slots=True)
class _Group:
    """One of several sequences, or with ``optional`` none."""

    choices: list[list[_Item]]
    optional: bool = False


_Item = _Repeated | _Group


def compiled(pattern: str) -> re.Pattern[bytes]:
    """The pattern, to be matched against a whole line. Raises ValueError saying what is not allowed."""
    if not 0 < len(pattern) <= LONGEST_PATTERN or not pattern.isascii() or not pattern.isprintable():
        raise ValueError(f"a pattern is 1 to {LONGEST_PATTERN} printable ASCII characters")
    parser = _Parser(pattern)
    choices = parser.choices(0)
    if parser.at < len(pattern):
        raise ValueError(f"character {parser.at + 1}: a ) without its (")
    ways = _check_choices(choices, frozenset())
    if ways > _MOST_WAYS:
        raise ValueError(f"too many | and ? of groups: {ways} ways to match, {_MOST_WAYS} are allowed")
    try:
        return re.compile(pattern.encode("ascii"), re.DOTALL)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error


class _Parser:
    """Takes a pattern apart, from ``at`` on."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self.at = 0

    def choices(self, depth: int) -> list[list[_Item]]:
        """What stands between | up to the end or a )."""
        if depth > _DEEPEST:
            raise ValueError(f"groups are nested deeper than {_DEEPEST}")
        found: list[list[_Item]] = [[]]
        while self.at < len(self._pattern) and self._pattern[self.at] != ")":
            if self._pattern[self.at] == "|":
                self.at += 1
                found.append([])
            else:
                found[-1].append(self._item(depth))
        return found

    def _item(self, depth: int) -> _Item:
        item = self._group(depth) if self._pattern[self.at] == "(" else self._character()
        match = _QUANTIFIER.match(self._pattern, self.at)
        if match is None:
            return item
        where, self.at = self.at, match.end()
        if isinstance(item, _Group):
            if match[0] != "?":
                raise ValueError(f"character {where + 1}: a group may be left out (?), but not be repeated")
            item.optional = True
            return item
        item.text += match[0]
        item.least, item.most = _range(match)
        if item.least > item.most or item.most > _MOST_REPEATS:
            raise ValueError(f"character {where + 1}: {match[0]} repeats out of bounds")
        following = self._pattern[self.at : self.at + 1]
        if following and following in "?*+":
            raise ValueError(f"character {self.at + 1}: {following} after another repetition")
        return item

    def _group(self, depth: int) -> _Group:
        match = _GROUP.match(self._pattern, self.at)
        if match is None:
            raise ValueError(f"character {self.at + 1}: groups are (?P<name>...) with a name of a-z, 0-9, _ or (?:...)")
        start, self.at = self.at, match.end()
        choices = self.choices(depth + 1)
        if self.at >= len(self._pattern):
            raise ValueError(f"character {start + 1}: a ( without its )")
        self.at += 1
        return _Group(choices)

    def _character(self) -> _Repeated:
        text = self._pattern[self.at]
        for form, first in ((_CLASS, "["), (_ESCAPE, "\\")):
            if text == first:
                match = form.match(self._pattern, self.at)
                if match is None:
                    raise ValueError(f"character {self.at + 1}: {text} begins nothing that is allowed here")
                text = match[0]
        if len(text) == 1 and text in _MARKS:
            raise ValueError(
                f"character {self.at + 1}: {text} is not allowed here; the mark itself is written \\{text}"
            )
        try:
            one = re.compile(text.encode("ascii"), re.DOTALL)
        except re.error as error:
            raise ValueError(f"character {self.at + 1}: {error}") from error
        self.at += len(text)
        return _Repeated(text, frozenset(byte for byte in range(256) if one.fullmatch(bytes((byte,)))))


def _range(match: re.Match[str]) -> tuple[int, int]:
    if match[1] is None:
        return (0 if match[0] in "?*" else 1), (1 if match[0] == "?" else _MOST_REPEATS)
    least = int(match[1])
    return least, (least if match[2] is None else int(match[3] or _MOST_REPEATS))


def _check_choices(choices: list[list[_Item]], follow: frozenset[int]) -> int:
    return sum(_check_sequence(sequence, follow) for sequence in choices)


def _check_sequence(sequence: list[_Item], follow: frozenset[int]) -> int:
    """In how many ways a match may be tried. Raises ValueError for a repetition that its follower could end early."""
    ways = 1
    for item in reversed(sequence):
        if isinstance(item, _Group):
            ways *= _check_choices(item.choices, follow) + item.optional
        elif item.least < item.most and item.chosen & follow:
            raise ValueError(
                f"{item.text} is repeated, and what follows may match it too: say what it must not match, "
                "like [^,]* before a comma"
            )
        follow = _first(item, follow)
    return ways


def _first(item: _Item, follow: frozenset[int]) -> frozenset[int]:
    """Characters with which the item, or what follows if it may be empty, begins."""
    if isinstance(item, _Repeated):
        return item.chosen | follow if item.least == 0 else item.chosen
    found = follow if item.optional else frozenset()
    for sequence in item.choices:
        begins = follow
        for inner in reversed(sequence):
            begins = _first(inner, begins)
        found |= begins
    return found
