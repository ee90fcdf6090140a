"""What a durable transaction can do. State machines ask for these; the store executes them; nothing else writes."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field

from ledger.log import LogId


class ObjectState(enum.IntEnum):
    """Of an object that a block names. GONE: retention took it, or nobody has it any more."""

    WANTED = 0
    HELD = 1
    GONE = 2


@dataclass(frozen=True, slots=True)
class OpenLog:
    """Make a log known, or replace its ``meta`` (opaque here)."""

    log: LogId
    meta: bytes


@dataclass(frozen=True, slots=True)
class AppendBlock:
    """The next block of an open log; an empty ``payload`` means that it is not held.

    A seq already held is no error when the header is the same and the payload does not differ. ``has_notices`` may be
    False where the header was read and has none: nothing is looked for in it then.
    """

    log: LogId
    seq: int
    signed_header: bytes
    payload: bytes
    has_notices: bool = field(default=True, compare=False)


@dataclass(frozen=True, slots=True)
class AppendRun:
    """Many next blocks of an open log at once, from ``first`` on: (signed header, payload) pairs, as ``AppendBlock``.

    ``with_notices``: the seqs whose headers have notices; in the others nothing is looked for.
    """

    log: LogId
    first: int
    blocks: Sequence[tuple[bytes, bytes]]
    with_notices: frozenset[int]


@dataclass(frozen=True, slots=True)
class FillPayload:
    """Give a held block the payload it lacks."""

    log: LogId
    seq: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class ReplaceBlock:
    """Write a held block anew because the disk damaged its record; what is there is not read.

    The caller has proved that these bytes are the block: its neighbours' hashes and its box's signature fit.
    """

    log: LogId
    seq: int
    signed_header: bytes
    payload: bytes


@dataclass(frozen=True, slots=True)
class PrunePayloads:
    """Take the payloads of blocks ``first`` to ``end`` - 1 away, keeping their headers. Give small ranges."""

    log: LogId
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class DropBlocks:
    """Remove blocks ``first`` to ``end`` - 1 and what was derived from them, from the oldest on. Give small ranges.

    The last block always stays, so that the log's length is never forgotten; so does its newest checkpoint.
    """

    log: LogId
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class CheckpointRow:
    """A checkpoint with its cosignatures, opaque here; ``keep`` spares it from thinning."""

    size: int
    data: bytes
    keep: bool = False


@dataclass(frozen=True, slots=True)
class KeyframeRow:
    """Block ``seq`` holds a keyframe; ``frontier`` is the tree's before it (opaque here); ``keep`` spares the row."""

    seq: int
    frontier: bytes
    keep: bool = False


@dataclass(frozen=True, slots=True)
class PutDerived:
    """What can be rebuilt: the tip (opaque), hashes of full 256-leaf subtrees by index, checkpoints, keyframes.

    Checkpoints are thinned to the newest, the first of every 600 blocks and the kept; keyframes to the newest 12 and
    the kept.
    """

    log: LogId
    tip: bytes
    subtrees: tuple[tuple[int, bytes], ...] = ()
    checkpoints: tuple[CheckpointRow, ...] = ()
    keyframes: tuple[KeyframeRow, ...] = ()


@dataclass(frozen=True, slots=True)
class PutPromise:
    """What this box promised about ``box``; overwritten, never deleted."""

    box: str
    value: bytes


@dataclass(frozen=True, slots=True)
class PutSelf:
    """A fact about this box: its counter, the highest manifest version seen."""

    name: str
    value: bytes


@dataclass(frozen=True, slots=True)
class PutManifest:
    """A signed manifest."""

    version: int
    value: bytes


@dataclass(frozen=True, slots=True)
class PutCase:
    """Where a case stands in a log: first and last block, key id, hold (opaque here)."""

    case_id: bytes
    log: LogId
    value: bytes


@dataclass(frozen=True, slots=True)
class PutTomb:
    """A data key was ordered destroyed; this beats any later wrap of it."""

    key_id: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class PutProof:
    """Evidence of equivocation, by its hash."""

    hash: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class MarkObject:
    """An object that block ``seq`` names is held here whole and durably, or will not be had any more."""

    log: LogId
    seq: int
    sha256: bytes
    state: ObjectState


@dataclass(frozen=True, slots=True)
class PutHolding:
    """A box's signed word that it holds an object durably (opaque here)."""

    sha256: bytes
    box: str
    value: bytes


@dataclass(frozen=True, slots=True)
class LabelObject:
    """An object that a block names can be found by ``label`` (a keyed hash) until it goes; ``value`` is opaque here."""

    sha256: bytes
    label: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class PutPending:
    """What this box promised somebody outside and has not done yet (sealed, opaque here); None: it is done."""

    key: bytes
    value: bytes | None


Op = (
    OpenLog | AppendBlock | AppendRun | FillPayload | ReplaceBlock | PrunePayloads | DropBlocks | PutDerived
    | PutPromise | PutSelf | PutManifest | PutCase | PutTomb | PutProof | MarkObject | PutHolding | LabelObject
    | PutPending
)  # fmt: skip
