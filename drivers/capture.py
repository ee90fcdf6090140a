r"""Capture files, ``*.orcap``: what passed between a device and its driver, line by line, to be replayed.

Canonical JSON lines: a header, then ``[µs since t0, link, what, …]`` in order, then the count and hash of all lines.

    [0,1,"up","/dev/ttyUSB0"]                      a Link record: its peer, or for down and refused its reason
    [1200,1,">","t","\u001bQ6C\r"]                 one piece of a Raw record, as text
    [812000,1,"<","x","d391818d83"]                or, if any byte is not of the text set, as hex
    [3900000,0,"gap",{"cause":"silence","lost_bytes":null}]
    [4000000,1,"msg",{"kind":"c-store"},"t","…"]   what a transport that frames for itself delivered
    [5000000,1,"msg",{…},"t","",{"name":"…",…}]    and the object that came with it, named by its hash, not its content

A ledger's Raw, Link and Gap records map to these lines one to one (a Raw record has one line for each of its pieces),
so that exporting, replaying and exporting again gives the same file. Logical devices (``sub``) are no part of it: the
driver finds them again.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO, Final, Literal, get_args

import msgspec

from drivers.contract import Message
from ledger.errors import BadInput, OurFault
from ledger.limits import LIMITS
from ledger.records import Gap, GapCause, Link, LinkId, LinkState, Object, Raw, Record

_TEXT: Final = re.compile(rb"[\t\n\r\x02-\x06\x0b\x17\x1b\x1c\x1e -~]*")
_US_NS: Final = 1_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_T0_FORMAT: Final = "%Y-%m-%dT%H:%M:%S.%fZ"
_CAUSES: Final = frozenset(get_args(GapCause))
_STATES: Final = frozenset(get_args(LinkState))
_LOST: Final = frozenset(("down", "refused"))
_OBJECT_AT: Final = 3
_GAP_NUMBERS: Final = ("lost_bytes", "lost_items", "since_us", "until_us")


class CaptureHeader(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The first line. ``t0`` is UTC with microseconds; ``options`` are the driver's, as in the configuration.

    ``clock`` is the box's clock quality, ``source`` and ``blocks`` name the log it was exported from. A capture may be
    published only if ``scrubbed`` is true and ``licence`` names its terms.
    """

    orcap: Literal[1]
    driver: str
    feed: str
    transport: str
    line: str = ""
    t0: str
    clock: str = ""
    source: str = ""
    blocks: tuple[int, int] | None = None
    device: dict[str, str] = {}
    options: dict[str, Any] = {}
    scrubbed: bool | None = None
    licence: str = ""

    @property
    def t0_ns(self) -> int:
        """``t0`` in UTC nanoseconds. Raises ``ValueError`` if it is no time in the one form."""
        moment = datetime.strptime(self.t0, _T0_FORMAT).replace(tzinfo=UTC)
        if moment.strftime(_T0_FORMAT) != self.t0:
            raise ValueError("t0 is not a time like 2026-11-23T08:14:02.100000Z")
        return (moment - _EPOCH) // timedelta(microseconds=1) * _US_NS


class _End(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    end: int
    sha256: str


@dataclass(frozen=True, slots=True)
class CapturedMessage:
    """A message as its transport delivered it, at ``at_ns`` UTC."""

    at_ns: int
    link: LinkId
    message: Message


CaptureItem = Raw | Link | Gap | CapturedMessage


def t0_text(at_ns: int) -> str:
    """UTC nanoseconds as a header's ``t0``, cut to the microsecond."""
    return (_EPOCH + timedelta(microseconds=at_ns // _US_NS)).strftime(_T0_FORMAT)


def capture_items(records: Iterable[Record]) -> Iterator[Raw | Link | Gap]:
    """Of one feed's records those that a capture holds, in order."""
    for record in records:
        if isinstance(record, Raw | Link | Gap):
            yield record


class CaptureWriter:
    """Writes the header at once, an item's lines at each ``write``, the end at ``finish``. Does not close the stream.

    Raises ``OurFault`` if a Raw record's pieces are not its bytes, ``BadInput`` if a line would be too long.
    """

    def __init__(self, stream: BinaryIO, header: CaptureHeader) -> None:
        self._stream = stream
        self._t0_ns = header.t0_ns
        self._digest = hashlib.sha256()
        self._lines = 0
        self._put(msgspec.json.encode(header))

    @property
    def lines(self) -> int:
        """Lines written between header and end."""
        return self._lines

    def write(self, item: CaptureItem) -> None:
        """Append one item."""
        for line in lines_of(item, self._t0_ns):
            self._put(line)
            self._lines += 1

    def finish(self) -> None:
        """Write the last line; nothing may follow."""
        self._stream.write(msgspec.json.encode(_End(self._lines, self._digest.hexdigest())) + b"\n")

    def _put(self, line: bytes) -> None:
        if len(line) > LIMITS.capture_line_bytes:
            raise BadInput("capture.line-too-long", f"a capture line would take {len(line)} bytes")
        self._digest.update(line + b"\n")
        self._stream.write(line + b"\n")


class CaptureReader:
    """Reads a capture strictly, in one pass: ``header`` at once, the items by iterating (once).

    Raw records come back with one piece each. Raises ``BadInput``, naming the line, for whatever ``CaptureWriter``
    would not have written, and at the end if the file was cut off or changed.
    """

    def __init__(self, stream: BinaryIO, name: str = "capture") -> None:
        self._stream = stream
        self._name = name
        self._line = 0
        self._digest = hashlib.sha256()
        try:
            first = self._next()
            self.header = _header_of(first)
            self._t0_ns = self.header.t0_ns
        except ValueError as error:  # msgspec's errors are of this kind too
            raise self._fault(error) from error
        self._digest.update(first + b"\n")

    def __iter__(self) -> Iterator[CaptureItem]:
        """The items, in order."""
        while True:
            try:
                line = self._next()
                item = None if line.startswith(b"{") else item_of(line, self._t0_ns)
                if item is None:
                    self._check_end(line)
                    return
            except ValueError as error:
                raise self._fault(error) from error
            self._digest.update(line + b"\n")
            yield item

    def _check_end(self, line: bytes) -> None:
        expected = _End(self._line - 2, self._digest.hexdigest())
        if msgspec.json.encode(expected) != line:
            raise ValueError("the count or the hash of the lines does not agree: the file was changed")
        if self._stream.read(1):
            raise ValueError("something follows the last line")

    def _next(self) -> bytes:
        line = self._stream.readline(LIMITS.capture_line_bytes + 1)
        self._line += 1
        if not line:
            raise ValueError("the file ends without its last line: it was cut off")
        if not line.endswith(b"\n"):
            raise ValueError("the line is too long or cut off")
        return line[:-1]

    def _fault(self, error: ValueError) -> BadInput:
        return BadInput("capture.unreadable", f"{self._name}, line {self._line}: {error}")


def _header_of(line: bytes) -> CaptureHeader:
    header = msgspec.json.decode(line, type=CaptureHeader)
    if msgspec.json.encode(header) != line:
        raise ValueError("the header is not in canonical form")
    return header


def lines_of(item: CaptureItem, t0_ns: int) -> Iterator[bytes]:
    """An item's lines, without their line feeds."""
    at_us = (item.at_ns - t0_ns) // _US_NS
    if isinstance(item, Raw):
        if sum(length for _, length in item.pieces) != len(item.data):
            raise OurFault("capture.bad-raw", "a Raw record's pieces do not add up to its bytes")
        start = 0
        for after_us, length in item.pieces:
            piece = item.data[start : start + length]
            start += length
            yield msgspec.json.encode((at_us + after_us, item.link, item.direction, *_form(piece)))
    elif isinstance(item, Link):
        first, second = (item.reason, item.peer) if item.state in _LOST else (item.peer, item.reason)
        yield msgspec.json.encode((at_us, item.link, item.state, first, *([second] if second else [])))
    elif isinstance(item, Gap):
        yield msgspec.json.encode((at_us, 0, "gap", _gap_object(item, at_us, t0_ns)))
    else:
        if "kind" in item.message.meta:
            raise OurFault("capture.bad-message", "a message's meta may not hold its kind a second time")
        meta = {"kind": item.message.kind} | dict(sorted(item.message.meta.items()))
        stored = [_object_document(item.message.object)] if item.message.object is not None else []
        yield msgspec.json.encode((at_us, item.link, "msg", meta, *_form(item.message.body), *stored))


def item_of(line: bytes, t0_ns: int) -> CaptureItem:
    """The inverse of ``lines_of`` for one line. Raises ``ValueError`` for any other bytes."""
    fields = msgspec.json.decode(line)
    if not isinstance(fields, list) or len(fields) < 4:
        raise ValueError("it is not [µs, link, what, …]")
    at_us, link, what, *rest = fields
    if type(at_us) is not int or type(link) is not int or not isinstance(what, str):
        raise ValueError("it does not start with [µs, link, what")
    at_ns = t0_ns + at_us * _US_NS
    item: CaptureItem
    if what in {"<", ">"}:
        data = _bytes_of(rest)
        direction: Literal["<", ">"] = "<" if what == "<" else ">"
        item = Raw(at_ns=at_ns, link=LinkId(link), direction=direction, data=data, pieces=((0, len(data)),))
    elif what == "gap":
        item = _gap_of(rest, at_us, t0_ns)
    elif what == "msg":
        item = CapturedMessage(at_ns, LinkId(link), _message_of(rest, at_ns))
    else:
        item = _link_of(what, LinkId(link), rest, at_ns)
    if next(lines_of(item, t0_ns)) != line:
        raise ValueError("it is not in canonical form")
    return item


def _form(data: bytes) -> tuple[str, str]:
    return ("t", data.decode("ascii")) if _TEXT.fullmatch(data) else ("x", data.hex())


def _bytes_of(rest: list[Any]) -> bytes:
    if len(rest) != 2 or not isinstance(rest[1], str):
        raise ValueError('bytes are not "t" with text or "x" with hex')
    form, text = rest
    return bytes.fromhex(text) if form == "x" else text.encode("ascii")


def _gap_object(gap: Gap, at_us: int, t0_ns: int) -> dict[str, Any]:
    document: dict[str, Any] = {"cause": gap.cause, "lost_bytes": gap.lost_bytes}
    since_us, until_us = (gap.since_ns - t0_ns) // _US_NS, (gap.until_ns - t0_ns) // _US_NS
    more = {
        "lost_items": gap.lost_items,
        "since_us": since_us if since_us != at_us else None,
        "until_us": until_us if until_us != at_us else None,
        "detail": gap.detail or None,
    }
    return document | {name: value for name, value in more.items() if value is not None}


def _gap_of(rest: list[Any], at_us: int, t0_ns: int) -> Gap:
    if len(rest) != 1 or not isinstance(rest[0], dict):
        raise ValueError("a gap is not told by one object")
    told: Mapping[str, Any] = rest[0]
    if told.get("cause") not in _CAUSES:
        raise ValueError("a gap's cause is none of the known words")
    numbers: dict[str, Any] = {name: told.get(name) for name in _GAP_NUMBERS}
    detail = told.get("detail", "")
    if not all(number is None or type(number) is int for number in numbers.values()) or not isinstance(detail, str):
        raise ValueError("a gap's fields are not whole numbers and one text")
    since_us, until_us = (at_us if numbers[name] is None else numbers[name] for name in ("since_us", "until_us"))
    return Gap(
        at_ns=t0_ns + at_us * _US_NS,
        cause=told["cause"],
        since_ns=t0_ns + since_us * _US_NS,
        until_ns=t0_ns + until_us * _US_NS,
        lost_bytes=numbers["lost_bytes"],
        lost_items=numbers["lost_items"],
        detail=detail,
    )


def _link_of(state: Any, link: LinkId, rest: list[Any], at_ns: int) -> Link:
    if state not in _STATES:
        raise ValueError(f"{state!r} is none of the known words")
    if len(rest) > 2 or not all(isinstance(text, str) for text in rest):
        raise ValueError("a link is not told by one or two texts")
    first, second = [*rest, ""][:2]
    peer, reason = (second, first) if state in _LOST else (first, second)
    return Link(at_ns=at_ns, link=link, state=state, peer=peer, reason=reason)


def _message_of(rest: list[Any], at_ns: int) -> Message:
    if not rest or not isinstance(rest[0], dict) or not all(isinstance(text, str) for text in rest[0].values()):
        raise ValueError("a message's meta is not an object of texts")
    meta = dict(rest[0])
    stored = _object_of(rest[_OBJECT_AT], at_ns) if len(rest) > _OBJECT_AT else None
    return Message(meta.pop("kind", ""), meta, _bytes_of(rest[1:_OBJECT_AT] + rest[_OBJECT_AT + 1 :]), stored)


class _ObjectDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An object that came with a message, at the message's time; ``sha256`` in hex."""

    name: str
    media_type: str
    sha256: str
    size: int
    meta: dict[str, str]


def _object_document(stored: Object) -> _ObjectDocument:
    meta = dict(sorted(stored.meta.items()))
    return _ObjectDocument(stored.name, stored.media_type, stored.sha256.hex(), stored.size, meta)


def _object_of(document: Any, at_ns: int) -> Object:
    told = msgspec.convert(document, _ObjectDocument)
    return Object(
        at_ns=at_ns, sha256=bytes.fromhex(told.sha256), size=told.size, media_type=told.media_type, name=told.name,
        meta=told.meta,
    )  # fmt: skip


def export_feed(
    blocks: Iterable[Mapping[str, Sequence[Record]]], template: CaptureHeader, stream: BinaryIO
) -> CaptureHeader:
    """Write what the blocks of a log, in order, hold of the feed ``template.feed``; returns the header written.

    ``t0`` is the time of the first record written; all else of the header is the template's. Raises ``BadInput`` if
    the blocks hold no raw bytes, links or gaps of this feed: then nothing is written.
    """
    items = (item for groups in blocks for item in capture_items(groups.get(template.feed, ())))
    first = next(items, None)
    if first is None:
        raise BadInput(
            "capture.nothing", f"these blocks hold nothing that passed on feed {template.feed!r}", "choose other blocks"
        )
    header = msgspec.structs.replace(template, t0=t0_text(first.at_ns))
    writer = CaptureWriter(stream, header)
    for item in itertools.chain((first,), items):
        writer.write(item)
    writer.finish()
    return header
