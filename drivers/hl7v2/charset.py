"""The character set of a message: MSH-18 and what senders do instead.

Source: HL7 table 0211. Every character set here is a superset of ASCII in what delimits a message, save ISO-2022-JP,
whose two-byte characters may look like delimiters: so a message is decoded whole before it is split.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_CODECS: Final = {
    "ASCII": "ascii",
    "ISO IR6": "ascii",
    "8859/1": "iso8859-1",
    "8859/2": "iso8859-2",
    "8859/3": "iso8859-3",
    "8859/4": "iso8859-4",
    "8859/5": "iso8859-5",
    "8859/6": "iso8859-6",
    "8859/7": "iso8859-7",
    "8859/8": "iso8859-8",
    "8859/9": "iso8859-9",
    "8859/10": "iso8859-10",
    "8859/11": "iso8859-11",
    "8859/13": "iso8859-13",
    "8859/14": "iso8859-14",
    "8859/15": "iso8859-15",
    "ISO IR14": "iso2022_jp_2",
    "ISO IR87": "iso2022_jp_2",
    "ISO IR159": "iso2022_jp_2",
    "JIS X 0202": "iso2022_jp_2",
    "JAS2020": "iso2022_jp_2",
    "GB 18030-2000": "gb18030",
    "KS X 1001": "euc_kr",
    "BIG-5": "big5",
    "UNICODE UTF-8": "utf-8",
    "UTF-8": "utf-8",
    # Not of table 0211, but sent:
    "UTF8": "utf-8",
    "UNICODE": "utf-8",
    "ISO IR192": "utf-8",
    "ISO_IR 192": "utf-8",
    "ISO IR100": "iso8859-1",
    "ISO_IR 100": "iso8859-1",
    "8859-1": "iso8859-1",
    "ISO8859-1": "iso8859-1",
    "ISO-8859-1": "iso8859-1",
    "8859-15": "iso8859-15",
    "ISO8859-15": "iso8859-15",
    "ISO-8859-15": "iso8859-15",
    "WINDOWS-1250": "cp1250",
    "WINDOWS-1251": "cp1251",
    "WINDOWS-1252": "cp1252",
    "CP1252": "cp1252",
    "GB18030": "gb18030",
    "GBK": "gb18030",
    "GB2312": "gb18030",
    "BIG5": "big5",
}
_C1: Final = re.compile(rb"[\x80-\x9f]")
"""Control characters in 8859/1, where nobody sends them, and letters in Windows-1252, whose senders declare 8859/1."""
_RAW: Final = "latin-1"
"""Gives every byte a character and back: ids and numbers stay readable, texts do not."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """``codec`` turns ``text`` back into the bytes; not ``faithful``: letters beyond ASCII are guessed or wrong."""

    text: str
    codec: str
    faithful: bool


def declared(head: bytes) -> list[str]:
    """The repetitions of MSH-18, read from the bytes of a message before anything is decoded."""
    line = head.lstrip(b"\xef\xbb\xbf\r\n ").split(b"\r", 1)[0].split(b"\n", 1)[0]
    if not line.startswith(b"MSH") or len(line) < 6:
        return []
    fields = line.split(line[3:4])
    if len(fields) < 18:
        return []
    names = fields[17].split(line[5:6])
    return [name.decode("ascii", "replace").strip().upper() for name in names if name.strip()]


def decode(body: bytes) -> Decoded:
    """Decode a message by its MSH-18. Never fails: what no candidate fits is read byte for byte, not ``faithful``.

    Without MSH-18, or with ASCII declared and other bytes sent, UTF-8 is tried: that is what such senders mean.
    """
    codecs = [_CODECS[name] for name in declared(body) if name in _CODECS]
    # Escape sequences are valid ASCII too: the switching code must be tried before the default one.
    if "iso2022_jp_2" in codecs and b"\x1b" in body:
        codecs.insert(0, "iso2022_jp_2")
    known = bool(codecs) or not declared(body)
    if "iso8859-1" in codecs and _C1.search(body):
        codecs.insert(codecs.index("iso8859-1"), "cp1252")
    for codec in [*codecs, "utf-8"]:
        try:
            return Decoded(body.decode(codec), codec, faithful=known or body.isascii())
        except UnicodeDecodeError:
            continue
    return Decoded(body.decode(_RAW), _RAW, faithful=False)
