"""The machine's own limits, measured beside every benchmark: its disk, its cryptography, its loopback."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from benchmarks.report import Line
from ledger.signing import SEED_BYTES, SigningKey, signature_is_valid

BLOCK_BYTES = 6_000
_SYNCS = 300
_SYNC_EVERY_S = 0.01
_PROBE_EVERY_S = 0.1
_SLOTS = 512
_SLOT_BYTES = 8_192


@dataclass(frozen=True, slots=True)
class Machine:
    """Medians, and the 99th percentile where it says so."""

    fdatasync_p50_ms: float
    fdatasync_p99_ms: float
    sign_us: float
    verify_us: float
    sha256_us: float

    def lines(self) -> list[Line]:
        """For the table."""
        return [
            Line("fdatasync of one block, p50", self.fdatasync_p50_ms, "ms"),
            Line("fdatasync of one block, p99", self.fdatasync_p99_ms, "ms"),
            Line("Ed25519 signature", self.sign_us, "us"),
            Line("Ed25519 verification", self.verify_us, "us"),
            Line(f"SHA-256 of {BLOCK_BYTES:,} bytes", self.sha256_us, "us"),
        ]


def measure(folder: Path) -> Machine:
    """On the disk below ``folder``. Takes a few seconds."""
    syncs = fdatasync_ms(folder)
    key = SigningKey(os.urandom(SEED_BYTES))
    message = os.urandom(400)
    signature = key.sign(b"", message)
    block = os.urandom(BLOCK_BYTES)
    return Machine(
        quantile(syncs, 0.5),
        quantile(syncs, 0.99),
        median_us(lambda: key.sign(b"", message)),
        median_us(lambda: signature_is_valid(key.public, b"", message, signature)),
        median_us(lambda: hashlib.sha256(block).digest()),
    )


def fdatasync_ms(folder: Path) -> list[float]:
    """At the pace of several boxes, with nothing beside it."""
    took = []
    with _SyncedFile(folder) as file:
        for _ in range(_SYNCS):
            took.append(file.write_ms())
            time.sleep(_SYNC_EVERY_S)
    return took


class _SyncedFile:
    """Overwrites one block's bytes in a file that is there already, and syncs."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "fdatasync.probe"
        self._path.write_bytes(bytes(_SLOTS * _SLOT_BYTES))
        self._descriptor = os.open(self._path, os.O_WRONLY)
        self._next = 0

    def __enter__(self) -> Self:
        os.fsync(self._descriptor)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
        self._path.unlink()

    def write_ms(self) -> float:
        """How long one took, in ms."""
        data, self._next = os.urandom(BLOCK_BYTES), self._next + 1
        began = time.perf_counter()
        os.pwrite(self._descriptor, data, self._next % _SLOTS * _SLOT_BYTES)
        os.fdatasync(self._descriptor)
        return (time.perf_counter() - began) * 1e3


class Probe:
    """While it is open: what a thread of this process, with nothing else to do, gets of the same busy machine.

    Ten times a second, as a box: how late a sleep ends, and how long one synced write takes.
    """

    def __init__(self, folder: Path) -> None:
        self.late_ms: list[float] = []
        self.fdatasync_ms: list[float] = []
        self._folder = folder
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with _SyncedFile(self._folder) as file:
            due = time.monotonic() + _PROBE_EVERY_S
            while not self._stop.wait(max(0.0, due - time.monotonic())):
                self.late_ms.append((time.monotonic() - due) * 1e3)
                self.fdatasync_ms.append(file.write_ms())
                due = max(due + _PROBE_EVERY_S, time.monotonic())


def start_processor_s(*modules: str) -> float:
    """Processor time of a fresh Python until it has imported these."""
    before = os.times()
    subprocess.run([sys.executable, "-c", f"import {', '.join(modules)}"], check=True)
    after = os.times()
    return after.children_user - before.children_user + after.children_system - before.children_system


def median_us(work: Callable[[], object], count: int = 500) -> float:
    """The median time of one call."""
    took = []
    for _ in range(count):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return quantile(took, 0.5) * 1e6


def quantile(values: Sequence[float], part: float) -> float:
    """The value below which this part lies; NaN of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else float("nan")
