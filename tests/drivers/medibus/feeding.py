"""Frames built from the specification, without the driver, and a driver fed with them."""

from __future__ import annotations

from drivers.contract import Emit, Now, Send
from drivers.medibus import Medibus, MedibusConfig
from ledger.limits import S_NS
from ledger.records import LinkId, Record

LINK = LinkId(1)
T0_S = 1_790_000_000
IDENTITY = b"8210'Evita4'04.22:04.03"
OFFER = b"00   16000-  10  10037006   16000-  20  100460"
ICC, IDENTIFY, NOP, OFFERED, CHOSEN = b"Q", b"R", b"0", b"S", b"T"


def command(body: bytes) -> bytes:
    return _frame(b"\x1b" + body)


def response(body: bytes) -> bytes:
    return _frame(b"\x01" + body)


def _frame(content: bytes) -> bytes:
    return content + b"%02X" % (sum(content) % 256) + b"\r"


def now(at_s: float = 0.0) -> Now:
    return Now(mono_ns=round((at_s + 1000) * S_NS), utc_ns=round((T0_S + at_s) * S_NS))


class Line:
    """A driver on a line, and what it said and recorded since the last look."""

    def __init__(self, config: MedibusConfig | None = None) -> None:
        self.driver = Medibus(config or MedibusConfig())
        self.at_s = 0.0
        self.records: list[Record] = []
        self.sent: list[bytes] = []
        self.said: list[bytes] = []
        self.answered = 0
        self.driver.link_up(LINK, "/dev/vent", now())
        self._take()

    def _take(self) -> None:
        for action in self.driver.drain():
            if isinstance(action, Emit):
                self.records.append(action.record)
            elif isinstance(action, Send):
                assert self.driver.spec.may_send(action.data), action.data
                assert action.after is None
                self.sent.append(action.data)
                self.said.append(action.data)

    def hear(self, *wire: bytes, after_s: float = 0.0) -> list[bytes]:
        """Bytes of the device; what is said in return."""
        self.pass_time(after_s)
        self.sent.clear()
        for piece in wire:
            self.driver.receive(LINK, piece, now(self.at_s))
        self._take()
        return list(self.sent)

    def answer(self, never: bytes = b"") -> None:
        """Give each question that has none yet an answer, an empty one to most; none to ``never``."""
        bodies = {OFFERED: OFFER, IDENTIFY: IDENTITY}
        while self.answered < len(self.said):
            asked = self.said[self.answered]
            self.answered += 1
            code = asked[1:2]
            if asked[:1] == b"\x1b" and code != never:
                self.hear(response(code + bodies.get(code, b"")))

    def pass_time(self, seconds: float) -> list[bytes]:
        """Wake the driver whenever it wants; what it says meanwhile."""
        self.sent.clear()
        end_s = self.at_s + seconds
        while (deadline_ns := self.driver.deadline_ns()) is not None and deadline_ns <= now(end_s).mono_ns:
            self.at_s = max(self.at_s, deadline_ns / S_NS - 1000)
            self.driver.wake(now(self.at_s))
            self._take()
        self.at_s = end_s
        return list(self.sent)

    def of(self, kind: type[Record]) -> list[Record]:
        return [record for record in self.records if type(record) is kind]


def identified(config: MedibusConfig | None = None) -> Line:
    """A line whose device has said who it is; 200 ms have passed and the first question is asked."""
    line = Line(config)
    line.hear(response(ICC))
    line.hear(response(IDENTIFY + IDENTITY))
    line.pass_time(0.2)
    line.answered = len(line.said) - 1
    return line
