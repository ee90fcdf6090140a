"""The driver ``line``: reads lines of text as its options tell, and asks nothing but the one configured question."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import ClassVar, Final

from drivers.contract import Now, Sendable, Spec, Transport
from drivers.line.config import CHECKSUMS, LONGEST_LINE_BYTES, POLL, LineConfig, LineForm, Value
from drivers.line.pattern import compiled
from drivers.line_device import LineDevice, LineSession
from drivers.shown_values import ShownValues
from ledger.errors import DeviceFault
from ledger.limits import S_NS
from ledger.records import Identity, LinkId, Numeric, Quality, Setting

_NUMBER: Final = re.compile(r"[+-]?\d{1,12}(?:\.\d{0,12})?|[+-]?\.\d{1,12}", re.ASCII)
_SIGN_APART: Final = re.compile(r"([+-]) +")
"""Scales print the sign in a column of its own and the number to the right, with blanks for leading zeros."""
_CONTROL: Final = re.compile(rb"[\x00\x11\x13]")
"""NUL, XON and XOFF stand in no column, but move all columns behind them."""
_CUT: Final = re.compile(rb"[ +\-\d]*[.,]\d+")
"""A column and the byte behind it: the number goes on where the column ends."""
_HEX: Final = re.compile(rb"[0-9A-Fa-f]+")
_LONGEST_TEXT: Final = 128
_NO_LINE: Final = "a line that none of the configured ones is like"

Reader = Callable[[bytes], Mapping[str, bytes] | None]


class Line(LineDevice):
    """One device. ``spec.tx_allowed`` of an instance is its poll and nothing else."""

    spec: ClassVar[Spec[LineConfig]] = Spec(
        name="line",
        devices=("Any device that sends lines of ASCII text: scales, oximeters, analysers, told in the configuration",),
        transports=(Transport.SERIAL, Transport.TCP),
        config=LineConfig,
        serial_lines=("9600 8N1", "19200 8N1", "9600 7E1", "2400 8N1"),
        tx_allowed=(Sendable(POLL, "the poll text of this feed's options, word for word; without one, nothing"),),
        passive_ok=True,
        silence_s=30.0,
        records=frozenset({"numeric", "setting", "gap", "identity", "link"}),
        source="the manual of the device at hand",
        longest_frame_bytes=LONGEST_LINE_BYTES + 1,
    )

    def __init__(self, config: LineConfig) -> None:
        super().__init__(config.longest_line_bytes, config.ends.encode("ascii"))
        self._config = config
        self._start = config.start.encode("ascii")
        self._ignored = tuple(text.encode() for text in config.ignore)
        self._readers = [_reader(form) for form in config.lines]
        self._poll = config.poll.text.encode("ascii") if config.poll is not None else b""
        self._poll_due_ns: int | None = None
        self._shown = ShownValues()
        self._silence.follow(self._shown)
        self._silence.longest_ns = round(config.silence_s * S_NS)
        asked = (Sendable(re.compile(re.escape(self._poll)), "the configured question"),) if self._poll else ()
        # of this device, not of the class: the shell lets out what the instance declares
        self.spec = replace(type(self).spec, tx_allowed=asked, silence_s=config.silence_s)  # type: ignore[misc]

    def opened(self, link: LinkId, peer: str, now: Now) -> None:
        """The port is open: ask the first time."""
        super().opened(link, peer, now)
        self._ask(now)

    def woken(self, now: Now) -> None:
        """Ask again."""
        if self._poll_due_ns is not None and self._poll_due_ns <= now.mono_ns:
            self._ask(now)

    def due_ns(self) -> int | None:
        """When to ask."""
        return self._poll_due_ns

    def read(self, session: LineSession, line: bytes, now: Now) -> None:
        """One line. Raises DeviceFault when it is like none of the configured ones."""
        start, found, body = line.rpartition(self._start) if self._start else (b"", b"", line)
        if self._start and not found:
            raise DeviceFault("line.start", "a line without its start character")
        if start:
            self.lost("framing", len(start), "before the start of a line", now)
        if body.startswith(self._ignored) and self._ignored:
            return
        text = self._checked(body)
        if text is None:
            self.lost("checksum", len(line), "", now)
            return
        fields = next((fields for reader in self._readers if (fields := reader(text)) is not None), None)
        if fields is None:
            raise DeviceFault("line.unlike", _NO_LINE)
        read = [
            (value, self._value(value, fields[value.field])) for value in self._config.values if value.field in fields
        ]
        self._identify(session, now)
        for value, said in read:
            self._show(value, said, now)

    def _ask(self, now: Now) -> None:
        if self._config.poll is not None and self._session is not None:
            self.send(self._session.link, self._poll)
            self._poll_due_ns = now.mono_ns + int(self._config.poll.every_s * S_NS)

    def _checked(self, body: bytes) -> bytes | None:
        """The text before the check digits; None if they do not agree."""
        checksum = self._config.checksum
        if checksum is None:
            return body
        compute, digits = CHECKSUMS[checksum.kind]
        after = checksum.after.encode()
        text, mark, told = body[: -digits - len(after)], body[-digits - len(after) : -digits], body[-digits:]
        if mark != after or len(told) != digits or not _HEX.fullmatch(told):
            return None
        covered = self._start + text if checksum.covers_start else text
        return text if compute(covered) == int(told, 16) else None

    def _value(self, value: Value, raw: bytes) -> Decimal | str | None:
        text = raw.decode("ascii", "replace").strip()
        if text in value.none:
            return None
        if value.text:
            return "".join(letter if letter.isprintable() else "?" for letter in text[:_LONGEST_TEXT])
        number = text.replace(self._config.decimal, ".") if "." not in text or self._config.decimal == "." else ""
        number = _SIGN_APART.sub(r"\1", number, count=1)
        if not _NUMBER.fullmatch(number):
            raise DeviceFault("line.value", f"field {value.field} is no number")
        return Decimal(number).scaleb(value.shift) if value.shift else Decimal(number)

    def _identify(self, session: LineSession, now: Now) -> None:
        config = self._config
        self.identified(
            session, Identity(at_ns=now.utc_ns, make=config.make, model=config.model, protocol="ASCII lines")
        )

    def _show(self, value: Value, said: Decimal | str | None, now: Now) -> None:
        quality = Quality.GOOD if self._config.checksum is not None else Quality.UNCHECKED
        kind = Setting if value.setting else Numeric
        numeric = kind(
            at_ns=now.utc_ns,
            quality=quality if said is not None else quality | Quality.UNAVAILABLE,
            code=value.code,
            value=said,
            unit=value.unit,
            device_code=value.name or value.field,
            channel=value.channel,
        )
        for record in self._shown.show(value.field, numeric):
            self.emit(record)


def _reader(form: LineForm) -> Reader:
    if form.regex:
        return _by_pattern(compiled(form.regex))
    if form.columns:
        return _by_columns(form.columns)
    return _by_fields(form.fields, form.separator.encode())


def _by_pattern(pattern: re.Pattern[bytes]) -> Reader:
    def read(line: bytes) -> Mapping[str, bytes] | None:
        match = pattern.fullmatch(line)
        return None if match is None else {name: text for name, text in match.groupdict().items() if text is not None}

    return read


def _by_columns(columns: Mapping[str, tuple[int, int]]) -> Reader:
    width = max(last for _, last in columns.values())
    starts = {first for first, _ in columns.values()}

    def read(line: bytes) -> Mapping[str, bytes] | None:
        if len(line) < width or _CONTROL.search(line):
            return None
        for first, last in columns.values():
            is_followed = last < len(line) and last + 1 not in starts
            if is_followed and _CUT.fullmatch(line[first - 1 : last + 1]):
                return None
        return {name: line[first - 1 : last] for name, (first, last) in columns.items()}

    return read


def _by_fields(names: tuple[str, ...], separator: bytes) -> Reader:
    def read(line: bytes) -> Mapping[str, bytes] | None:
        parts = line.split(separator)
        if len(parts) != len(names):
            return None
        return {name: part for name, part in zip(names, parts, strict=True) if name}

    return read
