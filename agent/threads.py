"""Names of threads where the kernel keeps them: what ``top -H`` and ``perf`` show. Python's own stay in Python."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path


def show_thread_name() -> None:
    """Show the calling thread under its Python name, as far as the kernel takes it: the first 15 bytes."""
    thread = threading.current_thread()
    with contextlib.suppress(OSError):  # a name is a help, nothing depends on it
        Path(f"/proc/self/task/{thread.native_id}/comm").write_text(thread.name)
