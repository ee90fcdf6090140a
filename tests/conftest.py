"""What every test shares: outside tools that may be missing, and one hypothesis profile."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

IN_CI = bool(os.environ.get("CI"))

# Hundreds of agents start in these tests, and every worker imports every test: none of them shall compile it all anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Where files take a minute or more, most of it waiting.
_HERE = Path(__file__).parent
_LONGEST = (
    _HERE / "sim" / "test_seeds.py",
    _HERE / "processes" / "test_demo.py",
    _HERE / "processes",
    _HERE / "torture",
)

# A loaded machine is slow, not wrong: no deadline. In CI the same examples every time, so that red means changed.
settings.register_profile(
    "orledger", deadline=None, derandomize=IN_CI, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("orledger")


def require_tool(name: str) -> Path:
    """Path of an outside program; without it the test is skipped on a developer's machine and fails in CI."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if found is not None:
        return Path(found)
    if IN_CI:
        pytest.fail(f"{name} is not installed; .ci/run must install it")
    pytest.skip(f"{name} is not installed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, then those of many tests: at the end no worker is left alone with a long one."""
    tests_in = Counter(item.path for item in items)
    items.sort(key=lambda item: (_turn(item.path), -tests_in[item.path], item.path))


def _turn(path: Path) -> int:
    return next((turn for turn, long in enumerate(_LONGEST) if path.is_relative_to(long)), len(_LONGEST))
