"""Who keeps requests for storage commitment and knows what became of the instances (docs/drivers/dicom.md).

The transport takes requests and carries reports; what is promised, and when it holds, is not its business.
"""

from __future__ import annotations

from typing import Protocol

from drivers.dicom.commitment import Reference, Refusal, Report


class Reporter(Protocol):
    """Carries reports to who asked; on the loop."""

    async def report(self, report: Report, attempt: int) -> str:
        """Empty once the asker answered with success, else why it did not. ``attempt``: how many failed before."""


class CommitmentService(Protocol):
    """Of one feed; every call on the loop."""

    def attach(self, reporter: Reporter) -> None:
        """By whom reports leave from now on."""

    async def ask(
        self, asker: str, uid: str, references: tuple[Reference, ...], decide_within_ns: int, report_within_ns: int
    ) -> Refusal | None:
        """A request; None once it is durable here. Then ``begin`` it or ``withdraw`` it. Raises OrledgerError."""

    def begin(self, asker: str, uid: str) -> None:
        """The asker was told that its request is taken."""

    def withdraw(self, asker: str, uid: str) -> None:
        """The asker was told that its request is refused after all."""

    def can_be_reached(self, asker: str) -> None:
        """The asker opened an association on which it can be reported to."""
