"""Rebuilds a box's logs in a folder of this machine from every source at once; one thread per source fetches, this one
verifies and commits. The rules are ``ledger.rebuild``'s.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from agent.rebuild_sources import Source, fault_text
from agent.rebuild_target import Target
from ledger.block import Header, decode_signed_header, header_signature_is_valid
from ledger.certificate import Certificate
from ledger.errors import OrledgerError, OurFault, PeerFault, VerificationFailed
from ledger.log import LogId
from ledger.manifest import Manifest
from ledger.notices import Start
from ledger.ops import Op
from ledger.rebuild import (
    PIECE_BLOCKS,
    Blocks,
    Found,
    LogBuilder,
    Shares,
    begins_lawfully,
    fill,
    prove_heads,
)
from ledger.replica import Replica

_REFUSALS_TOLD = 64
_EMPTY_ANSWERS = 3
_PRUNED = "block.pruned"


@dataclass(frozen=True, slots=True)
class Span:
    """Blocks closed from ``from_ns`` to before ``to_ns`` (UTC); None is open."""

    from_ns: int | None = None
    to_ns: int | None = None

    @property
    def is_everything(self) -> bool:
        """True when nothing is left out."""
        return self.from_ns is None and self.to_ns is None

    def holds(self, closed_ns: int) -> bool:
        """True for a block closed within."""
        after = self.from_ns is None or closed_ns >= self.from_ns
        return after and (self.to_ns is None or closed_ns < self.to_ns)


@dataclass(frozen=True, slots=True)
class Refused:
    """What a source gave and was not kept."""

    source: str
    log: LogId
    seq: int
    why: str


@dataclass(frozen=True, slots=True)
class Missing:
    """Blocks ``first`` to ``end`` - 1 that are not there now, or only their headers."""

    log: LogId
    first: int
    end: int
    why: str


@dataclass(slots=True)
class Built:
    """One log as it stands in the folder now."""

    log: LogId
    replica: Replica
    had: int
    witnessed: int = 0


@dataclass(slots=True)
class Summary:
    """What a rebuild did."""

    logs: list[Built] = field(default_factory=list)
    given: Counter[str] = field(default_factory=Counter)
    refused: deque[Refused] = field(default_factory=lambda: deque(maxlen=_REFUSALS_TOLD))
    missing: list[Missing] = field(default_factory=list)
    signatures: int = 0
    roots: int = 0
    payloads: int = 0

    @property
    def blocks(self) -> int:
        """Blocks in the folder now."""
        return sum(built.replica.size for built in self.logs)


Progress = Callable[[int, int], None]
_Handle = Callable[[int, Blocks], None]


class Rebuild:
    """One box's logs, found and fetched anew, or from where an earlier rebuild ended."""

    def __init__(
        self,
        box: str,
        target: Target,
        sources: Sequence[Source],
        manifests: Mapping[bytes, Manifest],
        progress: Progress,
    ) -> None:
        self._box = box
        self._target = target
        self._sources = {source.name: source for source in sources}
        self._manifests = manifests
        self._progress = progress
        self._done = 0
        self._total = 0
        self.summary = Summary()

    def run(self, found: Found, kept: Callable[[LogId], Iterable[Certificate]], span: Span) -> Summary:
        """Everything that is held anywhere. Raises StoreFault when the folder cannot be written."""
        self._find_beginnings(found)
        logs = [log for log in found.in_order() if self._is_wanted(found, log, span)]
        self._total = sum(max(found.logs[log].sizes.values(), default=0) for log in logs)
        for log in logs:
            self._log(found, log, kept(log), span)
        for log in found.unread():
            holders = found.logs[log]
            claimed = holders.named.size if holders.named is not None else max(holders.sizes.values(), default=0)
            self._miss(log, 0, claimed, "no source gave a first block that proves itself")
        return self.summary

    # ---- finding -----------------------------------------------------------------------------------------------

    def _find_beginnings(self, found: Found) -> None:
        """First blocks of all logs: each epoch's start names what it continues, back to the first."""
        asked: set[LogId] = set()
        while fresh := [log for log in found.unread() if log not in asked]:
            for log in fresh:
                asked.add(log)
                first = self._header(found, log, 0)
                if first is not None:
                    found.begins(first, self._sources)

    def _header(self, found: Found, log: LogId, seq: int) -> Header | None:
        """One block's signed header, from whichever source gives a true one."""
        for name, size in found.logs[log].sizes.items():
            if name not in self._sources or size <= seq:
                continue
            try:
                blocks = self._sources[name].blocks(log, seq, seq + 1, headers_only=True)
                if blocks:
                    return self._checked(log, seq, blocks[0][0])
            except OrledgerError as fault:
                self._refuse(name, log, seq, fault)
        return None

    def _checked(self, log: LogId, seq: int, signed_header: bytes) -> Header:
        header = decode_signed_header(signed_header)
        manifest = self._manifests.get(header.manifest_hash)
        if manifest is None:
            raise PeerFault("manifest.unknown", f"{log} is bound to a manifest that this box does not hold")
        public = manifest.box(log.box).signing_public
        if (header.log, header.seq) != (log, seq) or not header_signature_is_valid(signed_header, public):
            raise VerificationFailed("block.bad-signature", f"block {seq:,} of {log} is not what {log.box} signed")
        if seq == 0 and not begins_lawfully(header, manifest, None):
            raise VerificationFailed("log.no-start", f"{log} does not begin with a lawful start notice")
        return header

    def _is_wanted(self, found: Found, log: LogId, span: Span) -> bool:
        if span.to_ns is not None and found.firsts[log].closed_ns >= span.to_ns:
            return False
        if span.from_ns is None:
            return True
        last = self._header(found, log, max(found.logs[log].sizes.values(), default=0) - 1)
        return last is None or last.closed_ns >= span.from_ns

    # ---- one log -----------------------------------------------------------------------------------------------

    def _log(self, found: Found, log: LogId, kept: Iterable[Certificate], span: Span) -> None:
        holders, first = found.logs[log], found.firsts[log]
        proven = prove_heads(self._manifests[first.manifest_hash], log, holders, kept)
        replica = self._target.replicas.get(log) or Replica(log, first.manifest_hash)
        built = Built(log, replica, replica.size, proven.witnessed_size)
        self.summary.logs.append(built)
        self._done += replica.size
        builder = LogBuilder(replica, self._manifests, proven, self._before(found, first))
        sizes = {name: size for name, size in holders.sizes.items() if name in self._sources}
        end = max((*proven.roots, *((holders.named.size,) if holders.named is not None else ()), 0))
        self._fetch(built, builder, Shares(replica.size, sizes), headers_only=not span.is_everything)
        self.summary.signatures += builder.signatures
        self.summary.roots += builder.roots
        if replica.size < end:
            self._miss(log, replica.size, end, "no source that answered gave them whole")
        thin = builder.lacking if built.had == 0 and span.is_everything else self._thin(log, span)
        self._fill(log, thin, sizes)

    def _before(self, found: Found, first: Header) -> Manifest | None:
        """The manifest of the log that this epoch continues, when that is another."""
        parent = next((notice.parent for notice in first.notices if isinstance(notice, Start)), None)
        before = found.firsts.get(parent.log) if parent is not None else None
        if before is None or before.manifest_hash == first.manifest_hash:
            return None
        return self._manifests.get(before.manifest_hash)

    def _fetch(self, built: Built, builder: LogBuilder, shares: Shares, *, headers_only: bool) -> None:
        def keep(first: int, blocks: Blocks) -> None:
            ops = builder.take(first, blocks)
            self._target.commit(ops)
            self._done += len(blocks)
            self.summary.payloads += sum(1 for _, payload in blocks if payload)

        self._drive(built.log, shares, keep, headers_only=headers_only)

    def _drive(self, log: LogId, shares: Shares, keep: _Handle, *, headers_only: bool) -> None:
        """Fetch with one thread per source until all is kept or nobody can give more."""
        fetching = _Fetching(shares)
        for name in shares.sources:
            fetching.start(self._sources[name], log, headers_only=headers_only, refuse=self._refuse)
        try:
            while (ready := fetching.next()) is not None:
                name, first, blocks = ready
                try:
                    keep(first, blocks)
                except (PeerFault, VerificationFailed) as fault:
                    self._refuse(name, log, first, fault)
                    fetching.rejected()
                    continue
                self.summary.given[name] += len(blocks)
                fetching.accepted()
                self._progress(self._done, self._total)
        finally:
            fetching.stop()

    # ---- payloads ----------------------------------------------------------------------------------------------

    def _thin(self, log: LogId, span: Span) -> list[int]:
        """Blocks within the span whose payload is not in the folder."""
        store, found = self._target.store, []
        for block in store.blocks(log, 0, store.length(log)):
            if block.payload:
                continue
            header = decode_signed_header(block.signed_header)
            if header.payload_bytes and span.holds(header.closed_ns):
                found.append(block.seq)
        return found

    def _fill(self, log: LogId, thin: Sequence[int], sizes: Mapping[str, int]) -> None:
        """Payloads that the first source did not hold, from the others; what nobody holds is told."""
        for first, end in _runs(thin):
            shares = Shares(first, {name: min(size, end) for name, size in sizes.items() if size > first})
            self._drive(log, shares, partial(self._keep_payloads, log), headers_only=False)
            left = list(self._lacking(log, first, end))
            if left:
                why = "payloads were pruned at every source that answered (older than the retention, or full disks)"
                self._miss(log, left[0], left[-1] + 1, why)

    def _keep_payloads(self, log: LogId, first: int, blocks: Blocks) -> None:
        held = list(self._target.store.blocks(log, first, first + len(blocks)))
        ops: list[Op] = []
        lacking = 0
        for mine, given in zip(held, blocks, strict=True):
            header = decode_signed_header(mine.signed_header)
            if mine.payload or not header.payload_bytes:
                continue
            op = fill(header, mine.signed_header, given)
            lacking += op is None
            ops += [op] if op is not None else []
        self._target.commit(ops)
        self.summary.payloads += len(ops)
        if lacking:
            raise PeerFault(_PRUNED, f"{lacking} payloads are not held there")

    def _lacking(self, log: LogId, first: int, end: int) -> Iterable[int]:
        for block in self._target.store.blocks(log, first, end):
            if not block.payload and decode_signed_header(block.signed_header).payload_bytes:
                yield block.seq

    # ---- telling -----------------------------------------------------------------------------------------------

    def _refuse(self, name: str, log: LogId, seq: int, fault: OrledgerError) -> None:
        if fault.id != _PRUNED:  # nothing wrong with that: another source may hold them still
            self.summary.refused.append(Refused(name, log, seq, fault_text(fault)))

    def _miss(self, log: LogId, first: int, end: int, why: str) -> None:
        self.summary.missing.append(Missing(log, first, end, why))


class _Fetching:
    """The threads that fetch one log's shares; every touch of ``shares`` is under one lock."""

    def __init__(self, shares: Shares) -> None:
        self._shares = shares
        self._changed = threading.Condition()
        self._stopped = False
        self._bug: Exception | None = None

    def start(
        self,
        source: Source,
        log: LogId,
        *,
        headers_only: bool,
        refuse: Callable[[str, LogId, int, OrledgerError], None],
    ) -> None:
        def work() -> None:
            empty = 0
            while empty < _EMPTY_ANSWERS and (wanted := self._take(source.name)) is not None:
                first, end = wanted
                blocks: Blocks = ()
                try:
                    blocks = source.blocks(log, first, end, headers_only=headers_only)
                except OrledgerError as fault:
                    refuse(source.name, log, first, fault)
                except Exception as bug:  # noqa: BLE001 - told by the thread that waits for these blocks
                    self._bug = bug
                empty = 0 if blocks else empty + 1
                self._gave(source.name, first, blocks, gone=empty == _EMPTY_ANSWERS)

        threading.Thread(target=work, name=f"rebuild-{source.name}", daemon=True).start()

    def _gave(self, name: str, first: int, blocks: Blocks, *, gone: bool) -> None:
        with self._changed:
            self._shares.gave(name, first, blocks)
            if gone:
                self._shares.gone(name)
            self._changed.notify_all()

    def _take(self, name: str) -> tuple[int, int] | None:
        with self._changed:
            while not self._stopped:
                wanted = self._shares.take(name)
                if wanted is not None:
                    return wanted
                self._changed.wait()
        return None

    def next(self) -> tuple[str, int, Blocks] | None:
        """The next piece in order; None once all is kept, or nobody can give more."""
        with self._changed:
            while True:
                if self._bug is not None:
                    raise OurFault("restore.bug", f"fetching failed: {self._bug!r}", "report this") from self._bug
                if (ready := self._shares.ready()) is not None:
                    return ready
                if self._shares.is_whole or self._shares.is_stuck:
                    return None
                self._changed.wait()

    def accepted(self) -> None:
        with self._changed:
            self._shares.accepted()
            self._changed.notify_all()

    def rejected(self) -> None:
        with self._changed:
            self._shares.rejected()
            self._changed.notify_all()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()


def _runs(seqs: Sequence[int]) -> Iterable[tuple[int, int]]:
    """Ranges (first, end) that hold these numbers, gaps of less than a piece within them, a piece each at most."""
    first: int | None = None
    last = 0
    for seq in seqs:
        if first is not None and seq - first >= PIECE_BLOCKS:
            yield first, last + 1
            first = None
        first = seq if first is None else first
        last = seq
    if first is not None:
        yield first, last + 1
