from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.object_restore import ObjectRestore, OwnObjects
from ledger.objects import ObjectFolder
from ledger.objects.format import SEALED_CHUNK_BYTES
from ledger.ops import MarkObject, ObjectState
from ledger.store import Store
from tests.agent.object_group import ObjectGroup

CONTENT = os.urandom(5 * SEALED_CHUNK_BYTES)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A box's folder with one object, and its name."""
    path = tmp_path_factory.mktemp("box")

    async def scenario() -> bytes:
        async with ObjectGroup(1, path) as group:
            known, _ = group.boxes["or-1"].record(CONTENT)
            await group.pumped.settle()
            return known.sha256

    return path / "or-1", asyncio.run(scenario())


class Spoiling:
    """Gives the first ``right`` pieces of chunks as they are, then wrong ones, or none."""

    name = "or-9"

    def __init__(self, folder: ObjectFolder, right: int, *, wrong: bool) -> None:
        self._own = OwnObjects("or-9", folder)
        self._right = right
        self._wrong = wrong

    def pieces(self, sha256: bytes, first: int, end: int) -> Iterator[bytes]:
        for piece in self._own.pieces(sha256, first, end):
            if len(piece) < SEALED_CHUNK_BYTES:  # header and index
                yield piece
            elif self._right:
                self._right -= 1
                yield piece
            elif self._wrong:
                yield bytes(len(piece))
            else:
                return


def _restore(box: tuple[Path, bytes], out: Path, *sources: object) -> ObjectRestore:
    store = Store.open(box[0] / "ledger")
    try:
        rows = store.objects_named(box[1])
        store.commit([MarkObject(row.log, row.seq, box[1], ObjectState.WANTED) for row in rows])
        restore = ObjectRestore(store, ObjectFolder.open(out), sources)  # type: ignore[arg-type]
        restore.run("or-1")
        assert restore.done.missing or store.objects_named(box[1])[0].state is ObjectState.HELD
        return restore
    finally:
        store.close()


def test_what_one_source_gives_wrong_comes_from_another(box: tuple[Path, bytes], tmp_path: Path) -> None:
    folder = ObjectFolder(box[0] / "objects")
    restore = _restore(box, tmp_path / "out", Spoiling(folder, 2, wrong=True), OwnObjects("or-1", folder))
    assert (restore.done.fetched, restore.done.missing) == (1, [])
    assert [source for source, _ in restore.done.refused] == ["or-9"]
    assert ObjectFolder(tmp_path / "out").file_of(box[1]).read_bytes() == folder.file_of(box[1]).read_bytes()


def test_it_goes_on_where_it_stopped(box: tuple[Path, bytes], tmp_path: Path) -> None:
    folder = ObjectFolder(box[0] / "objects")
    first = _restore(box, tmp_path / "out", Spoiling(folder, 3, wrong=False))
    assert first.done.missing == [box[1]]
    assert next(ObjectFolder(tmp_path / "out").parts()).sealed_bytes == 256 + 3 * SEALED_CHUNK_BYTES
    second = _restore(box, tmp_path / "out", Spoiling(folder, 1, wrong=False), OwnObjects("or-1", folder))
    assert second.done.fetched == 1
    assert list(ObjectFolder(tmp_path / "out").parts()) == []


def test_nobody_has_it(box: tuple[Path, bytes], tmp_path: Path) -> None:
    restore = _restore(box, tmp_path / "out", OwnObjects("or-1", ObjectFolder(tmp_path / "empty")))
    assert restore.done.missing == [box[1]]
    assert restore.done.refused == []
