"""Contec CMS50D, CMS50D+, CMS50E and their like: plethysmogram, saturation, pulse rate.

With firmware 7 the oximeter must be asked to begin and be kept alive; old firmware sends by itself, asked nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from typing import ClassVar, Final, Literal

import msgspec

from drivers.byte_device import ByteDevice
from drivers.cms50.frame import (
    FLAGS,
    NEW_FRAME_BYTES,
    OLD_FRAME_BYTES,
    RATE_HZ,
    Beat,
    begins_new,
    begins_old,
    is_disconnect,
    is_new_frame,
    is_old_frame,
    parse_new,
    parse_old,
)
from drivers.conditions import Condition, Conditions
from drivers.contract import Heard, Now, Sendable, Spec, Transport
from drivers.fixed_frames import FirstOf, FixedFrames, Skipped
from drivers.shown_values import ShownValues
from ledger.limits import S_NS
from ledger.records import Identity, Link, LinkId, Numeric, Quality, Wave

START: Final = bytes.fromhex("7d81a1808080808080")
KEEP_ALIVE: Final = bytes.fromhex("7d81af808080808080")
_KEEP_ALIVE_NS: Final = 4 * S_NS
_ASK_AGAIN_NS: Final = 2 * S_NS
_HELD_NS: Final = S_NS // 5
"""A frame that nothing follows for so long is the last: ten times the time between two frames."""

_WAVE_SAMPLES: Final = 30
_VALUES_NS: Final = 1 * S_NS
_IN_A_ROW: Final = 4
_MOST_SATURATION: Final = 100
_DOUBTFUL: Final = frozenset(("searching", "searching_too_long", "finger_out", "probe_error", "probe_off"))
_LONGEST_BYTES: Final = _WAVE_SAMPLES * 2 * NEW_FRAME_BYTES


Firmware = Literal["7", "old"]


class Cms50Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of a ``cms50`` feed.

    ``firmware``: "7" for oximeters at 115200 baud that must be asked, "old" for those at 19200 8O1 that send by
    themselves; "auto" asks until frames tell which it is. Raises ValueError naming the option.
    """

    firmware: Literal["auto", "7", "old"] = "auto"


@dataclass(slots=True)
class _Session:
    link: LinkId
    peer: str
    frames: FirstOf[Firmware]
    beats: list[Beat] = field(default_factory=list)
    index: int = 0
    last: Now | None = None
    values_due_ns: int = 0
    ask_due_ns: int | None = None
    byte_at: Now | None = None
    identified: bool = False

    @property
    def asks(self) -> bool:
        """Whether it is to be asked; not once it is known to be of old firmware."""
        return self.frames.form != "old"


def recognise(data: bytes) -> Heard | None:
    """Frames of either firmware in these bytes."""
    for name, size, is_frame in (
        ("firmware 7", NEW_FRAME_BYTES, is_new_frame),
        ("old firmware", OLD_FRAME_BYTES, is_old_frame),
    ):
        found = [item for item in FixedFrames(size, is_frame, 10).feed(data) if isinstance(item, bytes)]
        if found:
            return Heard(len(found), f"Contec CMS50, {name}")
    return None


def _frames(firmware: Literal["auto", "7", "old"]) -> FirstOf[Firmware]:
    forms: dict[Firmware, FixedFrames] = {
        "7": FixedFrames(NEW_FRAME_BYTES, is_new_frame, _IN_A_ROW, begins_new, is_disconnect),
        "old": FixedFrames(OLD_FRAME_BYTES, is_old_frame, _IN_A_ROW, begins_old),
    }
    return FirstOf(forms if firmware == "auto" else {firmware: forms[firmware]})


class Cms50(ByteDevice):
    """Reads frames; what was shown last and the conditions outlive a connection."""

    spec: ClassVar[Spec[Cms50Config]] = Spec(
        name="cms50",
        devices=("Contec CMS50D+, CMS50E, CMS50F (firmware 7)", "Contec CMS50D, CMS50D+, CMS50E (older firmware)"),
        transports=(Transport.SERIAL,),
        config=Cms50Config,
        serial_lines=("115200 8N1", "19200 8O1"),
        tx_allowed=(
            Sendable(re.compile(re.escape(START), re.DOTALL), "begin to send live values"),
            Sendable(re.compile(re.escape(KEEP_ALIVE), re.DOTALL), "go on sending"),
        ),
        passive_ok=True,
        client_slots=1,
        silence_s=3.0,
        records=frozenset({"numeric", "wave", "event", "gap", "identity", "link"}),
        source="public descriptions of the CMS50D+ protocols, firmware 4.6 and 7.0",
        longest_frame_bytes=_LONGEST_BYTES,
        recognise=recognise,
        probe_requests=(START,),
    )

    def __init__(self, config: Cms50Config) -> None:
        super().__init__()
        self._firmware = config.firmware
        self._session: _Session | None = None
        self._shown = ShownValues()
        self._conditions = Conditions()
        self._silence.follow(self._shown, self._conditions)

    # What the base calls --------------------------------------------------------------------------------------

    def opened(self, link: LinkId, peer: str, now: Now) -> None:
        """The port is open: ask for live values where that is needed."""
        self._session = _Session(link, peer, _frames(self._firmware), values_due_ns=now.mono_ns)
        if self._session.asks:
            self._ask(self._session, START, now, _ASK_AGAIN_NS)

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
                self._frame(session, item, now)

    def closed(self, now: Now) -> int:
        """The port is gone."""
        session, self._session = self._session, None
        if session is None:
            return 0
        self._release(session)
        self._flush_wave(session)
        return session.frames.abandon()

    def woken(self, now: Now) -> None:
        """Take the frame that nothing follows, and keep the oximeter sending."""
        session = self._session
        if session is None:
            return
        if session.byte_at is not None and now.mono_ns - session.byte_at.mono_ns >= _HELD_NS:
            self._release(session)
        if session.ask_due_ns is None or session.ask_due_ns > now.mono_ns:
            return
        if not session.asks:
            session.ask_due_ns = None
            return
        if session.last is not None and now.mono_ns - session.last.mono_ns < _ASK_AGAIN_NS:
            self._ask(session, KEEP_ALIVE, now, _KEEP_ALIVE_NS)
        else:
            self._ask(session, START, now, _ASK_AGAIN_NS)

    def due_ns(self) -> int | None:
        """When to ask again, or to wait no longer for what follows a frame."""
        session = self._session
        if session is None:
            return None
        due = [session.ask_due_ns]
        if session.byte_at is not None and session.frames.holds_a_frame:
            due.append(session.byte_at.mono_ns + _HELD_NS)
        return min((at_ns for at_ns in due if at_ns is not None), default=None)

    def _ask(self, session: _Session, request: bytes, now: Now, again_ns: int) -> None:
        self.send(session.link, request)
        session.ask_due_ns = now.mono_ns + again_ns

    # Frames ---------------------------------------------------------------------------------------------------

    def _release(self, session: _Session) -> None:
        """The frame that nothing follows is whole; it counts from when it came."""
        frame = session.frames.release()
        if frame is not None and session.byte_at is not None:
            self._frame(session, frame, session.byte_at)

    def _frame(self, session: _Session, frame: bytes, now: Now) -> None:
        beat = parse_old(frame) if session.frames.form == "old" else parse_new(frame)
        if beat is None:
            self._stopped(session, now)
        else:
            self._beat(session, beat, now)

    def _lost(self, session: _Session, lost_bytes: int, now: Now) -> None:
        self._gaps.add("framing", now, lost_bytes, "no frames of the protocol", since=session.last)
        self._flush_wave(session)
        if session.last is not None:
            session.index += max(1, (now.mono_ns - session.last.mono_ns) * RATE_HZ // S_NS - 1)
            session.last = None

    def _stopped(self, session: _Session, now: Now) -> None:
        """The oximeter says that it sends no more: the finger was taken out, or it was switched off."""
        self._flush_wave(session)
        self.fell_silent(now)
        self._gaps.add("device_gap", now, None, "the oximeter stopped sending; asked again")
        if session.asks:
            session.ask_due_ns = now.mono_ns + _ASK_AGAIN_NS

    def _beat(self, session: _Session, beat: Beat, now: Now) -> None:
        self._identify(session, now)
        self._silence.heard(now)
        if session.last is not None and now.mono_ns - session.last.mono_ns > S_NS:
            self._flush_wave(session)
            session.index += (now.mono_ns - session.last.mono_ns) * RATE_HZ // S_NS - 1
        session.beats.append(beat)
        session.index += 1
        session.last = now
        if len(session.beats) == _WAVE_SAMPLES:
            self._flush_wave(session)
        if now.mono_ns >= session.values_due_ns:
            session.values_due_ns = now.mono_ns + _VALUES_NS
            self._values(beat, now)
        for event in self._conditions.update(_conditions(beat.flags), now):
            self.emit(event)

    def _identify(self, session: _Session, now: Now) -> None:
        if session.identified:
            return
        session.identified = True
        protocol = "firmware before 7" if session.frames.form == "old" else "firmware 7"
        self.emit(Identity(at_ns=now.utc_ns, make="Contec", model="CMS50", protocol=protocol))
        self.emit(Link(at_ns=now.utc_ns, link=session.link, state="identified", peer=session.peer))

    def _flush_wave(self, session: _Session) -> None:
        beats, session.beats = session.beats, []
        if not beats or session.last is None:
            return
        self.emit(
            Wave(
                at_ns=session.last.utc_ns - len(beats) * S_NS // RATE_HZ,
                quality=Quality.UNCHECKED,
                code="MDC_PULS_OXIM_PLETH",
                unit="",
                rate=(RATE_HZ, 1),
                index=session.index - len(beats),
                width=2,
                samples=b"".join(beat.sample.to_bytes(2, "little") for beat in beats),
                scale=1.0,
                offset=0.0,
            )
        )

    def _values(self, beat: Beat, now: Now) -> None:
        doubt = Quality.QUESTIONABLE if beat.flags & _DOUBTFUL else Quality.GOOD
        for name, code, value, unit in (
            ("SpO2", "MDC_PULS_OXIM_SAT_O2", beat.saturation, "%"),
            ("PR", "MDC_PULS_OXIM_PULS_RATE", beat.pulse_rate, "/min"),
            ("PI", "MDCX_CONTEC_PI", beat.perfusion_index, ""),
            ("strength", "MDCX_CONTEC_STRENGTH", beat.strength, ""),
        ):
            if value is None and name not in self._shown and name == "PI":
                continue  # most models have none
            shown = Decimal(value) if value is not None and (name != "SpO2" or value <= _MOST_SATURATION) else None
            lacking = Quality.UNAVAILABLE if value is None else Quality.INVALID
            quality = Quality.UNCHECKED | (doubt if shown is not None else lacking)
            numeric = Numeric(at_ns=now.utc_ns, quality=quality, code=code, value=shown, unit=unit, device_code=name)
            for record in self._shown.show(name, numeric):
                self.emit(record)


def _condition(flag: str) -> Condition:
    kind: Literal["technical_alarm", "advisory"] = "technical_alarm" if flag.startswith("probe") else "advisory"
    return Condition(flag, kind, "unknown", f"MDCX_CONTEC_{flag.upper()}", "", FLAGS[flag], flag)


@cache
def _conditions(flags: frozenset[str]) -> tuple[Condition, ...]:
    return tuple(map(_condition, sorted(flags)))
