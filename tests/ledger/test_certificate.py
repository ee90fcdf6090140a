"""Certificates: binary where they are kept, a C2SP note where they are shown, and the note verifies."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.certificate import Certificate, cosigner_name
from ledger.checkpoint import Checkpoint, cosign, open_checkpoint_note, sign_checkpoint
from ledger.errors import PeerFault, VerificationFailed
from ledger.log import LogId
from ledger.note import KeyType, Verifier
from tests.ledger_strategies import KEYS, SITE, counts, exactly, hashes, make_manifest, names, tuples_of

MANIFEST = make_manifest()
LOG = LogId("or-1", 3, bytes(16), fenced=True)
certificates = st.builds(
    Certificate, counts, hashes, exactly(64) | st.just(b""), tuples_of(st.tuples(names, counts, exactly(64)))
)


def certificate(*peers: str) -> Certificate:
    checkpoint = Checkpoint(LOG.origin(SITE), 7, bytes([1]) * 32)
    words = tuple((peer, 1_700_000_000, cosign(KEYS[peer], checkpoint, 1_700_000_000)) for peer in peers)
    return Certificate(7, checkpoint.root, sign_checkpoint(KEYS["or-1"], checkpoint), words)


@settings(max_examples=100)
@given(certificates)
def test_a_certificate_survives_its_encoding(each: Certificate) -> None:
    assert Certificate.decode(each.encode()) == each


@settings(max_examples=100)
@given(certificates, st.data())
def test_cuts_and_garbage_are_a_peers_fault(each: Certificate, data: st.DataObject) -> None:
    wire = each.encode()
    for wrong in (wire[: data.draw(st.integers(0, len(wire) - 1))], wire + b"\x00", data.draw(st.binary(max_size=60))):
        with pytest.raises(PeerFault):
            Certificate.decode(wrong)


def verifiers(*peers: str) -> tuple[Verifier, list[Verifier]]:
    log = Verifier(LOG.origin(SITE), KeyType.ED25519, KEYS["or-1"].public)
    return log, [Verifier(cosigner_name(SITE, peer), KeyType.COSIGNATURE_V1, KEYS[peer].public) for peer in peers]


def test_the_note_verifies_with_everyones_key() -> None:
    note = certificate("or-2", "or-3").note(MANIFEST, LOG)
    checkpoint, cosignatures = open_checkpoint_note(note, *verifiers("or-2", "or-3", "or-4"))
    assert (checkpoint.size, checkpoint.origin) == (7, f"{SITE}/or-1/3-{'00' * 16}")
    assert [each.name for each in cosignatures] == ["st-mary/or-2", "st-mary/or-3"]


def test_a_cosignature_under_anothers_name_does_not_verify() -> None:
    honest = certificate("or-2")
    _, time_s, signature = honest.cosignatures[0]
    forged = Certificate(honest.size, honest.root, honest.log_signature, (("or-3", time_s, signature),))
    with pytest.raises(VerificationFailed):
        open_checkpoint_note(forged.note(MANIFEST, LOG), *verifiers("or-2", "or-3"))


def test_a_stranger_among_the_cosigners_is_named() -> None:
    with pytest.raises(PeerFault, match="or-8"):
        certificate("or-8").note(MANIFEST, LOG)
