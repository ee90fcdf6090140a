"""Capture files on disk, plain or, by the suffix ``.zst``, compressed."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, Self, cast

import zstandard

from drivers.capture import CaptureReader
from ledger.errors import BadInput, StoreFault

_WINDOW_BYTES: Final = 8 << 20
_BUFFER_BYTES: Final = 1 << 16


@contextmanager
def open_capture(path: Path) -> Iterator[CaptureReader]:
    """Read a capture file. Raises ``BadInput`` if it cannot be opened, and as ``CaptureReader`` does."""
    try:
        file = path.open("rb")
    except OSError as fault:
        raise BadInput("capture.cannot-open", f"{path} cannot be opened: {fault.strerror}") from fault
    with file:
        stream = file if path.suffix != ".zst" else cast("BinaryIO", io.BufferedReader(_Inflated(file), _BUFFER_BYTES))
        yield CaptureReader(stream, str(path))


class NewCapture:
    """A capture file being written: ``stream`` takes the bytes, ``sync`` makes them durable; a context manager.

    Readable by its owner only: what it holds was said about a patient. With ``keep_partial`` False it is removed if
    the context ends in an error. Raises ``StoreFault`` if it is there already or cannot be made.
    """

    def __init__(self, path: Path, *, keep_partial: bool = True) -> None:
        self._path = path
        self._keep_partial = keep_partial
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as fault:
            raise StoreFault(
                "capture.cannot-create", f"{path} cannot be made: {fault.strerror}", "give another name"
            ) from fault
        self._file = os.fdopen(handle, "wb")
        self._compressed: zstandard.ZstdCompressionWriter | None = None
        self.stream: BinaryIO = self._file
        if path.suffix == ".zst":
            compressor = zstandard.ZstdCompressor(level=10, write_checksum=True)
            self._compressed = compressor.stream_writer(self._file, closefd=False)
            self.stream = cast("BinaryIO", self._compressed)

    def sync(self) -> None:
        """Everything written so far is on the disk when this returns."""
        if self._compressed is not None:
            self._compressed.flush(zstandard.FLUSH_BLOCK)
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close. Raises ``StoreFault`` if what was written does not reach the disk."""
        try:
            if self._compressed is not None:
                self._compressed.close()  # type: ignore[no-untyped-call]
            if kind is None:
                self._file.flush()
                os.fsync(self._file.fileno())
            self._file.close()
            if kind is not None and not self._keep_partial:
                self._path.unlink()
        except OSError as fault:
            raise StoreFault("capture.write", f"the capture cannot be written: {fault}", "make room") from fault


class _Inflated(io.RawIOBase):
    """The plain bytes of a compressed stream; one that is not zstd is a ``ValueError``, as any unreadable line."""

    def __init__(self, file: BinaryIO) -> None:
        decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES)
        self._plain = decompressor.stream_reader(file, read_across_frames=True)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        try:
            return self._plain.readinto(buffer)
        except zstandard.ZstdError as error:
            raise ValueError(f"the compression is damaged: {error}") from error
