"""The machine's own limits, measured beside every benchmark: its disk, its cryptography, its loopback."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import Line
from ledger.signing import SEED_BYTES, SigningKey, signature_is_valid

BLOCK_BYTES = 6_000
_SYNCS = 300
_SYNC_EVERY_S = 0.01


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
    """Overwriting one block's bytes in a file that is there already, and syncing, at the pace of several boxes."""
    path = folder / "fdatasync.probe"
    path.write_bytes(bytes(_SYNCS * 8_192))
    descriptor = os.open(path, os.O_WRONLY)
    took = []
    try:
        os.fsync(descriptor)
        for index in range(_SYNCS):
            data = os.urandom(BLOCK_BYTES)
            began = time.perf_counter()
            os.pwrite(descriptor, data, index * 8_192)
            os.fdatasync(descriptor)
            took.append((time.perf_counter() - began) * 1e3)
            time.sleep(_SYNC_EVERY_S)
    finally:
        os.close(descriptor)
        path.unlink()
    return took


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
