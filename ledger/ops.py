"""What a durable transaction can do. State machines ask for these; the store executes them; nothing else writes."""

from __future__ import annotations

from dataclasses import dataclass

from ledger.log import LogId


@dataclass(frozen=True, slots=True)
class OpenLog:
    """A log exists. ``meta`` is the manifest hash it is bound to."""

    log: LogId
    meta: bytes


@dataclass(frozen=True, slots=True)
class AppendBlock:
    """The next record of a log; an empty ``payload`` means it is not held here."""

    log: LogId
    seq: int
    signed_header: bytes
    payload: bytes


@dataclass(frozen=True, slots=True)
class FillPayload:
    """The payload of a record that was stored without it."""

    log: LogId
    seq: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class PutPromise:
    """What this box promised about ``box`` (``ledger.witness.PromiseState``)."""

    box: str
    value: bytes


@dataclass(frozen=True, slots=True)
class PutSelf:
    """A fact about this box: "counter", "manifest"."""

    name: str
    value: bytes


@dataclass(frozen=True, slots=True)
class PutProof:
    """Evidence of equivocation, under its hash; never deleted."""

    proof_hash: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class PutManifest:
    """A signed manifest."""

    version: int
    value: bytes


@dataclass(frozen=True, slots=True)
class PutTomb:
    """An erasure order."""

    key_id: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class PutDerived:
    """Rows that can be rebuilt from the log: written at most once a second. ``tip`` is opaque (``ledger.replica.Tip``);
    ``checkpoints`` are (size, bytes); ``keyframes`` are (seq, frontier before it).
    """

    log: LogId
    tip: bytes
    subtrees: tuple[tuple[int, bytes], ...] = ()
    checkpoints: tuple[tuple[int, bytes], ...] = ()
    keyframes: tuple[tuple[int, bytes], ...] = ()


Op = OpenLog | AppendBlock | FillPayload | PutPromise | PutSelf | PutProof | PutManifest | PutTomb | PutDerived
