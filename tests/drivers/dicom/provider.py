"""A storage provider in this process: listener, driver and a real object folder; every record is durable at once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from agent.object_intake import ObjectIntake
from drivers.contract import Close, Emit, Message, Now
from drivers.dicom import Dicom, DicomOptions
from drivers.transports.addresses import networks_of
from drivers.transports.dicom_config import DicomConfig, DicomPeer
from drivers.transports.dicom_listener import DicomListener
from ledger.limits import LIMITS, Limits
from ledger.log import LogId
from ledger.objects import ObjectFolder, open_content
from ledger.records import Gap, LinkId, Object, Record
from ledger.sealing import DataKey

LOCAL = DicomConfig("127.0.0.1", 0, "ORLEDGER", (DicomPeer("CT1", networks_of(("127.0.0.1",))),))
_PATIENCE_S = 20.0


def real_now() -> Now:
    return Now(time.monotonic_ns(), time.time_ns())


@dataclass
class Told:
    """``LinkEvents``: lets the driver decide, does what it wants, keeps its records."""

    listener: DicomListener
    named: Callable[[Sequence[bytes]], object]
    durable: bool = True
    driver: Dicom = field(default_factory=lambda: Dicom(DicomOptions()))
    records: list[Record] = field(default_factory=list)
    ups: list[str] = field(default_factory=list)
    downs: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def on_up(self, link: LinkId, peer: str, at: Now) -> None:
        self.ups.append(peer)
        self.driver.link_up(link, peer, at)

    def on_bytes(self, link: LinkId, data: bytes, at: Now) -> None:
        raise AssertionError("DICOM comes in messages")

    def on_message(self, link: LinkId, message: Message, at: Now) -> None:
        self.driver.receive(link, message, at)
        for action in self.driver.drain():
            if isinstance(action, Emit):
                self.records.append(action.record)
                if isinstance(action.record, Object):
                    self.named([action.record.sha256])
            elif isinstance(action, Close):
                self.listener.close(action.link, action.reason)
            elif self.durable:
                assert self.driver.spec.may_send(action.data)
                self.listener.send(action.link, action.data)

    def on_down(self, link: LinkId, reason: str, at: Now) -> None:
        self.downs.append(reason)
        self.driver.link_down(link, reason, at)

    def on_refused(self, peer: str, reason: str, at: Now) -> None:
        self.refused.append(reason)


class Provider:
    """``with Provider(folder) as provider``: listens on ``provider.port``, its loop on a thread of its own."""

    def __init__(
        self, folder: Path, config: DicomConfig = LOCAL, limits: Limits = LIMITS, keep_free_bytes: int = 0
    ) -> None:
        self.path = folder / "objects"
        self.key = DataKey(bytes(32))
        self.folder = ObjectFolder.open(self.path, limits)
        log = LogId("or-1", 1, bytes(16), True)
        self.intake = ObjectIntake(self.folder, lambda: (log, self.key), keep_free_bytes, limits)
        self.listener = DicomListener(config, self.intake, real_now, limits=limits)
        self.told = Told(self.listener, self.intake.named)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._loop.call_soon_threadsafe(self.listener.start, self.told)
        self.until(lambda: self.listener.address is not None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self.listener.stop(), self._loop).result(_PATIENCE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE_S)
        self._loop.close()

    @property
    def port(self) -> int:
        assert self.listener.address is not None
        return self.listener.address[1]

    @property
    def objects(self) -> list[Object]:
        return [record for record in self.told.records if isinstance(record, Object)]

    @property
    def gaps(self) -> list[Gap]:
        return [record for record in self.told.records if isinstance(record, Gap)]

    def files(self) -> list[Path]:
        """Whatever lies in the object folder."""
        return [path for path in self.path.rglob("*") if path.is_file()]

    def content(self, sha256: bytes) -> bytes:
        with self.folder.source(sha256) as source:
            return b"".join(open_content(source, self.key))

    def until(self, so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while not so():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.005)
