"""The rows, the table for people, the verdict on each goal, and the same as a document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from benchmarks.side_by_side.system import Measured, Plan

OURS = "orledger"
SCHEMA = "orledger.side-by-side/1"
RECOVERY_TIMES = 5.0
"""Goal 1: recovery is so many times faster than every other system's."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What no system can be faster than, medians: one synced write of an entry, one round trip over loopback TCP."""

    fdatasync_ms: float
    round_trip_ms: float
    python_start_ms: float
    load: float
    cores: int


@dataclass(frozen=True, slots=True)
class Row:
    """One measure; ``limit`` names the fields of ``Machine`` whose sum is the machine's own time for it."""

    key: str
    title: str
    unit: str = "ms"
    limit: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """One goal, by one measure. ``times``: the best other's value over orledger's; above 1 orledger is faster."""

    goal: str
    measure: str
    best_other: str
    times: float
    wanted: float

    @property
    def met(self) -> bool:
        """Whether the goal is reached."""
        return self.times >= self.wanted

    def text(self) -> str:
        """One line."""
        said = f"{self.times:.1f} times faster" if self.times >= 1 else f"{1 / self.times:.1f} times SLOWER"
        return f"{self.goal}: {'met' if self.met else 'NOT MET'}: {self.measure}: {said} than {self.best_other}"


def rows(plan: Plan) -> list[Row | str]:
    """Rows in their order, headings between them."""
    write = ("fdatasync_ms", "round_trip_ms")
    found: list[Row | str] = ["10 entries a second"]
    for part in ("p50", "p99"):
        found += [
            Row(f"ack_{part}", f"sent to durable on a majority, {part}", "ms", write),
            Row(f"block_{part}", f"… orledger from block closed, without its tick, {part}", "ms", write),
            Row(f"block_witnessed_{part}", f"block closed to witnessed 2 of 2 (all boxes), {part}", "ms", write),
            Row(f"ack_witnessed_{part}", f"sent to witnessed 2 of 2, {part}", "ms", write),
            Row(f"aa_{part}", f"sent to HL7 AA (own disk only), {part}", "ms", ("fdatasync_ms",)),
            Row(f"disk_{part}", f"a lone fdatasync meanwhile, {part}"),
        ]
    found.append("flat out")
    found += [Row(f"rate_{number}", f"{number} in flight", "/s") for number in plan.in_flight]
    found.append(f"after SIGKILL of the leader or writer, p50 of {plan.rounds} (worst)")
    found += [
        Row("latest", "newest entry read, promised newest", "ms", ("round_trip_ms",)),
        Row("copy", "… from any copy that answers, no promise", "ms", ("round_trip_ms",)),
        Row("automatic", "… handed out by the standby, after 2 s of silence", "ms", ("round_trip_ms",)),
        Row("write", "next entry on a majority (orledger: box restarted)", "ms", write),
        Row("write_aa", "… to the restarted box's first HL7 AA (own disk only)", "ms", ("python_start_ms",)),
        Row("moved", "… through another box, whose log never stopped", "ms", write),
    ]
    for length in plan.lengths:
        found += [
            f"a new reader, {length:,} entries in the log",
            Row(f"tail_{length}", "latest state from 5 s of log (others: 50 entries)"),
            Row(f"all_{length}", "latest state by reading the whole log"),
        ]
    return found


def verdicts(systems: Mapping[str, Measured]) -> list[Verdict]:
    """Goal 1 and 2 against the best other system in each measure; empty when there is nothing to compare."""
    ours = systems.get(OURS)
    others = {name: values for name, values in systems.items() if name != OURS}
    if ours is None or not others:
        return []
    found = []
    for goal, key, measure, wanted in (
        ("goal 1, recovery ahead by 5 times", "latest", "newest entry read after SIGKILL", RECOVERY_TIMES),
        ("goal 1, recovery ahead by 5 times", "write", "next entry on a majority after SIGKILL", RECOVERY_TIMES),
        ("goal 2, latency no worse than the best", "ack_p50", "sent to durable on a majority, p50", 1.0),
        ("goal 2, latency no worse than the best", "ack_p99", "sent to durable on a majority, p99", 1.0),
        ("goal 2, latency no worse than the best", "block_p50", "the same from the block's closing, p50", 1.0),
        ("goal 2, latency no worse than the best", "block_p99", "the same from the block's closing, p99", 1.0),
    ):
        having = [name for name, values in others.items() if key in values]
        if key not in ours or not having:
            continue
        best = min(having, key=lambda name: others[name][key])
        found.append(Verdict(goal, measure, best, others[best][key] / ours[key], wanted))
    return found


def table(systems: Mapping[str, Measured], plan: Plan, machine: Machine) -> str:
    """Columns as wide as their longest cell; a row that nobody has is left out."""
    lines: list[tuple[str, ...]] = [("", *systems, "the machine's own")]
    for row in rows(plan):
        if isinstance(row, str):
            lines.append((row.upper(), *("" for _ in systems), ""))
        elif any(row.key in values for values in systems.values()):
            cells = (_cell(row, values) for values in systems.values())
            lines.append((f"  {row.title}", *cells, _limit(row, machine)))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    text = [
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]).rstrip()
        for line in lines
    ]
    return "\n".join(text) + "\n"


def document(
    systems: Mapping[str, Measured],
    footnotes: Mapping[str, str],
    skipped: Mapping[str, str],
    plan: Plan,
    machine: Machine,
) -> dict[str, object]:
    """For ``--json``; values are in the unit of their row."""
    return {
        "schema": SCHEMA,
        "machine": asdict(machine),
        "plan": asdict(plan),
        "rows": [asdict(row) for row in rows(plan) if isinstance(row, Row)],
        "systems": {name: {"footnote": footnotes[name], "values": values} for name, values in systems.items()},
        "skipped": dict(skipped),
        "goals": [{**asdict(verdict), "met": verdict.met} for verdict in verdicts(systems)],
    }


def _cell(row: Row, values: Measured) -> str:
    if row.key not in values:
        return "–"
    worst = values.get(f"{row.key}_worst")
    text = _number(values[row.key])
    return f"{text} {row.unit}" if worst is None else f"{text} ({_number(worst)}) {row.unit}"


def _limit(row: Row, machine: Machine) -> str:
    if not row.limit:
        return ""
    return f"{_number(sum(getattr(machine, name) for name in row.limit))} {row.unit}"


def _number(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 1 else f"{value:.2g}"


def footnotes_text(footnotes: Mapping[str, str], skipped: Mapping[str, str]) -> Sequence[str]:
    """What is on in each system, and what was left out and why."""
    return [f"{name}: {text}." for name, text in footnotes.items()] + [
        f"{name}: {why}" for name, why in skipped.items()
    ]
