from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests import conftest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()
PINS = dict(re.findall(r"^([a-z0-9-]+)==(\S+) \\$", LOCK, re.MULTILINE))


def requirement_names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=!~; \[]", line)[0].lower().replace("_", "-") for line in requirements}


def test_lock_pins_every_declared_dependency() -> None:
    project = PROJECT["project"]
    declared = requirement_names(
        [*project["dependencies"], *project["optional-dependencies"]["dev"], *PROJECT["build-system"]["requires"]]
    )
    assert declared <= PINS.keys()


def test_every_pin_has_a_hash_and_no_line_names_a_host_or_a_path() -> None:
    blocks = re.split(r"^(?=[a-z0-9-]+==)", LOCK, flags=re.MULTILINE)[1:]
    assert len(blocks) == len(PINS) > 0
    assert all("--hash=sha256:" in block for block in blocks)
    assert not re.search(r"://|--(index-url|extra-index-url|find-links|trusted-host)|/[a-z]+/", LOCK)


@pytest.mark.parametrize("package", ["agent", "drivers", "firmware_sim", "ledger"])
def test_every_package_ships_and_is_typed(package: str) -> None:
    assert package in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert (ROOT / package / "py.typed").is_file()


def test_a_missing_tool_skips_at_home_and_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    assert conftest.require_tool("sh").name == "sh"
    monkeypatch.setattr(conftest, "IN_CI", False)
    with pytest.raises(pytest.skip.Exception):
        conftest.require_tool("no-such-program-anywhere")
    monkeypatch.setattr(conftest, "IN_CI", True)
    with pytest.raises(pytest.fail.Exception):
        conftest.require_tool("no-such-program-anywhere")
