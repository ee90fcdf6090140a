from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.checkpoint import (
    Checkpoint,
    Cosignature,
    TlogProof,
    checkpoint_note,
    checkpoint_signature_is_valid,
    cosign,
    cosignature_is_valid,
    open_checkpoint_note,
    sign_checkpoint,
)
from ledger.errors import PeerFault, VerificationFailed
from ledger.note import KeyType, Verifier, cosign_message, parse_vkey
from ledger.signing import SigningKey
from ledger.tree import EMPTY_ROOT, inclusion_path, leaf_hash, leaves_at, root_of

VECTORS = Path(__file__).parents[2].parent / "shared" / "vectors"
TESSERA_KEY = "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx"
WITNESS_KEY = "witness.example/w1+e75f6532+BAOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"
needs_vectors = pytest.mark.skipif(not VECTORS.exists(), reason="public vectors are not at hand")

LOG_KEY = SigningKey(b"\x01" * 32)
PEER_KEY = SigningKey(b"\x02" * 32)
ORIGIN = "st-mary/or-3/17-000102030405060708090a0b0c0d0e0f"
LEAVES = [leaf_hash(bytes([index])) for index in range(11)]
CHECKPOINT = Checkpoint(ORIGIN, 11, root_of(LEAVES))
LOG = Verifier(ORIGIN, KeyType.ED25519, LOG_KEY.public)
PEER = Verifier("st-mary/or-1", KeyType.COSIGNATURE_V1, PEER_KEY.public)
TIME_S = 1_700_000_000
COSIGNATURE = Cosignature(PEER.name, PEER.public, TIME_S, cosign(PEER_KEY, CHECKPOINT, TIME_S))
NOTE = checkpoint_note(CHECKPOINT, LOG.public, sign_checkpoint(LOG_KEY, CHECKPOINT), [COSIGNATURE])

origins = st.text(st.characters(blacklist_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=60)


def flipped(data: bytes, bit: int) -> bytes:
    return (int.from_bytes(data, "big") ^ 1 << bit).to_bytes(len(data), "big")


@given(origins, st.integers(0, (1 << 63) - 1), st.binary(min_size=32, max_size=32))
def test_checkpoint_round_trip(origin: str, size: int, root: bytes) -> None:
    checkpoint = Checkpoint(origin, size, root)
    assert Checkpoint.parse(checkpoint.text()) == checkpoint


def test_checkpoint_text() -> None:
    text = Checkpoint("example.com/log/testdata", 0, EMPTY_ROOT).text()
    assert text == b"example.com/log/testdata\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"


@pytest.mark.parametrize(
    "size", ["", "01", "00", "-1", "+1", " 1", "1 ", "1_0", "\u0661", "9223372036854775808", "9" * 30]
)
def test_sizes_have_one_form(size: str) -> None:
    with pytest.raises(PeerFault):
        Checkpoint.parse(f"o\n{size}\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n".encode())


@pytest.mark.parametrize(
    "text",
    [b"", b"\n", b"o\n1\n", b"\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n", b"o\n1\nAAAA\n", b"o\n1\n!\n",
     CHECKPOINT.text()[:-1], CHECKPOINT.text() + b"\n", CHECKPOINT.text() + b"extension\n",
     b"\xff" + CHECKPOINT.text()],
)  # fmt: skip
def test_malformed_checkpoints_are_refused(text: bytes) -> None:
    with pytest.raises(PeerFault):
        Checkpoint.parse(text)


@given(st.integers(0, 8 * len(CHECKPOINT.text()) - 1), st.integers(0, 511))
def test_signature_and_cosignature_bind_every_bit(text_bit: int, signature_bit: int) -> None:
    signature = sign_checkpoint(LOG_KEY, CHECKPOINT)
    cosignature = COSIGNATURE.signature
    assert checkpoint_signature_is_valid(LOG.public, CHECKPOINT, signature)
    assert cosignature_is_valid(PEER.public, CHECKPOINT, TIME_S, cosignature)
    assert not checkpoint_signature_is_valid(LOG.public, CHECKPOINT, flipped(signature, signature_bit))
    assert not cosignature_is_valid(PEER.public, CHECKPOINT, TIME_S, flipped(cosignature, signature_bit))
    assert not cosignature_is_valid(PEER.public, CHECKPOINT, TIME_S + 1, cosignature)
    try:
        other = Checkpoint.parse(flipped(CHECKPOINT.text(), text_bit))
    except PeerFault:
        return
    assert not checkpoint_signature_is_valid(LOG.public, other, signature)
    assert not cosignature_is_valid(PEER.public, other, TIME_S, cosignature)


def test_a_log_signature_is_no_cosignature() -> None:
    assert not cosignature_is_valid(LOG.public, CHECKPOINT, 0, sign_checkpoint(LOG_KEY, CHECKPOINT))
    assert not checkpoint_signature_is_valid(PEER.public, CHECKPOINT, COSIGNATURE.signature)


@pytest.mark.parametrize("time_s", [-1, 1 << 63])
def test_times_outside_63_bits_are_refused(time_s: int) -> None:
    with pytest.raises(VerificationFailed):
        cosign(PEER_KEY, CHECKPOINT, time_s)
    assert not cosignature_is_valid(PEER.public, CHECKPOINT, time_s, bytes(64))


def test_cosigned_message_text() -> None:
    assert cosign_message(b"o\n1\nroot\n", 1679315147) == b"time 1679315147\no\n1\nroot\n"


def test_note_opens_with_its_cosignatures() -> None:
    assert open_checkpoint_note(NOTE, LOG, [PEER]) == (CHECKPOINT, (COSIGNATURE,))
    assert open_checkpoint_note(NOTE, LOG) == (CHECKPOINT, ())


@given(st.integers(0, 8 * len(NOTE) - 1))
def test_a_note_with_a_flipped_bit_never_opens_whole(bit: int) -> None:
    try:
        opened = open_checkpoint_note(flipped(NOTE, bit), LOG, [PEER])
    except (PeerFault, VerificationFailed):
        return
    # The cosigner's name or key id may have become a stranger's; then the cosignature must not count.
    assert opened == (CHECKPOINT, ())


def test_a_note_without_the_logs_own_signature_is_refused() -> None:
    start, end = NOTE.index(b"\n\n") + 2, NOTE.index("\u2014 st-mary/or-1 ".encode())
    with pytest.raises(VerificationFailed, match="did not sign"):
        open_checkpoint_note(NOTE[:start] + NOTE[end:], LOG, [PEER])


def test_a_note_of_another_log_is_refused() -> None:
    with pytest.raises(VerificationFailed, match="not of"):
        open_checkpoint_note(NOTE, Verifier("st-mary/or-2/1-00", KeyType.ED25519, LOG_KEY.public), [PEER])


@given(st.integers(0, 10))
def test_proof_round_trip_and_verification(index: int) -> None:
    proof = TlogProof(index, inclusion_path(index, 11, leaves_at(LEAVES)), NOTE)
    assert TlogProof.parse(proof.encode()) == proof
    assert proof.verify(LEAVES[index], LOG, [PEER]) == (CHECKPOINT, (COSIGNATURE,))
    with pytest.raises(VerificationFailed):
        proof.verify(LEAVES[index - 1], LOG, [PEER])


def test_proof_text() -> None:
    proof = TlogProof(0, (bytes(32),), b"note")
    assert proof.encode() == (b"c2sp.org/tlog-proof@v1\nindex 0\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\nnote")
    assert TlogProof(7, (), b"note").encode() == b"c2sp.org/tlog-proof@v1\nindex 7\n\nnote"


@pytest.mark.parametrize(
    "data",
    [b"", b"c2sp.org/tlog-proof@v1\nindex 0\n", b"c2sp.org/tlog-proof@v2\nindex 0\n\nnote",
     b"c2sp.org/tlog-proof@v1\nindex 00\n\nnote", b"c2sp.org/tlog-proof@v1\n0\n\nnote",
     b"c2sp.org/tlog-proof@v1\nindex 0\nAAAA\n\nnote", b"c2sp.org/tlog-proof@v1\nindex 0\n\xff\n\nnote",
     b"c2sp.org/tlog-proof@v1\nindex 0\n" + 64 * (b"A" * 43 + b"=\n") + b"\nnote", bytes(200_000)],
)  # fmt: skip
def test_malformed_proofs_are_refused(data: bytes) -> None:
    with pytest.raises(PeerFault):
        TlogProof.parse(data)


@needs_vectors
@pytest.mark.parametrize("size", range(16))
def test_tessera_checkpoints_verify(size: int) -> None:
    data = (VECTORS / "tessera_log" / f"checkpoint.{size}").read_bytes()
    checkpoint, _ = open_checkpoint_note(data, parse_vkey(TESSERA_KEY))
    assert checkpoint.size == size
    leaves = b""
    if size:
        leaves = (VECTORS / "tessera_log" / "tile" / "0" / "000.p" / str(size)).read_bytes()
    assert checkpoint.root == root_of(leaves[at : at + 32] for at in range(0, len(leaves), 32))


@needs_vectors
def test_tessera_entries_hash_to_the_tile() -> None:
    bundle = (VECTORS / "tessera_log" / "tile" / "entries" / "000.p" / "15").read_bytes()
    tile = (VECTORS / "tessera_log" / "tile" / "0" / "000.p" / "15").read_bytes()
    hashes = b""
    while bundle:
        end = 2 + int.from_bytes(bundle[:2], "big")
        hashes += leaf_hash(bundle[2:end])
        bundle = bundle[end:]
    assert hashes == tile


@needs_vectors
def test_the_frozen_cosigned_checkpoint_is_made_and_read() -> None:
    data = (VECTORS / "cosigned_checkpoint.txt").read_bytes()
    log, witness = parse_vkey(TESSERA_KEY), parse_vkey(WITNESS_KEY)
    checkpoint, cosignatures = open_checkpoint_note(data, log, [witness])
    key = SigningKey(bytes(range(32)))
    again = Cosignature(witness.name, key.public, TIME_S, cosign(key, checkpoint, TIME_S))
    assert cosignatures == (again,)
    log_signature = data.decode().split("\n")[4].split(" ")[2]
    assert checkpoint_note(checkpoint, log.public, base64.b64decode(log_signature)[4:], [again]) == data
