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
INPUTS_A_RUN = 2_000
_WINDOW_BYTES = (1, 1, 1, 1, 1, 64, 64, 64, 64, 64, 128, 128, 256, 256, 512)
"""How much of the line one input damages: a place in few bytes says as much as in many, and is read sooner."""

_LONG_WINDOW, _LONG_WINDOW_BYTES = 0.02, 2_048
_WAITS_NS = (0, 0, 0, 0, 0, 0, MS_NS, MS_NS, MS_NS, 20 * MS_NS, 20 * MS_NS, 200 * MS_NS, 200 * MS_NS, S_NS)
_LONG_WAIT, _LONG_WAITS_NS = 0.04, (7 * S_NS, 7 * S_NS, 7 * S_NS, 61 * S_NS)
_SOUND_EVERY, _PLACES = 250, 64
"""After so many damaged inputs the line is sound for a while, from so many places on, and what is held is weighed."""

_BEGUN_PIECES = 8
_WRONG_WORD = 0.125
_OFTEN = 3
"""A code that a sound line gives so often must come again once the line is sound."""

Refit = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Input:
    """What happens next: ``what`` is receive, reconnect, refuse, case, begin or sound; before it time passes.

    ``begin``: a new link and the first pieces of the track, ``at`` of them after the first that is read, so that damage
    falls on a dialogue too that has come so far. ``sound``: the line is without damage, from piece ``at`` of the track
    on, until it is read again.
    """

    what: str
    wait_ns: int = 0
    utc_jump_ns: int = 0
    data: bytes | Message = b""
    at: int = 0


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
    """One run: damaged ``inputs`` with sound stretches between them, at last the whole track on a new link."""

    seed: str
    track: Track
    inputs: tuple[Input, ...]


def planned(driver: str, seed: str, count: int) -> Run:
    """The run of this seed, ``count`` damaged inputs long; always the same."""
    rng = random.Random(seed)
    track = rng.choice(tracks(driver))
    return Run(seed, track, tuple(_inputs(track, rng, refit_of(driver), count)))


def _inputs(track: Track, rng: random.Random, refit: Refit | None, count: int) -> Iterator[Input]:
    for number in range(1, count + 1):
        yield _input(track, rng, refit)
        if number % _SOUND_EVERY == 0 or number == count:
            yield Input("sound", at=len(track.pieces) * rng.randrange(_PLACES) // (2 * _PLACES))


def _input(track: Track, rng: random.Random, refit: Refit | None) -> Input:
    wait_ns = rng.choice(_LONG_WAITS_NS if rng.random() < _LONG_WAIT else _WAITS_NS)
    jump_ns = rng.choice((-3_600, -1, 1, 86_400)) * S_NS if rng.random() < 0.01 else 0
    chance = rng.random()
    if chance < 0.01:
        return Input("reconnect", wait_ns, jump_ns)
    if chance < 0.02:
        return Input("refuse", wait_ns, jump_ns)
    if chance < 0.023:
        return Input("case", wait_ns, jump_ns)
    if chance < 0.028:
        return Input("begin", wait_ns, jump_ns, at=rng.randrange(_BEGUN_PIECES))
    return Input("receive", wait_ns, jump_ns, _damaged(track, rng, refit))


def _damaged(track: Track, rng: random.Random, refit: Refit | None) -> bytes | Message:
    """A stretch of the track, wrong somewhere; of a message its body, or what its transport read of its envelope."""
    first, other = (rng.randrange(len(track.pieces)) for _ in range(2))
    message = track.pieces[first].data
    elsewhere = track.pieces[other].data
    elsewhere = elsewhere.body if isinstance(elsewhere, Message) else elsewhere
    if isinstance(message, Message):
        message = replace(message, body=mutated(message.body, rng, elsewhere)) if message.body else message
        return _new_object(message, rng)
    window = bytearray(message)
    if track.header.transport != "udp":
        most = _LONG_WINDOW_BYTES if rng.random() < _LONG_WINDOW else rng.choice(_WINDOW_BYTES)
        for piece in track.pieces[first + 1 :]:
            if len(window) >= most or isinstance(piece.data, Message):
                break
            window += piece.data
    damaged = mutated(bytes(window), rng, elsewhere)
    return refit(damaged) if refit is not None and rng.random() < 0.5 else damaged


def _new_object(message: Message, rng: random.Random) -> Message:
    """A body that is another is another object; one in eight, or without a body each, has a wrong word about it too."""
    stored = message.object
    if stored is None or not stored.meta:
        return message
    meta = dict(stored.meta)
    if "data_set_sha256" in meta:
        meta["data_set_sha256"] = rng.randbytes(32).hex()
    if not message.body or rng.random() < _WRONG_WORD:
        name = rng.choice(sorted(meta))
        meta[name] = mutated(meta[name].encode(), rng, b"").decode("utf-8", "replace")
    return replace(message, object=replace(stored, meta=meta))


def execute(run: Run) -> None:
    """Raises whatever the driver raises, or ``Violation``."""
    shell = Shell(driver_of(run.track.header), run.track.header.t0_ns)
    shell.connect()
    for given in run.inputs:
        if given.what == "sound":
            shell.check_memory()
            _resynchronise(shell, run.track, given.at)
        elif given.what == "begin":
            _begin(shell, run.track, given)
        else:
            _give(shell, given)
    _reconnect(shell, run.track)
    shell.disconnect("the end")
    shell.check_memory()


def _give(shell: Shell, given: Input) -> None:
    shell.wait(given.wait_ns, given.utc_jump_ns)
    if given.what == "reconnect":
        shell.connect()
    elif given.what == "refuse":
        shell.refuse()
    elif given.what == "case":
        shell.enter_case()
    else:
        shell.receive(given.data)


def _begin(shell: Shell, track: Track, given: Input) -> None:
    shell.wait(given.wait_ns, given.utc_jump_ns)
    shell.connect()
    for piece in track.pieces[: _pieces_until_read(track.header.driver, _number(track)) + given.at]:
        _give(shell, piece)


def _resynchronise(shell: Shell, track: Track, tail: int) -> None:
    """The line goes on without damage, from the middle of a frame: within the longest frame it is read again.

    A driver that cannot read such a stream without a beginning, even when it is new, need not do so now.
    """
    readable = _reads_from(track.header.driver, _number(track), tail)
    if readable and _bytes_until_read(shell, track, tail) is None:
        raise Violation(f"it does not find its way back on a sound line, from piece {tail} on")


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


def _number(track: Track) -> int:
    return next(number for number, each in enumerate(tracks(track.header.driver)) if each is track)


@cache
def _pieces_until_read(driver: str, number: int) -> int:
    """How many pieces from a track's beginning a new driver hears until it reads something."""
    track = tracks(driver)[number]
    shell = Shell(driver_of(track.header), track.header.t0_ns)
    shell.connect()
    for count, piece in enumerate(track.pieces, 1):
        _give(shell, piece)
        if shell.codes.total() + shell.acknowledged:
            return count
    return 0


@cache
def _reads_from(driver: str, number: int, tail: int) -> bool:
    """Whether a new driver reads a line that it hears from this piece on."""
    track = tracks(driver)[number]
    fresh = Shell(driver_of(track.header), track.header.t0_ns)
    fresh.connect()
    return _bytes_until_read(fresh, track, tail) is not None


@cache
def _often(driver: str, number: int) -> tuple[frozenset[str], int]:
    """The codes that a new driver reads often of a whole track, and how many answers it holds back for records."""
    track = tracks(driver)[number]
    shell = Shell(driver_of(track.header), track.header.t0_ns)
    shell.connect()
    for piece in track.pieces:
        _give(shell, piece)
    return frozenset(code for code, count in shell.codes.items() if count >= _OFTEN), shell.acknowledged


def _reconnect(shell: Shell, track: Track) -> None:
    """A new link and the whole track: everything is read that a new driver reads."""
    codes, acknowledged = _often(track.header.driver, _number(track))
    shell.connect()
    shell.codes.clear()
    before = shell.acknowledged
    for piece in track.pieces:
        _give(shell, piece)
    missing = codes - shell.codes.keys()
    # what came before is acknowledged again, and not recorded twice
    repeated = acknowledged and (shell.acknowledged - before) * 2 >= acknowledged
    if missing and not repeated:
        raise Violation(f"after a new connection it no longer reads {', '.join(sorted(missing))}")
