"""The data keys of one box's own logs: a random one for each (case, log), wrapped to every box that may open it."""

from __future__ import annotations

from collections.abc import Callable

from ledger.key_exchange import RECOVERY, KeyToKeep
from ledger.log import LogId
from ledger.manifest import Manifest, Role
from ledger.messages import Wrap
from ledger.outbox import EVERYBODY, Outbox
from ledger.sealing import DataKey, wrap


class DataKeys:
    """``of_case`` makes or finds one; ``made`` are those to be kept durably before their first block."""

    def __init__(self, own_id: str, random: Callable[[int], bytes], out: Outbox) -> None:
        self.made: list[KeyToKeep] = []
        self._own_id = own_id
        self._random = random
        self._out = out
        self._log: LogId | None = None
        self._of_case: dict[bytes | None, DataKey] = {}

    def of_case(self, case_id: bytes | None, log: LogId, manifest: Manifest) -> DataKey:
        """The key of this case (None: of no case) in the live log: one that is entered again has its key already."""
        if log != self._log:
            self._log, self._of_case = log, {}
        if case_id not in self._of_case:
            self._of_case[case_id] = self._make(log, manifest)
        return self._of_case[case_id]

    def _make(self, log: LogId, manifest: Manifest) -> DataKey:
        data_key, incarnation = DataKey(self._random(32)), log.incarnation
        wraps = {box.id: wrap(data_key, self._own_id, incarnation, box.receiving_public)
                 for box in (manifest.box(self._own_id), *manifest.peers_of(self._own_id))
                 if box.role is Role.MEMBER or box.id == self._own_id}  # fmt: skip
        if manifest.recovery_public is not None:
            wraps[RECOVERY] = wrap(data_key, self._own_id, incarnation, manifest.recovery_public)
        self.made.append(KeyToKeep(log, data_key, wraps))
        self._out.tell(EVERYBODY, Wrap(log, data_key.key_id, tuple(sorted(wraps.items()))))
        return data_key
