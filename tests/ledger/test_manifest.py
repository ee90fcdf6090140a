"""The site's list: round trip, thresholds of both versions' keys, the chain of versions, and refused forms."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.canonical import pack, unpack
from ledger.errors import ConfigurationFault, PeerFault
from ledger.manifest import MANIFEST_DOMAIN, Box, Manifest, Role, SignedManifest, sign_manifest
from ledger.signing import SigningKey
from tests.ledger_strategies import SITE_KEYS, counts, exactly, hashes, make_manifest, names

FIRST = make_manifest()
boxes = st.builds(
    Box, names, st.text(max_size=8), names, st.sampled_from(Role), hashes, hashes, st.binary(max_size=9), names
)
manifests = st.builds(
    Manifest, names, counts, hashes, st.lists(
        boxes, max_size=4, unique_by=(lambda box: box.id, lambda box: box.signing_public)
    ).map(tuple),
    st.none() | st.integers(0, 64), st.integers(0, 255),
    st.lists(hashes, min_size=1, max_size=4, unique=True).map(tuple), st.just(1), st.none() | hashes,
)  # fmt: skip


def next_of(manifest: Manifest, **changes: Any) -> Manifest:
    return replace(manifest, version=manifest.version + 1, previous_hash=manifest.hash, **changes)


def refused(signed: SignedManifest, previous: Manifest | None) -> str:
    with pytest.raises(PeerFault) as caught:
        signed.check(previous)
    return caught.value.id


@settings(max_examples=60)
@given(manifests, st.lists(st.tuples(hashes, exactly(64)), max_size=3).map(tuple))
def test_a_manifest_survives_its_encoding(manifest: Manifest, signatures: tuple[tuple[bytes, bytes], ...]) -> None:
    assert Manifest.decode(manifest.encode()) == manifest
    signed = SignedManifest(manifest, signatures)
    assert SignedManifest.decode(signed.encode()) == signed


@settings(max_examples=100)
@given(st.data())
def test_a_flipped_bit_is_refused_or_changes_the_hash(data: st.DataObject) -> None:
    body = bytearray(FIRST.encode())
    bit = data.draw(st.integers(0, 8 * len(body) - 1))
    body[bit // 8] ^= 1 << bit % 8
    try:
        other = Manifest.decode(bytes(body))
    except PeerFault:
        return
    assert other.hash != FIRST.hash
    signatures = sign_manifest(FIRST, list(SITE_KEYS)).signatures
    assert refused(SignedManifest(other, signatures), None) == "manifest.unsigned"


@settings(max_examples=60)
@given(st.binary(max_size=80))
def test_garbage_is_a_peers_fault(data: bytes) -> None:
    for decode in (Manifest.decode, SignedManifest.decode):
        with pytest.raises(PeerFault):
            decode(data)


def test_every_cut_of_a_signed_manifest_is_a_peers_fault() -> None:
    whole = sign_manifest(make_manifest(1), list(SITE_KEYS)).encode()
    for end in range(len(whole)):
        with pytest.raises(PeerFault):
            SignedManifest.decode(whole[:end])


@pytest.mark.parametrize(
    ("at", "value", "fault"),
    [
        (0, 2, "manifest.version"),
        (5, -1, "codec.field"),
        (5, 65, "codec.field"),
        (5, True, "codec.field"),
        (7, [], "manifest.threshold"),
        (7, [bytes(31)], "codec.field"),
        (8, 0, "manifest.threshold"),
        (8, 4, "manifest.threshold"),
        (9, b"", "codec.field"),
        (9, 5, "codec.field"),
    ],
)
def test_wrong_fields_are_refused(at: int, value: object, fault: str) -> None:
    fields = unpack(FIRST.encode(), 1 << 16, "manifest")
    fields[at] = value
    with pytest.raises(PeerFault) as caught:
        Manifest.decode(pack(fields))
    assert caught.value.id == fault


def test_a_site_key_listed_twice_does_not_count_twice_for_the_threshold() -> None:
    twice = replace(FIRST, site_keys=(SITE_KEYS[0].public,) * 2, threshold=2)
    with pytest.raises(PeerFault, match="threshold"):
        Manifest.decode(twice.encode())


def test_a_box_or_a_signing_key_listed_twice_is_refused() -> None:
    one, two, *rest = FIRST.boxes
    same_id = replace(FIRST, boxes=(one, replace(two, id=one.id), *rest))
    same_key = replace(FIRST, boxes=(one, replace(two, signing_public=one.signing_public), *rest))
    for wrong, fault in ((same_id, "manifest.duplicate-box"), (same_key, "manifest.duplicate-key")):
        with pytest.raises(PeerFault) as caught:
            Manifest.decode(wrong.encode())
        assert caught.value.id == fault


@pytest.mark.parametrize("count", range(4))
def test_a_threshold_of_site_keys_must_have_signed(count: int) -> None:
    signed = sign_manifest(FIRST, list(SITE_KEYS[:count]))
    if count >= FIRST.threshold:
        SignedManifest.decode(signed.encode()).check(None)
    else:
        assert refused(signed, None) == "manifest.unsigned"


def test_one_key_signing_twice_and_strangers_do_not_count() -> None:
    once = sign_manifest(FIRST, [SITE_KEYS[0]])
    strangers = sign_manifest(FIRST, [SITE_KEYS[0], SigningKey(bytes(32)), SigningKey(bytes([1]) * 32)])
    body = FIRST.encode()
    borrowed = SignedManifest(
        FIRST, (*once.signatures, (SITE_KEYS[1].public, SITE_KEYS[0].sign(MANIFEST_DOMAIN, body)))
    )
    bare = SignedManifest(FIRST, (*once.signatures, (SITE_KEYS[1].public, SITE_KEYS[1].sign(b"", body))))
    for wrong in (SignedManifest(FIRST, once.signatures * 2), strangers, borrowed, bare):
        assert refused(wrong, None) == "manifest.unsigned"


def test_a_next_version_needs_the_old_keys_and_the_new() -> None:
    new_keys = [SigningKey(bytes([number]) * 32) for number in (71, 72)]
    second = next_of(FIRST, site_keys=tuple(key.public for key in new_keys))
    old = list(SITE_KEYS[:2])
    sign_manifest(second, old + new_keys).check(FIRST)
    for too_few in (old, new_keys, old[:1] + new_keys, old + new_keys[:1]):
        assert refused(sign_manifest(second, too_few), FIRST) == "manifest.unsigned"


def test_only_the_very_next_version_of_this_very_manifest_follows() -> None:
    keys = list(SITE_KEYS)
    second = next_of(FIRST)
    sign_manifest(second, keys).check(FIRST)
    for wrong in (
        FIRST,
        replace(second, version=3),
        replace(second, version=1),
        replace(second, previous_hash=bytes(32)),
        next_of(replace(FIRST, format_max=2)),
    ):
        assert refused(sign_manifest(wrong, keys), FIRST) == "manifest.not-next"


def test_peers_are_the_other_boxes_of_the_group() -> None:
    one, two, three, four = FIRST.boxes
    site = replace(FIRST, boxes=(one, two, replace(three, group="icu"), replace(four, role=Role.WITNESS)))
    assert [box.id for box in site.peers_of("or-1")] == ["or-2", "or-4"]
    assert site.peers_of("or-3") == ()
    assert site.quorum_of("or-1").peers == 2
    assert site.quorum_of("or-3").peers == 0
    with pytest.raises(PeerFault) as caught:
        site.box("or-9")
    assert caught.value.id == "manifest.unknown-box"


def test_what_cannot_be_read_back_is_not_signed() -> None:
    with pytest.raises(ConfigurationFault) as caught:
        sign_manifest(make_manifest(2, liars=1), list(SITE_KEYS))
    assert caught.value.id == "quorum.impossible"
    outcomes = set()
    for certificate in range(3_900, 4_097, 4):
        many = tuple(
            replace(FIRST.boxes[0], id=f"or-{n}", signing_public=bytes([n]) * 32, tls_certificate=bytes(certificate))
            for n in range(16)
        )
        site = replace(FIRST, boxes=many)
        try:
            signed = sign_manifest(site, list(SITE_KEYS))
        except ConfigurationFault as fault:
            outcomes.add(fault.id)
        else:
            outcomes.add("signed")
            assert SignedManifest.decode(signed.encode()) == signed
    assert outcomes == {"signed", "manifest.oversize"}
