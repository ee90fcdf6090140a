"""Nonin OEM III, Xpod and instruments built on them: plethysmogram, values and conditions. It never sends.

Source: Nonin, OEM III Module Specification and Technical Information, serial data formats #1, #2, #7 and #8.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import ClassVar, Final, Literal

import msgspec

from drivers.byte_device import ByteDevice
from drivers.conditions import Condition, Conditions
from drivers.contract import Heard, Now, Spec, Transport
from drivers.fixed_frames import FirstOf, Skipped
from drivers.nonin.finder import finder
from drivers.nonin.packet import (
    FRAME_BYTES,
    PACKET_FRAMES,
    RATE_HZ,
    DataFormat,
    Frame,
    Packet,
    Reading,
    Status,
    parse_frame,
    parse_packet,
)
from drivers.nonin.spot import parse_spot
from drivers.shown_values import ShownValues
from ledger.limits import S_NS
from ledger.records import EventKind, GapCause, Identity, Link, LinkId, LinkState, Numeric, Quality, Wave

_SPOT: Final = frozenset((1, 8))
"""Formats of a frame a second, without a wave."""
_SAT, _RATE = "MDC_PULS_OXIM_SAT_O2", "MDC_PULS_OXIM_PULS_RATE"
_STANDARD: Final = {"SpO2": _SAT, "HR": _RATE}
_AS_CODE: Final = str.maketrans(" -", "__")
_REPEAT_NS: Final = 1 * S_NS
_HELD_NS: Final = S_NS // 5
"""A frame without a checksum that nothing follows for so long is whole."""
_CENTRE: Final[dict[int, int]] = {2: 0, 7: 32_768}
_CONDITIONS: Final[tuple[tuple[int, str, EventKind, str], ...]] = (
    (Status.SENSOR_DISCONNECTED, "SENSOR_DISCONNECTED", "technical_alarm", "sensor disconnected"),
    (Status.SENSOR_ALARM, "SENSOR_ALARM", "technical_alarm", "sensor alarm"),
    (Status.OUT_OF_TRACK, "OUT_OF_TRACK", "advisory", "out of track: no good pulses in a row"),
    (Status.ARTIFACT, "ARTIFACT", "advisory", "artifact"),
)
_PERFUSION: Final = {Status.RED: "low perfusion", Status.RED | Status.GREEN: "marginal perfusion"}
_NONE: Final = 0
_PERFUSION_BITS: Final = Status.RED | Status.GREEN
_PERFUSION_HELD_PACKETS: Final = 9
"""Three seconds: perfusion is told with the pulse, and a slow one is not in every packet."""
_FEWEST_FOUND: Final = {2: 6, 7: 6}
_UNUSABLE: Final = Status.SENSOR_DISCONNECTED | Status.SENSOR_ALARM
_DOUBTFUL: Final = _UNUSABLE | Status.OUT_OF_TRACK | Status.ARTIFACT


class NoninConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of a ``nonin`` feed.

    ``data_format``: the serial data format that the oximeter is strapped or set to, 1, 2, 7 or 8; "auto" finds out.
    Raises ValueError naming the option.
    """

    data_format: Literal["auto", 1, 2, 7, 8] = "auto"


@dataclass(slots=True)
class _Session:
    link: LinkId
    peer: str
    frames: FirstOf[DataFormat]
    byte_at: Now | None = None
    packet: list[Frame] = field(default_factory=list)
    packet_format: DataFormat = 2
    index: int = 0
    begun_index: int = 0
    last: Now | None = None
    sync_phase: int | None = None
    flushed_index: int = 0
    identified: Identity | None = None
    perfusion: int = _NONE
    perfusion_held: int = 0


def recognise(data: bytes) -> Heard | None:
    """Frames of any format in these bytes."""
    frames = finder(None)
    found = [item for item in frames.feed(data) if isinstance(item, bytes)]
    enough = len(found) >= _FEWEST_FOUND.get(frames.form or 0, 1)
    return Heard(len(found), f"Nonin oximeter, serial data format {frames.form}") if enough else None


class Nonin(ByteDevice):
    """Reads frames; what was shown last and the conditions outlive a connection."""

    spec: ClassVar[Spec[NoninConfig]] = Spec(
        name="nonin",
        devices=("Nonin OEM III, Xpod, WristOx2 3150, 9560", "others built on OEM III (formats 1, 2, 7 and 8)"),
        transports=(Transport.SERIAL,),
        config=NoninConfig,
        serial_lines=("9600 8N1",),
        passive_ok=True,
        silence_s=2.0,
        records=frozenset({"numeric", "wave", "event", "gap", "identity", "link"}),
        source="Nonin, OEM III Module Specification and Technical Information",
        longest_frame_bytes=2 * PACKET_FRAMES * FRAME_BYTES,
        recognise=recognise,
    )

    def __init__(self, config: NoninConfig) -> None:
        super().__init__()
        self._told_format: DataFormat | None = None if config.data_format == "auto" else config.data_format
        self._session: _Session | None = None
        self._shown = ShownValues()
        self._told: dict[str, Numeric] = {}
        self._told_ns = 0
        self._conditions = Conditions()
        self._silence.follow(self._shown, self._conditions)

    # What the base calls --------------------------------------------------------------------------------------

    def opened(self, link: LinkId, peer: str, now: Now) -> None:
        """The port is open."""
        self._session = _Session(link, peer, finder(self._told_format))
        self._told.clear()

    def heard(self, data: bytes, now: Now) -> None:
        """Bytes of the line."""
        session = self._session
        if session is None:
            return
        session.byte_at = now
        for item in session.frames.feed(data):
            if isinstance(item, Skipped):
                self._lost(session, item.lost_bytes, now)
            else:
                self._found(session, item, now)

    def closed(self, now: Now) -> int:
        """The port is gone."""
        session, self._session = self._session, None
        if session is None:
            return 0
        self._release(session)
        self._flush_wave(session, now)
        return session.frames.abandon()

    def woken(self, now: Now) -> None:
        """Take the frame that nothing follows."""
        session, due_ns = self._session, self.due_ns()
        if session is not None and due_ns is not None and due_ns <= now.mono_ns:
            self._release(session)

    def due_ns(self) -> int | None:
        """When to wait no longer for what follows a frame."""
        session = self._session
        if session is None or session.byte_at is None or not session.frames.holds_a_frame:
            return None
        return session.byte_at.mono_ns + _HELD_NS

    # Frames and packets ---------------------------------------------------------------------------------------

    def _release(self, session: _Session) -> None:
        """The frame that nothing follows is whole; it counts from when it came."""
        frame = session.frames.release()
        if frame is not None and session.byte_at is not None:
            self._found(session, frame, session.byte_at)

    def _found(self, session: _Session, frame: bytes, now: Now) -> None:
        data_format = session.frames.form
        if data_format is None:
            return
        if data_format in _SPOT:
            session.last = now
            packet, status = parse_spot(frame)
            self._tell(session, packet, status, status & _PERFUSION_BITS, now)
        else:
            self._frame(session, parse_frame(frame, data_format), now)

    def _lost(self, session: _Session, lost_bytes: int, now: Now) -> None:
        """Frames are missing: what was gathered ends here, and the next one is a new beginning."""
        cause: GapCause = "framing" if session.frames.form in _SPOT else "checksum"
        self._gaps.add(cause, now, lost_bytes, "no frames of the format", since=session.last)
        self._flush_wave(session, session.last or now)
        if session.last is not None:
            missing = max(1, lost_bytes // FRAME_BYTES)
            elapsed = (now.mono_ns - session.last.mono_ns) * RATE_HZ // S_NS - 1
            session.index += elapsed if elapsed > missing + PACKET_FRAMES else missing
        session.last = None

    def _frame(self, session: _Session, frame: Frame, now: Now) -> None:
        self._skip_silence(session, now)
        if frame.status & Status.SYNC:
            self._align(session)
        if frame.status & Status.SYNC or len(session.packet) == PACKET_FRAMES:
            self._flush_wave(session, now)
        if not session.packet:
            session.begun_index = session.index
            session.packet_format = session.frames.form or 2
        session.packet.append(frame)
        session.index += 1
        session.last = now
        if len(session.packet) == PACKET_FRAMES and session.packet[0].status & Status.SYNC:
            self._packet(session, session.packet, now)
            self._flush_wave(session, now)

    @staticmethod
    def _align(session: _Session) -> None:
        """Every 25th frame bears SYNC: after a loss that mends the estimate, but for whole packets."""
        if session.sync_phase is None:
            session.sync_phase = session.index % PACKET_FRAMES
        ahead = (session.sync_phase - session.index) % PACKET_FRAMES
        back = PACKET_FRAMES - ahead
        is_free = session.index - len(session.packet) - back >= session.flushed_index
        step = -back if back < ahead and is_free else ahead
        session.begun_index += step
        session.index += step

    def _skip_silence(self, session: _Session, now: Now) -> None:
        """The line was dumb for over a second: whole frames went by unheard."""
        if session.last is not None and now.mono_ns - session.last.mono_ns > S_NS:
            self._flush_wave(session, session.last)
            session.index += (now.mono_ns - session.last.mono_ns) * RATE_HZ // S_NS - 1

    def _flush_wave(self, session: _Session, now: Now) -> None:
        frames = session.packet
        if not frames:
            return
        session.packet = []
        session.flushed_index = session.begun_index + len(frames)
        centre = _CENTRE[session.packet_format]
        unheard = all(frame.status & Status.SENSOR_DISCONNECTED for frame in frames)
        self.emit(
            Wave(
                at_ns=now.utc_ns - len(frames) * S_NS // RATE_HZ,
                quality=Quality.UNAVAILABLE if unheard else Quality.GOOD,
                code="MDC_PULS_OXIM_PLETH",
                unit="",
                rate=(RATE_HZ, 1),
                index=session.begun_index,
                width=2,
                samples=struct.pack(f"<{len(frames)}h", *(frame.sample - centre for frame in frames)),
                scale=1.0,
                offset=float(centre),
                marks=tuple(_marks(frames)),
            )
        )

    def _packet(self, session: _Session, frames: list[Frame], now: Now) -> None:
        packet = parse_packet(bytes(frame.data for frame in frames))
        status = reduce(or_, (frame.status for frame in frames))  # each frame has its own; some bits last one pulse
        self._tell(session, packet, status, self._perfusion(session, frames, status), now)

    def _tell(self, session: _Session, packet: Packet, status: int, perfusion: int, now: Now) -> None:
        self._identify(session, packet, now)
        self._silence.heard(now)
        quality = Quality.QUESTIONABLE if status & _DOUBTFUL else Quality.GOOD
        if session.frames.form in _SPOT:
            quality |= Quality.UNCHECKED
        repeat = now.mono_ns - self._told_ns >= _REPEAT_NS
        self._told_ns = now.mono_ns if repeat else self._told_ns
        for reading in packet.readings:
            self._show(reading, quality, now, repeat=repeat)
        for event in self._conditions.update(_conditions(status, perfusion, packet), now):
            self.emit(event)

    @staticmethod
    def _perfusion(session: _Session, frames: list[Frame], status: int) -> int:
        """What was told last of it, for a while."""
        told = [frame.status & _PERFUSION_BITS for frame in frames if frame.status & _PERFUSION_BITS]
        session.perfusion_held = 0 if told else session.perfusion_held + 1
        if told:
            session.perfusion = told[-1]
        elif status & _UNUSABLE or session.perfusion_held > _PERFUSION_HELD_PACKETS:
            session.perfusion = _NONE
        return session.perfusion

    def _identify(self, session: _Session, packet: Packet, now: Now) -> None:
        known = session.identified
        software = "" if packet.revision is None else f"revision {packet.revision}"
        protocol = f"serial data format {session.frames.form}"
        if known is not None and (known.software, known.protocol) == (software, protocol):
            return
        session.identified = Identity(
            at_ns=now.utc_ns, make="Nonin", model="oximeter on OEM III", software=software, protocol=protocol
        )
        self.emit(session.identified)
        state: LinkState = "identified" if known is None else "changed"
        self.emit(Link(at_ns=now.utc_ns, link=session.link, state=state, peer=session.peer))

    def _show(self, reading: Reading, quality: Quality, now: Now, *, repeat: bool) -> None:
        """A value three times a second says nothing new: it is told when it changes, and once a second."""
        rate = "HR" in reading.name
        code = _STANDARD.get(reading.name) or "MDCX_NONIN_" + reading.name.translate(_AS_CODE)
        numeric = Numeric(
            at_ns=now.utc_ns,
            quality=quality if reading.value is not None else Quality.UNAVAILABLE | quality & Quality.UNCHECKED,
            code=code,
            value=reading.value,
            unit="/min" if rate else "%",
            device_code=reading.name,
        )
        before = self._told.get(reading.name)
        if not repeat and before is not None and (before.value, before.quality) == (numeric.value, numeric.quality):
            return
        self._told[reading.name] = numeric
        for record in self._shown.show(reading.name, numeric):
            self.emit(record)


def _marks(frames: list[Frame]) -> Iterator[tuple[int, str]]:
    before = False
    for number, frame in enumerate(frames):
        artifact = bool(frame.status & Status.ARTIFACT)
        if artifact and not before:
            yield number, "artifact"
        before = artifact


def _conditions(status: int, perfusion: int, packet: Packet) -> Iterator[Condition]:
    for bit, name, kind, text in _CONDITIONS:
        if status & bit:
            code = f"MDCX_NONIN_STATUS_{bit:02X}"
            yield Condition(f"status.{bit:02X}", kind, "unknown", code, "", text, name)
    text = _PERFUSION.get(perfusion, "")
    if text:
        yield Condition("perfusion", "advisory", "unknown", "MDCX_NONIN_PERFUSION", "", text, text)
    if packet.low_battery:
        yield Condition(
            "battery", "technical_alarm", "unknown", "MDCX_NONIN_LOW_BATTERY", "", "low battery", "STAT2.01"
        )
