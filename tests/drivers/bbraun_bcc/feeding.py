"""Messages built from the specification, without the driver, and a driver fed with them."""

from __future__ import annotations

from drivers.bbraun_bcc import BBraunBcc, BBraunBccConfig
from drivers.contract import Emit, Now, Send
from ledger.limits import S_NS
from ledger.records import Event, LinkId, Numeric, Record, Setting

LINK = LinkId(1)
T0_S = 1_790_000_000
ACK, NAK = b"\x06", b"\x15"
_STUFFED = {ord("D"): "EX", ord("E"): "EE", ord("d"): "ex", ord("e"): "ee"}


def frame(text: str, *, bed: str = "ComSystem/1/1", last: bool = True, stuffed: bool = False) -> bytes:
    body = f"{bed}>{text}".encode()
    head = b"\x01%05d\x02" % (len(body) + 14) + body + (b"\x03" if last else b"\x17")
    whole = head + b"%05d\x04" % (sum(head) % 256)
    return whole.decode().translate(_STUFFED).encode() if stuffed else whole


def block(*quadruples: str, last: bool = True, stuffed: bool = False) -> bytes:
    return frame("\x1e".join(quadruples), last=last, stuffed=stuffed)


def pump(slot: str, at_s: int = 300, serial: str | None = None, **told: str) -> list[str]:
    """The quadruples of one pump; its serial number is at their end, as Perfusors have it."""
    number = {"INSERNUM": serial if serial is not None else f"77{slot}"} if serial != "" else {}
    return [f"{at_s},501{slot},{name},{value}" for name, value in {**told, **number}.items()]


def now(at_s: float = 0.0) -> Now:
    return Now(mono_ns=round((at_s + 1000) * S_NS), utc_ns=round((T0_S + at_s) * S_NS))


class Line:
    """A driver on a line, and what it said and recorded."""

    def __init__(self, config: BBraunBccConfig | None = None) -> None:
        self.driver = BBraunBcc(config or BBraunBccConfig())
        self.at_s = 0.0
        self.records: list[Record] = []
        self.said: list[tuple[float, bytes]] = []
        self.driver.link_up(LINK, "/dev/pumps", now())
        self._take()

    def _take(self) -> None:
        for action in self.driver.drain():
            if isinstance(action, Emit):
                self.records.append(action.record)
            elif isinstance(action, Send):
                assert self.driver.spec.may_send(action.data), action.data
                assert action.after is None
                self.said.append((self.at_s, action.data))

    def hear(self, *wire: bytes, after_s: float = 0.0) -> list[Record]:
        """Bytes of the ComDevice; what is recorded of them."""
        self.wait(after_s)
        before = len(self.records)
        for piece in wire:
            self.driver.receive(LINK, piece, now(self.at_s))
        self._take()
        return self.records[before:]

    def wait(self, seconds: float) -> list[bytes]:
        """Wake the driver whenever it wants; what it says meanwhile."""
        before, end_s = len(self.said), self.at_s + seconds
        while (deadline_ns := self.driver.deadline_ns()) is not None and deadline_ns <= now(end_s).mono_ns:
            self.at_s = max(self.at_s, deadline_ns / S_NS - 1000)
            self.driver.wake(now(self.at_s))
            self._take()
        self.at_s = end_s
        return [data for _, data in self.said[before:]]

    def cut(self) -> None:
        """The link falls and comes again."""
        self.driver.link_down(LINK, "unplugged", now(self.at_s))
        self.driver.link_up(LINK, "/dev/pumps", now(self.at_s))
        self._take()


def talking(config: BBraunBccConfig | None = None) -> Line:
    """A line whose ComDevice said that it is there and which version it speaks; the pumps have just been asked for."""
    line = Line(config or BBraunBccConfig(stuffing="off"))
    line.hear(block("300,50100,GNACK,0"))
    line.hear(block("300,50100,V3.30"), after_s=0.9)
    line.wait(0.5)
    return line


def shown(records: list[Record], code: str) -> list[object]:
    return [record.value for record in records if isinstance(record, Numeric | Setting) and record.code == code]


def phases(records: list[Record], alarm_id: str) -> list[tuple[str, str]]:
    return [(r.sub, r.phase) for r in records if isinstance(r, Event) and r.alarm_id == alarm_id]
