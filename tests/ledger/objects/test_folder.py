from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ledger.errors import StoreFault
from ledger.limits import Limits
from ledger.objects import NewFile, ObjectFolder

CONTENT = os.urandom(100_000)
NAME = hashlib.sha256(CONTENT).digest()


class PowerCut(BaseException):
    """The process is gone: nobody cleans up."""


def put(folder: ObjectFolder, file: NewFile | None = None) -> None:
    file = file or folder.begin()
    for at in range(0, len(CONTENT), 30_000):
        file.write(CONTENT[at : at + 30_000])
    file.keep(NAME)


def test_an_object_is_there_whole_after_keep_and_only_then(tmp_path: Path) -> None:
    folder = ObjectFolder.open(tmp_path / "objects")
    file = folder.begin()
    file.write(CONTENT)
    assert folder.length(NAME) is None
    assert list(folder.held()) == []
    file.keep(NAME)
    assert folder.length(NAME) == len(CONTENT)
    assert [(held.sha256, held.sealed_bytes) for held in folder.held()] == [(NAME, len(CONTENT))]
    with folder.source(NAME) as source:
        assert source.read(5, 50_000) == CONTENT[5:50_000]
        assert source.length() == len(CONTENT)
        with pytest.raises(StoreFault, match="ends at"):
            source.read(5, len(CONTENT) + 1)
    assert oct(folder.file_of(NAME).stat().st_mode)[-3:] == "600"


def test_what_is_discarded_or_deleted_leaves_nothing(tmp_path: Path) -> None:
    folder = ObjectFolder.open(tmp_path / "objects")
    file = folder.begin()
    file.write(CONTENT)
    file.discard()
    file.discard()
    assert list(folder.path.iterdir()) == []
    with pytest.raises(StoreFault, match="no longer being written"):
        file.write(b"x")
    put(folder)
    assert folder.delete(NAME) == len(CONTENT)
    assert folder.delete(NAME) == 0
    with pytest.raises(StoreFault, match="not held"):
        folder.source(NAME)


def _cut_at(monkeypatch: pytest.MonkeyPatch, count: int, fault: BaseException) -> None:
    """The disk's calls fail from call number ``count`` on."""
    calls = 0

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > count:
                raise fault
            return real(*arguments, **options)

        return call

    for name in ("write", "fdatasync", "fsync"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
    monkeypatch.setattr(Path, "rename", counted(Path.rename))


@pytest.mark.parametrize("count", range(12))
def test_a_power_cut_at_any_step_leaves_the_whole_object_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    folder = ObjectFolder.open(tmp_path / "objects", Limits(object_sync_bytes=40_000))
    with monkeypatch.context() as patch:
        _cut_at(patch, count, PowerCut())
        try:
            put(folder)
            whole = True
        except PowerCut:
            whole = False
    again = ObjectFolder.open(tmp_path / "objects")
    if whole:
        assert again.leftovers.files == 0
    for held in again.held():
        assert held.sha256 == hashlib.sha256(again.file_of(held.sha256).read_bytes()).digest()
    assert {path.name for path in again.path.iterdir()} <= {NAME.hex()}
    assert whole <= (again.length(NAME) is not None)


def test_the_power_cuts_above_reach_from_the_first_write_to_the_last_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ObjectFolder.open(tmp_path / "objects", Limits(object_sync_bytes=40_000))
    with monkeypatch.context() as patch:
        _cut_at(patch, 9, PowerCut())
        put(folder)
    folder.delete(NAME)
    with monkeypatch.context() as patch:
        _cut_at(patch, 0, PowerCut())
        with pytest.raises(PowerCut):
            put(folder)
    assert ObjectFolder.open(tmp_path / "objects").leftovers.files == 1


@pytest.mark.parametrize(("number", "fault"), [(errno.ENOSPC, "objects.full"), (errno.EIO, "store.io")])
@pytest.mark.parametrize("count", range(9))
def test_a_disk_fault_at_any_step_is_named_and_nothing_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, fault: str, count: int
) -> None:
    folder = ObjectFolder.open(tmp_path / "objects", Limits(object_sync_bytes=40_000))
    with monkeypatch.context() as patch:
        _cut_at(patch, count, OSError(number, "no"))
        file = folder.begin()
        with pytest.raises(StoreFault) as told:
            put(folder, file=file)
        file.discard()
    assert told.value.id == fault
    assert list(folder.path.iterdir()) == []


def test_a_part_goes_on_where_it_was_and_is_not_swept(tmp_path: Path) -> None:
    folder = ObjectFolder.open(tmp_path / "objects")
    part = folder.resume(NAME)
    part.write(CONTENT[:60_000])
    part.close()
    folder = ObjectFolder.open(tmp_path / "objects")
    assert folder.leftovers.files == 0
    assert [(held.sha256, held.sealed_bytes) for held in folder.parts()] == [(NAME, 60_000)]
    assert folder.length(NAME) is None
    part = folder.resume(NAME)
    assert part.length == 60_000
    assert part.read(10, 20) == CONTENT[10:20]
    part.cut(50_000)
    part.write(CONTENT[50_000:])
    part.keep(NAME)
    assert folder.file_of(NAME).read_bytes() == CONTENT
    assert list(folder.parts()) == []


def test_strangers_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    folder = ObjectFolder.open(tmp_path / "objects")
    (folder.path / "notes.txt").write_text("x")
    (folder.path / ("A" * 64)).write_text("x")
    (folder.path / ("a" * 64)).mkdir()
    assert list(ObjectFolder.open(folder.path).held()) == []
    assert len(list(folder.path.iterdir())) == 3


def test_a_sync_that_fails_beside_the_writing_is_told_to_the_next_write_or_the_keeping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel tells of a lost page once: the fsync of the keeping would be told that all is well."""
    folder = ObjectFolder.open(tmp_path / "objects", Limits(object_sync_bytes=30_000))
    under_way: list[Callable[[], None]] = []

    def beside(work: Callable[[], None]) -> Callable[[], None]:
        under_way.append(work)
        return work

    file = folder.begin(beside)
    put(folder, file)
    assert len(under_way) == 3

    def broken(_descriptor: int) -> None:
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr(os, "fdatasync", broken)
    steps: list[Callable[[NewFile], None]] = [
        lambda file: file.write(CONTENT[30_000:60_000]),
        lambda file: file.keep(NAME),
    ]
    for more in steps:
        file = folder.begin(beside)
        file.write(CONTENT[:30_000])
        with pytest.raises(StoreFault, match="I/O error"):
            more(file)
        file.discard()
        assert [path.name for path in folder.path.iterdir()] == [NAME.hex()]
