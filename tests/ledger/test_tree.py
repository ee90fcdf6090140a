from __future__ import annotations

import base64
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import PeerFault, VerificationFailed
from ledger.tree import (
    EMPTY_ROOT,
    SUBTREE_LEAVES,
    Frontier,
    consistency_proof,
    inclusion_path,
    leaf_hash,
    leaves_at,
    node_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)

VECTORS = Path(__file__).parents[2].parent / "shared" / "vectors"

# RFC 6962 reference tree: the entries and roots every implementation is tried with.
ENTRIES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]

sizes = st.one_of(st.integers(1, 40), st.sampled_from([255, 256, 257, 511, 512, 513, 700, 768, 1025]))


def leaves_of(count: int) -> list[bytes]:
    return [leaf_hash(index.to_bytes(4, "big")) for index in range(count)]


def frontier_of(leaves: list[bytes]) -> Frontier:
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier


def reference_root(leaves: list[bytes]) -> bytes:
    """RFC 6962 2.1, word for word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return sha256(b"\x01" + reference_root(leaves[:k]) + reference_root(leaves[k:])).digest()


@pytest.mark.parametrize("size", range(9))
def test_reference_roots(size: int) -> None:
    leaves = [leaf_hash(entry) for entry in ENTRIES[:size]]
    assert root_of(leaves).hex() == ROOTS[size]
    assert frontier_of(leaves).root().hex() == ROOTS[size]


def test_reference_hashes() -> None:
    assert leaf_hash(b"L123456").hex() == "395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56"
    assert node_hash(b"N123", b"N456").hex() == "aa217fe888e47007fa15edab33c2b492a722cb106c64667fc2b044444de66bbb"
    assert EMPTY_ROOT.hex() == ROOTS[0]


@given(sizes)
@settings(max_examples=30)
def test_all_ways_to_a_root_agree(size: int) -> None:
    leaves = leaves_of(size)
    assert root_of(leaves) == frontier_of(leaves).root() == reference_root(leaves)


@given(sizes, st.data())
@settings(max_examples=60)
def test_proofs_verify_and_any_flipped_bit_is_refused(size: int, data: st.DataObject) -> None:
    leaves = leaves_of(size)
    root, hash_at = root_of(leaves), leaves_at(leaves)
    index = data.draw(st.integers(0, size - 1))
    old_size = data.draw(st.integers(1, size))
    path = inclusion_path(index, size, hash_at)
    proof = consistency_proof(old_size, size, hash_at)
    old_root = root_of(leaves[:old_size])
    verify_inclusion(index, size, leaves[index], path, root)
    verify_consistency(old_size, size, old_root, root, proof)

    def flip(value: bytes) -> bytes:
        bit = data.draw(st.integers(0, 8 * len(value) - 1))
        return (int.from_bytes(value, "big") ^ 1 << bit).to_bytes(len(value), "big")

    bad_inclusions = [
        (flip(leaves[index]), path, root),
        (leaves[index], path, flip(root)),
        (leaves[index], (*path, root), root),
    ]
    bad_proofs = [(flip(old_root), root, proof), (old_root, flip(root), proof), (old_root, root, (*proof, root))]
    if path:
        at = data.draw(st.integers(0, len(path) - 1))
        bad_inclusions.append((leaves[index], (*path[:at], flip(path[at]), *path[at + 1 :]), root))
        bad_inclusions.append((leaves[index], path[:-1], root))
    if proof:
        at = data.draw(st.integers(0, len(proof) - 1))
        bad_proofs.append((old_root, root, (*proof[:at], flip(proof[at]), *proof[at + 1 :])))
        bad_proofs.append((old_root, root, proof[:-1]))
    for leaf, bad_path, bad_root in bad_inclusions:
        with pytest.raises(VerificationFailed):
            verify_inclusion(index, size, leaf, bad_path, bad_root)
    for bad_old, bad_new, bad_proof in bad_proofs:
        with pytest.raises(VerificationFailed):
            verify_consistency(old_size, size, bad_old, bad_new, bad_proof)


def test_a_leaf_proves_nothing_at_another_place() -> None:
    leaves = leaves_of(11)
    path = inclusion_path(4, 11, leaves_at(leaves))
    for index in [*range(-1, 4), *range(5, 12)]:
        with pytest.raises(VerificationFailed):
            verify_inclusion(index, 11, leaves[4], path, root_of(leaves))


def test_hashes_of_another_length_are_refused() -> None:
    leaves = leaves_of(2)
    # 01 ‖ (left ‖ right) split elsewhere hashes to the same root: only the length check stops it.
    both = leaves[0] + leaves[1]
    assert node_hash(both[:31], both[31:]) == root_of(leaves)
    with pytest.raises(VerificationFailed):
        verify_inclusion(0, 2, both[:31], [both[31:]], root_of(leaves))


@pytest.mark.parametrize(("old", "new"), [(0, 0), (0, 5), (6, 5)])
def test_no_proof_from_nothing_or_backwards(old: int, new: int) -> None:
    leaves = leaves_of(6)
    with pytest.raises(VerificationFailed):
        consistency_proof(old, new, leaves_at(leaves))
    with pytest.raises(VerificationFailed):
        verify_consistency(old, new, root_of(leaves[:old]), root_of(leaves[:new]), [])


def test_inclusion_path_outside_the_tree_is_refused() -> None:
    with pytest.raises(VerificationFailed):
        inclusion_path(5, 5, leaves_at(leaves_of(5)))


@given(st.integers(0, 600))
@settings(max_examples=40)
def test_the_frontier_gives_the_path_of_the_next_leaf(size: int) -> None:
    leaves = leaves_of(size + 1)
    before = frontier_of(leaves[:size])
    path = before.path_of_next()
    assert path == inclusion_path(size, size + 1, leaves_at(leaves))
    verify_inclusion(size, size + 1, leaves[size], path, root_of(leaves))


def test_append_reports_each_full_subtree_once() -> None:
    leaves = leaves_of(3 * SUBTREE_LEAVES + 5)
    frontier = Frontier()
    reported = [(index, subtree) for index, leaf in enumerate(leaves) if (subtree := frontier.append(leaf))]
    expected = [(256 * n + 255, root_of(leaves[256 * n : 256 * n + 256])) for n in range(3)]
    assert reported == expected


@settings(max_examples=60)
@given(st.integers(0, 600), st.lists(st.integers(0, 700), max_size=4))
def test_leaves_added_together_make_the_tree_that_they_make_one_by_one(size: int, runs: list[int]) -> None:
    leaves = leaves_of(size + sum(runs))
    one_by_one, together = frontier_of(leaves[:size]), frontier_of(leaves[:size])
    for run in runs:
        new = leaves[together.size : together.size + run]
        subtrees = [subtree for leaf in new if (subtree := one_by_one.append(leaf)) is not None]
        assert together.extend(new) == subtrees
        assert together == one_by_one


@given(st.integers(0, 300), st.integers(0, 20))
def test_frontier_round_trip_and_copy(size: int, more: int) -> None:
    leaves = leaves_of(size + more)
    frontier = frontier_of(leaves[:size])
    again, copy = Frontier.decode(frontier.encode()), frontier.copy()
    assert again == copy == frontier
    for leaf in leaves[size:]:
        again.append(leaf)
    assert again.root() == root_of(leaves)
    assert again.size == size + more
    assert copy == frontier
    assert (again == frontier) == (more == 0)


@given(st.binary(max_size=200))
def test_frontier_decodes_only_what_it_would_write(data: bytes) -> None:
    try:
        frontier = Frontier.decode(data)
    except PeerFault:
        return
    assert frontier.encode() == data


@pytest.mark.parametrize(
    "data", [b"", bytes(7), bytes(9), bytes(7) + b"\x03" + bytes(32), b"\xff" * 8 + bytes(32 * 64)]
)
def test_frontier_of_the_wrong_length_is_refused(data: bytes) -> None:
    with pytest.raises(PeerFault):
        Frontier.decode(data)


def _vector_cases() -> list[Any]:
    path = VECTORS / "merkle_proofs.json"
    if not path.exists():
        return [pytest.param("", {}, marks=pytest.mark.skip(reason="public vectors are not at hand"))]
    return [
        pytest.param(kind, case, id=case["name"])
        for kind, cases in json.loads(path.read_text()).items()
        for case in cases
    ]


@pytest.mark.parametrize(("kind", "case"), _vector_cases())
def test_public_proof_vectors(kind: str, case: dict[str, Any]) -> None:
    def raw(value: str | None) -> bytes:
        return base64.b64decode(value or "")

    proof = [raw(value) for value in case["proof"] or []]

    def verify() -> None:
        if kind == "inclusion":
            verify_inclusion(case["leafIdx"], case["treeSize"], raw(case["leafHash"]), proof, raw(case["root"]))
        else:
            verify_consistency(case["size1"], case["size2"], raw(case["root1"]), raw(case["root2"]), proof)

    if case["wantErr"]:
        with pytest.raises(VerificationFailed):
            verify()
    else:
        verify()
