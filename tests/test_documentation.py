"""What the documentation says of the house must be true of the house."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from drivers import registry
from ledger.limits import Limits

ROOT = Path(__file__).parents[1]
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
PACKAGES = ("ledger", "drivers", "agent", "firmware_sim")


def source() -> str:
    files = (path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if path.name != "limits.py")
    return "\n".join(path.read_text() for path in files)


def test_every_file_and_folder_named_in_the_code_map_exists() -> None:
    named = set(re.findall(r"`([a-z_0-9/]+(?:\.py|/))`", ARCHITECTURE))
    assert len(named) > 40
    folders = [ROOT, *(ROOT / package for package in PACKAGES)]
    assert [name for name in sorted(named) if not any((folder / name).exists() for folder in folders)] == []


def test_every_relative_link_leads_somewhere() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    links = [
        (page, link) for page in pages for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
        if "://" not in link
    ]  # fmt: skip
    assert len(links) > 10
    assert [f"{page.name}: {link}" for page, link in links if not (page.parent / link).exists()] == []


def test_the_list_of_decisions_is_whole() -> None:
    folder = ROOT / "docs" / "adr"
    listed = set(re.findall(r"\]\((\d{4}-[a-z0-9-]+\.md)\)", (folder / "README.md").read_text()))
    assert listed == {path.name for path in folder.glob("[0-9]*.md")}


def test_every_driver_has_its_page_and_its_row() -> None:
    table = (ROOT / "docs" / "drivers" / "README.md").read_text()
    for name in registry.names():
        assert f"| `{name}` |" in table
        assert (ROOT / "docs" / "drivers" / f"{name}.md").is_file()


def test_every_limit_limits_something() -> None:
    text = source()
    fields = [field.name for field in dataclasses.fields(Limits)]
    assert [name for name in fields if not re.search(rf"\.{name}\b", text)] == []
