"""Equivocation proofs: round trip, one hash per proof, refused forms."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import PeerFault
from ledger.evidence import equivocation_proof, read_proof
from ledger.limits import LIMITS
from ledger.log import LogId
from tests.ledger_strategies import logs

headers = st.binary(max_size=50)
Proof = tuple[LogId, bytes, bytes, bytes]
proofs = st.tuples(logs, headers, headers, st.binary(max_size=96))


@settings(max_examples=100)
@given(proofs)
def test_a_proof_survives_its_encoding(proof: Proof) -> None:
    digest, encoded = equivocation_proof(*proof)
    assert read_proof(encoded) == proof
    assert digest == hashlib.sha256(b"orledger/equivocation/1\n" + encoded).digest()


@settings(max_examples=100)
@given(proofs, proofs)
def test_two_proofs_have_two_hashes(a: Proof, b: Proof) -> None:
    assert (equivocation_proof(*a)[0] == equivocation_proof(*b)[0]) == (a == b)


def test_two_headers_of_the_largest_size_fit() -> None:
    log = LogId("or-1", 1, bytes(16), fenced=True)
    largest = bytes(LIMITS.signed_header_bytes)
    assert read_proof(equivocation_proof(log, largest, largest, b"")[1]) == (log, largest, largest, b"")


@settings(max_examples=100)
@given(proofs, st.data())
def test_cuts_and_garbage_are_a_peers_fault(proof: Proof, data: st.DataObject) -> None:
    _, encoded = equivocation_proof(*proof)
    cut = encoded[: data.draw(st.integers(0, len(encoded) - 1))]
    for wrong in (cut, encoded + b"\x00", data.draw(st.binary(max_size=60))):
        with pytest.raises(PeerFault):
            read_proof(wrong)
