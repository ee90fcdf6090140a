from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import zstandard

from drivers.capture import CaptureHeader, CaptureWriter
from drivers.capture_file import NewCapture, open_capture
from ledger.errors import BadInput, StoreFault
from ledger.records import Link, LinkId

HEADER = CaptureHeader(orcap=1, driver="ge-dri", feed="monitor", transport="serial", t0="2026-11-23T08:14:02.100000Z")
UP = Link(at_ns=HEADER.t0_ns, link=LinkId(1), state="up", peer="/dev/ttyUSB0")


def write(path: Path) -> None:
    with NewCapture(path) as new:
        writer = CaptureWriter(new.stream, HEADER)
        writer.write(UP)
        new.sync()
        writer.finish()


@pytest.mark.parametrize("name", ["a.orcap", "a.orcap.zst"])
def test_a_file_comes_back(tmp_path: Path, name: str) -> None:
    write(tmp_path / name)
    with open_capture(tmp_path / name) as capture:
        assert capture.header == HEADER
        assert list(capture) == [UP]


def test_the_suffix_says_whether_it_is_compressed(tmp_path: Path) -> None:
    write(tmp_path / "a.orcap")
    write(tmp_path / "a.orcap.zst")
    plain = (tmp_path / "a.orcap").read_bytes()
    assert plain.startswith(b'{"orcap":1')
    packed = (tmp_path / "a.orcap.zst").read_bytes()
    assert zstandard.ZstdDecompressor().stream_reader(packed).read() == plain


@pytest.mark.parametrize("name", ["a.orcap", "a.orcap.zst"])
def test_what_is_synced_can_be_read_before_the_file_is_whole(tmp_path: Path, name: str) -> None:
    with NewCapture(tmp_path / name) as new:
        CaptureWriter(new.stream, HEADER).write(UP)
        new.sync()
        with open_capture(tmp_path / name) as capture:
            items = iter(capture)
            assert next(items) == UP
            with pytest.raises(BadInput, match="cut off"):
                next(items)


def test_only_its_owner_may_read_it_and_nothing_is_overwritten(tmp_path: Path) -> None:
    write(tmp_path / "a.orcap")
    assert (tmp_path / "a.orcap").stat().st_mode & 0o777 == 0o600
    with pytest.raises(StoreFault) as refusal:
        NewCapture(tmp_path / "a.orcap")
    assert refusal.value.id == "capture.cannot-create"


@pytest.mark.parametrize(("keep", "left"), [(True, True), (False, False)])
def test_what_failed_half_way_is_kept_or_removed(tmp_path: Path, keep: bool, left: bool) -> None:
    path = tmp_path / "a.orcap"
    with pytest.raises(ValueError, match="t0"), NewCapture(path, keep_partial=keep) as new:
        CaptureWriter(new.stream, msgspec.structs.replace(HEADER, t0="2026-11-23T08:14:02.1Z"))
    assert path.exists() is left


def test_a_missing_file_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as refusal, open_capture(tmp_path / "none.orcap"):
        pass
    assert refusal.value.id == "capture.cannot-open"


@pytest.mark.parametrize("damage", [b"plain text", b"", b"\x28\xb5\x2f\xfd\x00\x00\x00"])
def test_damaged_compression_is_bad_input(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "a.orcap.zst").write_bytes(damage)
    with pytest.raises(BadInput), open_capture(tmp_path / "a.orcap.zst") as capture:
        list(capture)


def test_a_flipped_bit_in_a_compressed_file_never_changes_what_is_read(tmp_path: Path) -> None:
    write(tmp_path / "a.orcap.zst")
    whole = (tmp_path / "a.orcap.zst").read_bytes()
    refused = 0
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        (tmp_path / "b.orcap.zst").write_bytes(damaged)
        try:
            with open_capture(tmp_path / "b.orcap.zst") as capture:
                assert list(capture) == [UP]
        except BadInput:
            refused += 1
    assert refused > len(whole) // 2
