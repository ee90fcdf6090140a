"""Objects in any weather; and every rule about them, broken in turn, is caught by a seed that is kept here."""

from __future__ import annotations

import pytest

from tests.sim.objects import mutants
from tests.sim.objects.mutants import MUTANTS, Mutant
from tests.sim.objects.scenario import Result, run_object_seed

SEEDS = 16
SHARDS = 4
# Seed that catches it first, and words of what it says.
CAUGHT_BY: dict[str, tuple[int, str]] = {
    mutants.record_before_durable.__name__: (0, "before it was durable"),
    mutants.held_before_durable.__name__: (0, "before its disk does"),
    mutants.vouch_without_holding.__name__: (0, "without holding it"),
    mutants.no_hash_of_chunks.__name__: (1, "does not hold"),
    mutants.no_hash_at_all.__name__: (1, "before its disk does"),
    mutants.believe_the_part.__name__: (6, "before its disk does"),
    mutants.abort_leaves_the_file.__name__: (0, "behind"),
    mutants.ask_for_everything_at_once.__name__: (26, "in memory"),
    mutants.words_are_forgotten.__name__: (2, "is COPIED"),
    mutants.what_came_back_is_not_asked_for.__name__: (32, "is LOCAL"),
}


def explained(result: Result) -> str:
    story = "\n".join(result.story)
    again = f"python -m tests.sim --of objects --first {result.seed} --seeds 1"
    return f"seed {result.seed}: {result.failure}\n{story}\nagain: {again}"


@pytest.mark.parametrize("shard", range(SHARDS))
def test_every_invariant_holds_in_every_seed(shard: int) -> None:
    results = [run_object_seed(seed) for seed in range(shard, SEEDS, SHARDS)]
    for result in results:
        assert result.failure is None, explained(result)
    assert sum(result.recorded for result in results) >= 2 * len(results), (
        "next to no object: such stories prove nothing"
    )
    assert sum(result.pulled_back for result in results) >= len(results)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_broken_rule_is_caught(mutant: Mutant) -> None:
    seed, words = CAUGHT_BY[mutant.__name__]
    if seed >= SEEDS:
        assert run_object_seed(seed).failure is None, "the seed must be harmless as long as the rule holds"
    with pytest.MonkeyPatch.context() as patch:
        mutant(patch)
        failure = run_object_seed(seed).failure
    assert failure is not None
    assert words in failure


def test_a_seed_is_one_story() -> None:
    assert run_object_seed(3).digest == run_object_seed(3).digest
