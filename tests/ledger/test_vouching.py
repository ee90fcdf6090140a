"""Who vouches how far: levels by the table, and cosignatures that do not count."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import vouching as module
from ledger.checkpoint import Checkpoint, cosign, sign_checkpoint
from ledger.errors import PeerFault
from ledger.messages import Cosign
from ledger.quorum import Level
from ledger.vouching import Vouching
from tests.ledger.peers import log_of
from tests.ledger_strategies import KEYS, SITE, make_manifest

LOG = log_of(2)


def root_of_size(size: int) -> bytes:
    return size.to_bytes(32, "big")


def word(peer: str, size: int, *, root: bytes | None = None, signer: str = "") -> Cosign:
    checkpoint = Checkpoint(LOG.origin(SITE), size, root or root_of_size(size))
    signature = cosign(KEYS[signer or peer], checkpoint, 5)
    return Cosign(peer, LOG, size, checkpoint.root, 5, signature)


def grown(size: int, boxes: int = 5) -> Vouching:
    manifest = make_manifest(boxes)
    vouching = Vouching(manifest, LOG, manifest.quorum_of("or-1"))
    for each in range(1, size + 1):
        checkpoint = Checkpoint(LOG.origin(SITE), each, root_of_size(each))
        vouching.add(each, checkpoint.root, sign_checkpoint(KEYS["or-1"], checkpoint))
    return vouching


def refused(vouching: Vouching, cosign: Cosign) -> str:
    with pytest.raises(PeerFault) as caught:
        vouching.on_cosign(cosign)
    return caught.value.id


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from(["or-2", "or-3", "or-4", "or-5"]), st.integers(1, 9), st.booleans()), max_size=12
    )
)
def test_levels_follow_from_the_most_that_each_peer_said(words: list[tuple[str, int, bool]]) -> None:
    vouching = grown(9)
    cosigned: dict[str, int] = {}
    stored: dict[str, int] = {}
    for peer, size, cosigns in words:
        if cosigns:
            vouching.on_cosign(word(peer, size))
            cosigned[peer] = max(size, cosigned.get(peer, 0))
        else:
            vouching.on_stored(peer, size)
        stored[peer] = max(size, stored.get(peer, 0))
    for seq in range(9):
        holding = sum(size > seq for size in stored.values())
        vouched = sum(size > seq for size in cosigned.values())
        level = vouching.level_of(seq)
        assert level == (Level.FINAL if vouched >= 3 else Level.COPIED if holding else Level.LOCAL)
        for each in (Level.COPIED, Level.WITNESSED, Level.FINAL):
            assert (vouching.size_at(each) > seq) == (level >= each)
    assert vouching.size_at(Level.LOCAL) == 9


def test_words_that_are_not_the_peers_own_or_of_another_history_are_refused() -> None:
    vouching = grown(5)
    assert refused(vouching, word("or-8", 3)) == "cosign.stranger"
    assert refused(vouching, word("or-1", 3)) == "cosign.stranger"
    assert refused(vouching, word("or-2", 3, signer="or-3")) == "cosign.bad-signature"
    assert refused(vouching, word("or-2", 3, root=bytes(31) + b"x")) == "cosign.other-root"
    assert vouching.size_at(Level.COPIED) == 0
    assert vouching.cosigned == {}


def test_a_size_that_was_never_closed_counts_for_nothing() -> None:
    vouching = grown(5)
    vouching.on_cosign(word("or-2", 6))
    vouching.on_stored("or-9", 5)
    assert vouching.cosigned == vouching.stored == {}


def test_the_certificate_is_of_the_newest_checkpoint_that_most_cosigned() -> None:
    vouching = grown(5)
    assert vouching.certificate() is None
    for peer, size in (("or-2", 3), ("or-3", 3), ("or-2", 4), ("or-3", 4), ("or-4", 5)):
        vouching.on_cosign(word(peer, size))
    certificate = vouching.certificate()
    assert certificate is not None
    assert (certificate.size, certificate.root) == (4, root_of_size(4))
    assert [peer for peer, _, _ in certificate.cosignatures] == ["or-2", "or-3"]


def test_what_is_kept_is_bounded() -> None:
    vouching = grown(module._CERTIFICATES_KEPT + 20)
    for size in range(1, module._CERTIFICATES_KEPT + 20):
        vouching.on_cosign(word("or-2", size))
    assert len(vouching._certificates) == module._CERTIFICATES_KEPT
    for size in range(100, module._ROOTS_KEPT + 200):
        vouching.add(size, bytes(32), bytes(64))
    assert len(vouching._roots) == module._ROOTS_KEPT


def test_a_box_alone_shows_its_newest_checkpoint_signed_by_itself() -> None:
    assert grown(0, boxes=1).certificate() is None
    certificate = grown(3, boxes=1).certificate()
    assert certificate is not None
    assert (certificate.size, certificate.root, certificate.cosignatures) == (3, root_of_size(3), ())
    assert grown(3, boxes=2).certificate() is None, "a peer's word is still to come"
