"""C shims compiled for a test and loaded into an agent by LD_PRELOAD: a disk that fails, a clock that is wrong."""

from __future__ import annotations

import ctypes
import mmap
import subprocess
from pathlib import Path
from typing import ClassVar

from tests.conftest import require_tool

_HERE = Path(__file__).parent


def _build(name: str, folder: Path) -> Path:
    library = folder / f"{name}.so"
    source = _HERE / f"{name}.c"
    command = [str(require_tool("gcc")), "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(library), str(source)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return library


class _Control(ctypes.LittleEndianStructure):
    """What test and shim share; the shims' C structs say the same."""

    _fields_: ClassVar = [
        ("armed", ctypes.c_int32),
        ("calls", ctypes.c_int32),
        ("action", ctypes.c_int32),
        ("hits", ctypes.c_int32),
        ("offset_ns", ctypes.c_int64),
    ]


class Shim:
    """One shim for one agent: ``under`` goes before its command, ``control`` steers it while it runs."""

    def __init__(self, name: str, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        library = _build(name, folder)
        path = folder / f"{name}.control"
        path.write_bytes(bytes(ctypes.sizeof(_Control)))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self.control = _Control.from_buffer(self._map)
        self.under = ["env", f"LD_PRELOAD={library}", f"SHIM_CONTROL={path}"]
