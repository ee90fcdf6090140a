"""The options of one line device; everything it says is told here, by somebody who has its manual."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from drivers import checksums, nomenclature
from drivers.line.pattern import compiled
from ledger.limits import KIB

LONGEST_LINE_BYTES: Final = 1 * KIB
_MOST_LINES: Final = 16
_MOST_VALUES: Final = 64
_LONGEST_TEXT: Final = 64
POLL: Final = re.compile(rb"[\x20-\x7e]{1,32}[\r\n]{0,2}")
_FIELD: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")
_CODE: Final = re.compile(r"MDCX_[A-Z0-9_]{1,58}")
CHECKSUMS: Final = {
    "sum8": (checksums.sum8, 2),
    "complement8": (checksums.complement8, 2),
    "xor8": (checksums.xor8, 2),
    "sum16": (checksums.sum16, 4),
    "crc16-xmodem": (checksums.crc16_xmodem, 4),
    "crc16-ccitt-false": (checksums.crc16_ccitt_false, 4),
    "crc16-x25": (checksums.crc16_x25, 4),
}


class Checksum(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a line is protected: hexadecimal digits at its end.

    ``kind``: how it is computed. ``after``: what stands between the text and the digits, and is not covered.
    ``covers_start``: the start character is covered too.
    """

    kind: Literal["sum8", "complement8", "xor8", "sum16", "crc16-xmodem", "crc16-ccitt-false", "crc16-x25"]
    after: str = ""
    covers_start: bool = False

    def __post_init__(self) -> None:
        _check_text("after", self.after, 4, empty=True)


class LineForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One kind of line: exactly one of ``regex``, ``columns`` and ``fields``; all of the line must fit.

    ``regex``: a pattern with groups named for the fields. ``columns``: first and last column of each field, from 1.
    ``fields``: the names in their order, empty for what is not wanted. ``separator``: what stands between ``fields``.
    """

    regex: str = ""
    columns: dict[str, tuple[int, int]] = {}
    fields: tuple[str, ...] = ()
    separator: str = ","

    def __post_init__(self) -> None:
        if [bool(self.regex), bool(self.columns), bool(self.fields)].count(True) != 1:
            raise ValueError("lines: each needs exactly one of regex, columns and fields")
        if self.regex:
            try:
                compiled(self.regex)
            except ValueError as error:
                raise ValueError(f"regex: {error}") from error
        for name, (first, last) in self.columns.items():
            if not 1 <= first <= last <= LONGEST_LINE_BYTES:
                raise ValueError(f"columns.{name}: {first} to {last} are no columns of a line, counted from 1")
        for name in self.names:
            if not _FIELD.fullmatch(name):
                raise ValueError(f"lines: {name!r} is no field name (a-z, 0-9 and _, 32 characters at most)")
        if len(set(self.names)) != len(self.names):
            raise ValueError("fields: a name is there twice")
        _check_text("separator", self.separator, 4)

    @property
    def names(self) -> tuple[str, ...]:
        """The fields that a line of this form has."""
        if self.regex:
            return tuple(compiled(self.regex).groupindex)
        return tuple(self.columns) if self.columns else tuple(name for name in self.fields if name)


class Value(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a field of a line means.

    ``field``: its name in ``lines``. ``code``: an MDC reference id, or ``MDCX_<maker>_<name>`` where none truly fits.
    ``unit``: UCUM. ``name``: as the device calls it. ``channel``: where it is measured. ``none``: texts that say that
    there is no value. ``shift``: move the decimal point so many places to the right. ``text``: it is no number.
    ``setting``: what the device is set to, not what it measures.
    """

    field: str
    code: str
    unit: str = ""
    name: str = ""
    channel: str = ""
    none: tuple[str, ...] = ()
    shift: int = 0
    text: bool = False
    setting: bool = False

    def __post_init__(self) -> None:
        if not nomenclature.is_known(self.code) and not _CODE.fullmatch(self.code):
            raise ValueError(f"code: {self.code!r} is no MDC name known here; else write MDCX_<MAKER>_<NAME>")
        if not -9 <= self.shift <= 9:
            raise ValueError(f"shift: {self.shift} is not within -9 to 9")
        for option in ("unit", "name", "channel"):
            _check_text(option, getattr(self, option), _LONGEST_TEXT, empty=True)
        for text in self.none:
            _check_text("none", text, _LONGEST_TEXT, empty=True)


class Poll(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the device is asked with, if it does not speak by itself; nothing else is ever sent.

    ``text``: word for word, 1 to 32 printable ASCII characters and at most CR and LF. Take a question out of the
    device's manual, never a command. ``every_s``: seconds between two questions, 1 to 3,600.
    """

    text: str
    every_s: float = 5.0

    def __post_init__(self) -> None:
        if not self.text.isascii() or not POLL.fullmatch(self.text.encode("ascii")):
            raise ValueError("text: a question is 1 to 32 printable ASCII characters, then at most CR and LF")
        if not 1 <= self.every_s <= 3_600:
            raise ValueError(f"every_s: {self.every_s:g} is not within 1 to 3600")


class LineConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of a ``line`` feed. Raises ValueError naming the option.

    ``make`` and ``model``: of the device, as it is to be recorded. ``lines``: the kinds of line it sends. ``values``:
    what their fields mean. ``ends``: each of these characters ends a line. ``start``: a line begins after this
    character. ``longest_line_bytes``: what is longer is lost. ``checksum``: how a line is protected; without, values
    are marked as unchecked. ``ignore``: lines that begin so are not decoded, and are no gap. ``decimal``: the decimal
    mark. ``poll``: what to ask with. ``silence_s``: no byte for so long is a gap.
    """

    make: str
    model: str
    lines: tuple[LineForm, ...]
    values: tuple[Value, ...]
    ends: str = "\r\n"
    start: str = ""
    longest_line_bytes: int = 256
    checksum: Checksum | None = None
    ignore: tuple[str, ...] = ()
    decimal: Literal[".", ","] = "."
    poll: Poll | None = None
    silence_s: float = 30.0

    def __post_init__(self) -> None:
        for option in ("make", "model"):
            _check_text(option, getattr(self, option), _LONGEST_TEXT)
        if not 1 <= len(self.lines) <= _MOST_LINES or not 1 <= len(self.values) <= _MOST_VALUES:
            raise ValueError(f"lines and values: 1 to {_MOST_LINES} and 1 to {_MOST_VALUES} of them are needed")
        if not 8 <= self.longest_line_bytes <= LONGEST_LINE_BYTES:
            raise ValueError(f"longest_line_bytes: {self.longest_line_bytes} is not within 8 to {LONGEST_LINE_BYTES}")
        if not 1 <= len(self.ends) <= 4 or not self.ends.isascii():
            raise ValueError("ends: 1 to 4 ASCII characters")
        if len(self.start) > 1 or not self.start.isascii() or (self.start and self.start in self.ends):
            raise ValueError("start: one ASCII character that is none of ends")
        for text in self.ignore:
            _check_text("ignore", text, _LONGEST_TEXT)
        if not 0 < self.silence_s <= 86_400:
            raise ValueError(f"silence_s: {self.silence_s:g} is not within 0 to 86400")
        _check_fields(self.lines, self.values)


def _check_fields(lines: tuple[LineForm, ...], values: tuple[Value, ...]) -> None:
    known = {name for line in lines for name in line.names}
    meant: Mapping[str, Value] = {value.field: value for value in values}
    for index, value in enumerate(values):
        if value.field not in known:
            raise ValueError(
                f"values[{index}].field: {value.field!r} is in no line; there are: {', '.join(sorted(known))}"
            )
    if len(meant) != len(values):
        raise ValueError("values: a field is there twice")


def _check_text(option: str, text: str, most: int, *, empty: bool = False) -> None:
    if len(text) > most or not text.isprintable() or not (text or empty):
        raise ValueError(f"{option}: {text!r} is not {0 if empty else 1} to {most} printable characters")
