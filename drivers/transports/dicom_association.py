"""An association that is open, as the parts of the listener know it."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field

from pynetdicom.association import Association

from ledger.records import LinkId


@dataclass(slots=True, eq=False)
class Opened:
    """What the driver knows as a link; ``waiting``: by number, what waits until the driver says what is to be sent.

    ``taken``: transactions whose request is answered with success just now; ``comment``: why the last was not taken.
    """

    association: Association
    peer: str
    link: LinkId
    waiting: dict[str, Future[bytes]] = field(default_factory=dict)
    taken: list[str] = field(default_factory=list)
    comment: str = ""

    @property
    def title(self) -> str:
        """The peer's AE title."""
        return self.peer.rpartition("@")[0]

    def forget(self) -> None:
        """Nothing will be sent any more."""
        for answer in self.waiting.values():
            answer.cancel()
