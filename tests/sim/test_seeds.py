"""The group in any weather: every seed is a story of loss, partition, crashes, lost memory and lies that must end well.

A failing seed prints its story and comes back with ``pytest tests/sim -k seed --seed N``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sim.scenario import Result, run_seed

ROOT = Path(__file__).parents[2]


def explained(result: Result) -> str:
    story = "\n".join(result.story)
    return f"seed {result.seed}: {result.failure}\n{story}\nagain: pytest tests/sim -k seed --seed {result.seed}"


@pytest.mark.timeout(900)
def test_every_invariant_holds_in_every_seed(seeds: range) -> None:
    certified = 0
    for seed in seeds:
        result = run_seed(seed)
        assert result.failure is None, explained(result)
        certified += result.certified
    assert certified > 20 * len(seeds), "next to nothing was ever certified: such stories prove nothing"


def test_a_seed_is_one_story_whatever_the_process() -> None:
    """Neither the hash seed of the interpreter nor anything else outside leaks into a story."""
    script = "from tests.sim.scenario import run_seed; print(run_seed(7).digest)"
    digests = {
        subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": salt}, check=True,
            capture_output=True, text=True,
        ).stdout
        for salt in ("1", "2")
    }  # fmt: skip
    assert len(digests) == 1


def test_different_seeds_are_different_stories() -> None:
    assert run_seed(1).digest != run_seed(2).digest
