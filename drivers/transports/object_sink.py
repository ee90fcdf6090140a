"""Where a transport puts what is too large for a block: an image, a video, a document (docs/objects.md).

All calls block until the disk has done its part, so make them on a thread that may wait, never on the loop.
"""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self


class FinishedObject(Protocol):
    """A durable object: ``sha256`` names its sealed bytes, ``plain_bytes`` is its content's length."""

    @property
    def sha256(self) -> bytes: ...

    @property
    def plain_bytes(self) -> int: ...


class ObjectWriter(Protocol):
    """One object on its way in. Left without ``finish``, by an exception too, it leaves nothing."""

    def write(self, content: bytes | bytearray | memoryview) -> None:
        """More of its content; sealed before it reaches the disk. Raises OrledgerError, after which nothing is left."""

    def finish(self) -> FinishedObject:
        """The object is whole: returns once its bytes and its name are durable. Then record it."""

    def abort(self) -> None:
        """Leave nothing; harmless after ``finish``."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class ObjectSink(Protocol):
    """Takes objects in; safe on any thread."""

    def begin(self, *, expected_bytes: int = 0) -> ObjectWriter:
        """Begin an object. Raises OrledgerError: ``objects.full``, ``objects.busy``, ``objects.not-recording``."""

    def discard(self, sha256: bytes) -> None:
        """A finished object will not be recorded after all: delete it."""
