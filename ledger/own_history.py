"""What others show that our own key signed: a FENCE or START of an epoch, or another history of the live log."""

from __future__ import annotations

from ledger.block import decode_signed_header, header_signature_is_valid
from ledger.chain import Chain
from ledger.checkpoint import Checkpoint, checkpoint_signature_is_valid
from ledger.errors import PeerFault
from ledger.evidence import read_proof
from ledger.manifest import Box
from ledger.message_codec import decode_message
from ledger.messages import Fence, Signed
from ledger.replica import LogReader
from ledger.tree import HASH_BYTES, leaf_hash
from ledger.vouching import Vouching


def evidenced_counter(evidence: bytes, own: Box) -> int | None:
    """The epoch counter in a FENCE or START that our own key signed; None when it proves nothing."""
    try:
        if header_signature_is_valid(evidence, own.signing_public):
            log = decode_signed_header(evidence).log
            return log.counter if log.fenced and log.box == own.id else None
        signed = decode_message(evidence)
    except PeerFault:
        return None
    if not isinstance(signed, Signed) or not isinstance(signed.body, Fence) or signed.sender != own.id:
        return None
    return signed.body.counter if signed.is_signed_by(own.signing_public) else None


def is_second_history(evidence: bytes, chain: Chain, vouching: Vouching, reader: LogReader, public: bytes) -> bool:
    """True for a proof of a block, or of a root, of the live log that ``public``'s key signed and that is not ours."""
    try:
        log, first, second, second_root = read_proof(evidence)
        if log != chain.log:
            return False
        headers = [signed for signed in (first, second) if signed]
        if any(_is_other_block(signed, chain, reader, public) for signed in headers):
            return True
        return bool(headers) and _is_other_root(headers[0], second_root, chain, vouching, public)
    except PeerFault:
        return False


def _is_other_block(signed: bytes, chain: Chain, reader: LogReader, public: bytes) -> bool:
    header = decode_signed_header(signed)
    if header.log != chain.log or not header_signature_is_valid(signed, public):
        return False
    if header.seq >= chain.size:
        return True
    known = chain.replica.leaf_at(header.seq)
    if known is None:
        written = reader.signed_header(header.log, header.seq)
        known = leaf_hash(written) if written is not None else leaf_hash(signed)
    return known != leaf_hash(signed)


def _is_other_root(last_header: bytes, second_root: bytes, chain: Chain, vouching: Vouching, public: bytes) -> bool:
    """Only the roots of the newest sizes are known; a peer that meets a second one says so at the next block."""
    root, signature = second_root[:HASH_BYTES], second_root[HASH_BYTES:]
    size = decode_signed_header(last_header).seq + 1
    if not signature:
        return False
    checkpoint = Checkpoint(chain.origin, size, root)
    if not checkpoint_signature_is_valid(public, checkpoint, signature):
        return False
    known = vouching.root_at(size)
    return root != known if known is not None else size > chain.size
