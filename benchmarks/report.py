"""What every benchmark hands back: lines of measured value, budget, and what the machine itself takes for the like.

A benchmark module's ``main`` ends with ``finish``; ``python -m benchmarks`` gathers the lines of all in one table.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

_TITLES = ("what", "measured", "budget", "", "the machine's own", "ratio")


@dataclass(frozen=True, slots=True)
class Line:
    """One measured value in ``unit``; at most ``budget`` is allowed, None: told, not judged.

    ``limit`` is what this machine takes, in the same unit and the same run, for the work that cannot be avoided, and
    ``limit_name`` says which work that is. ``note`` says what the number does not hold.
    """

    name: str
    value: float
    unit: str
    budget: float | None = None
    limit: float | None = None
    limit_name: str = ""
    note: str = ""

    @property
    def within(self) -> bool:
        """Whether the budget is met; True where there is none."""
        return self.budget is None or self.value <= self.budget

    def cells(self) -> tuple[str, ...]:
        """As a row of the table."""
        verdict = "" if self.budget is None else ("ok" if self.within else "MISSED")
        budget = "" if self.budget is None else f"<= {self.budget:g} {self.unit}"
        limit = "" if self.limit is None else f"{self.limit_name} {_number(self.limit)} {self.unit}"
        ratio = f"{self.value / self.limit:.1f}" if self.limit else ""
        return self.name, f"{_number(self.value)} {self.unit}", budget, verdict, limit, ratio


def parser(description: str | None) -> argparse.ArgumentParser:
    """Arguments of a benchmark: ``--json FILE`` beside what it adds itself."""
    text = (description or "").partition("\n")[0]
    made = argparse.ArgumentParser(description=text)
    made.add_argument("--json", type=Path, metavar="FILE", help="also write the lines to this file, as JSON")
    return made


def finish(lines: Sequence[Line], json_file: Path | None) -> int:
    """Print the lines, write them where asked; 1 when a budget is missed, else 0."""
    sys.stdout.write(table(lines))
    sys.stdout.flush()
    if json_file is not None:
        write(lines, json_file)
    return 0 if all(line.within for line in lines) else 1


def table(lines: Sequence[Line]) -> str:
    """Columns, each as wide as its longest cell; notes below."""
    rows = [_TITLES, *(line.cells() for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_TITLES))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    text += [f"  {line.name}: {line.note}" for line in lines if line.note]
    return "\n".join(text) + "\n"


def write(lines: Sequence[Line], path: Path) -> None:
    """The lines as a JSON array."""
    path.write_text(json.dumps([{**asdict(line), "within": line.within} for line in lines], indent=1) + "\n")


def load(path: Path) -> list[Line]:
    """What ``write`` wrote."""
    return [Line(**{key: item[key] for key in Line.__slots__}) for item in json.loads(path.read_text())]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"
