"""What an HL7 gateway sends and when, and how it insists on being acknowledged. Pure: bytes and time in, bytes out."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Protocol

from firmware_sim.alarms import Alarm, active_alarms
from firmware_sim.faults import FaultLine
from firmware_sim.hl7_messages import Message, MessageFactory, Phase
from firmware_sim.patient import Patient

START, END, CR = b"\x0b", b"\x1c", b"\r"
MAX_REPLY = 65536
MAX_QUEUE = 10_000
ALARM_CONTINUE_S = 10.0
WAVE_CHUNK_S = 1.0


def mllp(content: bytes) -> bytes:
    """Content between the MLLP start and end blocks."""
    return START + content + END + CR


@dataclass(slots=True)
class _ActiveAlarm:
    alarm: Alarm
    alarm_id: str
    said_s: float


class MessageFeed(Protocol):
    """Where a sender's messages come from."""

    def poll(self, now_s: float) -> list[Message]: ...

    def next_due_s(self) -> float: ...


class GatewayFeed:
    """Turns the patient into messages: numerics at an interval, waves every second, alarms as they come and go."""

    def __init__(
        self,
        patient: Patient,
        factory: MessageFactory,
        interval_s: float,
        *,
        waves: bool,
        line: FaultLine | None = None,
    ) -> None:
        if interval_s <= 0:
            raise ValueError("the interval must be positive")
        self._patient = patient
        self._factory = factory
        self._interval_s = interval_s
        self._waves = waves
        self._line = line or FaultLine()
        self._numerics_due_s = 0.0
        self._waves_from_s: float | None = None
        self._alarms: dict[tuple[str, int], _ActiveAlarm] = {}
        self._alarms_due_s = 0.0
        self._alarm_count = 0

    def poll(self, now_s: float) -> list[Message]:
        """Messages that are due; after a pause the interval goes on from now, nothing is made up for."""
        if self._line.off(now_s):
            return []
        off = self._line.sensors_off(now_s)
        messages: list[Message] = []
        if now_s - self._numerics_due_s > max(1.0, 2 * self._interval_s):
            self._numerics_due_s = now_s
        while self._numerics_due_s <= now_s:
            messages.append(self._factory.numerics(self._patient.at(self._numerics_due_s), off))
            self._numerics_due_s += self._interval_s
        if self._waves:
            messages += self._wave_messages(now_s, off)
        if now_s >= self._alarms_due_s:
            self._alarms_due_s = now_s + 1.0
            messages += self._alarm_messages(now_s)
        return messages

    def next_due_s(self) -> float:
        """When to poll again."""
        due = min(self._numerics_due_s, self._alarms_due_s)
        return due if self._waves_from_s is None else min(due, self._waves_from_s + WAVE_CHUNK_S)

    def _wave_messages(self, now_s: float, off: frozenset[str]) -> list[Message]:
        if self._waves_from_s is None or now_s - self._waves_from_s > 3 * WAVE_CHUNK_S:
            self._waves_from_s = float(int(now_s))
        messages: list[Message] = []
        while self._waves_from_s + WAVE_CHUNK_S <= now_s:
            messages.append(self._factory.waves(self._patient, self._waves_from_s, WAVE_CHUNK_S, off))
            self._waves_from_s += WAVE_CHUNK_S
        return messages

    def _alarm_messages(self, now_s: float) -> list[Message]:
        current = {a.key: a for a in active_alarms(self._patient.smoothed(now_s))}
        messages: list[Message] = []
        for key in [k for k in self._alarms if k not in current]:
            gone = self._alarms.pop(key)
            messages.append(self._factory.alarm(gone.alarm, Phase.END, now_s, gone.alarm_id))
        for key, alarm in current.items():
            known = self._alarms.get(key)
            if known is None:
                self._alarm_count += 1
                known = _ActiveAlarm(alarm, f"{self._factory.prefix}-A{self._alarm_count}", now_s)
                self._alarms[key] = known
                messages.append(self._factory.alarm(alarm, Phase.START, now_s, known.alarm_id))
            elif now_s - known.said_s >= ALARM_CONTINUE_S:
                known.alarm, known.said_s = alarm, now_s
                messages.append(self._factory.alarm(alarm, Phase.CONTINUE, now_s, known.alarm_id))
        return messages


@dataclass(frozen=True, slots=True)
class SendPolicy:
    """How insistent the gateway is.

    `window` messages may wait for their acknowledgment at once (1 is what gateways do; more is for load). A message
    that is refused (AE, AR, CE, CR) is sent again after `retry_s`; one that is not answered within `ack_timeout_s`
    makes the gateway drop the connection and send everything unanswered again. Every `duplicate_every`-th message is
    sent a second time although it was acknowledged (0: never).
    """

    ack_timeout_s: float = 10.0
    retry_s: float = 1.0
    window: int = 1
    duplicate_every: int = 0
    gives_up: bool = False


@dataclass(slots=True)
class _Outstanding:
    message: Message
    resend_s: float
    deadline_s: float


@dataclass(slots=True)
class Counters:
    """What the session has done so far."""

    offered: int = 0
    sent: int = 0
    acknowledged: int = 0
    refused: int = 0
    timeouts: int = 0
    duplicates_sent: int = 0
    dropped: int = 0
    strange_replies: int = 0


class SendSession:
    """Sends each message until it is acknowledged, over one connection at a time, in order."""

    def __init__(self, policy: SendPolicy | None = None) -> None:
        self.policy = policy or SendPolicy()
        self.counters = Counters()
        self._queue: deque[Message] = deque()
        self._outstanding: dict[str, _Outstanding] = {}
        self._repeated: set[str] = set()
        self._connected = False
        self._reply = bytearray()
        self._newly_acked: list[str] = []

    @property
    def waiting(self) -> int:
        """Messages not yet acknowledged."""
        return len(self._queue) + len(self._outstanding)

    def offer(self, message: Message) -> None:
        """Queue a message; when 10,000 wait, the oldest that was never sent is dropped and counted."""
        self.counters.offered += 1
        if len(self._queue) >= MAX_QUEUE:
            self._queue.popleft()
            self.counters.dropped += 1
        self._queue.append(message)

    def connected(self, now_s: float) -> None:
        """A connection stands: what was outstanding is sent again on it."""
        self._connected = True
        self._reply.clear()
        for item in self._outstanding.values():
            item.resend_s = now_s
            item.deadline_s = now_s + self.policy.ack_timeout_s

    def disconnected(self) -> None:
        """The connection is gone; a second sending that was not answered is not insisted on."""
        self._connected = False
        self._repeated.clear()

    def poll(self, now_s: float) -> list[bytes]:
        """MLLP frames to send now."""
        if not self._connected:
            return []
        frames = [self._send(item, now_s) for item in self._outstanding.values() if item.resend_s <= now_s]
        while self._queue and len(self._outstanding) < self.policy.window:
            message = self._queue.popleft()
            item = self._outstanding[message.control_id] = _Outstanding(message, now_s, now_s)
            frames.append(self._send(item, now_s))
        return frames

    def _send(self, item: _Outstanding, now_s: float) -> bytes:
        item.resend_s = float("inf")
        item.deadline_s = now_s + self.policy.ack_timeout_s
        self.counters.sent += 1
        return mllp(item.message.encode())

    def timed_out(self, now_s: float) -> bool:
        """Whether a message waited too long: close the connection."""
        late = [i for i in self._outstanding.values() if i.resend_s == float("inf") and i.deadline_s <= now_s]
        if late and self._connected:
            self.counters.timeouts += 1
            return True
        return False

    def next_due_s(self) -> float:
        """When to call `poll` or `timed_out` again, if nothing else happens."""
        return min((min(i.resend_s, i.deadline_s) for i in self._outstanding.values()), default=float("inf"))

    def receive(self, data: bytes, now_s: float) -> list[bytes]:
        """Reply bytes in; frames to send out (second sendings)."""
        self._reply += data
        frames: list[bytes] = []
        while (end := self._reply.find(END + CR)) >= 0:
            content = bytes(self._reply[:end])
            del self._reply[: end + 2]
            start = content.rfind(START)
            if start < 0:
                self.counters.strange_replies += 1
                continue
            frames += self._on_ack(content[start + 1 :], now_s)
        if len(self._reply) > MAX_REPLY:
            self._reply.clear()
            self.counters.strange_replies += 1
        return frames

    def _on_ack(self, content: bytes, now_s: float) -> list[bytes]:
        segments = content.decode("utf-8", "replace").split("\r")
        msa = next((s.split("|") for s in segments if s.startswith("MSA|")), [])
        if len(msa) < 3:
            self.counters.strange_replies += 1
            return []
        code, control_id = msa[1], msa[2]
        if control_id in self._repeated:
            self._repeated.discard(control_id)
            return []
        item = self._outstanding.get(control_id)
        if item is None:
            self.counters.strange_replies += 1
            return []
        if code not in ("AA", "CA"):
            self.counters.refused += 1
            if self.policy.gives_up and code in ("AR", "CR"):
                del self._outstanding[control_id]
                return []
            item.resend_s = now_s + self.policy.retry_s
            return []
        del self._outstanding[control_id]
        self.counters.acknowledged += 1
        self._newly_acked.append(control_id)
        every = self.policy.duplicate_every
        if every and self.counters.acknowledged % every == 0:
            self._repeated.add(control_id)
            self.counters.duplicates_sent += 1
            return [mllp(item.message.encode())]
        return []

    def take_acknowledged(self) -> list[str]:
        """Control ids acknowledged since the last call."""
        acked, self._newly_acked = self._newly_acked, []
        return acked
