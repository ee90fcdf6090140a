"""Runs an audit in processes of its own: two cores' worth, at low priority, and a damaged page that kills the reader
is still reported.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from agent.control_errors import error_fields, error_from_fields
from agent.reading import Reader, open_reader
from ledger.audit import AuditReport, Checked, Chunk, Options, audit_store, check_chunk, completed
from ledger.errors import OrledgerError, StoreFault
from ledger.log import LogId

_WORKERS = 2
_ALONE_UP_TO_CHUNKS = 2
_NICE = 10
Progress = Callable[[int, int], None]
_data_dir: Path | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """What to verify: a box's data folder, all logs or one box's, every signature or only the heads'."""

    data_dir: Path
    box: str | None
    every_signature: bool


def verify(task: Task, progress: Progress) -> AuditReport:
    """The audit's report. Raises StoreFault when the store cannot be opened, or its file kills whoever reads it."""
    with Audit(task) as audit:
        return audit.finish(progress)


class Audit:
    """An audit in a process of its own; a context manager. What is written already may be checked ``ahead``, while
    others still write the rest.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_audit, args=(theirs, task))
        self._process.start()
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._pipe.close()
        self._process.join(timeout=1.0)
        if self._process.is_alive():  # nobody listens to it any more
            self._process.terminate()
            self._process.join()

    def ahead(self, chunk: Chunk) -> None:
        """Have a chunk checked that is durable and will not change. An audit that died is told of by ``finish``."""
        with suppress(OSError):
            self._pipe.send(chunk)

    def finish(self, progress: Progress) -> AuditReport:
        """Check what is left; nothing is written any more. Raises StoreFault as ``verify``."""
        with suppress(OSError):
            self._pipe.send(None)
        return _listen(self._pipe, progress, self._task.data_dir)


def _listen(ours: Connection, progress: Progress, data_dir: Path) -> AuditReport:
    while True:
        try:
            kind, value = ours.recv()
        except (EOFError, ConnectionError) as error:
            raise _killed(data_dir) from error
        if kind == "progress":
            progress(*value)
        elif kind == "report" and isinstance(value, AuditReport):
            return value
        else:
            raise error_from_fields(value)


def _killed(data_dir: Path) -> StoreFault:
    text = f"reading {data_dir} killed the reader: a page of its data.mdb is damaged"
    return StoreFault("store.corrupt", text, "stop the agent, restore this box from its peers, replace the disk")


def _audit(theirs: Connection, task: Task) -> None:
    """The child's whole life."""
    os.nice(max(0, _NICE - os.nice(0)))  # whoever asked may be as modest already
    last: tuple[str, Any]
    try:
        with _pool(task.data_dir, theirs) as pool:
            pool.submit(os.getpid).result()  # the workers start: they must not inherit an open store
            ahead: dict[tuple[LogId, int], Future[Checked]] = {}
            while (chunk := theirs.recv()) is not None:
                ahead[chunk.log, chunk.first] = pool.submit(_check, chunk)
            with open_reader(task.data_dir) as reader:
                last = ("report", _report(theirs, task, reader, pool, ahead))
    except EOFError:  # whoever asked went away
        return
    except OrledgerError as error:
        last = ("error", error_fields(error))
    except BrokenProcessPool:
        last = ("error", error_fields(_killed(task.data_dir)))
    theirs.send(last)


def _report(
    theirs: Connection,
    task: Task,
    reader: Reader,
    pool: ProcessPoolExecutor,
    ahead: Mapping[tuple[LogId, int], Future[Checked]],
) -> AuditReport:
    options = Options(
        box=task.box,
        every_signature=task.every_signature,
        progress=lambda done, total: theirs.send(("progress", (done, total))),
        clock=time.perf_counter,
    )

    def run(chunks: Sequence[Chunk]) -> Iterator[Checked]:
        if len(chunks) <= _ALONE_UP_TO_CHUNKS:
            yield from (check_chunk(reader.store, reader.key_for, chunk) for chunk in chunks)
            return
        known = [ahead.get((chunk.log, chunk.first)) for chunk in chunks]
        fresh = deque(
            pool.submit(_check, chunk) for chunk, future in zip(chunks, known, strict=True) if future is None
        )  # fmt: skip
        for chunk, future in zip(chunks, known, strict=True):
            if future is None:
                yield fresh.popleft().result()
                continue
            checked = completed(future.result(), chunk, reader.store)
            yield checked or check_chunk(reader.store, reader.key_for, chunk)

    return audit_store(reader.store, reader.key_for, options, run)


def _pool(data_dir: Path, theirs: Connection) -> ProcessPoolExecutor:
    """Its workers begin as copies of this process, which has one thread so far: they need not import everything."""
    context = multiprocessing.get_context("fork")
    return ProcessPoolExecutor(_WORKERS, context, initializer=_begin, initargs=(data_dir, theirs))


def _begin(data_dir: Path, theirs: Connection) -> None:
    """A worker's beginning. Whoever asked must see its audit's end, and this one end with it."""
    global _data_dir  # noqa: PLW0603 - a pool's worker has no other place for what its initializer was given
    _data_dir = data_dir
    theirs.close()
    threading.Thread(target=_end_with_audit, name="end-with-audit", daemon=True).start()
    gc.disable()  # records hold no cycles; looking for some takes 7 % of the time


def _end_with_audit() -> None:
    audit = multiprocessing.parent_process()
    if audit is not None:
        audit.join()
        os._exit(1)


def _check(chunk: Chunk) -> Checked:
    reader = _reader()
    return check_chunk(reader.store, reader.key_for, chunk)


@cache
def _reader() -> Reader:
    """The worker's, opened with its first chunk: only what is in a store by then is seen in it."""
    if _data_dir is None:
        raise StoreFault("audit.worker", "an audit's worker has no store", "report this")
    return open_reader(_data_dir)
