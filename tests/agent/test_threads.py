from __future__ import annotations

import threading
from pathlib import Path

from agent.threads import show_thread_name


def test_a_thread_is_shown_under_its_name() -> None:
    shown: list[str] = []

    def work() -> None:
        show_thread_name()
        shown.append(Path(f"/proc/self/task/{threading.get_native_id()}/comm").read_text().strip())

    thread = threading.Thread(target=work, name="a-name-of-more-than-15")
    thread.start()
    thread.join()
    assert shown == ["a-name-of-more-"]
