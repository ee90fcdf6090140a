"""Names of logs. A log is one epoch of one writer process and is never continued by another."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ledger.canonical import Fields
from ledger.errors import OperatorFault

INCARNATION_BYTES = 16
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True, order=True)
class LogId:
    """(box, epoch counter, incarnation). Orders by counter within a box; a provisional log's counter orders nothing."""

    box: str
    counter: int
    incarnation: bytes
    fenced: bool

    def origin(self, site: str) -> str:
        """The C2SP checkpoint origin: ``<site>/<box>/<epoch counter>-<incarnation hex>``."""
        return f"{site}/{self.box}/{self.counter}-{self.incarnation.hex()}"

    def __str__(self) -> str:
        mark = "" if self.fenced else "p"
        return f"{self.box}/{self.counter}{mark}-{self.incarnation.hex()[:8]}"

    def fields(self) -> list[object]:
        """For embedding in messages and notices."""
        return [self.box, self.counter, self.incarnation, self.fenced]

    @classmethod
    def from_fields(cls, value: object, what: str) -> LogId:
        """Strict inverse of ``fields``; raises PeerFault ``codec.field``."""
        take = Fields(value, 4, what)
        return cls(take.text(63, 1), take.uint(), take.raw(INCARNATION_BYTES), take.boolean())


def require_name(value: str, what: str) -> str:
    """A site or box id: lower-case letters, digits, dots and hyphens, at most 63 characters (it becomes a certificate's
    name, a topic level and a C2SP key name). Raises OperatorFault ``name.invalid``.
    """
    if not _NAME.fullmatch(value):
        raise OperatorFault(
            "name.invalid",
            f"{what} {value!r} is not allowed",
            "use lower-case letters, digits, dots and hyphens, at most 63 characters",
        )
    return value
