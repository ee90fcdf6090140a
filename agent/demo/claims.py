"""What the demo claims, what it measured, and whether that holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Claim:
    """One row of the final table. ``numbers`` are for ``--json``."""

    scene: str
    claim: str
    measured: str
    passed: bool
    numbers: dict[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "scene": self.scene,
            "claim": self.claim,
            "measured": self.measured,
            "passed": self.passed,
            **self.numbers,
        }


def all_passed(claims: Sequence[Claim]) -> bool:
    """True when there is a claim and none failed."""
    return bool(claims) and all(claim.passed for claim in claims)


def rows(claims: Sequence[Claim]) -> list[tuple[str, str, str]]:
    """(claim, measured, pass or FAIL)."""
    return [(claim.claim, claim.measured, "pass" if claim.passed else "FAIL") for claim in claims]


def plain_table(titles: Sequence[str], cells: Sequence[Sequence[str]]) -> list[str]:
    """Columns in plain text, each as wide as its longest cell."""
    lines = [tuple(titles), *(tuple(row) for row in cells)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(titles))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
