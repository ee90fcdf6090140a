"""Captures go through the feed shell into signed blocks and out again: what was recorded is what had passed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from agent.box_files import BoxFolder, create_box, open_keyring
from agent.cli.main import main
from agent.feed import Feed
from agent.intake import Intake
from drivers.capture import CaptureHeader, CaptureItem, lines_of
from drivers.capture_file import open_capture
from drivers.contract import Now
from drivers.transports.links import LinkEvents
from ledger.limits import S_NS
from ledger.records import Gap, Link, LinkId, Raw
from tests.agent.feed_fakes import FakeTime
from tests.captures.conversation import driver_of
from tests.ledger.audited import recording_cluster, write_store

FOLDER = Path(__file__).parents[1] / "captures"
TICK_NS = S_NS
CONFIG = """
[box]
site = "st-mary"
id = "or-1"
room = "OR 1"
data_dir = "{data}"
"""


def first_of_each_driver() -> list[Path]:
    """The first capture of bytes of each driver."""
    chosen: dict[str, Path] = {}
    for path in sorted(FOLDER.glob("*.orcap.zst")):
        with open_capture(path) as reader:
            if reader.header.transport in {"serial", "tcp", "udp", "mllp"}:
                chosen.setdefault(reader.header.driver, path)
    return list(chosen.values())


def read(path: Path) -> tuple[CaptureHeader, list[CaptureItem]]:
    with open_capture(path) as reader:
        return reader.header, list(reader)


@dataclass
class Played:
    """The transport of a capture: takes every send, and lets the capture decide when a link falls."""

    listens: bool = False
    reachable: bool = True
    events: LinkEvents | None = None
    sent: list[bytes] = field(default_factory=list)

    def start(self, events: LinkEvents) -> None:
        self.events = events

    async def stop(self) -> None:
        self.events = None

    def send(self, link: LinkId, data: bytes) -> bool:
        self.sent.append(data)
        return True

    def close(self, link: LinkId, reason: str) -> None: ...

    def set_reading(self, reading: bool) -> None: ...

    def play(self, item: CaptureItem, at: Now) -> None:
        """One item, as a real transport would tell it."""
        assert self.events is not None
        if isinstance(item, Raw) and item.direction == "<":
            self.events.on_bytes(item.link, item.data, at)
        elif isinstance(item, Link) and item.state == "up":
            self.events.on_up(item.link, item.peer, at)
        elif isinstance(item, Link) and item.state == "down":
            self.events.on_down(item.link, item.reason, at)


def recorded(header: CaptureHeader, items: Sequence[CaptureItem], folder: Path) -> Path:
    """Play the items to a feed, block by block, into a box's store; the exported capture."""
    folder.mkdir()
    config = folder / "config.toml"
    config.write_text(CONFIG.format(data=folder / "data"))
    box = BoxFolder(folder / "data")
    keyring = open_keyring(box, create_box(box, "or-1"))
    cluster = recording_cluster(1)
    cluster.run(3)
    time, intake, transport = FakeTime(), Intake(), Played()
    time.utc_ahead_ns = header.t0_ns - time.mono_ns
    feed = Feed(header.feed, lambda: driver_of(header), transport, intake, time.now, time.schedule)
    feed.start()
    waiting = list(items)
    last = None
    while waiting:
        ends_ns = time.now().utc_ns + TICK_NS
        while waiting and waiting[0].at_ns < ends_ns:
            item = waiting.pop(0)
            time.advance(max(0, item.at_ns - time.now().utc_ns))
            transport.play(item, time.now())
        time.advance(max(0, ends_ns - time.now().utc_ns))
        batch = intake.take()
        cluster.now_ns += TICK_NS
        cluster.boxes["or-1"].member.step(cluster.now)
        last = cluster.tick("or-1", batch.groups)
        cluster.settle(["or-1"])
        intake.durable(batch.last_position)
    assert last is not None
    write_store(cluster, "or-1", box.ledger).close()
    for key, wraps in cluster.boxes["or-1"].keys.held.values():
        keyring.add("or-1", last.log.incarnation, key, wraps)
    file = folder / "export.orcap.zst"
    assert main(["--config", str(config), "capture", "export", str(file), "--feed", header.feed]) == 0
    return file


def wire(items: Iterable[CaptureItem], t0_ns: int) -> list[bytes]:
    """What was heard, with its times, and the links; without what the recorder and the driver added."""
    heard: list[CaptureItem] = []
    for item in items:
        if isinstance(item, Link) and item.state in {"up", "down"}:
            heard.append(item if item.state == "up" else replace(item, peer=""))  # the recorder knows whose link fell
        elif isinstance(item, Raw) and item.direction == "<":
            heard.append(item)
    return [line for item in heard for line in lines_of(item, t0_ns)]


def said(items: Iterable[CaptureItem]) -> bytes:
    return b"".join(item.data for item in items if isinstance(item, Raw) and item.direction == ">")


@pytest.mark.parametrize("path", first_of_each_driver(), ids=lambda path: path.name.partition(".")[0])
def test_a_capture_comes_out_of_the_ledger_as_it_went_in_and_again_the_same(path: Path, tmp_path: Path) -> None:
    header, items = read(path)
    first = recorded(header, items, tmp_path / "first")
    out_header, out = read(first)
    keeps_raw = driver_of(header).spec.keeps_raw  # such a driver keeps whole messages of this room, not the stream
    if not keeps_raw:
        assert wire(out, header.t0_ns) == wire(items, header.t0_ns)
        assert said(out) == said(items)
    again_header, again = read(recorded(header, out, tmp_path / "again"))
    # gaps that a driver of whole messages told of bytes between them cannot come again: it did not keep those bytes
    kept = [[item for item in made if not (keeps_raw and isinstance(item, Gap))] for made in (out, again)]
    first_lines, again_lines = ([line for item in made for line in lines_of(item, header.t0_ns)] for made in kept)
    assert first_lines
    assert again_lines == first_lines
    assert again_header.t0 == out_header.t0
    assert not [item for item in out if isinstance(item, Gap) and item.cause == "overflow"]


def test_there_is_one_of_each_transport() -> None:
    transports = {read(path)[0].transport for path in first_of_each_driver()}
    assert transports >= {"serial", "mllp"}
