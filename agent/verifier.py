"""Runs an audit in processes of its own: two cores' worth, at low priority, and a damaged page that kills the reader
is still reported.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from agent.control_errors import error_fields, error_from_fields
from agent.reading import Reader, open_reader
from ledger.audit import AuditReport, Checked, Chunk, Options, audit_store, check_chunk
from ledger.errors import OrledgerError, StoreFault

_WORKERS = 2
_ALONE_UP_TO_CHUNKS = 2
_NICE = 10
Progress = Callable[[int, int], None]
_reader: Reader | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """What to verify: a box's data folder, all logs or one box's, every signature or only the heads'."""

    data_dir: Path
    box: str | None
    every_signature: bool


def verify(task: Task, progress: Progress) -> AuditReport:
    """The audit's report. Raises StoreFault when the store cannot be opened, or its file kills whoever reads it."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_audit, args=(theirs, task))
    process.start()
    theirs.close()
    try:
        return _listen(ours, progress, task.data_dir)
    finally:
        ours.close()
        process.join(timeout=1.0)
        if process.is_alive():  # nobody listens to it any more
            process.terminate()
            process.join()


def _listen(ours: Connection, progress: Progress, data_dir: Path) -> AuditReport:
    while True:
        try:
            kind, value = ours.recv()
        except EOFError as error:
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
    os.nice(_NICE)
    last: tuple[str, Any]
    try:
        with open_reader(task.data_dir) as reader, _pool(task.data_dir) as pool:
            options = Options(
                box=task.box,
                every_signature=task.every_signature,
                progress=lambda done, total: theirs.send(("progress", (done, total))),
                clock=time.perf_counter,
            )

            def run(chunks: Sequence[Chunk]) -> Iterator[Checked]:
                if len(chunks) <= _ALONE_UP_TO_CHUNKS:
                    return (check_chunk(reader.store, reader.key_for, chunk) for chunk in chunks)
                return pool.map(_check, chunks)

            last = ("report", audit_store(reader.store, reader.key_for, options, run))
    except OrledgerError as error:
        last = ("error", error_fields(error))
    except BrokenProcessPool:
        last = ("error", error_fields(_killed(task.data_dir)))
    theirs.send(last)


def _pool(data_dir: Path) -> ProcessPoolExecutor:
    """Starts its workers with the first large log."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(_WORKERS, context, initializer=_open, initargs=(data_dir,))


def _open(data_dir: Path) -> None:
    global _reader  # noqa: PLW0603 - a pool's worker has no other place for what its initializer made
    _reader = open_reader(data_dir)
    gc.disable()  # records hold no cycles; looking for some takes 7 % of the time


def _check(chunk: Chunk) -> Checked:
    if _reader is None:
        raise StoreFault("audit.worker", "an audit's worker has no store", "report this")
    return check_chunk(_reader.store, _reader.key_for, chunk)
