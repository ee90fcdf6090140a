"""The simulation can fail: every rule broken in turn is caught by a seed that was found by search and is kept here."""

from __future__ import annotations

import pytest

from tests.sim import mutants
from tests.sim.mutants import MUTANTS, Mutant
from tests.sim.scenario import run_seed

# Seed that catches it first, and words of what it says.
CAUGHT_BY: dict[str, tuple[int, str]] = {
    mutants.continue_from_own_disk.__name__: (12, "does not continue"),
    mutants.longest_chain.__name__: (9, "does not continue"),
    mutants.acknowledge_before_fsync.__name__: (0, "before its disk held it"),
    mutants.cosign_before_persisting.__name__: (0, "before its disk held it"),
    mutants.cosign_without_the_payloads.__name__: (0, "without the payload"),
    mutants.cosign_provisional_blocks.__name__: (0, "cosigned the provisional"),
    mutants.forget_the_fence.__name__: (106, "does not continue"),
    mutants.no_void.__name__: (34, "finds nothing"),
    mutants.one_sided_manifest_change.__name__: (349, "does not continue"),
    mutants.one_key_for_all_cases.__name__: (3, "under another case's key"),
    mutants.cosign_without_the_keys.__name__: (3, "without the key of one of its cases"),
}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_broken_rule_is_caught(mutant: Mutant) -> None:
    seed, words = CAUGHT_BY[mutant.__name__]
    assert run_seed(seed).failure is None, "the seed must be harmless as long as the rule holds"
    with pytest.MonkeyPatch.context() as patch:
        mutant(patch)
        failure = run_seed(seed).failure
    assert failure is not None
    assert words in failure
