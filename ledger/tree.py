"""The RFC 6962 Merkle tree over SHA-256: roots, frontiers, and proofs of inclusion and consistency.

A leaf is a signed block header. Proofs are made from leaf hashes and the stored hashes of full 256-leaf subtrees, and
checked with the loops of RFC 9162, 2.1.3.2 and 2.1.4.2. Hash lists run from leaf to root.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

from ledger.errors import PeerFault, VerificationFailed

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()
SUBTREE_LEAVES = 256
"""Leaves under one stored level-1 hash (a full tlog-tiles tile of level 0)."""
_SIZE_BYTES = 8
_MOST_LEAVES = (1 << 63) - 1
_MOST_PATH = 63

HashAt = Callable[[int, int], bytes]
"""(level, index) -> hash. Level 0: the leaf hash at ``index``; level 1: MTH of leaves 256 index to 256 index + 255."""


def leaf_hash(entry: bytes) -> bytes:
    """SHA-256(00 ‖ entry), RFC 6962 2.1."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(01 ‖ left ‖ right), RFC 6962 2.1."""
    return sha256(b"\x01" + left + right).digest()


class Frontier:
    """The roots of the perfect subtrees that make up a tree, largest first: all that appending needs.

    One hash for each set bit of ``size``. Appending costs two hashes on average, ``root`` at most one per kept hash.
    """

    __slots__ = ("_peaks", "_size")

    def __init__(self) -> None:
        self._size = 0
        self._peaks: list[bytes] = []

    @property
    def size(self) -> int:
        """Number of leaves."""
        return self._size

    def append(self, leaf: bytes) -> bytes | None:
        """Add one leaf hash. Returns the hash of the 256-leaf subtree this leaf completed, else None."""
        peaks = self._peaks
        carry = self._size
        self._size = carry + 1
        node, subtree, width = leaf, None, 1
        while carry & 1:
            node = sha256(b"\x01" + peaks.pop() + node).digest()
            carry >>= 1
            width <<= 1
            if width == SUBTREE_LEAVES:
                subtree = node
        peaks.append(node)
        return subtree

    def extend(self, leaves: Iterable[bytes]) -> list[bytes]:
        """Add leaf hashes, row by row of the tree: as ``append`` does one by one, in half the time.

        Returns the hashes of the 256-leaf subtrees that were completed.
        """
        row, size, width = list(leaves), self._size, 1
        completed: list[bytes] = []
        fresh: list[bytes] = []
        self._size += len(row)
        while row:
            if size & 1:
                row.insert(0, self._peaks.pop())
            if len(row) & 1:
                fresh.append(row.pop())
            pairs = iter(row)
            row = [sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]
            size >>= 1
            width <<= 1
            if width == SUBTREE_LEAVES:
                completed = row.copy()
        self._peaks += reversed(fresh)
        return completed

    def root(self) -> bytes:
        """MTH of all leaves so far."""
        if not self._peaks:
            return EMPTY_ROOT
        node = self._peaks[-1]
        for peak in self._peaks[-2::-1]:
            node = sha256(b"\x01" + peak + node).digest()
        return node

    def path_of_next(self) -> tuple[bytes, ...]:
        """Inclusion path of the leaf to be appended next, in the tree that ends with it."""
        return tuple(reversed(self._peaks))

    def copy(self) -> Frontier:
        """An independent frontier of the same tree."""
        other = Frontier()
        other._size = self._size
        other._peaks = self._peaks.copy()
        return other

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Frontier) and self._size == other._size and self._peaks == other._peaks

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"Frontier(size={self._size}, root={self.root().hex()[:16]})"

    def encode(self) -> bytes:
        """uint64be size, then the hashes, largest subtree first."""
        return self._size.to_bytes(_SIZE_BYTES, "big") + b"".join(self._peaks)

    @classmethod
    def decode(cls, data: bytes) -> Frontier:
        """Strict inverse of ``encode``; raises PeerFault ``tree.frontier``. Believe its ``root`` only once proved."""
        size = int.from_bytes(data[:_SIZE_BYTES], "big")
        expected = _SIZE_BYTES + HASH_BYTES * size.bit_count()
        if size > _MOST_LEAVES or len(data) != expected:
            raise PeerFault("tree.frontier", f"{len(data)} bytes are not the frontier of a tree of size {size}")
        frontier = cls()
        frontier._size = size
        frontier._peaks = [data[at : at + HASH_BYTES] for at in range(_SIZE_BYTES, expected, HASH_BYTES)]
        return frontier


def root_of(leaf_hashes: Iterable[bytes]) -> bytes:
    """MTH of these leaf hashes; faster than appending them one by one."""
    row = list(leaf_hashes)
    if not row:
        return EMPTY_ROOT
    while len(row) > 1:
        odd = row[-1:] if len(row) % 2 else []
        pairs = iter(row)
        row = [sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=False)]
        # A last node without a sibling moves up unhashed: the same shape as RFC 6962's split.
        row += odd
    return row[0]


def leaves_at(leaf_hashes: Sequence[bytes]) -> HashAt:
    """``HashAt`` over leaf hashes held in memory."""

    def hash_at(level: int, index: int) -> bytes:
        if level == 0:
            return leaf_hashes[index]
        return root_of(leaf_hashes[index * SUBTREE_LEAVES : (index + 1) * SUBTREE_LEAVES])

    return hash_at


def _split(count: int) -> int:
    """The largest power of two below ``count``."""
    return 1 << ((count - 1).bit_length() - 1)


def _range_root(start: int, end: int, hash_at: HashAt) -> bytes:
    """MTH of leaves ``start`` to ``end`` - 1, a subtree of the RFC's split."""
    count = end - start
    if count == 1:
        return hash_at(0, start)
    if count < SUBTREE_LEAVES:
        return root_of(hash_at(0, index) for index in range(start, end))
    if count == SUBTREE_LEAVES:
        return hash_at(1, start // SUBTREE_LEAVES)
    middle = start + _split(count)
    return node_hash(_range_root(start, middle, hash_at), _range_root(middle, end, hash_at))


def inclusion_path(index: int, size: int, hash_at: HashAt) -> tuple[bytes, ...]:
    """PATH(index, D[size]), RFC 6962 2.1.1. Raises VerificationFailed ``tree.range`` unless 0 <= index < size."""
    if not 0 <= index < size:
        raise VerificationFailed("tree.range", f"a tree of size {size} has no leaf {index}")
    start, end = 0, size
    path: list[bytes] = []
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(_range_root(middle, end, hash_at))
            end = middle
        else:
            path.append(_range_root(start, middle, hash_at))
            start = middle
    return tuple(reversed(path))


def consistency_proof(old_size: int, new_size: int, hash_at: HashAt) -> tuple[bytes, ...]:
    """PROOF(old_size, D[new_size]), RFC 6962 2.1.2. Raises VerificationFailed ``tree.range`` unless 0 < old <= new."""
    if not 0 < old_size <= new_size:
        raise VerificationFailed("tree.range", f"no proof leads from size {old_size} to size {new_size}")
    start, end = 0, new_size
    proof: list[bytes] = []
    while old_size != end:
        middle = start + _split(end - start)
        if old_size <= middle:
            proof.append(_range_root(middle, end, hash_at))
            end = middle
        else:
            proof.append(_range_root(start, middle, hash_at))
            start = middle
    if start:  # the old tree is not itself a left subtree, so its right edge must be given
        proof.append(_range_root(start, end, hash_at))
    return tuple(reversed(proof))


def verify_inclusion(index: int, size: int, leaf: bytes, path: Sequence[bytes], root: bytes) -> None:
    """Prove that the tree (``size``, ``root``) has ``leaf`` at ``index`` (RFC 9162 2.1.3.2).

    Raises VerificationFailed ``tree.inclusion``.
    """
    failed = VerificationFailed("tree.inclusion", f"leaf {index} is not proved to be in the tree of size {size}")
    if not 0 <= index < size <= _MOST_LEAVES or not _are_hashes([leaf, root, *path]):
        raise failed
    first, second, node = index, size - 1, leaf
    for sibling in path:
        if second == 0:
            raise failed
        if first & 1 or first == second:
            node = node_hash(sibling, node)
            while not first & 1 and first:
                first, second = first >> 1, second >> 1
        else:
            node = node_hash(node, sibling)
        first, second = first >> 1, second >> 1
    if second or node != root:
        raise failed


def verify_consistency(old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Prove that the new tree begins with the old one (RFC 9162 2.1.4.2).

    An old size of 0 proves nothing and is refused. Raises VerificationFailed ``tree.consistency``.
    """
    failed = VerificationFailed(
        "tree.consistency", f"the tree of size {new_size} is not proved to begin with the tree of size {old_size}"
    )
    if old_size == new_size and old_size > 0 and not proof and old_root == new_root:
        return
    if not 0 < old_size < new_size <= _MOST_LEAVES or not proof or not _are_hashes([old_root, new_root, *proof]):
        raise failed
    path = list(proof) if old_size & (old_size - 1) else [old_root, *proof]
    first, second = old_size - 1, new_size - 1
    while first & 1:
        first, second = first >> 1, second >> 1
    old_node = new_node = path[0]
    for sibling in path[1:]:
        if second == 0:
            raise failed
        if first & 1 or first == second:
            old_node, new_node = node_hash(sibling, old_node), node_hash(sibling, new_node)
            while not first & 1 and first:
                first, second = first >> 1, second >> 1
        else:
            new_node = node_hash(new_node, sibling)
        first, second = first >> 1, second >> 1
    if second or old_node != old_root or new_node != new_root:
        raise failed


def _are_hashes(values: Sequence[bytes]) -> bool:
    return len(values) <= _MOST_PATH + 2 and all(len(value) == HASH_BYTES for value in values)
