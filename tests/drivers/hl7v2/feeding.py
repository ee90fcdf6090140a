"""Feeds the driver and sorts what comes out."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec

from drivers import mllp
from drivers.contract import Action, Close, Emit, Now, Send
from drivers.hl7v2 import Hl7Config, Hl7v2
from ledger.records import LinkId, Record

LINK = LinkId(1)
UTC_NS = 1_700_000_000_123_000_000
NOW = Now(5, UTC_NS)
CAPTURES = Path(__file__).parents[3].parent / "shared" / "captures" / "hl7"

R = TypeVar("R", bound=Record)


def config(**options: object) -> Hl7Config:
    """Options as a configuration file gives them."""
    return msgspec.convert(options, Hl7Config)


@dataclass
class Fed:
    """A driver with one connection up, and everything it did."""

    driver: Hl7v2
    actions: list[Action] = field(default_factory=list)

    def give(self, data: bytes, now: Now = NOW, link: LinkId = LINK) -> Fed:
        """Feed bytes; what the driver does is added to ``actions``."""
        self.driver.receive(link, data, now)
        return self.drain()

    def drain(self) -> Fed:
        self.actions += self.driver.drain()
        return self

    def of(self, kind: type[R]) -> list[R]:
        """The emitted records of one kind, in order."""
        return [a.record for a in self.actions if isinstance(a, Emit) and isinstance(a.record, kind)]

    @property
    def sends(self) -> list[Send]:
        return [action for action in self.actions if isinstance(action, Send)]

    @property
    def closes(self) -> list[Close]:
        return [action for action in self.actions if isinstance(action, Close)]

    @property
    def codes(self) -> list[str]:
        """MSA-1 of every answer."""
        return [send.data.split(b"\rMSA")[1][1:3].decode() for send in self.sends]

    @property
    def last_ticket(self) -> int:
        return max(action.ticket for action in self.actions if isinstance(action, Emit))


def up(options: Hl7Config | None = None) -> Fed:
    """A driver with link 1 up."""
    driver = Hl7v2(options or Hl7Config())
    driver.link_up(LINK, "10.20.1.7:50000", NOW)
    return Fed(driver).drain()


def message(*segments: str, accept: str = "", application: str = "", **msh: str) -> bytes:
    """A message: MSH from parts (``kind``, ``id``, ``processing``, ``time``, ``charset``, …), then segments."""
    header = [
        "MSH",
        "^~\\&",
        msh.get("sender", "GW^0011^EUI-64"),
        "HOSPITAL",
        "",
        "",
        msh.get("time", "20260101120000+0100"),
        "",
        msh.get("kind", "ORU^R01^ORU_R01"),
        msh.get("id", "42"),
        msh.get("processing", "P"),
        msh.get("version", "2.6"),
        "",
        "",
        accept,
        application,
        "",
        msh.get("charset", ""),
    ]
    return "\r".join(["|".join(header), *segments, ""]).encode()


def framed(*segments: str, accept: str = "", application: str = "", **msh: str) -> bytes:
    """The same, as it goes over TCP."""
    return mllp.frame(message(*segments, accept=accept, application=application, **msh))


HEART_RATE = "OBX|1|NM|147842^MDC_ECG_CARD_BEAT_RATE^MDC|1.1.1.1|72|264864^MDC_DIM_BEAT_PER_MIN^MDC|||||R"
