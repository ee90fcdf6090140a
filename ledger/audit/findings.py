"""What an audit finds: each finding names the log and block, whose fault it is, and what to do next."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ledger.errors import Party
from ledger.log import LogId
from ledger.quorum import Level

MEND = "orledger verify --mend"
RESTORE = "check the disk (dmesg, smartctl -a), restore this box from its peers: orledger restore box"
DISK = "check the disk (dmesg, smartctl -a)"


class Severity(enum.StrEnum):
    """BAD: something stored does not prove what it claims. REMARK: worth knowing, proves nothing wrong."""

    BAD = "bad"
    REMARK = "remark"


@dataclass(frozen=True, slots=True)
class Finding:
    """``party`` and ``subject`` are at fault ("disk" means this box's disk, ``subject`` then what lies on it);
    ``seq`` is None when the finding is not about one block, ``log`` when it is about the store.
    """

    severity: Severity
    party: Party
    subject: str
    log: LogId | None
    seq: int | None
    what: str
    next_step: str


@dataclass(frozen=True, slots=True)
class Vouched:
    """The best checkpoint held: its level and size, the peers whose cosignatures on it verify, of how many; the time
    its last block claims (UTC ns), and when the first of those peers says to have held it (POSIX s).
    """

    level: Level
    size: int
    by: tuple[str, ...]
    peers: int
    claimed_ns: int
    seen_s: int | None


@dataclass(frozen=True, slots=True)
class LogReport:
    """One log. ``payloads`` verified against their headers, ``decoded`` of them read to the last record;
    ``not_held`` were pruned or never sent here; ``no_key`` and ``unknown_codec`` could not be decoded, which is no
    fault. ``named_by`` is the epoch that continues or names this log; ``seconds`` is how long the audit took.
    """

    log: LogId
    blocks: int
    dropped: int
    signatures: int
    payloads: int
    decoded: int
    not_held: int
    no_key: int
    unknown_codec: int
    checkpoints: int
    cosignatures: int
    vouched: Vouched | None
    named_by: LogId | None
    seconds: float
    findings: tuple[Finding, ...]

    @property
    def is_good(self) -> bool:
        """True when nothing bad was found."""
        return all(finding.severity is not Severity.BAD for finding in self.findings)


@dataclass(frozen=True, slots=True)
class AuditReport:
    """Everything audited. ``findings`` are those of the store itself; each log has its own."""

    logs: tuple[LogReport, ...]
    findings: tuple[Finding, ...]
    manifests: int
    proofs: int
    seconds: float

    @property
    def is_good(self) -> bool:
        """True when nothing bad was found anywhere."""
        store_is_good = all(finding.severity is not Severity.BAD for finding in self.findings)
        return store_is_good and all(log.is_good for log in self.logs)

    def all_findings(self) -> tuple[Finding, ...]:
        """The store's, then each log's."""
        return (*self.findings, *(finding for log in self.logs for finding in log.findings))


def on_disk(subject: str, what: str, next_step: str = DISK, *, log: LogId | None = None) -> Finding:
    """Stored bytes are not what was written here."""
    return Finding(Severity.BAD, "disk", subject, log, None, what, next_step)


def remark(log: LogId, seq: int | None, what: str, next_step: str = "") -> Finding:
    """Worth knowing of this log's box."""
    return Finding(Severity.REMARK, "peer", log.box, log, seq, what, next_step)
