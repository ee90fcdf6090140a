"""B. Braun Space and Compactplus: a rack of up to 27 infusion pumps behind one ComDevice, by the BCC protocol.

Source: B. Braun, Technical Interface Specification BCC (I0022_000030, version 4.0).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, Final

from drivers.bbraun_bcc.config import BBraunBccConfig
from drivers.bbraun_bcc.dialogue import ANSWER_NS, Dialogue
from drivers.bbraun_bcc.frame import MAX_MESSAGE_BYTES, Block, Deframer, Fault, Item, message
from drivers.bbraun_bcc.quadruple import SYSTEM, Quadruple, Unread, quadruples
from drivers.bbraun_bcc.rack import MAKER, Rack
from drivers.bbraun_bcc.recognise import recognise
from drivers.bbraun_bcc.request import ALIVE, NOBODY, TX_ALLOWED
from drivers.byte_device import ByteDevice
from drivers.clock_offset import ClockOffset, ClockStep
from drivers.contract import Now, Spec, Transport
from ledger.limits import S_NS
from ledger.records import Gap, Identity, Link, LinkId, LinkState

_NOT_UNDERSTOOD: Final = "68"
_VERSION: Final = re.compile(r"V?\d{1,3}\.\d{1,3}[0-9A-Za-z.]{0,8}")


@dataclass(slots=True)
class _Session:
    """What is known of one connection. ``begins``: the next block is the first of an answer, so its time is fresh."""

    link: LinkId
    peer: str
    dialogue: Dialogue | None
    deframer: Deframer = field(default_factory=Deframer)
    clock: ClockOffset = field(default_factory=lambda: ClockOffset(S_NS))
    begins: bool = True
    bed_id: str = ""
    version: str = ""
    identified: bool = False
    heard_at: Now | None = None
    block_at: Now | None = None
    clock_at: Now | None = None


class BBraunBcc(ByteDevice):
    """Asks for all pumps and acknowledges what comes, or hears what the ComDevice sends in its cycle; records it.

    The pumps, their values and alarms outlive a connection, so that what ended meanwhile is told after it.
    """

    spec: ClassVar[Spec[BBraunBccConfig]] = Spec(
        name="bbraun-bcc",
        devices=(
            "B. Braun Space: Perfusor Space, Infusomat Space behind SpaceCom",
            "B. Braun Compactplus behind ComSystem",
        ),
        transports=(Transport.SERIAL, Transport.TCP),
        config=BBraunBccConfig,
        serial_lines=("9600 8N1", "19200 8N1", "38400 8N1", "57600 8N1", "115200 8N1"),
        tx_allowed=TX_ALLOWED,
        passive_ok=True,
        client_slots=1,
        silence_s=12.0,
        records=frozenset({"numeric", "setting", "event", "gap", "identity", "link", "clock"}),
        source="B. Braun, Technical Interface Specification BCC, I0022_000030 v4.0",
        longest_frame_bytes=MAX_MESSAGE_BYTES,
        recognise=recognise,
        probe_requests=(message(NOBODY, ALIVE, stuffed=True), message(NOBODY, ALIVE, stuffed=False)),
    )

    def __init__(self, config: BBraunBccConfig) -> None:
        super().__init__()
        self._config = config
        self._session: _Session | None = None
        self._rack = Rack(config.demographics)
        self._silence.follow(self._rack)
        self._silence.longest_ns = max(self._silence.longest_ns, round(2 * config.poll_s * S_NS) + ANSWER_NS)

    # What the base calls --------------------------------------------------------------------------------------

    def opened(self, link: LinkId, peer: str, now: Now) -> None:
        """The port is open: call the ComDevice, unless we only listen."""
        dialogue = None if self._config.listen_only else self._dialogue()
        self._session = _Session(link, peer, dialogue)
        self._rack.new_link()
        if dialogue is not None:
            self._say(link, dialogue.start(now.mono_ns))

    def heard(self, data: bytes, now: Now) -> None:
        """Bytes of the line."""
        session = self._session
        if session is None:
            return
        self._heard(session, now)
        for item in session.deframer.feed(data):
            self._take(session, item, now)
        if session.dialogue is not None and session.deframer.inside:
            session.dialogue.heard(now.mono_ns)

    def closed(self, now: Now) -> int:
        """The port is gone."""
        session, self._session = self._session, None
        return session.deframer.abandon() if session is not None else 0

    def woken(self, now: Now) -> None:
        """Say what is due."""
        session = self._session
        if session is None or session.dialogue is None:
            return
        due = session.dialogue.due(now.mono_ns)
        if due.lost:
            self._lost(session, now)
        self._say(session.link, due.frames)

    def due_ns(self) -> int | None:
        """When something is to be said."""
        session = self._session
        return session.dialogue.deadline_ns() if session is not None and session.dialogue is not None else None

    # What came ------------------------------------------------------------------------------------------------

    def _dialogue(self) -> Dialogue:
        config = self._config
        stuffing = {"on": True, "off": False, "auto": None}[config.stuffing]
        return Dialogue(round(config.poll_s * S_NS), config.mode, stuffing)

    def _take(self, session: _Session, item: Item, now: Now) -> None:
        if isinstance(item, Block):
            self._block(session, item, now)
        elif isinstance(item, Fault):
            self._gaps.add(item.cause, now, item.lost_bytes, item.detail)
            self._rack.hurt()
            if item.answerable and session.dialogue is not None:
                session.dialogue.damaged(now.mono_ns)
        elif session.dialogue is not None:
            session.dialogue.refused(now.mono_ns)

    def _block(self, session: _Session, block: Block, now: Now) -> None:
        session.block_at = now
        self._silence.heard(now)
        told: list[Quadruple] = []
        for part in quadruples(block.text):
            if isinstance(part, Unread):
                self._gaps.add("undecodable", now, part.lost_bytes, "no time, address, parameter and value")
                self._rack.hurt()
            else:
                told.append(part)
        told = self._version_in(session, told)
        self._identify(session, block.bed_id, now)
        self._observe(session, told, block, now)
        self.emit_all(self._rack.take(told, now, last=block.last))
        self._tell_overflow(now)
        if session.dialogue is not None:
            refusal = any(part.parameter == "GNERR" and part.value == _NOT_UNDERSTOOD for part in told)
            session.dialogue.block(block, now.mono_ns, refusal=refusal)
            for slot in self._rack.to_ask():
                session.dialogue.ask_slot(slot)

    def _version_in(self, session: _Session, told: list[Quadruple]) -> list[Quadruple]:
        """Takes the version of BCC out of what was told: a parameter without a value ("V3.30"), or its own value."""
        kept = []
        for part in told:
            version = part.value if part.parameter == "VERSION" else part.parameter if part.value is None else None
            if part.address == SYSTEM and version is not None and _VERSION.fullmatch(version):
                session.version = version.removeprefix("V")
            else:
                kept.append(part)
        return kept

    def _identify(self, session: _Session, bed_id: str, now: Now) -> None:
        protocol = f"BCC {session.version}".strip()
        if session.identified and session.bed_id == f"{bed_id} {protocol}":
            return
        session.bed_id = f"{bed_id} {protocol}"
        self.emit(Identity(at_ns=now.utc_ns, make=MAKER, model="ComDevice", protocol=protocol, position=bed_id))
        state: LinkState = "changed" if session.identified else "identified"
        session.identified = True
        self.emit(Link(at_ns=now.utc_ns, link=session.link, state=state, peer=session.peer))

    def _observe(self, session: _Session, told: list[Quadruple], block: Block, now: Now) -> None:
        """Follow the ComDevice's clock by the first block of each answer; later ones may have waited for ours."""
        begins, session.begins = session.begins, block.last
        if not begins or not told:
            return
        outcome = session.clock.observe(told[0].uptime_s * S_NS, now)
        if isinstance(outcome, ClockStep):
            what = "the ComDevice began anew" if outcome.step_ns < 0 else "the ComDevice's clock moved"
            self._gaps.add("clock_jump", now, None, f"{what}: {outcome.step_ns / S_NS:+.0f} s", since=session.clock_at)
        elif outcome is not None:
            self.emit(outcome)
        session.clock_at = now

    # What is missing ------------------------------------------------------------------------------------------

    def _heard(self, session: _Session, now: Now) -> None:
        """Bytes came. Questions that had no answer before them leave a gap; a longer silence is the shell's to tell."""
        before, session.heard_at = session.heard_at, now
        if before is None or session.dialogue is None or session.dialogue.pushing:
            return
        longest_ns = session.dialogue.poll_ns + ANSWER_NS
        if longest_ns <= now.mono_ns - before.mono_ns < self.spec.silence_s * S_NS:
            self._silent(before, now, "a question had no answer")

    def _lost(self, session: _Session, now: Now) -> None:
        """Nobody answers though bytes come; that none come at all is the shell's to tell."""
        self._rack.hurt()
        session.begins = True
        self.fell_silent(now)
        if session.heard_at is None or now.mono_ns - session.heard_at.mono_ns >= ANSWER_NS:
            return
        self._silent(session.block_at or now, now, "the ComDevice gave no answer; called anew")

    def _silent(self, since: Now, now: Now, detail: str) -> None:
        self.emit(Gap(at_ns=now.utc_ns, cause="silence", since_ns=since.utc_ns, until_ns=now.utc_ns, detail=detail))

    def _tell_overflow(self, now: Now) -> None:
        if self._rack.overflowed:
            self._gaps.add("overflow", now, None, "more parameters than the driver follows; they are kept raw")
            self._rack.overflowed = 0

    def _say(self, link: LinkId, frames: Iterable[bytes]) -> None:
        for frame in frames:
            self.send(link, frame)
