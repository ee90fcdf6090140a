"""Rebuilds a box's logs in a folder of this machine from every source at once; one thread per source fetches, this one
verifies and commits. The rules are ``ledger.rebuild``'s.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

from agent.rebuild_fetching import Fetching
from agent.rebuild_sources import OwnStore, Source, fault_text
from agent.rebuild_summary import Built, Expired, Missing, Refused, Summary
from agent.rebuild_target import Target
from ledger.audit import CHUNK_BLOCKS
from ledger.block import Header, decode_signed_header, header_signature_is_valid
from ledger.certificate import Certificate
from ledger.errors import OrledgerError, PeerFault, VerificationFailed
from ledger.log import LogId
from ledger.manifest import Manifest
from ledger.notices import Start
from ledger.ops import Op
from ledger.rebuild import Found, LogBuilder, begins_lawfully, fill, header_at, prove_heads
from ledger.rebuild_shares import PIECE_BLOCKS, Blocks, Shares
from ledger.replica import Replica
from ledger.selection import AnyHeader, Selection, cases_of
from ledger.start import VersionOf

_PRUNED = "block.pruned"


Progress = Callable[[int, int], None]
Durable = Callable[[LogId, int], None]
"""Told (log, number) of each of the audit's chunks once it is whole, durable, and will not change."""
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
        durable: Durable = lambda _log, _number: None,
    ) -> None:
        self._box = box
        self._target = target
        self._sources = {source.name: source for source in sources}
        self._manifests = manifests
        self._progress = progress
        self._durable = durable
        self._done = 0
        self._total = 0
        self.summary = Summary()

    def run(self, found: Found, kept: Callable[[LogId], Iterable[Certificate]], selection: Selection) -> Summary:
        """All headers of the logs that the selection concerns, and the payloads it means.

        Raises StoreFault when the folder cannot be written.
        """
        self._find_beginnings(found)
        concerned = {log: self._concerns(selection, found, log) for log in found.in_order()}
        logs = [log for log, is_concerned in concerned.items() if is_concerned]
        self.summary.skipped += [log for log, is_concerned in concerned.items() if not is_concerned]
        self._total = sum(max(found.logs[log].sizes.values(), default=0) for log in logs)
        for log in logs:
            self._log(found, log, kept(log), selection)
        for log in found.unread():
            holders = found.logs[log]
            claimed = holders.named.size if holders.named is not None else max(holders.sizes.values(), default=0)
            last = self._header(found, log, claimed - 1) if claimed else None
            if last is not None:
                self.summary.expired.append(Expired(log, claimed, last.closed_ns))
            else:
                self._miss(log, 0, claimed, "no source gave a first block that proves itself")
        self._target.flush()
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

    def _concerns(self, selection: Selection, found: Found, log: LogId) -> bool:
        """False only when the log is known to hold nothing of the selection."""
        if selection.to_ns is not None and found.firsts[log].closed_ns >= selection.to_ns:
            return False
        size = max(found.logs[log].sizes.values(), default=0)
        if selection.from_ns is not None:
            last = self._header(found, log, size - 1)
            if last is not None and last.closed_ns < selection.from_ns:
                return False
        return selection.case_id is None or self._may_hold_case(selection.case_id, log, size)

    def _may_hold_case(self, case_id: bytes, log: LogId, size: int) -> bool:
        """Looked up where this box holds the whole log itself; else its headers must be fetched to know."""
        own = next((source for source in self._sources.values() if isinstance(source, OwnStore)), None)
        if own is None or own.length(log) < size:
            return True
        holds = False
        for seq, signed_header in enumerate(own.headers(log)):
            try:
                header = header_at(log, seq, signed_header)
            except PeerFault:
                return True  # damaged here: what it says is for the others to tell
            cases = cases_of(header) if header is not None else set()
            self.summary.met(cases)
            holds = holds or case_id in cases
        return holds

    # ---- one log -----------------------------------------------------------------------------------------------

    def _log(self, found: Found, log: LogId, kept: Iterable[Certificate], selection: Selection) -> None:
        holders, first = found.logs[log], found.firsts[log]
        proven = prove_heads(self._manifests[first.manifest_hash], log, holders, kept)
        replica = self._target.replicas.setdefault(log, Replica(log, first.manifest_hash))
        built = Built(log, replica, replica.size, proven.witnessed_size)
        self.summary.logs.append(built)
        self._done += replica.size
        builder = LogBuilder(replica, self._manifests, proven, self._before(found, first), self._versions(found))
        sizes = {name: size for name, size in holders.sizes.items() if name in self._sources}
        end = max((*proven.roots, *((holders.named.size,) if holders.named is not None else ()), 0))
        shares = Shares(replica.size, sizes, wants_payloads=selection.is_everything)
        self._fetch(built, builder, shares, headers_only=not selection.is_everything)
        self.summary.signatures += builder.signatures
        self.summary.roots += builder.roots
        if replica.size < end:
            self._miss(log, replica.size, end, "no source that answered gave them whole")
        if built.had == 0 and selection.is_everything:
            self.summary.meant += replica.size
            thin: Sequence[int] = builder.lacking
        else:
            thin = self._thin(built, selection)
        self._fill(log, thin, sizes)

    def _before(self, found: Found, first: Header) -> Manifest | None:
        """The manifest of the log that this epoch continues, when that is another."""
        parent = next((notice.parent for notice in first.notices if isinstance(notice, Start)), None)
        before = found.firsts.get(parent.log) if parent is not None else None
        if before is None or before.manifest_hash == first.manifest_hash:
            return None
        return self._manifests.get(before.manifest_hash)

    def _versions(self, found: Found) -> VersionOf:
        """Which manifest each log is bound to, as far as its first block was seen."""

        def version_of(log: LogId) -> int | None:
            first = found.firsts.get(log)
            return self._manifests[first.manifest_hash].version if first is not None else None

        return version_of

    def _fetch(self, built: Built, builder: LogBuilder, shares: Shares, *, headers_only: bool) -> None:
        told = -(-built.had // CHUNK_BLOCKS)

        def keep(first: int, blocks: Blocks) -> None:
            nonlocal told
            ops = builder.take(first, blocks)
            whole = range(told, built.replica.size // CHUNK_BLOCKS)
            chunks = [] if headers_only else [number for number in whole if not _lacks(builder.lacking, number)]
            told = max(told, whole.stop)
            self._target.commit(ops, partial(self._tell, built.log, chunks))
            self._done += len(blocks)
            self.summary.payloads += sum(1 for _, payload in blocks if payload)

        self._drive(built.log, shares, keep, headers_only=headers_only)
        self._target.flush()

    def _tell(self, log: LogId, chunks: Iterable[int]) -> None:
        for number in chunks:
            self._durable(log, number)

    def _drive(
        self, log: LogId, shares: Shares, keep: _Handle, *, headers_only: bool, skip_what_nobody_gives: bool = False
    ) -> None:
        """Fetch with one thread per source until all is kept or nobody can give more."""
        fetching = Fetching(shares)
        for name in shares.sources:
            fetching.start(self._sources[name], log, headers_only=headers_only, refuse=self._refuse)
        try:
            while True:
                ready = fetching.next()
                if ready is None:
                    if skip_what_nobody_gives and fetching.skip():
                        continue
                    return
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

    def _thin(self, built: Built, selection: Selection) -> list[int]:
        """Blocks of the selection whose payload is not in the folder; those left out on purpose are counted."""
        lacking = bytearray(built.replica.size)
        looks_for_case = selection.case_id is not None

        def headers() -> Iterator[AnyHeader]:
            for seq, signed_header, payload in self._target.store.blocks(built.log, 0, built.replica.size):
                header = _own_header(built.log, seq, signed_header)
                if header.payload_bytes and not payload:
                    lacking[seq] = 1
                if looks_for_case:
                    self.summary.met(cases_of(header))
                yield header

        chosen = []
        for each in selection.choose(headers()):
            self.summary.meant += each.is_meant
            chosen.append(each.seq)
        thin = [seq for seq in chosen if lacking[seq]]
        built.left_out = lacking.count(1) - len(thin)
        self._total += len(thin)
        return thin

    def _fill(self, log: LogId, thin: Sequence[int], sizes: Mapping[str, int]) -> None:
        """Payloads that the first source did not hold, from the others; what nobody holds is told."""
        for wanted in _runs(thin):
            first, end = wanted[0], wanted[-1] + 1
            shares = Shares(first, {name: min(size, end) for name, size in sizes.items() if size > first})
            meant = frozenset(wanted)
            keep = partial(self._keep_payloads, log, meant)
            self._drive(log, shares, keep, headers_only=False, skip_what_nobody_gives=True)
            self._target.flush()
            blocks = self._target.store.blocks(log, first, end)
            left = [block.seq for block in blocks if not block.payload and block.seq in meant]
            if left:
                why = "payloads were pruned at every source that answered (older than the retention, or full disks)"
                self._miss(log, left[0], left[-1] + 1, why)

    def _keep_payloads(self, log: LogId, wanted: frozenset[int], first: int, blocks: Blocks) -> None:
        self._target.flush()
        held = list(self._target.store.blocks(log, first, first + len(blocks)))
        ops: list[Op] = []
        lacking = 0
        for mine, given in zip(held, blocks, strict=True):
            if mine.payload or mine.seq not in wanted:
                continue
            op = fill(log, _own_header(log, mine.seq, mine.signed_header), mine.signed_header, given)
            lacking += op is None
            ops += [op] if op is not None else []
        self._target.commit(ops)
        self.summary.payloads += len(ops)
        self._done += len(ops)
        if lacking:
            raise PeerFault(_PRUNED, f"{lacking} payloads are not held there")

    # ---- telling -----------------------------------------------------------------------------------------------

    def _refuse(self, name: str, log: LogId, seq: int, fault: OrledgerError) -> None:
        if fault.id != _PRUNED:  # nothing wrong with that: another source may hold them still
            self.summary.refused.append(Refused(name, log, seq, fault_text(fault)))

    def _miss(self, log: LogId, first: int, end: int, why: str) -> None:
        self.summary.missing.append(Missing(log, first, end, why))


def _own_header(log: LogId, seq: int, signed_header: bytes) -> AnyHeader:
    """A header that this rebuild kept, read again."""
    header = header_at(log, seq, signed_header)
    if header is None:
        raise VerificationFailed("restore.other-block", f"the folder holds another block in place of {seq:,} of {log}")
    return header


def _lacks(lacking: Sequence[int], chunk: int) -> bool:
    """True when one of these blocks, in order, is of that chunk of the audit."""
    at = bisect_left(lacking, chunk * CHUNK_BLOCKS)
    return at < len(lacking) and lacking[at] < (chunk + 1) * CHUNK_BLOCKS


def _runs(seqs: Sequence[int]) -> Iterator[list[int]]:
    """These numbers in runs with gaps of less than a piece within them."""
    run: list[int] = []
    for seq in seqs:
        if run and seq - run[-1] >= PIECE_BLOCKS:
            yield run
            run = []
        run.append(seq)
    if run:
        yield run
