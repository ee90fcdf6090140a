"""The threads that fetch one log's blocks for a rebuild, one for each source, and the pieces they bring, in order."""

from __future__ import annotations

import threading
from collections.abc import Callable

from agent.rebuild_sources import Source
from ledger.errors import OrledgerError, OurFault
from ledger.log import LogId
from ledger.rebuild_shares import Blocks, Shares

_EMPTY_ANSWERS = 3


class Fetching:
    """The threads that fetch one log's shares; every touch of ``shares`` is under one lock."""

    def __init__(self, shares: Shares) -> None:
        self._shares = shares
        self._changed = threading.Condition()
        self._stopped = False
        self._bug: Exception | None = None

    def start(
        self,
        source: Source,
        log: LogId,
        *,
        headers_only: bool,
        refuse: Callable[[str, LogId, int, OrledgerError], None],
    ) -> None:
        """A thread for this source."""

        def work() -> None:
            empty = 0
            while empty < _EMPTY_ANSWERS and (wanted := self._take(source.name)) is not None:
                first, end = wanted
                blocks: Blocks = ()
                try:
                    blocks = source.blocks(log, first, end, headers_only=headers_only)
                except OrledgerError as fault:
                    refuse(source.name, log, first, fault)
                except Exception as bug:  # noqa: BLE001 - told by the thread that waits for these blocks
                    self._bug = bug
                empty = 0 if blocks else empty + 1
                self._gave(source.name, first, blocks, gone=empty == _EMPTY_ANSWERS)

        threading.Thread(target=work, name=f"rebuild-{source.name}", daemon=True).start()

    def _gave(self, name: str, first: int, blocks: Blocks, *, gone: bool) -> None:
        with self._changed:
            self._shares.gave(name, first, blocks)
            if gone:
                self._shares.gone(name)
            self._changed.notify_all()

    def _take(self, name: str) -> tuple[int, int] | None:
        with self._changed:
            while not self._stopped:
                wanted = self._shares.take(name)
                if wanted is not None:
                    return wanted
                self._changed.wait()
        return None

    def next(self) -> tuple[str, int, Blocks] | None:
        """The next piece in order; None once all is kept, or nobody can give more."""
        with self._changed:
            while True:
                if self._bug is not None:
                    raise OurFault("restore.bug", f"fetching failed: {self._bug!r}", "report this") from self._bug
                if (ready := self._shares.ready()) is not None:
                    return ready
                if self._shares.is_whole or self._shares.is_stuck:
                    return None
                self._changed.wait()

    def accepted(self) -> None:
        """What ``next`` gave is kept."""
        with self._changed:
            self._shares.accepted()
            self._changed.notify_all()

    def rejected(self) -> None:
        """What ``next`` gave does not prove itself."""
        with self._changed:
            self._shares.rejected()
            self._changed.notify_all()

    def skip(self) -> bool:
        """Go on behind a piece that nobody can give; False when there is none such."""
        with self._changed:
            if not self._shares.is_stuck:
                return False
            self._shares.skip()
            self._changed.notify_all()
            return True

    def stop(self) -> None:
        """No source is asked for more."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
