"""Every capture in tests/captures, replayed in every way: its driver must always make the same of it.

A capture that a hospital gives, scrubbed and with a licence, is put there with its records (``orledger capture decode
x.orcap.zst > x.records.jsonl``, read by somebody who knows the device) and is tested from then on.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from drivers.built_in import BUILT_IN
from drivers.capture import CaptureHeader, CaptureItem
from drivers.capture_file import open_capture
from drivers.contract import Transport
from drivers.replay import Replay, replay_records
from ledger.record_json import record_to_json
from ledger.records import Link, LinkId, Raw
from tests.captures.conversation import driver_of

FOLDER = Path(__file__).parents[1] / "captures"
CAPTURES = sorted(path for path in FOLDER.iterdir() if ".orcap" in path.suffixes)
TAIL_CUTS = 4


def records_path(path: Path) -> Path:
    return path.with_name(path.name.partition(".orcap")[0] + ".records.jsonl")


@pytest.fixture(scope="module", params=CAPTURES, ids=lambda path: str(path.name))
def path(request: pytest.FixtureRequest) -> Path:
    chosen: Path = request.param
    return chosen


@pytest.fixture(scope="module")
def capture(path: Path) -> tuple[CaptureHeader, list[CaptureItem]]:
    with open_capture(path) as reader:
        return reader.header, list(reader)


def made_of(items: Iterable[CaptureItem], header: CaptureHeader) -> list[bytes]:
    records = replay_records(driver_of(header), items, header.t0_ns)
    return [msgspec.json.encode(record_to_json(record)) for record in records]


def cut_anew(items: Iterable[CaptureItem], header: CaptureHeader, size: Callable[[], int]) -> Iterator[CaptureItem]:
    """The same bytes heard at the same times, in pieces of other sizes; datagrams arrive whole or not at all."""
    for item in items:
        if not isinstance(item, Raw) or item.direction == ">" or header.transport == Transport.UDP:
            yield item
            continue
        start = 0
        while start < len(item.data):
            piece = item.data[start : start + size()]
            start += len(piece)
            yield Raw(at_ns=item.at_ns, link=item.link, direction=item.direction, data=piece, pieces=((0, len(piece)),))


def test_there_are_captures_of_every_built_in_driver() -> None:
    drivers = set()
    for path in CAPTURES:
        with open_capture(path) as reader:
            drivers.add(reader.header.driver)
    assert drivers >= BUILT_IN.keys()


def test_a_capture_is_scrubbed_and_licensed(capture: tuple[CaptureHeader, list[CaptureItem]]) -> None:
    header, _ = capture
    assert header.scrubbed is True, "it may hold what was said about a patient"
    assert header.licence, "nobody knows whether it may be published"


def test_whole(path: Path, capture: tuple[CaptureHeader, list[CaptureItem]]) -> None:
    header, items = capture
    expected = records_path(path).read_bytes()
    assert expected
    assert b"".join(line + b"\n" for line in made_of(items, header)) == expected


def test_byte_by_byte(path: Path, capture: tuple[CaptureHeader, list[CaptureItem]]) -> None:
    header, items = capture
    assert made_of(cut_anew(items, header, lambda: 1), header) == records_path(path).read_bytes().splitlines()


@pytest.mark.parametrize("seed", range(1))
def test_randomly_split(path: Path, capture: tuple[CaptureHeader, list[CaptureItem]], seed: int) -> None:
    header, items = capture
    sizes = random.Random(seed)
    pieces = cut_anew(items, header, lambda: sizes.choice((1, 2, 3, 17, 64, 300)))
    assert made_of(pieces, header) == records_path(path).read_bytes().splitlines()


def test_cut_off_anywhere_it_is_a_beginning_of_the_whole(
    path: Path, capture: tuple[CaptureHeader, list[CaptureItem]]
) -> None:
    header, items = capture
    expected = records_path(path).read_bytes().splitlines()
    where = random.Random(path.name)
    for _ in range(TAIL_CUTS):
        count = where.randrange(len(items))
        beginning, last = items[:count], items[count]
        if isinstance(last, Raw) and last.direction == "<" and header.transport != Transport.UDP:
            kept = last.data[: where.randrange(len(last.data))]
            beginning.append(replace(last, data=kept, pieces=((0, len(kept)),)))
        made = made_of(beginning, header)
        assert made == expected[: len(made)]


def test_the_driver_sends_what_was_sent(capture: tuple[CaptureHeader, list[CaptureItem]]) -> None:
    header, items = capture
    replay = Replay(driver_of(header), header.t0_ns)
    for _ in replay.steps(items):
        pass
    sent_now = any(sent.replayed for sent in replay.sent.values())
    if sent_now and not any(sent.captured for sent in replay.sent.values()):
        assert header.source, "only an export of a log, whose driver keeps what it received alone, may lack sends"
        return
    assert {link: sent.differs_at for link, sent in replay.sent.items()} == dict.fromkeys(replay.sent)


def test_every_link_of_a_capture_is_told_of(capture: tuple[CaptureHeader, list[CaptureItem]]) -> None:
    _, items = capture
    up: set[LinkId] = set()
    for item in items:
        if isinstance(item, Raw):
            assert item.link in up
        elif isinstance(item, Link) and item.state == "up":
            up.add(item.link)
