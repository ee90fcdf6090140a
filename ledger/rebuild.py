"""Rebuilding a box's logs from several sources at once: which logs there are, who gives which range, and what is proved
before a block is kept.

A piece is kept once its headers link to what is kept already, its last header is signed by the box (which commits to
every header before it), its payloads are what those headers signed, and each root that w peers cosigned or the box
signed is the root computed over it. A first block must be a lawful start of its log.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ledger.block import Header, decode_signed_header, header_signature_is_valid, payload_hash
from ledger.certificate import Certificate
from ledger.checkpoint import Checkpoint, checkpoint_signature_is_valid, cosignature_is_valid
from ledger.errors import PeerFault, VerificationFailed
from ledger.log import LogId
from ledger.manifest import Manifest
from ledger.messages import HeadReport
from ledger.notices import Head, Start
from ledger.ops import AppendBlock, CheckpointRow, FillPayload, Op, OpenLog, PutDerived
from ledger.plain_header import PlainHeader, plain_header
from ledger.replica import Recent, Replica
from ledger.start import check_start, linked_heads
from ledger.tree import Frontier, leaf_hash

AnyHeader = Header | PlainHeader
PIECE_BLOCKS = 512
PIECES_AHEAD = 12
Blocks = Sequence[tuple[bytes, bytes]]
"""(signed header, payload) pairs in order; a payload is empty where the source does not hold it."""


# ---- who gives what --------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Piece:
    first: int
    end: int
    tried: set[str] = field(default_factory=set)
    taken_by: str | None = None
    blocks: Blocks | None = None


class Shares:
    """One log's missing blocks, shared out in pieces between all that hold them; handed on in order.

    A source that gives nothing, or something that does not prove itself, is not asked for that piece again. At most
    ``PIECES_AHEAD`` pieces are held or under way.
    """

    def __init__(self, have: int, sizes: Mapping[str, int], piece_blocks: int = PIECE_BLOCKS) -> None:
        self._sizes = dict(sizes)
        self._end = max((*sizes.values(), have))
        self._piece_blocks = piece_blocks
        self._pieces: list[_Piece] = []
        self._cut = have
        self._cut_ahead()

    def _cut_ahead(self) -> None:
        """Only the next pieces exist: how long the log is says a source that may lie."""
        while len(self._pieces) < PIECES_AHEAD and self._cut < self._end:
            first, self._cut = self._cut, min(self._end, self._cut + self._piece_blocks)
            self._pieces.append(_Piece(first, self._cut))

    @property
    def next_seq(self) -> int:
        """The first block that is not accepted yet; the log's end when all are."""
        return self._pieces[0].first if self._pieces else self._end

    @property
    def is_whole(self) -> bool:
        """True when every block that any source spoke of is accepted."""
        return not self._pieces

    @property
    def is_stuck(self) -> bool:
        """True when nobody is left who could give the next piece."""
        if not self._pieces:
            return False
        piece = self._pieces[0]
        waiting = piece.blocks is not None or piece.taken_by is not None
        return not waiting and not any(self._may(source, piece) for source in self._sizes)

    def _may(self, source: str, piece: _Piece) -> bool:
        return source not in piece.tried and self._sizes[source] > piece.first

    def take(self, source: str) -> tuple[int, int] | None:
        """The next range (first, end) that ``source`` is to give; None while there is none for it."""
        for piece in self._pieces:
            if piece.taken_by is None and piece.blocks is None and self._may(source, piece):
                piece.taken_by = source
                return piece.first, min(piece.end, self._sizes[source])
        return None

    def gave(self, source: str, first: int, blocks: Blocks) -> None:
        """What ``source`` gave for the range that begins at ``first``: whole, its beginning, or nothing."""
        piece = self._piece(source, first)
        if piece is None:
            return
        if blocks:
            piece.blocks = blocks[: piece.end - piece.first]
        else:
            piece.taken_by = None
            piece.tried.add(source)

    @property
    def sources(self) -> tuple[str, ...]:
        """Those who may still be asked."""
        return tuple(self._sizes)

    def gone(self, source: str) -> None:
        """``source`` gives nothing any more: it is asked no more. Nothing may be under way from it."""
        self._sizes.pop(source, None)

    def _piece(self, source: str, first: int) -> _Piece | None:
        for piece in self._pieces:
            if piece.first == first and piece.taken_by == source:
                return piece
        return None

    def ready(self) -> tuple[str, int, Blocks] | None:
        """(source, first, blocks) of the next piece in order, once it is here."""
        if not self._pieces:
            return None
        piece = self._pieces[0]
        if piece.blocks is None or piece.taken_by is None:
            return None
        return piece.taken_by, piece.first, piece.blocks

    def accepted(self) -> None:
        """What ``ready`` gave is kept."""
        piece = self._pieces[0]
        piece.first += len(piece.blocks or ())
        piece.blocks, piece.taken_by = None, None
        if piece.first >= piece.end:
            self.skip()

    def skip(self) -> None:
        """Go on behind the next piece: it is kept, or nobody gives it and it is left out."""
        del self._pieces[0]
        self._cut_ahead()

    def rejected(self) -> None:
        """What ``ready`` gave does not prove itself: another source is asked."""
        piece = self._pieces[0]
        if piece.taken_by is not None:
            piece.tried.add(piece.taken_by)
        piece.blocks, piece.taken_by = None, None


# ---- which logs there are --------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Holders:
    """One log as the sources speak of it: who holds how much, what was cosigned or signed, and who names it."""

    sizes: dict[str, int] = field(default_factory=dict)
    reports: list[tuple[str, HeadReport]] = field(default_factory=list)
    named: Head | None = None


class Found:
    """Every log of one box that any source holds or any epoch's start names."""

    def __init__(self, box: str) -> None:
        self.box = box
        self.logs: dict[LogId, Holders] = {}
        self.firsts: dict[LogId, Header] = {}

    def hold(self, source: str, log: LogId, size: int) -> None:
        """``source`` says that it holds so much of ``log``."""
        if log.box == self.box and size:
            held = self.logs.setdefault(log, Holders())
            held.sizes[source] = max(size, held.sizes.get(source, 0))

    def report(self, source: str, report: HeadReport) -> None:
        """A peer's own word about a log's head."""
        if report.head.log.box == self.box and report.head.size:
            self.hold(source, report.head.log, report.head.size)
            self.word(source, report)

    def word(self, source: str, report: HeadReport) -> None:
        """What ``source`` cosigned of a log, where it is known already how much it holds."""
        if report.head.log.box == self.box and report.head.size:
            self.logs.setdefault(report.head.log, Holders()).reports.append((source, report))

    def begins(self, first: Header, everybody: Iterable[str]) -> None:
        """A log's first block: what it continues and names is looked for at every source, even if none spoke of it."""
        self.firsts[first.log] = first
        for head in linked_heads(first):
            if head.log.box != self.box or not head.size:
                continue
            held = self.logs.setdefault(head.log, Holders())
            if held.named is None or held.named.size < head.size:
                held.named = head
            for source in everybody:
                held.sizes.setdefault(source, head.size)

    def unread(self) -> list[LogId]:
        """Logs whose first block was not seen yet."""
        return [log for log in self.logs if log not in self.firsts]

    def in_order(self) -> list[LogId]:
        """The logs whose beginning is known, oldest first."""
        return sorted(self.firsts, key=lambda log: (self.firsts[log].closed_ns, log))


# ---- what must be true ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Proven:
    """What verified words say of one log: roots by size that its blocks must have, and certificates to keep."""

    roots: Mapping[int, bytes]
    certificates: Mapping[int, Certificate]
    witnessed_size: int


Words = dict[tuple[int, bytes], dict[str, tuple[int, bytes]]]


def prove_heads(manifest: Manifest, log: LogId, holders: Holders, kept: Iterable[Certificate] = ()) -> Proven:
    """Check every signature among the reports and in the certificates that are ``kept`` here.

    A root binds when w peers cosigned it, or the box itself signed it.
    """
    peers = {box.id: box.signing_public for box in manifest.peers_of(log.box)}
    public, needed = manifest.box(log.box).signing_public, manifest.quorum_of(log.box).witnessed
    signed: dict[tuple[int, bytes], bytes] = {}
    words: Words = {}
    for size, root, signature, cosignatures in _claims(holders, kept):
        checkpoint = Checkpoint(log.origin(manifest.site), size, root)
        if checkpoint_signature_is_valid(public, checkpoint, signature):
            signed[size, root] = signature
        for sender, time_s, cosignature in cosignatures:
            if sender in peers and cosignature_is_valid(peers[sender], checkpoint, time_s, cosignature):
                words.setdefault((size, root), {})[sender] = (time_s, cosignature)
    roots = dict(signed.keys())
    roots.update({size: root for (size, root), by in words.items() if needed and len(by) >= needed})
    certificates = {
        size: Certificate(size, root, signature, _cosignatures(words.get((size, root), {})))
        for (size, root), signature in signed.items()
        if roots[size] == root
    }
    furthest: dict[str, int] = {}
    for (size, _), by in words.items():
        furthest.update({peer: max(size, furthest.get(peer, 0)) for peer in by})
    sizes = sorted(furthest.values(), reverse=True)
    return Proven(roots, certificates, sizes[needed - 1] if needed and len(sizes) >= needed else 0)


def _claims(
    holders: Holders, kept: Iterable[Certificate]
) -> Iterator[tuple[int, bytes, bytes, tuple[tuple[str, int, bytes], ...]]]:
    """(size, root, the writer's signature, cosignatures), nothing of it checked."""
    for sender, report in holders.reports:
        word = (sender, report.cosigned_s, report.cosignature)
        yield report.head.size, report.head.root, report.checkpoint_signature, (word,)
    for certificate in kept:
        yield certificate.size, certificate.root, certificate.log_signature, certificate.cosignatures


def _cosignatures(words: Mapping[str, tuple[int, bytes]]) -> tuple[tuple[str, int, bytes], ...]:
    return tuple((peer, time_s, signature) for peer, (time_s, signature) in sorted(words.items()))


class LogBuilder:
    """Verifies one log's pieces in order, and says what to store. ``replica`` is what the target holds already;
    ``before`` the manifest of the log that it continues, when that is another. ``lacking``: blocks kept without
    their payload.
    """

    def __init__(
        self, replica: Replica, manifests: Mapping[bytes, Manifest], proven: Proven, before: Manifest | None = None
    ) -> None:
        self.replica = replica
        self.signatures = 0
        self.roots = 0
        self.lacking: list[int] = []
        self._manifests = manifests
        self._proven = proven
        self._before = before

    def take(self, first: int, blocks: Blocks) -> list[Op]:
        """The operations that keep this piece.

        Raises VerificationFailed or PeerFault when it does not prove itself; nothing of it is kept then.
        """
        replica, log = self.replica, self.replica.log
        if first != replica.size or not blocks:
            raise PeerFault("range.unasked", "a source sent blocks that were not asked for")
        ops: list[Op] = []
        lacking: list[int] = []
        frontier, last_leaf = replica.frontier.copy(), replica.last_leaf
        keyframe_seq, keyframes, roots = replica.keyframe_seq, list(replica.keyframes), 0
        leaves = [leaf_hash(signed_header) for signed_header, _ in blocks]
        headers = self._headers(first, blocks, [last_leaf, *leaves])
        if not header_signature_is_valid(blocks[-1][0], self._public()):
            raise VerificationFailed("block.bad-signature", f"a block of {log} is not signed by {log.box}")
        for header, (_, payload) in zip(headers, blocks, strict=True):
            check_payload(log, header, payload)
        if first == 0:
            self._check_first(decode_signed_header(blocks[0][0]))
            ops.append(OpenLog(log, replica.manifest_hash))
        for seq, (header, leaf, (signed_header, payload)) in enumerate(
            zip(headers, leaves, blocks, strict=True), first
        ):
            if header.payload_bytes and not payload:
                lacking.append(seq)
            if header.keyframe_seq == seq:
                keyframe_seq = seq
                keyframes.append((seq, frontier.encode()))
            frontier.append(leaf)
            root = self._proven.roots.get(seq + 1)
            if root is not None:
                roots += 1
                self._check_root(frontier, root)
            ops.append(AppendBlock(log, seq, signed_header, payload, has_notices=bool(header.notices)))
        for header in headers:
            if header.notices or header.key_id not in replica.cases.key_ids:
                ops += replica.cases.note(header)
        last_leaf = leaves[-1]
        self.signatures += 1
        self.roots += roots
        self.lacking += lacking
        replica.frontier, replica.last_leaf, replica.keyframe_seq = frontier, last_leaf, keyframe_seq
        replica.keyframes.extend(keyframes[-replica.keyframes.maxlen :] if replica.keyframes.maxlen else ())
        replica.closed_ns, replica.durable_size = header.closed_ns, frontier.size
        replica.recent.clear()
        certificate = self._proven.certificates.get(frontier.size)
        signature = certificate.log_signature if certificate is not None else b""
        replica.recent.append(Recent(frontier.size, frontier.root(), last_leaf, signature))
        ops.append(self._derived(first))
        return ops

    def _derived(self, before: int) -> PutDerived:
        derived = self.replica.derived(None)
        rows = tuple(
            CheckpointRow(size, certificate.encode())
            for size, certificate in sorted(self._proven.certificates.items())
            if before < size <= self.replica.size
        )
        return PutDerived(derived.log, derived.tip, checkpoints=rows, keyframes=derived.keyframes)

    def _public(self) -> bytes:
        return self._manifests[self.replica.manifest_hash].box(self.replica.log.box).signing_public

    def _headers(self, first: int, blocks: Blocks, leaves_before: Iterable[bytes]) -> list[AnyHeader]:
        """Each at its place and linked to the leaf before it."""
        log, headers = self.replica.log, []
        for seq, ((signed_header, _), leaf_before) in enumerate(zip(blocks, leaves_before, strict=False), first):
            header = header_at(log, seq, signed_header)
            if header is None or header.manifest_hash != self.replica.manifest_hash:
                raise VerificationFailed("restore.other-block", f"another block was sent in place of {seq:,} of {log}")
            if header.previous_leaf != leaf_before:
                raise VerificationFailed("block.broken-link", f"block {seq:,} of {log} does not link to the one before")
            headers.append(header)
        return headers

    def _check_root(self, frontier: Frontier, root: bytes) -> None:
        if frontier.root() != root:
            log = self.replica.log
            raise VerificationFailed(
                "restore.root", f"the root of {log} at {frontier.size:,} is not the one that was signed or cosigned",
                f"{log.box} may have signed two histories: orledger verify {log.box}",
            )  # fmt: skip

    def _check_first(self, header: Header) -> None:
        if not begins_lawfully(header, self._manifests[header.manifest_hash], self._before):
            raise VerificationFailed("log.no-start", f"{header.log} does not begin with a lawful start notice")


def begins_lawfully(header: Header, manifest: Manifest, before: Manifest | None) -> bool:
    """True for a lawful first block: a start notice, with the promises that its epoch needs when it is fenced.

    ``before`` is the manifest of the log it continues, when that is another. Raises PeerFault ``epoch.*`` saying what
    is wrong with the promises.
    """
    start = next((notice for notice in header.notices if isinstance(notice, Start)), None)
    if start is None or any(header.previous_leaf):
        return False
    if not header.log.fenced:
        return not start.promises and start.parent is None
    check_start(header, start, manifest, before)
    return True


def header_at(log: LogId, seq: int, signed_header: bytes) -> AnyHeader | None:
    """The header inside if it is that of block ``seq`` of ``log``, its signature NOT checked. Raises PeerFault."""
    plain = plain_header(signed_header)
    if plain is not None:
        return plain if plain.stands_at(log, seq) else None
    header = decode_signed_header(signed_header)
    return header if header.log == log and header.seq == seq else None


def check_payload(log: LogId, header: AnyHeader, payload: bytes) -> None:
    """Raise VerificationFailed unless a payload, where there is one, is what the header signed."""
    if payload and (len(payload) != header.payload_bytes or payload_hash(payload) != header.payload_hash):
        raise VerificationFailed("block.bad-payload", f"payload of block {header.seq:,} of {log} is not what it signed")


def fill(log: LogId, header: AnyHeader, signed_header: bytes, given: tuple[bytes, bytes]) -> FillPayload | None:
    """The operation that gives a kept block the payload it lacks; None when this source does not hold it either.

    Raises VerificationFailed when what it gave is another block or payload.
    """
    other_header, payload = given
    if other_header != signed_header:
        raise VerificationFailed("restore.other-block", f"another block was sent in place of {header.seq:,}")
    if not payload:
        return None
    check_payload(log, header, payload)
    return FillPayload(log, header.seq, payload)
