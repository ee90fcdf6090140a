"""What boxes say to each other. Most of it is signed, bound to the site and the manifest; a block, a cosignature and a
range or piece that was asked for prove themselves: by headers, signatures and hashes.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ledger.canonical import Fields
from ledger.limits import LIMITS
from ledger.log import LogId
from ledger.notices import Head
from ledger.signing import SIGNATURE_BYTES, signature_is_valid

MESSAGE_DOMAIN = b"orledger/message/1\n"
NONCE_BYTES = 16
NEVER_HEARD_MS = (1 << 62) - 1


class Want(enum.IntEnum):
    """What a GET asks for."""

    HEADERS = 0
    BLOCKS = 1


@dataclass(frozen=True, slots=True)
class Fence:
    """A writer asks for a promise to accept nothing older than (counter, incarnation)."""

    counter: int
    incarnation: bytes
    nonce: bytes


@dataclass(frozen=True, slots=True)
class Promise:
    """A peer's durable promise for ``box``, with every head of that box it holds (highest first)."""

    box: str
    counter: int
    incarnation: bytes
    nonce: bytes
    fenced: tuple[Head, ...]
    provisional: tuple[Head, ...]


@dataclass(frozen=True, slots=True)
class Refuse:
    """A peer has promised a newer epoch already; ``evidence`` is the FENCE or START that made it."""

    box: str
    counter: int
    incarnation: bytes
    evidence: bytes


@dataclass(frozen=True, slots=True)
class Stored:
    """The sender durably holds blocks 0 to ``size`` - 1 of ``log``, without vouching for their order."""

    log: LogId
    size: int


@dataclass(frozen=True, slots=True)
class Nack:
    """A block of ``log`` was not accepted; ``reason`` is an error id, ``evidence`` proves it where it can."""

    log: LogId
    reason: str
    evidence: bytes


@dataclass(frozen=True, slots=True)
class Get:
    """Ask for blocks ``first`` to ``end`` - 1 of ``log``, as many as an answer of ``reply_bytes`` holds.

    A larger ``reply_bytes`` than every box knows is a field more on the wire: boxes of before refuse it.
    """

    request_id: int
    log: LogId
    first: int
    end: int
    want: Want
    reply_bytes: int = LIMITS.range_reply_bytes


@dataclass(frozen=True, slots=True)
class HeadReport:
    """One log's head as the sender holds it durably; ``cosigned_s`` and ``cosignature`` are the sender's cosignature/v1
    of it (0 and empty when not cosigned); ``checkpoint_signature`` is the writer's; ``keyframe_seq`` is the
    newest keyframe. ``expired``: all before the last block went at its retention, or is going: nobody can get it here.
    """

    head: Head
    cosigned_s: int
    cosignature: bytes
    checkpoint_signature: bytes
    keyframe_seq: int
    expired: bool = False

    def fields(self) -> list[object]:
        """For embedding."""
        return [
            self.head.fields(), self.cosigned_s, self.cosignature, self.checkpoint_signature, self.keyframe_seq,
            self.expired,
        ]  # fmt: skip

    @classmethod
    def from_fields(cls, value: object) -> HeadReport:
        """Strict inverse of ``fields``; raises PeerFault."""
        take = Fields(value, 6, "head report")
        head = Head.from_fields(take.optional(), "head report")
        return cls(
            head, take.uint(), take.blob(SIGNATURE_BYTES), take.blob(SIGNATURE_BYTES), take.uint(), take.boolean()
        )


@dataclass(frozen=True, slots=True)
class Heads:
    """Once a second: every head the sender holds, of every box in the group."""

    utc_ns: int
    reports: tuple[HeadReport, ...]


@dataclass(frozen=True, slots=True)
class Wrap:
    """The wrapped data key of ``log``: (recipient, wrap) pairs."""

    log: LogId
    key_id: bytes
    wraps: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class GetWrap:
    """Ask for the wraps of a key met in a header of ``log``."""

    log: LogId
    key_id: bytes


@dataclass(frozen=True, slots=True)
class ManifestOffer:
    """A signed manifest, for whoever has an older one."""

    signed_manifest: bytes


@dataclass(frozen=True, slots=True)
class Ask:
    """A restorer asks for the heads of ``box``, with a nonce so that the answer is fresh."""

    nonce: bytes
    box: str


@dataclass(frozen=True, slots=True)
class Answer:
    """Every head of ``box`` the sender holds, bound to the asker's nonce. ``proofs`` counts equivocations kept;
    ``silent_ms`` is how long the sender has not heard the box itself (NEVER_HEARD_MS: never since it started).
    ``is_void``: the sender may have forgotten newer heads, and its word on the box does not count.
    """

    nonce: bytes
    box: str
    reports: tuple[HeadReport, ...]
    proofs: int
    silent_ms: int
    is_void: bool = False


@dataclass(frozen=True, slots=True)
class GetObject:
    """Ask for bytes ``first`` to ``end`` - 1 of a sealed object, of at most one chunk."""

    request_id: int
    sha256: bytes
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class Holding:
    """The sender durably holds this object whole, has checked it, and holds the key that opens it."""

    sha256: bytes
    sealed_bytes: int


@dataclass(frozen=True, slots=True)
class AskHoldings:
    """Ask which of these objects the other holds."""

    names: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class StandsBy:
    """Once a second, from a box that was given such duties: the boxes it stands by for and can speak for now."""

    boxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BlockMessage:
    """A live block: signed header, sealed payload, the root with it appended, the writer's checkpoint signature."""

    signed_header: bytes
    payload: bytes
    root: bytes
    checkpoint_signature: bytes


@dataclass(frozen=True, slots=True)
class Cosign:
    """A cosignature/v1 of the checkpoint (log, size, root) in binary; the note's text is built where it is shown."""

    cosigner: str
    log: LogId
    size: int
    root: bytes
    time_s: int
    signature: bytes


@dataclass(frozen=True, slots=True)
class Range:
    """Answer to a GET: the tree's frontier before ``first`` where it is known, then (signed header, payload) pairs in
    order. Payloads are empty when headers were asked for or the payload was pruned.
    """

    request_id: int
    log: LogId
    first: int
    frontier: bytes
    blocks: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class ObjectPiece:
    """Answer to a GET_OBJECT: the bytes from ``first`` on; none when the sender does not hold the object."""

    request_id: int
    sha256: bytes
    first: int
    data: bytes


ObjectBody = GetObject | Holding | AskHoldings | ObjectPiece
SignedBody = (
    Fence | Promise | Refuse | Stored | Nack | Get | Heads | Wrap | GetWrap | ManifestOffer | Ask | Answer
    | GetObject | Holding | AskHoldings | StandsBy
)  # fmt: skip
PlainBody = BlockMessage | Cosign | Range | ObjectPiece
Body = SignedBody | PlainBody


@dataclass(frozen=True, slots=True)
class Signed:
    """A decoded signed message; the signature is checked by ``verify``."""

    site: str
    manifest_hash: bytes
    sender: str
    body: SignedBody
    wire: bytes

    def is_signed_by(self, public_key: bytes) -> bool:
        """True when the key's owner signed exactly these bytes."""
        return signature_is_valid(
            public_key, MESSAGE_DOMAIN, self.wire[:-SIGNATURE_BYTES], self.wire[-SIGNATURE_BYTES:]
        )
