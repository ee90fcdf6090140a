"""What one run of the inner loop is asked to check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ledger.log import LogId
from ledger.sealing import DataKey

KeyFor = Callable[[bytes], DataKey | None]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Blocks ``first`` to ``end`` - 1 of ``log``. ``signed_at``: seqs whose signature is checked although not
    ``every_signature`` is; ``marks``: sizes at which the caller wants to know where the log stood.
    """

    log: LogId
    first: int
    end: int
    public: bytes
    manifest_hash: bytes
    every_signature: bool
    signed_at: frozenset[int]
    marks: frozenset[int]
