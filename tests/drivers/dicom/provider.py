"""A storage provider in this process: listener, driver and a real object folder; every record is durable at once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from agent.object_intake import ObjectIntake
from drivers.contract import Close, Emit, Message, Now
from drivers.dicom.commitment import Reference, Refusal, Report, refusal_of
from drivers.dicom.driver import Dicom, DicomOptions
from drivers.transports.addresses import networks_of
from drivers.transports.commitment_service import CommitmentService, Reporter
from drivers.transports.dicom_config import DicomConfig, DicomPeer
from drivers.transports.dicom_listener import DicomListener
from ledger.limits import LIMITS, Limits
from ledger.log import LogId
from ledger.objects import ObjectFolder, open_content
from ledger.records import Gap, LinkId, Object, Record
from ledger.sealing import DataKey

LOCAL = DicomConfig("127.0.0.1", 0, "ORLEDGER", (DicomPeer("CT1", networks_of(("127.0.0.1",))),))
_PATIENCE_S = 60.0
T = TypeVar("T")


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


@dataclass
class Service:
    """``CommitmentService`` that takes what is right in form, and tells what happened; ``prompt``: it reports at once
    that everything is committed.
    """

    refusal: Refusal | None = None
    prompt: bool = False
    happened: list[tuple[str, ...]] = field(default_factory=list)
    reporter: Reporter | None = None
    reports: set[asyncio.Future[str]] = field(default_factory=set)
    _taken: dict[str, tuple[Reference, ...]] = field(default_factory=dict)

    def attach(self, reporter: Reporter) -> None:
        self.reporter = reporter

    async def ask(
        self, asker: str, uid: str, references: tuple[Reference, ...], decide_within_ns: int, report_within_ns: int
    ) -> Refusal | None:  # fmt: skip
        self.happened.append(("ask", asker, uid))
        self._taken = {uid: references}
        return self.refusal or refusal_of(uid, references)

    def begin(self, asker: str, uid: str) -> None:
        self.happened.append(("begin", asker, uid))
        if self.prompt and self.reporter is not None and uid in self._taken:
            told = Report(asker, uid, self._taken.pop(uid), ())
            report = asyncio.ensure_future(self.reporter.report(told, 0))
            self.reports.add(report)
            report.add_done_callback(self.reports.discard)

    def withdraw(self, asker: str, uid: str) -> None:
        self.happened.append(("withdraw", asker, uid))

    def can_be_reached(self, asker: str) -> None:
        self.happened.append(("can be reached", asker))


class Provider:
    """``with Provider(folder) as provider``: listens on ``provider.port``, its loop on a thread of its own."""

    def __init__(
        self, folder: Path, config: DicomConfig = LOCAL, limits: Limits = LIMITS, keep_free_bytes: int = 0,
        commitments: CommitmentService | None = None,
    ) -> None:  # fmt: skip
        self.path = folder / "objects"
        self.key = DataKey(bytes(32))
        self.folder = ObjectFolder.open(self.path, limits)
        log = LogId("or-1", 1, bytes(16), True)
        self.intake = ObjectIntake(self.folder, lambda: (log, self.key), keep_free_bytes, limits)
        self.listener = DicomListener(config, self.intake, real_now, limits=limits, commitments=commitments)
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

    def on_loop(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of this, on the loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE_S)

    def until(self, so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while not so():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.005)
