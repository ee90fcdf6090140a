"""Requests for storage commitment and reports, between the library's threads, the driver and who keeps them.

The driver says what leaves: an answer to a request, a report. Who is asked for commitment keeps what was asked.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as NoAnswer
from typing import Final, Protocol

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dimse_messages import N_ACTION_RSP
from pynetdicom.dimse_primitives import N_ACTION
from pynetdicom.events import EventHandlerType
from pynetdicom.presentation import PresentationContext, build_context

from drivers.contract import Message
from drivers.dicom.commitment import PROCESSING_FAILURE, PUSH_MODEL, Reference, Refusal, Report
from drivers.transports.commitment_service import CommitmentService
from drivers.transports.dicom_association import Opened
from drivers.transports.dicom_config import DicomConfig
from drivers.transports.dicom_reports import Caller, commitment_context, read_request, send_report
from ledger.errors import DeviceFault, OrledgerError
from ledger.limits import S_NS, Limits

_SUCCESS: Final = "0000"
_COMMENT_CHARACTERS: Final = 64  # of the VR LO
_Asked = tuple[str, tuple[Reference, ...]] | Refusal


class Associations(Protocol):
    """The listener, as this part of it needs it."""

    def of(self, association: Association) -> Opened | None:
        """On any thread; None once it ended."""

    def known(self) -> Collection[Opened]:
        """Those that the driver knows, the newest last; on the loop."""

    def deliver(self, opened: Opened, message: Message) -> None:
        """To the driver; on the loop."""

    def release(self, opened: Opened) -> None:
        """End it in good order, without waiting for that."""

    def on_loop(self, call: Callable[..., None], *arguments: object) -> None:
        """Call this on the loop; on any thread."""


class Commitments:
    """The ``Reporter`` of a listener."""

    def __init__(
        self, service: CommitmentService, config: DicomConfig, associations: Associations, caller: Caller,
        numbers: Iterator[int], limits: Limits,
    ) -> None:  # fmt: skip
        self._service = service
        self._config = config
        self._associations = associations
        self._caller = caller
        self._numbers = numbers
        self._answer_s = limits.dicom_answer_ns / S_NS
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def context(self) -> PresentationContext:
        """What is offered. Never deflated: what is small on the wire must not be large in memory."""
        return build_context(PUSH_MODEL, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])

    @property
    def handlers(self) -> list[EventHandlerType]:
        """What the library is to tell of associations that others open."""
        return [(evt.EVT_N_ACTION, self._on_action), (evt.EVT_DIMSE_SENT, self._on_sent)]

    # ---- on the loop

    def start(self) -> None:
        """Reports may come from now on."""
        self._service.attach(self)

    def stop(self) -> None:
        """The listener ends."""
        for task in self._tasks:
            task.cancel()

    def up(self, opened: Opened) -> None:
        """Another one opened an association."""
        if _takes_reports(opened):
            self._service.can_be_reached(opened.title)

    def begin(self, opened: Opened) -> None:
        """The answers to its requests are on their way, or it ended."""
        taken, opened.taken = opened.taken, []
        for uid in taken:
            self._service.begin(opened.title, uid)

    async def report(self, report: Report, attempt: int) -> str:
        """By an association that is open, the first time; else by one to where the asker waits for reports."""
        opened, called = self._open_with(report.asker), None
        address = self._config.report_to(report.asker)
        try:
            if address is not None and (opened is None or attempt > 0):
                opened = called = await self._call(report.asker, *address)
            if opened is None:
                return f"{report.asker} has no association open, and no report_to is configured for it"
            status = await self._report_by(opened, report)
        except (OrledgerError, OSError) as fault:
            return fault.text if isinstance(fault, OrledgerError) else str(fault)
        finally:
            if called is not None:
                self._associations.release(called)
        return "" if status == _SUCCESS else f"{report.asker} answered with status {status}"

    def _open_with(self, title: str) -> Opened | None:
        """The newest association that this peer opened and by which it can be reported to."""
        fit = [each for each in self._associations.known() if each.title == title and _takes_reports(each)]
        return fit[-1] if fit else None

    async def _call(self, title: str, host: str, port: int) -> Opened:
        call = functools.partial(self._caller.call, title, host, port)
        association = await asyncio.get_running_loop().run_in_executor(None, call)
        opened = self._associations.of(association)
        if opened is None or opened not in self._associations.known():
            raise DeviceFault("dicom.report", f"{title} at {host}:{port} ended the association")
        return opened

    async def _report_by(self, opened: Opened, report: Report) -> str:
        """The driver lets it leave; its status, of four digits, as the asker answered."""
        number, leave = next(self._numbers), Future[bytes]()
        opened.waiting[str(number)] = leave
        meta = {
            "id": str(number), "transaction": report.uid, "event_type": str(report.event_type), "asker": report.asker,
            "committed": str(len(report.committed)), "failed": str(len(report.failed)),
        }  # fmt: skip
        self._associations.deliver(opened, Message("COMMITMENT-DECIDED", meta))
        opened.waiting.pop(str(number), None)
        if not leave.done() or leave.cancelled():
            raise DeviceFault("dicom.report", "the driver did not let a report leave")
        send = functools.partial(send_report, opened.association, report, number, self._answer_s)
        try:
            status = f"{await asyncio.get_running_loop().run_in_executor(None, send):04X}"
        except OrledgerError as fault:
            self._associations.deliver(opened, Message("N-EVENT-REPORT-RSP", {**meta, "status": fault.text}))
            raise
        self._associations.deliver(opened, Message("N-EVENT-REPORT-RSP", {**meta, "status": status}))
        return status

    # ---- on the library's threads

    def _on_action(self, event: evt.Event) -> tuple[Dataset, None]:
        opened, status = self._associations.of(event.assoc), Dataset()
        status.Status = PROCESSING_FAILURE
        if opened is None or not isinstance(event.request, N_ACTION):
            return status, None
        asked, answer = read_request(event.request, event.context), Future[bytes]()
        self._associations.on_loop(self._spawn, opened, asked, answer)
        try:
            _, _, code = answer.result(self._answer_s).decode().split(" ")
        except (NoAnswer, CancelledError):
            event.assoc.abort()  # as with a C-STORE: neither success nor failure is true
            return status, None
        status.Status = int(code, 16)
        if status.Status and opened.comment:
            status.ErrorComment = opened.comment[:_COMMENT_CHARACTERS]
        return status, None

    def _on_sent(self, event: evt.Event) -> None:
        """A request's answer is on its way: what was taken may be reported behind it."""
        opened = self._associations.of(event.assoc)
        if opened is not None and isinstance(event.message, N_ACTION_RSP):
            self._associations.on_loop(self.begin, opened)

    # ---- back on the loop

    def _spawn(self, opened: Opened, asked: _Asked, answer: Future[bytes]) -> None:
        task = asyncio.get_running_loop().create_task(self._take(opened, asked, answer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _take(self, opened: Opened, asked: _Asked, answer: Future[bytes]) -> None:
        """Keep what is asked for, then let the driver answer."""
        uid, references = ("", ()) if isinstance(asked, Refusal) else asked
        refusal = asked if isinstance(asked, Refusal) else await self._keep(opened, uid, references)
        opened.comment = refusal.comment if refusal is not None else ""
        answer.add_done_callback(functools.partial(self._answered, opened, uid, refusal))
        if opened not in self._associations.known():
            answer.cancel()
            return
        number = str(next(self._numbers))
        opened.waiting[number] = answer
        meta = {
            "id": number, "transaction": uid, "asker": opened.title, "instances": str(len(references)),
            "status": f"{refusal.status if refusal is not None else 0:04X}", "comment": opened.comment,
        }  # fmt: skip
        self._associations.deliver(opened, Message("N-ACTION", meta))

    async def _keep(self, opened: Opened, uid: str, references: tuple[Reference, ...]) -> Refusal | None:
        waits_ns = self._config.commitment_wait_ns, self._config.report_wait_ns
        try:
            return await self._service.ask(opened.title, uid, references, *waits_ns)
        except OrledgerError as fault:
            return Refusal(PROCESSING_FAILURE, fault.text)

    def _answered(self, opened: Opened, uid: str, refusal: Refusal | None, answer: Future[bytes]) -> None:
        """By the driver; or never, and then it is begun all the same: it is kept, and its asker may believe in it."""
        if refusal is not None:
            return
        if answer.cancelled():
            self._service.begin(opened.title, uid)
        elif answer.result().endswith(_SUCCESS.encode()):
            opened.taken.append(uid)
        else:
            self._service.withdraw(opened.title, uid)


def _takes_reports(opened: Opened) -> bool:
    """One that this box opened is for one report, and is being ended behind it."""
    return opened.association.is_acceptor and commitment_context(opened.association) is not None
