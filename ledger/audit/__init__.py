"""Verifying a store: every signature, link, hash, payload, root and cosignature, and whose fault it is where one fails.

Pure: reads through a protocol, may be spread over processes chunk by chunk (``check_chunk``).
"""

from ledger.audit.chunk import Checked, check_chunk
from ledger.audit.findings import AuditReport, Finding, LogReport, Severity, Vouched
from ledger.audit.log_audit import CHUNK_BLOCKS, chunk_ahead, completed
from ledger.audit.store_audit import AuditSource, Options, audit_store
from ledger.audit.task import Chunk, KeyFor

__all__ = [
    "CHUNK_BLOCKS",
    "AuditReport",
    "AuditSource",
    "Checked",
    "Chunk",
    "Finding",
    "KeyFor",
    "LogReport",
    "Options",
    "Severity",
    "Vouched",
    "audit_store",
    "check_chunk",
    "chunk_ahead",
    "completed",
]
