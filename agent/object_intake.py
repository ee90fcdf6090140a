"""Where objects come in: sealed as they come, durable before their record may be written, forgotten if it never is.

Writers live on the threads of those who bring them; what the tick asks is answered on the loop. An object that is
durable here waits for a block to name it; at most as many wait as one block's notice can name.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from ledger.errors import StoreFault
from ledger.limits import LIMITS, Limits
from ledger.log import LogId
from ledger.notices import StoredObject
from ledger.objects.folder import NewFile, ObjectFolder
from ledger.objects.format import SALT_BYTES, ObjectHeader, sealed_length
from ledger.objects.sealer import SealedObject, Sealer
from ledger.sealing import DataKey

_LOG = logging.getLogger(__name__)
_SYNCS_AT_ONCE = 2
_NEXT = "the sender may try again; free space on the ledger's disk"


class ObjectIntake:
    """``live_key`` tells the log that records now and its data key, None while nothing does; ``keep_free_bytes`` of
    the disk are left to the blocks: below that every object is refused, so that the room goes on being recorded.
    """

    def __init__(
        self, folder: ObjectFolder, live_key: Callable[[], tuple[LogId, DataKey] | None], keep_free_bytes: int,
        limits: Limits = LIMITS, mono_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:  # fmt: skip
        self.folder = folder
        self._live_key = live_key
        self._keep_free_bytes = keep_free_bytes
        self.limits = limits
        self._mono_ns = mono_ns
        self._lock = threading.Lock()
        self._syncing = ThreadPoolExecutor(_SYNCS_AT_ONCE, "object-sync")
        self._writing = 0
        self._finished: dict[bytes, tuple[SealedObject, int]] = {}
        self.accepted = 0
        self.accepted_bytes = 0
        self.refused = 0
        self.unrecorded = 0

    # ---- on any thread -----------------------------------------------------------------------------------------

    def begin(self, *, expected_bytes: int = 0) -> IncomingObject:
        """Begin an object. Raises StoreFault: ``objects.full``, ``objects.busy``, ``objects.not-recording``."""
        try:
            log, data_key = self._require_live()
            self.require_room(sealed_length(expected_bytes))
            file = self._claim_file()
        except StoreFault:
            self.count_refused()
            raise
        header = ObjectHeader(log, data_key.key_id, secrets.token_bytes(SALT_BYTES))
        return IncomingObject(self, file, Sealer(header, data_key, self.limits), self.limits)

    def _require_live(self) -> tuple[LogId, DataKey]:
        live = self._live_key()
        if live is None:
            raise StoreFault("objects.not-recording", "this box does not record, so it takes no object", _NEXT)
        return live

    def _claim_file(self) -> NewFile:
        self._claim()
        try:
            return self.folder.begin(self._sync_beside)
        except StoreFault:
            self.release()
            raise

    def _sync_beside(self, work: Callable[[], None]) -> Callable[[], None]:
        """While the disk takes the last megabytes, the next ones are received and sealed."""
        return self._syncing.submit(work).result

    def discard(self, sha256: bytes) -> None:
        """A finished object will not be recorded after all."""
        with self._lock:
            known = self._finished.pop(sha256, None)
        if known is not None:
            self.folder.delete(sha256)

    def require_room(self, more_bytes: int) -> None:
        """Raises StoreFault ``objects.full`` when so many bytes would take what blocks need."""
        free_bytes, _ = self.folder.room()
        if free_bytes - more_bytes < self._keep_free_bytes:
            text = f"an object of {more_bytes:,} bytes does not fit: {free_bytes >> 20:,} MiB are free"
            raise StoreFault("objects.full", text, _NEXT)

    def _claim(self) -> None:
        with self._lock:
            waiting = self._writing + len(self._finished)
            if self._writing >= self.limits.object_writers or waiting >= self.limits.object_notice_entries:
                text = f"{self._writing} objects are being written, {len(self._finished)} wait to be recorded"
                raise StoreFault("objects.busy", text, "the sender may try again")
            self._writing += 1

    def release(self) -> None:
        """A writer has ended."""
        with self._lock:
            self._writing -= 1

    def count_refused(self) -> None:
        """An object was refused or given up."""
        with self._lock:
            self.refused += 1

    def finished(self, known: SealedObject) -> None:
        """An object is durable: its record may come now."""
        with self._lock:
            self._writing -= 1
            self._finished[known.sha256] = known, self._mono_ns()
            self.accepted += 1
            self.accepted_bytes += known.plain_bytes

    # ---- on the loop -------------------------------------------------------------------------------------------

    def may_be_recorded(self, sha256: bytes) -> bool:
        """True for an object that is durable here and that no block names yet, and so for its record alone."""
        with self._lock:
            return sha256 in self._finished

    def named(self, names: Sequence[bytes]) -> tuple[StoredObject, ...]:
        """What a block whose records name these must say of them; from now on they are the store's."""
        with self._lock:
            known = [self._finished.pop(name)[0] for name in dict.fromkeys(names) if name in self._finished]
        return tuple(StoredObject(each.sha256, each.sealed_bytes, each.index_hash) for each in known)

    def expire(self, waiting: Collection[bytes]) -> int:
        """Delete what was finished long ago and is not recorded, but for what is ``waiting`` to be; how many that were.

        Blocks for the disk.
        """
        due_ns = self._mono_ns() - self.limits.object_unrecorded_ns
        with self._lock:
            late = [name for name, (_, at_ns) in self._finished.items() if at_ns <= due_ns and name not in waiting]
            for name in late:
                del self._finished[name]
            self.unrecorded += len(late)
        for name in late:
            _LOG.warning("object %s was taken in but never recorded: deleted", name.hex()[:16])
            self.folder.delete(name)
        return len(late)

    @property
    def has_late(self) -> bool:
        """True when ``expire`` may find something."""
        due_ns = self._mono_ns() - self.limits.object_unrecorded_ns
        with self._lock:
            return any(at_ns <= due_ns for _, at_ns in self._finished.values())

    def unfinished(self) -> frozenset[bytes]:
        """Names that no block holds yet: files that are not to be taken for litter."""
        with self._lock:
            return frozenset(self._finished)


class IncomingObject:
    """``drivers.transports.object_sink.ObjectWriter``. One thread at a time."""

    def __init__(self, intake: ObjectIntake, file: NewFile, sealer: Sealer, limits: Limits) -> None:
        self._intake = intake
        self._file = file
        self._sealer = sealer
        self._limits = limits
        self._looked_at = 0
        self._open = True
        self._guarded(lambda: file.write(sealer.begin()))

    def write(self, content: bytes | bytearray | memoryview) -> None:
        """More content. Raises StoreFault or DeviceFault ``objects.too-large``; nothing is left then."""
        self._require_open()
        self._guarded(lambda: self._write(content))

    def _write(self, content: bytes | bytearray | memoryview) -> None:
        for sealed in self._sealer.add(content):
            self._file.write(sealed)
            if self._file.length - self._looked_at >= self._limits.object_room_look_bytes:
                self._looked_at = self._file.length
                self._intake.require_room(0)

    def finish(self) -> SealedObject:
        """Durable under its name when this returns; then record it. Raises StoreFault, and nothing is left."""
        self._require_open()
        known: list[SealedObject] = []

        def end() -> None:
            rest, sealed = self._sealer.end()
            self._file.write(rest)
            self._intake.require_room(0)
            self._file.keep(sealed.sha256)
            known.append(sealed)

        self._guarded(end)
        self._open = False
        self._intake.finished(known[0])
        return known[0]

    def abort(self) -> None:
        """Leave nothing; harmless after the end."""
        if self._open:
            self._open = False
            self._intake.release()
            self._intake.count_refused()
            self._file.discard()

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except BaseException:
            self.abort()
            raise

    def _require_open(self) -> None:
        if not self._open:
            raise StoreFault("objects.ended", "the object is no longer being written", "report this")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()
