"""Fuzzing one driver: runs of damaged input, each on a driver of its own, and after each the line is well again."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from pathlib import Path

from drivers.capture import CapturedMessage, CaptureHeader
from drivers.capture_file import open_capture
from drivers.contract import Message
from ledger.limits import MS_NS, S_NS
from ledger.records import Link, Raw
from tests.captures.conversation import driver_of
from tests.fuzz.mutations import mutated
from tests.fuzz.shell import Shell, Violation

CAPTURES = Path(__file__).parents[1] / "captures"
INPUTS_A_RUN = 500
_LONGEST_WINDOW_BYTES = 2_048
_OFTEN = 3
"""A code that a sound line gives so often must come again once the line is sound."""

Refit = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Input:
    """What happens next: ``what`` is receive, reconnect or refuse; before it so much time passes."""

    what: str
    wait_ns: int = 0
    utc_jump_ns: int = 0
    data: bytes | Message = b""


@dataclass(frozen=True, slots=True)
class Track:
    """What one capture's device said: pieces (over UDP, datagrams) and the times between them."""

    header: CaptureHeader
    pieces: tuple[Input, ...]

    def size(self) -> int:
        """Bytes of all of it."""
        return sum(len(piece.data.body if isinstance(piece.data, Message) else piece.data) for piece in self.pieces)


@cache
def tracks(driver: str) -> tuple[Track, ...]:
    """Of every capture of a driver."""
    found = []
    for path in sorted(CAPTURES.glob("*.orcap*")):
        with open_capture(path) as reader:
            if reader.header.driver == driver:
                found.append(Track(reader.header, tuple(_pieces(list(reader)))))
    return tuple(track for track in found if track.pieces)


def _pieces(items: list[object]) -> Iterator[Input]:
    last_ns: int | None = None
    for item in items:
        if isinstance(item, Raw) and item.direction == "<":
            data: bytes | Message = item.data
        elif isinstance(item, CapturedMessage):
            data = item.message
        elif isinstance(item, Link) and item.state == "up":
            last_ns = last_ns if last_ns is not None else item.at_ns
            continue
        else:
            continue
        yield Input("receive", max(0, item.at_ns - (item.at_ns if last_ns is None else last_ns)), 0, data)
        last_ns = item.at_ns


@cache
def refit_of(driver: str) -> Refit | None:
    """``refit`` of the driver's module in ``tests/captures/plans``: makes the checksums of damaged bytes right."""
    try:
        module = import_module(f"tests.captures.plans.{driver.replace('-', '_')}")
    except ModuleNotFoundError:
        return None  # captures from hospitals alone
    refit: Refit | None = getattr(module, "refit", None)
    return refit


@dataclass(frozen=True, slots=True)
class Run:
    """One run: damaged ``inputs``, then the rest of the track from ``tail`` on, then all of it on a new link."""

    seed: str
    track: Track
    inputs: tuple[Input, ...]
    tail: int


def planned(driver: str, seed: str, count: int) -> Run:
    """The run of this seed, ``count`` inputs long; always the same."""
    rng = random.Random(seed)
    track = rng.choice(tracks(driver))
    inputs = tuple(_input(track, rng, refit_of(driver)) for _ in range(count))
    return Run(seed, track, inputs, rng.randrange(max(1, len(track.pieces) // 2)))


def _input(track: Track, rng: random.Random, refit: Refit | None) -> Input:
    wait_ns = rng.choice((0, 0, MS_NS, 20 * MS_NS, 200 * MS_NS, S_NS, rng.choice((7, 61)) * S_NS))
    jump_ns = rng.choice((-3_600, -1, 1, 86_400)) * S_NS if rng.random() < 0.01 else 0
    chance = rng.random()
    if chance < 0.01:
        return Input("reconnect", wait_ns, jump_ns)
    if chance < 0.02:
        return Input("refuse", wait_ns, jump_ns)
    return Input("receive", wait_ns, jump_ns, _damaged(track, rng, refit))


def _damaged(track: Track, rng: random.Random, refit: Refit | None) -> bytes | Message:
    first, other = (rng.randrange(len(track.pieces)) for _ in range(2))
    message = track.pieces[first].data
    elsewhere = track.pieces[other].data
    elsewhere = elsewhere.body if isinstance(elsewhere, Message) else elsewhere
    if isinstance(message, Message):
        return replace(message, body=mutated(message.body, rng, elsewhere))
    window = bytearray(message)
    if track.header.transport != "udp":
        most = rng.choice((1, 64, 512, _LONGEST_WINDOW_BYTES))
        for piece in track.pieces[first + 1 :]:
            if len(window) >= most or isinstance(piece.data, Message):
                break
            window += piece.data
    damaged = mutated(bytes(window), rng, elsewhere)
    return refit(damaged) if refit is not None and rng.random() < 0.5 else damaged


def execute(run: Run) -> None:
    """Raises whatever the driver raises, or ``Violation``."""
    shell = Shell(driver_of(run.track.header), run.track.header.t0_ns)
    shell.connect()
    for given in run.inputs:
        _give(shell, given)
    shell.check_memory()
    _resynchronise(shell, run)
    _reconnect(shell, run)
    shell.disconnect("the end")
    shell.check_memory()


def _give(shell: Shell, given: Input) -> None:
    shell.wait(given.wait_ns, given.utc_jump_ns)
    if given.what == "reconnect":
        shell.connect()
    elif given.what == "refuse":
        shell.refuse()
    else:
        shell.receive(given.data)


def _resynchronise(shell: Shell, run: Run) -> None:
    """The line goes on without damage, from the middle of a frame: within the longest frame it is read again.

    A driver that cannot read such a stream without a beginning, even when it is new, need not do so now.
    """
    if _bytes_until_read(shell, run.track, run.tail) is not None:
        return
    fresh = Shell(driver_of(run.track.header), run.track.header.t0_ns)
    fresh.connect()
    if _bytes_until_read(fresh, run.track, run.tail) is not None:
        raise Violation(f"it does not find its way back on a sound line, from piece {run.tail} on")


def _bytes_until_read(shell: Shell, track: Track, tail: int) -> int | None:
    """Bytes of a sound line until something is read; None if nothing is. A link that is closed is found to be well."""
    most = shell.driver.spec.longest_frame_bytes + track.size()
    before = shell.codes.total() + shell.acknowledged + shell.closed
    fed, at = 0, tail
    while fed < most:
        piece = track.pieces[at % len(track.pieces)]
        shell.wait(piece.wait_ns)
        shell.receive(piece.data)
        if shell.codes.total() + shell.acknowledged + shell.closed > before:
            return fed
        fed += max(1, len(piece.data.body if isinstance(piece.data, Message) else piece.data))
        at += 1
    return None


@cache
def _often(driver: str, index: int) -> tuple[frozenset[str], int]:
    """The codes that a new driver reads often of a whole track, and how many answers it holds back for records."""
    track = tracks(driver)[index]
    shell = Shell(driver_of(track.header), track.header.t0_ns)
    shell.connect()
    for piece in track.pieces:
        _give(shell, piece)
    return frozenset(code for code, count in shell.codes.items() if count >= _OFTEN), shell.acknowledged


def _reconnect(shell: Shell, run: Run) -> None:
    """A new link and the whole track: everything is read that a new driver reads."""
    driver = run.track.header.driver
    codes, acknowledged = _often(driver, tracks(driver).index(run.track))
    shell.connect()
    shell.codes.clear()
    before = shell.acknowledged
    for piece in run.track.pieces:
        _give(shell, piece)
    missing = codes - shell.codes.keys()
    # what came before is acknowledged again, and not recorded twice
    repeated = acknowledged and (shell.acknowledged - before) * 2 >= acknowledged
    if missing and not repeated:
        raise Violation(f"after a new connection it no longer reads {', '.join(sorted(missing))}")
