"""Every capture goes through the feed shell into signed blocks and out again: what was recorded is what had passed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import pytest

from agent.box_files import BoxFolder, create_box, open_keyring
from agent.cli.main import main
from agent.feed import Feed
from agent.intake import Intake
from agent.wake_timer import SHORTEST_TIMER_NS
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
TICK_NS = 5 * S_NS
CONFIG = """
[box]
site = "st-mary"
id = "or-1"
room = "OR 1"
data_dir = "{data}"
"""
START, END = b"\x0b", b"\x1c\r"


@dataclass(frozen=True)
class Read:
    """A capture file: its header, its items, and the lines between header and end as they stand in it."""

    header: CaptureHeader
    items: list[CaptureItem]

    def lines(self, *, gaps: bool = True) -> list[bytes]:
        """Without the header and the end, which name the log and hash the rest; times from the first item on."""
        kept, t0_ns = (item for item in self.items if gaps or not isinstance(item, Gap)), self.items[0].at_ns
        return [line for item in kept for line in lines_of(item, t0_ns)]


def read(path: Path) -> Read:
    with open_capture(path) as reader:
        return Read(reader.header, list(reader))


@cache
def captures_of_each_driver() -> Mapping[str, Mapping[str, Path]]:
    """The captures of bytes of each driver, by name."""
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    for path in sorted(FOLDER.glob("*.orcap.zst")):
        with open_capture(path) as reader:
            if reader.header.transport in {"serial", "tcp", "udp", "mllp", "sdc"}:
                found[reader.header.driver][path.name.removesuffix(".orcap.zst")] = path
    return found


@dataclass
class Played:
    """The transport of a capture: takes every send, and lets the capture decide when a link falls."""

    listens: bool = False
    reachable: bool = True
    events: LinkEvents | None = None

    def start(self, events: LinkEvents) -> None:
        self.events = events

    async def stop(self) -> None:
        self.events = None

    def send(self, link: LinkId, data: bytes) -> bool:
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


@dataclass
class Playing:
    """One capture that a feed of its own hears, in virtual time of its own."""

    name: str
    capture: Read
    intake: Intake
    time: FakeTime = field(default_factory=FakeTime)
    transport: Played = field(default_factory=Played)
    done: int = 0

    def __post_init__(self) -> None:
        header, time = self.capture.header, self.time
        time.utc_ahead_ns = header.t0_ns - time.mono_ns
        Feed(self.name, lambda: driver_of(header), self.transport, self.intake, time.now, time.schedule).start()

    def play_until(self, after_ns: int) -> bool:
        """Play what passed until so long after the capture's beginning; whether there is more."""
        items, ends_ns = self.capture.items, self.capture.header.t0_ns + after_ns
        while self.done < len(items) and items[self.done].at_ns < ends_ns:
            item = items[self.done]
            self.done += 1
            self.time.advance(max(0, item.at_ns - self.time.now().utc_ns))
            self.transport.play(item, self.time.now())
        if self.done == len(items):
            return False  # what a driver would do later is no part of the capture
        self.time.advance(max(0, ends_ns - self.time.now().utc_ns))
        return True


def recorded(captures: Mapping[str, Read], folder: Path) -> dict[str, Read]:
    """Play all of them at once, each to a feed of its own, block by block into one box's store; the exported files."""
    folder.mkdir()
    config = folder / "config.toml"
    config.write_text(CONFIG.format(data=folder / "data"))
    box = BoxFolder(folder / "data")
    keyring = open_keyring(box, create_box(box, "or-1"))
    cluster = recording_cluster(1)
    cluster.run(3)
    intake = Intake()
    playing = [Playing(name, capture, intake) for name, capture in captures.items()]
    more, after_ns, last = True, 0, None
    while more or intake.waiting_records:
        after_ns += TICK_NS
        more = sum(one.play_until(after_ns) for one in playing) > 0
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
    return {name: exported(config, name, folder / f"{name}.orcap.zst") for name in captures}


def exported(config: Path, feed: str, file: Path) -> Read:
    assert main(["--config", str(config), "capture", "export", str(file), "--feed", feed]) == 0
    return read(file)


def heard(capture: Read) -> list[bytes]:
    """The lines of what came: bytes heard, links up and down; not what driver and recorder say of it.

    The recorder knows whose link fell, a capture that was not made by one does not.
    """
    items: list[CaptureItem] = []
    for item in capture.items:
        if isinstance(item, Link) and item.state in {"up", "down"}:
            items.append(item if item.state == "up" else replace(item, peer=""))
        elif isinstance(item, Raw) and item.direction == "<":
            items.append(item)
    return Read(capture.header, items).lines()


def whole_messages(capture: Read) -> list[bytes]:
    """The lines as a driver keeps them that keeps messages, not the stream: each new message when its end had come."""
    items: list[CaptureItem] = []
    streams: dict[LinkId, bytes] = defaultdict(bytes)
    kept: set[bytes] = set()
    for item in capture.items:
        if not isinstance(item, Raw):
            items.append(item)
        if not isinstance(item, Raw) or item.direction == ">":
            continue
        *bodies, streams[item.link] = (streams[item.link] + item.data).split(END[:1])
        for body in bodies:
            message = START + body.rpartition(START)[2] + END
            if START in body and message not in kept:
                kept.add(message)
                items.append(replace(item, data=message, pieces=((0, len(message)),)))
    return heard(replace(capture, items=items))


def said(capture: Read) -> list[tuple[int, bytes]]:
    """What was sent, and when."""
    return [(item.at_ns, item.data) for item in capture.items if isinstance(item, Raw) and item.direction == ">"]


@pytest.mark.parametrize("driver", captures_of_each_driver())
def test_every_capture_comes_out_of_the_ledger_as_it_went_in_and_again_the_same(driver: str, tmp_path: Path) -> None:
    captures = {name: read(path) for name, path in captures_of_each_driver()[driver].items()}
    first = recorded(captures, tmp_path / "first")
    replayed = {name: replace(out, header=captures[name].header) for name, out in first.items()}
    again = recorded(replayed, tmp_path / "again")
    for name, capture in captures.items():
        keeps_messages = driver_of(capture.header).spec.keeps_raw
        if keeps_messages:  # all that it kept passed in this order; what is not of this room it leaves out
            passed = iter(whole_messages(capture))
            kept = heard(first[name])
            assert [line for line in kept if line not in passed] == [], name
            assert any(b'"<"' in line for line in kept), name
        else:
            assert heard(first[name]) == heard(capture), name
        if not keeps_messages:  # answers to messages bear the time of the block that holds them
            told, asked = said(first[name]), said(capture)
            assert [data for _, data in told] == [data for _, data in asked], name
            # the shell's timers are never shorter than this, so what a driver sends by itself may leave so much later
            late_ns = [now_ns - then_ns for (now_ns, _), (then_ns, _) in zip(told, asked, strict=True)]
            # (a recorded network's own delays, and answers that wait for their block, are not played)
            is_timed = capture.header.transport in {"serial", "udp"}
            assert not is_timed or all(0 <= late <= SHORTEST_TIMER_NS for late in late_ns), name
        # a gap between whole messages cannot come again: the bytes in it may be a stranger's and are not kept
        assert again[name].lines(gaps=not keeps_messages) == first[name].lines(gaps=not keeps_messages), name
        assert again[name].header.t0 == first[name].header.t0
        assert first[name].items[0].at_ns == capture.items[0].at_ns, name
        assert not [item for item in first[name].items if isinstance(item, Gap) and item.cause == "overflow"], name


def test_there_are_captures_of_each_transport() -> None:
    paths = [path for captures in captures_of_each_driver().values() for path in captures.values()]
    assert {read(path).header.transport for path in paths} >= {"serial", "tcp", "udp", "mllp", "sdc"}
