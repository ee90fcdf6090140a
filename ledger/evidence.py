"""Proof of equivocation: two signed statements of one writer that cannot both be true. Anyone can check it."""

from __future__ import annotations

import hashlib

from ledger.canonical import Fields, pack, unpack
from ledger.limits import LIMITS
from ledger.log import LogId

_PROOF_DOMAIN = b"orledger/equivocation/1\n"
PROOF_BYTES = 3 * LIMITS.signed_header_bytes


def equivocation_proof(log: LogId, first: bytes, second: bytes, second_root: bytes) -> tuple[bytes, bytes]:
    """(hash, bytes) of the evidence: two signed headers of one seq, or one header with a second signed root
    (``second_root`` is root ‖ checkpoint signature, empty for two headers).
    """
    proof = pack([log.fields(), first, second, second_root])
    return proof_hash(proof), proof


def proof_hash(proof: bytes) -> bytes:
    """The name under which a proof is kept."""
    return hashlib.sha256(_PROOF_DOMAIN + proof).digest()


def read_proof(proof: bytes) -> tuple[LogId, bytes, bytes, bytes]:
    """Strict inverse of ``equivocation_proof``'s bytes; raises PeerFault."""
    take = Fields(unpack(proof, PROOF_BYTES, "equivocation proof"), 4, "equivocation proof")
    log = LogId.from_fields(take.optional(), "equivocation proof")
    return log, take.blob(PROOF_BYTES), take.blob(PROOF_BYTES), take.blob(128)
