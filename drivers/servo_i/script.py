"""What is asked of a ventilator before its stream begins, question by question.

A generator of questions: it is sent each answer, and returns what was learnt. Only the interface is configured, never
the ventilation: which channels it sends, how often, and by which version of the protocol.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from drivers.contract import Sendable
from drivers.servo_i.channels import Channel, Known, channel_of, parse_configuration
from drivers.servo_i.config import ServoIConfig
from drivers.servo_i.frame import HELLO, HELLO_ANSWER, Answer, Error, command
from ledger.errors import DeviceFault

NEWEST_PROTOCOL: Final = 5
RADC: Final = command(b"RADC")
_LISTS: Final = "CBSA"
NOT_NOW: Final = (Error.INVALID, Error.NOT_CONFIGURED, Error.STANDBY)
_FIRST_ALARM: Final = 400
_NOT_THERE: Final = (Error.RANGE, Error.NO_DATA, Error.UNDEFINED)


def _sendable(text: bytes, meaning: str) -> Sendable:
    return Sendable(re.compile(text + rb"[0-9A-F]{2}\x04", re.DOTALL), meaning)


TX_ALLOWED: Final = (
    Sendable(re.compile(rb"\x1b\x04"), "stop the stream (ESC)"),
    Sendable(re.compile(rb"HO\x04"), "general call (HO)"),
    _sendable(rb"RCTY", "read the type, extended mode (RCTY)"),
    _sendable(rb"RSEN", "read the serial number (RSEN)"),
    _sendable(rb"RSWV", "read the software version (RSWV)"),
    _sendable(rb"RHVE", "read the highest protocol version (RHVE)"),
    _sendable(rb"SPVE00[1-5]", "speak this version of the protocol (SPVE)"),
    _sendable(rb"SSMP\d{3}", "send a curve's samples so often (SSMP)"),
    _sendable(rb"RCCO\d{3}", "read a channel's gain, offset and unit (RCCO)"),
    _sendable(rb"SDADC(?:1\d\d){0,4}", "which curves to send (SDADC)"),
    _sendable(rb"SDADB(?:2\d\d){0,50}", "which breath values to send (SDADB)"),
    _sendable(rb"SDADS(?:3\d\d){0,75}", "which settings to tell (SDADS)"),
    _sendable(rb"SDADA(?:4\d\d){0,50}", "which alarms to tell (SDADA)"),
    _sendable(rb"RADA[BSA]", "read breath values, settings or alarms now (RADA)"),
    _sendable(rb"RADC", "begin to send (RADC)"),
)


@dataclass(frozen=True, slots=True)
class Question:
    """Bytes to send, and which answers are to them; others come late from a question before and are passed over."""

    frame: bytes
    answers: Callable[[bytes], bool]


@dataclass(slots=True)
class Learnt:
    """What a ventilator said of itself; ``lists`` by letter are the channels it was asked for.

    ``postponed``: the error with which it refused a list that it may accept later, as in standby.
    """

    model: str = ""
    serial: str = ""
    software: str = ""
    protocol: int | None = None
    sample_ms: int = 0
    internal_fault: bool = False
    lists: dict[str, list[Channel]] = field(default_factory=dict)
    now: dict[str, tuple[int, ...]] = field(default_factory=dict)
    postponed: int | None = None
    refused: list[str] = field(default_factory=list)


Script = Generator[Question, Answer, None]
_OK: Final = re.compile(rb"\*")
_TYPE: Final = re.compile(rb"(Servo-[A-Za-z]+)([01])")
_DIGITS: Final = re.compile(rb"\d{3}")
_VALUES: Final = re.compile(rb"(?:\d{4}| \d{3}|  \d\d|   \d)*")
_PLAIN: Final = re.compile(rb"(?!Servo-|900PCI|\*\Z)[ -:<-~]{1,40}", re.DOTALL)


def _shaped(pattern: re.Pattern[bytes]) -> Callable[[bytes], bool]:
    return lambda text: pattern.fullmatch(text) is not None


def associate(config: ServoIConfig, known: Known, learnt: Learnt) -> Script:
    """From the general call to the lists. ``known`` keeps the channels' configurations from one time to the next."""
    yield Question(HELLO, lambda text: text == HELLO_ANSWER)
    answer = yield Question(command(b"RCTY"), _shaped(_TYPE))
    if (kind := _TYPE.fullmatch(answer.text)) is not None:
        learnt.model, learnt.internal_fault = kind[1].decode("ascii"), kind[2] == b"1"
    learnt.serial = yield from _plain(b"RSEN")
    learnt.software = yield from _plain(b"RSWV")
    if learnt.serial != known.serial:
        known.serial = learnt.serial
        known.configurations.clear()
    yield from _protocol(learnt)
    learnt.sample_ms = config.sample_ms
    answer = yield Question(command(b"SSMP%03d" % config.sample_ms), _shaped(_OK))
    if answer.error is not None:
        learnt.refused.append(f"a sample every {config.sample_ms} ms")
        learnt.sample_ms = 0
    wanted = zip(_LISTS, (config.curves, config.breath, config.settings, config.alarms), strict=True)
    for letter, channels in wanted:
        there = yield from _configurations(channels, known)
        yield from _list(letter, there, learnt)
        if learnt.postponed is not None:
            return
    if not any(learnt.lists.values()):
        learnt.postponed = Error.NOT_CONFIGURED  # it may have had its reasons, and none later
        return
    if learnt.sample_ms == 0:
        told = (found.sample_ms for found in known.configurations.values() if found.sample_ms)
        learnt.sample_ms = next(told, config.sample_ms)
    for letter in _LISTS[1:]:
        if learnt.lists[letter]:
            answer = yield Question(command(b"RADA" + letter.encode("ascii")), _shaped(_VALUES))
            if answer.error is None and len(answer.text) == 4 * len(learnt.lists[letter]):
                learnt.now[letter] = tuple(int(answer.text[at : at + 4]) for at in range(0, len(answer.text), 4))


def _plain(text: bytes) -> Generator[Question, Answer, str]:
    answer = yield Question(command(text), _shaped(_PLAIN))
    return "" if answer.error is not None else answer.text.decode("ascii").strip()


def _protocol(learnt: Learnt) -> Script:
    answer = yield Question(command(b"RHVE"), _shaped(_DIGITS))
    if answer.error is not None:
        return
    version = max(1, min(int(answer.text), NEWEST_PROTOCOL))
    answer = yield Question(command(b"SPVE%03d" % version), _shaped(_OK))
    learnt.protocol = version if answer.error is None else None


def _configurations(channels: Sequence[int], known: Known) -> Generator[Question, Answer, list[Channel]]:
    """Ask for each channel that is not known yet; those that the ventilator does not have are left out."""
    there: list[Channel] = []
    for number in channels:
        if number not in known.configurations:
            answer = yield Question(command(b"RCCO%d" % number), partial(_is_of, number))
            if answer.error in _NOT_THERE:
                continue
            if answer.error is not None:
                there.append(channel_of(number))  # it does not tell channels now: as the manual has them
                continue
            try:
                told = parse_configuration(answer.text)
            except DeviceFault:
                there.append(channel_of(number))
                continue
            if told.channel != channel_of(number) and number < _FIRST_ALARM:
                there.append(told.channel)  # not as in the manual: asked again next time
                continue
            known.configurations[number] = told
        there.append(known.configurations[number].channel)
    return there


def _is_of(number: int, text: bytes) -> bool:
    return b";%d," % number in text


def _list(letter: str, channels: list[Channel], learnt: Learnt) -> Script:
    """Tell which channels to send; if they are refused, ask for those of the first half, and so on."""
    learnt.lists[letter] = []
    while True:
        numbers = b"".join(b"%d" % channel.number for channel in channels)
        answer = yield Question(command(b"SDAD" + letter.encode("ascii") + numbers), _shaped(_OK))
        if answer.error is None:
            learnt.lists[letter] = channels
            return
        if answer.error in NOT_NOW:
            learnt.postponed = answer.error
            return
        if not channels:
            return
        kept = channels[: len(channels) // 2]
        left_out = ", ".join(str(channel.number) for channel in channels[len(kept) :])
        learnt.refused.append(f"channels {left_out}")
        channels = kept
