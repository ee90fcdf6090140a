from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.box_files import BoxFolder, create_box, open_keyring
from agent.cli.main import main
from drivers.capture import CaptureHeader, CaptureItem
from drivers.capture_file import open_capture
from ledger.limits import MS_NS
from ledger.log import LogId
from ledger.ops import PrunePayloads
from ledger.records import Gap, Link, LinkId, Numeric, Raw, Record
from ledger.store import Store
from tests.ledger.audited import recording_cluster, write_store

CONFIG = """
[box]
site = "st-mary"
id = "or-1"
room = "OR 1"
data_dir = "{data}"
[[feed]]
name = "monitor"
driver = "ge-dri"
serial = {{ path = "/dev/ttyUSB0", line = "19200 8E1" }}
options = {{ waves = ["ECG1"] }}
"""


class Box:
    """A box that has recorded ten blocks of 100 ms: a link, then three pieces of bytes in each block, then a gap."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "config.toml"
        self.config.write_text(CONFIG.format(data=folder / "data"))
        self.folder = BoxFolder(folder / "data")
        keyring = open_keyring(self.folder, create_box(self.folder, "or-1"))
        cluster = recording_cluster(1)
        cluster.run(3)
        self.passed: list[Record] = []
        for number in range(10):
            cluster.now_ns += 100 * MS_NS
            cluster.boxes["or-1"].member.step(cluster.now)
            records = self.records(number, cluster.now_ns - 50 * MS_NS)
            block = cluster.tick("or-1", {"monitor": records, "vent": [NUMERIC]})
            self.passed += [record for record in records if not isinstance(record, Numeric)]
            cluster.settle(["or-1"])
        self.log: LogId = block.log
        self.end = block.seq + 1
        write_store(cluster, "or-1", self.folder.ledger).close()
        for key, wraps in cluster.boxes["or-1"].keys.held.values():
            keyring.add("or-1", self.log.incarnation, key, wraps)

    @staticmethod
    def records(number: int, at_ns: int) -> list[Record]:
        raw = Raw(
            at_ns=at_ns, link=LinkId(1), direction="<", data=bytes([number] * 6), pieces=((0, 1), (100, 2), (900, 3))
        )
        first: list[Record] = [Link(at_ns=at_ns, link=LinkId(1), state="up", peer="port")] if number == 0 else []
        last: list[Record] = [Gap(at_ns=at_ns, cause="silence", since_ns=at_ns, until_ns=at_ns)] if number == 9 else []
        return [*first, raw, NUMERIC, *last]

    def export(self, *arguments: object) -> int:
        return main(["--config", str(self.config), "capture", "export", *map(str, arguments)])


NUMERIC = Numeric(at_ns=1, code="MDC_PULS_RATE", value=None, unit="/min")


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def read(path: Path) -> tuple[CaptureHeader, list[CaptureItem]]:
    with open_capture(path) as capture:
        return capture.header, list(capture)


def test_everything_that_passed_is_there_in_order(box: Box, tmp_path: Path) -> None:
    file = tmp_path / "a.orcap.zst"
    assert box.export(file, "--feed", "monitor") == 0
    header, items = read(file)
    assert len(items) == 1 + 10 * 3 + 1
    assert (items[0], items[-1]) == (box.passed[0], box.passed[-1])
    data = b"".join(item.data for item in items if isinstance(item, Raw))
    assert data == b"".join(bytes([number] * 6) for number in range(10))
    assert (header.driver, header.transport, header.line) == ("ge-dri", "serial", "19200 8E1")
    assert header.options == {"waves": ["ECG1"]}
    assert header.source == box.log.origin("st-mary")
    assert (header.scrubbed, header.clock) == (False, "synchronised")
    assert header.t0_ns == box.passed[0].at_ns


def test_a_run_of_blocks_is_exported(box: Box, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.orcap"
    first, last = box.end - 5, box.end - 3
    assert box.export("--json", file, "--feed", "monitor", "--from", first, "--to", last) == 0
    header, items = read(file)
    assert header.blocks == (first, last)
    assert b"".join(item.data for item in items if isinstance(item, Raw)) == bytes([5] * 6 + [6] * 6 + [7] * 6)
    assert json.loads(capsys.readouterr().out)["blocks"] == [first, last]


def test_what_retention_took_away_is_said_to_be_missing(
    box: Box, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store.open(box.folder.ledger)
    store.commit([PrunePayloads(box.log, box.end - 2, box.end - 1)])
    store.close()
    assert box.export(tmp_path / "a.orcap", "--feed", "monitor") == 1
    assert "1 of these blocks have no payload any more" in capsys.readouterr().err
    _, items = read(tmp_path / "a.orcap")
    assert len(items) == 1 + 9 * 3 + 1


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--feed", "robot"), 65),
        (("--feed", "vent"), 65),
        (("--feed", "monitor", "--box", "or-9"), 64),
        (("--feed", "monitor", "--log", "9-"), 64),
        (("--feed", "monitor", "--from", "999"), 64),
        (("--feed", "monitor", "--from", "noon"), 64),
    ],
)
def test_a_mistake_is_named_and_leaves_no_file(
    box: Box, tmp_path: Path, arguments: tuple[str, ...], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.orcap"
    assert box.export(file, *arguments) == code
    assert capsys.readouterr().err.startswith("orledger: ")
    assert not file.exists()
