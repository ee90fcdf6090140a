from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.line.pattern import LONGEST_PATTERN, compiled


@pytest.mark.parametrize(
    ("pattern", "line", "groups"),
    [
        (r"SPO2=(?P<spo2>\d{2,3}|---) PR=(?P<pr>\d+)", b"SPO2=--- PR=72", {"spo2": b"---", "pr": b"72"}),
        (r"(?P<name>[^,]*),(?P<value>-?\d+(?:\.\d+)?) *", b"pH,7.41  ", {"name": b"pH", "value": b"7.41"}),
        (r"(?P<sign>[+-])?(?P<number>\d{3})", b"098", {"sign": None, "number": b"098"}),
        (r"a(?:b|c(?:d)?)e.*", b"acde!!", {}),
        (r"[]x]+\.\*\\", b"]x].*\\", {}),
    ],
)
def test_what_is_allowed_means_what_it_means_in_python(
    pattern: str, line: bytes, groups: dict[str, bytes | None]
) -> None:
    match = compiled(pattern).fullmatch(line)
    assert match is not None
    assert match.groupdict() == groups


@pytest.mark.parametrize(
    ("pattern", "word"),
    [
        (r"(?P<a>.*),(?P<b>.*)", "what follows may match it"),
        (r"\d+\d+x", "what follows may match it"),
        (r"\d*(?:\.)?\d*", "what follows may match it"),
        (r"(?:a+)?a", "what follows may match it"),
        (r"(?:x|a+)(?:b)?a", "what follows may match it"),
        (r"(?:a+)+b", "not be repeated"),
        (r"(?:a|a){20}b", "not be repeated"),
        ("(?:a|b)" * 7, "too many"),
        ("(?:a)?" * 7, "too many"),
        (r"(a)", "groups are"),
        (r"(?=a)b", "groups are"),
        (r"(?P<A>a)", "groups are"),
        (r"(?P<a>.)(?P=a)", "groups are"),
        (r"(?P<a>.)\1", "begins nothing"),
        (r"a**", "after another repetition"),
        (r"a*+", "after another repetition"),
        (r"a{3,2}", "out of bounds"),
        (r"a{2000}", "out of bounds"),
        (r"*a", "is not allowed here"),
        (r"a$", "is not allowed here"),
        (r"(?:a", "without its )"),
        (r"a)", "without its ("),
        (r"[a", "begins nothing"),
        (r"[z-a]", "character 1"),
        ("(?:" * 10 + "a" + ")" * 10, "nested"),
        ("", "printable"),
        ("ä", "printable"),
        ("a" * (LONGEST_PATTERN + 1), "printable"),
        (r"(?P<a>x)(?P<a>y)", "not a regular expression"),
    ],
)
def test_what_could_keep_the_box_busy_is_refused_with_its_reason(pattern: str, word: str) -> None:
    with pytest.raises(ValueError, match=re.escape(word)):
        compiled(pattern)


_ATOMS = st.sampled_from(["a", "b", ".", "[ab]", r"\d", "[^a]", r"\.", "1", " "])
_QUANTIFIERS = st.sampled_from(["", "", "?", "*", "+", "{2}", "{1,3}"])
_ITEMS = st.builds(lambda atom, quantifier: atom + quantifier, _ATOMS, _QUANTIFIERS)
_SEQUENCES = st.lists(_ITEMS, max_size=4).map("".join)
_GROUPS = st.builds(
    lambda choices, optional: f"(?:{'|'.join(choices)}){optional}",
    st.lists(_SEQUENCES, min_size=1, max_size=3),
    st.sampled_from(["", "?"]),
)
_PATTERNS = st.lists(st.one_of(_ITEMS, _GROUPS), min_size=1, max_size=8).map("".join)


@given(_PATTERNS, st.text("ab1. ", max_size=3), st.text("ab1. ", min_size=1, max_size=3))
def test_no_accepted_pattern_is_slow_on_a_long_line(pattern: str, head: str, repeated: str) -> None:
    try:
        made = compiled(pattern)
    except ValueError:
        return
    line = (head + repeated * 400).encode()
    made.fullmatch(line)  # an exponential one would meet the suite's limit of time
    assert (made.fullmatch(head.encode()) is None) == (re.fullmatch(pattern, head, re.ASCII | re.DOTALL) is None)


@given(st.text(max_size=40))
def test_any_text_is_compiled_or_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(compiled(text), re.Pattern)
