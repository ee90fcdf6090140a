"""Rebuilding a box's logs from several sources at once: which logs there are, and what is proved before a
block is kept. Who gives which range: ``ledger.rebuild_shares``.

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
from ledger.ops import AppendRun, CheckpointRow, FillPayload, Op, OpenLog, PutDerived
from ledger.plain_header import PlainHeader, plain_header, plain_run
from ledger.rebuild_shares import Blocks
from ledger.replica import KEYFRAMES_KEPT, Recent, Replica
from ledger.start import VersionOf, check_start, linked_heads, no_version
from ledger.tree import Frontier, leaf_hash

AnyHeader = Header | PlainHeader


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
        self, replica: Replica, manifests: Mapping[bytes, Manifest], proven: Proven, before: Manifest | None = None,
        version_of: VersionOf = no_version,
    ) -> None:  # fmt: skip
        self.replica = replica
        self.signatures = 0
        self.roots = 0
        self.lacking: list[int] = []
        self._manifests = manifests
        self._proven = proven
        self._before = before
        self._version_of = version_of

    def take(self, first: int, blocks: Blocks) -> list[Op]:
        """The operations that keep this piece.

        Raises VerificationFailed or PeerFault when it does not prove itself; nothing of it is kept then.
        """
        replica, log = self.replica, self.replica.log
        if first != replica.size or not blocks:
            raise PeerFault("range.unasked", "a source sent blocks that were not asked for")
        leaves = [leaf_hash(signed_header) for signed_header, _ in blocks]
        headers = self._headers(first, blocks, leaves)
        if not header_signature_is_valid(blocks[-1][0], self._public()):
            raise VerificationFailed("block.bad-signature", f"a block of {log} is not signed by {log.box}")
        self._check_payloads(headers, blocks)
        if first == 0:
            self._check_first(decode_signed_header(blocks[0][0]))
        frontier, keyframes, roots = self._grown(headers, leaves)
        ops: list[Op] = [OpenLog(log, replica.manifest_hash)] if first == 0 else []
        with_notices = [header for header in headers if isinstance(header, Header) and header.notices]
        ops.append(AppendRun(log, first, blocks, frozenset(header.seq for header in with_notices)))
        if with_notices or replica.cases.are_changed_by(headers):
            for header in headers:
                ops += replica.cases.note(header)
        self.signatures += 1
        self.roots += roots
        self.lacking += [
            header.seq
            for header, (_, payload) in zip(headers, blocks, strict=True)
            if header.payload_bytes and not payload
        ]
        replica.keyframes.extend(keyframes)
        replica.keyframe_seq = keyframes[-1][0] if keyframes else replica.keyframe_seq
        self._move(headers[-1], frontier, leaves[-1])
        ops.append(self._derived(first))
        return ops

    def _grown(
        self, headers: Sequence[AnyHeader], leaves: Sequence[bytes]
    ) -> tuple[Frontier, list[tuple[int, bytes]], int]:
        """The tree's edge behind these blocks, what it was before the newest keyframes of theirs, and how many roots
        were right on the way. Raises VerificationFailed when one was not.
        """
        frontier, roots = self.replica.frontier.copy(), 0
        first, end = frontier.size, frontier.size + len(leaves)
        keyframes = [header.seq for header in headers if header.keyframe_seq == header.seq][-KEYFRAMES_KEPT:]
        bound = {size for size in self._proven.roots if first < size <= end}
        before: list[tuple[int, bytes]] = []
        for size in sorted({*keyframes, *bound, end}):
            frontier.extend(leaves[frontier.size - first : size - first])
            if size in bound:
                roots += 1
                self._check_root(frontier, self._proven.roots[size])
            if len(before) < len(keyframes) and size == keyframes[len(before)]:
                before.append((size, frontier.encode()))
        return frontier, before, roots

    def _move(self, last: AnyHeader, frontier: Frontier, last_leaf: bytes) -> None:
        """The replica's head is behind ``last`` from here on."""
        replica = self.replica
        replica.frontier, replica.last_leaf = frontier, last_leaf
        replica.closed_ns, replica.durable_size = last.closed_ns, frontier.size
        replica.recent.clear()
        certificate = self._proven.certificates.get(frontier.size)
        signature = certificate.log_signature if certificate is not None else b""
        replica.recent.append(Recent(frontier.size, frontier.root(), last_leaf, signature, replica.keyframe_seq))

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

    def _headers(self, first: int, blocks: Blocks, leaves: Sequence[bytes]) -> Sequence[AnyHeader]:
        """Each at its place and linked to the leaf before it."""
        log, manifest_hash, leaf_before = self.replica.log, self.replica.manifest_hash, self.replica.last_leaf
        run = plain_run([signed_header for signed_header, _ in blocks], log, first, manifest_hash)
        if run is not None and [header.previous_leaf for header in run] == [leaf_before, *leaves[:-1]]:
            return run
        headers: list[AnyHeader] = []
        for seq, ((signed_header, _), leaf) in enumerate(zip(blocks, leaves, strict=True), first):
            header = header_at(log, seq, signed_header)
            if header is None or header.manifest_hash != manifest_hash:
                raise VerificationFailed("restore.other-block", f"another block was sent in place of {seq:,} of {log}")
            if header.previous_leaf != leaf_before:
                raise VerificationFailed("block.broken-link", f"block {seq:,} of {log} does not link to the one before")
            headers.append(header)
            leaf_before = leaf
        return headers

    def _check_payloads(self, headers: Sequence[AnyHeader], blocks: Blocks) -> None:
        """All at once; one by one where something is missing or wrong."""
        stated = [(header.payload_bytes, header.payload_hash) for header in headers]
        if stated != [(len(payload), payload_hash(payload)) for _, payload in blocks]:
            for header, (_, payload) in zip(headers, blocks, strict=True):
                check_payload(self.replica.log, header, payload)

    def _check_root(self, frontier: Frontier, root: bytes) -> None:
        if frontier.root() != root:
            log = self.replica.log
            raise VerificationFailed(
                "restore.root", f"the root of {log} at {frontier.size:,} is not the one that was signed or cosigned",
                f"{log.box} may have signed two histories: orledger verify {log.box}",
            )  # fmt: skip

    def _check_first(self, header: Header) -> None:
        if not begins_lawfully(header, self._manifests[header.manifest_hash], self._before, self._version_of):
            raise VerificationFailed("log.no-start", f"{header.log} does not begin with a lawful start notice")


def begins_lawfully(
    header: Header, manifest: Manifest, before: Manifest | None, version_of: VersionOf = no_version
) -> bool:
    """True for a lawful first block: a start notice, with the promises that its epoch needs when it is fenced.

    ``before`` is the manifest of the log it continues, when that is another. Raises PeerFault ``epoch.*`` saying what
    is wrong with the promises.
    """
    start = next((notice for notice in header.notices if isinstance(notice, Start)), None)
    if start is None or any(header.previous_leaf):
        return False
    if not header.log.fenced:
        return not start.promises and start.parent is None
    check_start(header, start, manifest, before, version_of)
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
