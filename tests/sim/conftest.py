"""``--seed N`` runs one seed of the simulation, ``--seeds N`` the first N; SIM_SEED and SIM_SEEDS do the same."""

from __future__ import annotations

import os

import pytest

DEFAULT_SEEDS = 200
SHARDS = 20  # many small ones: files of many tests begin early, and so no long one is left for the end


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=None, help="run only this seed of the cluster simulation")
    parser.addoption("--seeds", type=int, default=None, help=f"how many seeds to run ({DEFAULT_SEEDS})")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seeds" not in metafunc.fixturenames:
        return
    one = _chosen(metafunc.config, "seed")
    if one is not None:
        metafunc.parametrize("seeds", [range(one, one + 1)], ids=[f"seed-{one}"])
        return
    count = _chosen(metafunc.config, "seeds") or DEFAULT_SEEDS
    metafunc.parametrize("seeds", [range(shard, count, SHARDS) for shard in range(min(SHARDS, count))], ids=str)


def _chosen(config: pytest.Config, name: str) -> int | None:
    value: int | None = config.getoption(f"--{name}", None)
    if value is None and (given := os.environ.get(f"SIM_{name.upper()}")):
        value = int(given)
    return value
