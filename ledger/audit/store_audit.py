"""The audit of a whole store: its facts, then log after log; a bad log does not keep the others from being checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ledger.audit.chunk import Checked, check_chunk
from ledger.audit.findings import AuditReport, Finding, LogReport, Severity, on_disk
from ledger.audit.log_audit import LogAudit, LogSource, begin_log
from ledger.audit.proofs import Proof, check_manifests, check_promises, read_proofs
from ledger.audit.task import Chunk, KeyFor
from ledger.block import decode_signed_header
from ledger.errors import OrledgerError, PeerFault, StoreFault
from ledger.log import LogId
from ledger.manifest import Manifest
from ledger.notices import Head, Start
from ledger.tree import Frontier
from ledger.writer import COUNTER

RunChunks = Callable[[Sequence[Chunk]], Iterable[Checked]]
"""Checks chunks, in their order; may do so side by side."""


class AuditSource(LogSource, Protocol):
    """What an audit reads of a store; everything may raise StoreFault."""

    def logs(self, box: str | None = None) -> list[tuple[LogId, bytes]]: ...

    def misplaced(self) -> list[str]: ...

    def manifests(self) -> list[tuple[int, bytes]]: ...

    def promises(self) -> dict[str, bytes]: ...

    def self_values(self) -> dict[str, bytes]: ...

    def cases(self) -> list[tuple[bytes, LogId, bytes]]: ...

    def tombs(self) -> dict[bytes, bytes]: ...

    def proofs(self) -> dict[bytes, bytes]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """``box``: only its logs. ``every_signature``: else only each log's first and last. ``progress``: told the blocks
    checked and the blocks to check. ``clock``: seconds, for the report alone.
    """

    box: str | None = None
    every_signature: bool = True
    progress: Callable[[int, int], None] = lambda _done, _total: None
    clock: Callable[[], float] = lambda: 0.0


def audit_store(
    source: AuditSource, key_for: KeyFor, options: Options, run_chunks: RunChunks | None = None
) -> AuditReport:
    """Check everything in a store. Nothing that is wrong raises; it is a finding."""
    return _StoreAudit(source, key_for, options, run_chunks).run()


class _StoreAudit:
    def __init__(self, source: AuditSource, key_for: KeyFor, options: Options, run_chunks: RunChunks | None) -> None:
        self._source = source
        self._key_for = key_for
        self._options = options
        self._run_chunks = run_chunks or self._one_after_the_other
        self._findings: list[Finding] = []
        self._manifests: dict[bytes, Manifest] = {}
        self._proofs: list[Proof] = []
        self._named: dict[LogId, list[tuple[Head, LogId]]] = {}
        self._bound: dict[LogId, bytes] = {}
        self._done = 0
        self._total = 0

    def _one_after_the_other(self, chunks: Sequence[Chunk]) -> Iterator[Checked]:
        return (check_chunk(self._source, self._key_for, chunk) for chunk in chunks)

    def run(self) -> AuditReport:
        began = self._options.clock()
        self._facts()
        audits = self._begin(self._chosen_logs())
        self._total = sum(audit.length - audit.first for audit in audits)
        reports = [self._one(audit) for audit in audits]
        seconds = self._options.clock() - began
        return AuditReport(tuple(reports), tuple(self._findings), len(self._manifests), len(self._proofs), seconds)

    # ---- facts -------------------------------------------------------------------------------------------------

    def _facts(self) -> None:
        """Manifests first: every other signature hangs on them."""
        for check in (self._check_manifests, self._check_promises, self._check_proofs, self._check_rest):
            try:
                check()
            except StoreFault as fault:
                self._findings.append(_unreadable("the store", fault))

    def _check_manifests(self) -> None:
        self._manifests, found = check_manifests(self._source.manifests())
        if not self._manifests and not found:
            found = [on_disk("manifests", "no manifest is held, so no signature can be checked", "orledger init")]
        self._findings += found

    def _check_promises(self) -> None:
        self._findings += check_promises(self._source.promises(), list(self._manifests.values()))

    def _check_proofs(self) -> None:
        self._proofs, found = read_proofs(self._source.proofs())
        self._findings += found

    def _check_rest(self) -> None:
        counter = self._source.self_values().get(COUNTER)
        if counter is not None and len(counter) != 8:
            self._findings.append(on_disk("counter", "the epoch counter of this box cannot be read"))
        self._source.cases()
        self._source.tombs()
        for what in self._source.misplaced():
            self._findings.append(on_disk("index of logs", what))

    # ---- logs --------------------------------------------------------------------------------------------------

    def _chosen_logs(self) -> list[tuple[LogId, bytes]]:
        """The logs asked for; what any log's first block names is collected on the way."""
        try:
            logs = self._source.logs()
        except (StoreFault, PeerFault) as fault:
            self._findings.append(_unreadable("the list of logs", fault))
            return []
        for log, manifest_hash in logs:
            self._bound[log] = manifest_hash
            self._collect_named(log)
        return [(log, meta) for log, meta in logs if self._options.box in (None, log.box)]

    def _collect_named(self, log: LogId) -> None:
        """What is wrong with a first block is found by its log's own audit."""
        try:
            first = self._source.block(log, 0)
            notices = decode_signed_header(first.signed_header).notices if first is not None else ()
        except (StoreFault, PeerFault):
            return
        for notice in notices:
            if isinstance(notice, Start):
                for head in (notice.parent, *notice.tails):
                    if head is not None:
                        self._named.setdefault(head.log, []).append((head, log))

    def _begin(self, logs: Sequence[tuple[LogId, bytes]]) -> list[LogAudit]:
        audits = []
        for log, manifest_hash in logs:
            try:
                manifest = self._manifest_of(log, manifest_hash)
                sizes = frozenset(
                    size for proof in self._proofs if proof.log == log for size in (proof.seq, proof.seq + 1)
                )
                heads = tuple(head for head, _ in self._named.get(log, ()))
                every = self._options.every_signature
                audits.append(begin_log(
                    self._source, log, manifest, heads, sizes, every_signature=every, version_of=self._version_of,
                    manifest_of=self._bound_to,
                ))  # fmt: skip
            except (StoreFault, PeerFault) as fault:
                self._findings.append(_unreadable(str(log), fault, log))
        return audits

    def _manifest_of(self, log: LogId, manifest_hash: bytes) -> Manifest:
        manifest = self._manifests.get(manifest_hash)
        if manifest is None:
            raise StoreFault("audit.manifest", f"{log} is bound to a manifest that is not held, or does not verify")
        manifest.box(log.box)
        return manifest

    def _bound_to(self, log: LogId) -> Manifest | None:
        return self._manifests.get(self._bound.get(log, b""))

    def _version_of(self, log: LogId) -> int | None:
        manifest = self._bound_to(log)
        return manifest.version if manifest is not None else None

    def _one(self, audit: LogAudit) -> LogReport:
        began, before = self._options.clock(), self._done
        for checked in self._run_chunks(audit.plan()):
            self._done += checked.chunk.end - checked.chunk.first
            self._options.progress(self._done, self._total)
            if not audit.take(checked):
                break
        self._done = before + audit.length - audit.first
        named_by = next((by for _, by in self._named.get(audit.log, ())), None)
        found = self._judge_proofs(audit)
        return audit.report(bool(found), found, named_by, self._options.clock() - began)

    def _judge_proofs(self, audit: LogAudit) -> list[Finding]:
        found = []
        for proof in self._proofs:
            if proof.log == audit.log:
                edge = Frontier() if proof.seq == 0 else audit.frontiers.get(proof.seq)
                found.append(_judged(proof, proof.fault(audit.manifest, edge, audit.leaves.get(proof.seq + 1))))
        return found


def _judged(proof: Proof, fault: str | None) -> Finding:
    name = f"proof {proof.hash.hex()[:8]}"
    if fault is not None:
        return on_disk(name, f"{name} does not prove that {proof.log.box} signed two histories: {fault}", log=proof.log)
    what = f"{name} holds: {proof.log.box} signed two blocks {proof.seq:,}; both carry its signature"
    next_step = f"treat the key of {proof.log.box} as stolen; hand the proof to whoever investigates"
    return Finding(Severity.BAD, "peer", proof.log.box, proof.log, proof.seq, what, next_step)


def _unreadable(subject: str, fault: OrledgerError, log: LogId | None = None) -> Finding:
    return on_disk(subject, fault.text, fault.next_step or "check the disk (dmesg, smartctl -a)", log=log)
