"""Ways in which the bytes of a line can be wrong."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

_MOST_INSERTED_BYTES = 64
_LIES = (0, 1, 2, 3, 0x7F, 0x80, 0xFE, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_DIGITS = re.compile(rb"\d+")
_DIGIT_LIES = (b"0", b"-1", b"1e9", b"NaN", b"", b"00000000000000000001", b"9" * 40, b"--", b"1.2.3")

Mutation = Callable[[bytearray, random.Random, bytes], None]


def _place(data: bytearray, rng: random.Random, most: int) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + rng.randint(0, most))


def flip_bits(data: bytearray, rng: random.Random, other: bytes) -> None:
    for _ in range(rng.choice((1, 1, 2, 8))):
        if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def cut(data: bytearray, rng: random.Random, other: bytes) -> None:
    start, stop = _place(data, rng, rng.choice((1, 4, 64, 4_096)))
    del data[start:stop]


def insert(data: bytearray, rng: random.Random, other: bytes) -> None:
    start = rng.randrange(len(data) + 1)
    data[start:start] = rng.randbytes(rng.randint(1, _MOST_INSERTED_BYTES))


def overwrite(data: bytearray, rng: random.Random, other: bytes) -> None:
    start, stop = _place(data, rng, _MOST_INSERTED_BYTES)
    data[start:stop] = rng.randbytes(stop - start)


def duplicate(data: bytearray, rng: random.Random, other: bytes) -> None:
    start, stop = _place(data, rng, rng.choice((1, 4, 64, 512)))
    data[stop:stop] = data[start:stop]


def swap(data: bytearray, rng: random.Random, other: bytes) -> None:
    size = rng.choice((1, 2, 4, 16))
    if len(data) >= 2 * size:
        first = rng.randrange(len(data) - 2 * size + 1)
        second = rng.randrange(first + size, len(data) - size + 1)
        a, b = data[first : first + size], data[second : second + size]
        data[first : first + size], data[second : second + size] = b, a


def lie(data: bytearray, rng: random.Random, other: bytes) -> None:
    """A whole number of 1, 2 or 4 bytes, as a length or a count has, says something else."""
    size = rng.choice((1, 2, 4))
    if len(data) >= size:
        start = rng.randrange(len(data) - size + 1)
        order = rng.choice(("big", "little"))
        value = int.from_bytes(data[start : start + size], order)  # type: ignore[arg-type]
        told = rng.choice((value + 1, value - 1, value * 2, *_LIES)) % (1 << 8 * size)
        data[start : start + size] = told.to_bytes(size, order)  # type: ignore[arg-type]


def lie_in_digits(data: bytearray, rng: random.Random, other: bytes) -> None:
    """A number in text says something else, or is none any more."""
    found = list(_DIGITS.finditer(data))
    if found:
        match = rng.choice(found)
        data[match.start() : match.end()] = rng.choice(_DIGIT_LIES)


def replay(data: bytearray, rng: random.Random, other: bytes) -> None:
    """Something said at another time is said again in between."""
    start = rng.randrange(len(data) + 1)
    data[start:start] = other


MUTATIONS: tuple[Mutation, ...] = (
    flip_bits, cut, insert, overwrite, duplicate, swap, lie, lie_in_digits, replay,
)  # fmt: skip


def mutated(data: bytes, rng: random.Random, other: bytes) -> bytes:
    """``data`` wrong in one to four ways; ``other`` is something else that was sent on the same line."""
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        rng.choice(MUTATIONS)(damaged, rng, other)
    return bytes(damaged)
