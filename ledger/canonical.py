"""Canonical msgpack: one value has one encoding, and the decoder accepts no other."""

from __future__ import annotations

from typing import Any

import msgpack

from ledger.errors import PeerFault

UINT_MOST = (1 << 63) - 1
_packer = msgpack.Packer(use_bin_type=True, strict_types=True)


def pack(value: Any) -> bytes:
    """Encode with shortest forms; tuples must be given as lists."""
    return _packer.pack(value)  # type: ignore[no-any-return]


def unpack(data: bytes, max_bytes: int, what: str) -> Any:
    """Decode exactly one canonical value.

    Raises PeerFault ``codec.oversize`` / ``codec.malformed`` / ``codec.not-canonical``; ``what`` names the thing.
    """
    if len(data) > max_bytes:
        raise PeerFault("codec.oversize", f"{what} is {len(data)} bytes, the limit is {max_bytes}")
    try:
        value = msgpack.unpackb(data, raw=False, strict_map_key=True)
    except (ValueError, TypeError, RecursionError, UnicodeError, msgpack.UnpackException) as error:
        raise PeerFault("codec.malformed", f"{what} is not valid msgpack: {error}") from error
    try:
        again = pack(value)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise PeerFault("codec.malformed", f"{what} holds a value that has no canonical form: {error}") from error
    if again != data:
        raise PeerFault("codec.not-canonical", f"{what} is not in canonical form")
    return value


class Fields:
    """Takes the fields of a decoded array in order, checking each one's type and bounds.

    Raises PeerFault ``codec.field`` naming the structure and the position.
    """

    __slots__ = ("_at", "_items", "_what")

    def __init__(self, value: Any, count: int, what: str, *, optional: int = 0) -> None:
        """``count`` fields, and up to ``optional`` more."""
        if not isinstance(value, list) or not count <= len(value) <= count + optional:
            raise PeerFault("codec.field", f"{what} must be an array of {count} fields")
        self._items = value
        self._at = 0
        self._what = what

    @property
    def has_more(self) -> bool:
        """False once all fields are taken."""
        return self._at < len(self._items)

    def _next(self) -> Any:
        value = self._items[self._at]
        self._at += 1
        return value

    def _refuse(self, expected: str) -> PeerFault:
        return PeerFault("codec.field", f"{self._what}: field {self._at - 1} must be {expected}")

    def uint(self, most: int = UINT_MOST) -> int:
        """A non-negative integer of at most ``most``."""
        value = self._next()
        if type(value) is not int or not 0 <= value <= most:
            raise self._refuse(f"an integer from 0 to {most}")
        return value

    def sint(self) -> int:
        """A signed 64-bit integer."""
        value = self._next()
        if type(value) is not int or not -(1 << 63) <= value < 1 << 63:
            raise self._refuse("a signed 64-bit integer")
        return value

    def boolean(self) -> bool:
        """True or false."""
        value = self._next()
        if type(value) is not bool:
            raise self._refuse("a boolean")
        return value

    def raw(self, length: int) -> bytes:
        """Exactly ``length`` bytes."""
        value = self._next()
        if type(value) is not bytes or len(value) != length:
            raise self._refuse(f"{length} bytes")
        return value

    def blob(self, most: int) -> bytes:
        """At most ``most`` bytes."""
        value = self._next()
        if type(value) is not bytes or len(value) > most:
            raise self._refuse(f"at most {most} bytes")
        return value

    def text(self, most: int = 255, least: int = 0) -> str:
        """A string of ``least`` to ``most`` characters."""
        value = self._next()
        if type(value) is not str or not least <= len(value) <= most:
            raise self._refuse(f"a string of {least} to {most} characters")
        return value

    def literal(self, expected: str) -> None:
        """Exactly this string."""
        if self._next() != expected:
            raise self._refuse(repr(expected))

    def array(self, most: int) -> list[Any]:
        """An array of at most ``most`` items, unchecked inside."""
        value = self._next()
        if type(value) is not list or len(value) > most:
            raise self._refuse(f"an array of at most {most} items")
        return value

    def optional(self) -> Any:
        """The next field as it stands, for the caller to check; may be nil."""
        return self._next()
