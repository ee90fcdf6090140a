"""A DICOM storage provider: modalities connect and send images; the driver decides, the object store holds them.

The library serves each association on threads of its own. A C-STORE is answered there only with what the driver said,
and the driver says success once the object and its record are durable. What crosses over to the loop is one message.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import threading
from collections.abc import Collection, Iterator
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as NoAnswer
from typing import Any, Final

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.events import EventHandlerType
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from drivers.contract import Message, Now
from drivers.dicom.waveform import WAVEFORMS
from drivers.transports.commitment_service import CommitmentService
from drivers.transports.dicom_association import Opened
from drivers.transports.dicom_commitments import Commitments
from drivers.transports.dicom_config import DicomConfig, server_tls
from drivers.transports.dicom_data_set import DataSet, Received
from drivers.transports.dicom_dimse import IncomingDataSet, StoreCommand, StreamingDimse
from drivers.transports.dicom_reports import Caller
from drivers.transports.dicom_wire import BoundedSocket, RecorderServer, SteadyMachine
from drivers.transports.links import Backoff, Clock, LinkEvents
from drivers.transports.object_sink import ObjectSink
from ledger.errors import OrledgerError
from ledger.limits import LIMITS, S_NS, Limits
from ledger.records import LinkId, Object

_log = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/dicom"
OUT_OF_RESOURCES: Final = 0xA700
CANNOT_UNDERSTAND: Final = 0xC000
_STATUS_OF: Final = {
    "objects.full": OUT_OF_RESOURCES, "objects.busy": OUT_OF_RESOURCES, "objects.not-recording": OUT_OF_RESOURCES,
    "objects.too-large": OUT_OF_RESOURCES, "store.io": OUT_OF_RESOURCES,
}  # fmt: skip


class DicomListener:
    """The ``LinkTransport`` for DICOM senders. ``send`` takes ``C-STORE-RSP <id> <status> [discard]``,
    ``N-ACTION-RSP <id> <status>`` and ``N-EVENT-REPORT <id> <event type> <transaction>``.
    """

    listens = True

    def __init__(
        self, config: DicomConfig, sink: ObjectSink, now: Clock, links: Iterator[int] | None = None,
        limits: Limits = LIMITS, commitments: CommitmentService | None = None,
    ) -> None:  # fmt: skip
        self.config = config
        self._sink = sink
        self._now = now
        self._links = links if links is not None else itertools.count(1)
        self._limits = limits
        self._tls = server_tls(config.tls) if config.tls is not None else None
        self._events: LinkEvents | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._server: RecorderServer | None = None
        self._open: dict[LinkId, Opened] = {}
        self._of: dict[Association, Opened] = {}
        self._requests = itertools.count(1)
        self._may_read = threading.Event()
        self._may_read.set()
        self._commitments: Commitments | None = None
        if commitments is not None:
            caller = Caller(config, self._new_dimse, self._life(), limits)
            self._commitments = Commitments(commitments, config, self, caller, self._requests, limits)

    # ---- LinkTransport, on the loop

    @property
    def reachable(self) -> bool:
        """Whether the address is bound."""
        return self._server is not None

    @property
    def address(self) -> tuple[str, int] | None:
        """Address and port listened on; None until bound."""
        return None if self._server is None else tuple(self._server.server_address[:2])  # type: ignore[return-value]

    def start(self, events: LinkEvents) -> None:
        """Bind, and try again with back-off while the address is not there yet."""
        self._events = events
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._bind(), name="dicom-listen")
        if self._commitments is not None:
            self._commitments.start()

    async def stop(self) -> None:
        """Stop listening and abort every association."""
        self._events = None
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._may_read.set()
        if self._commitments is not None:
            self._commitments.stop()
        for opened in list(self._open.values()):
            self._end(opened)
        if self._server is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._server.shutdown)
            self._server = None

    def send(self, link: LinkId, data: bytes) -> bool:
        """Answer the request that the driver was given, or let the report leave that it was told of."""
        opened = self._open.get(link)
        if opened is None:
            return False
        _, number, *_ = data.decode().split(" ")
        answer = opened.waiting.pop(number, None)
        if answer is None or answer.done():
            return False
        answer.set_result(data)
        return True

    def close(self, link: LinkId, reason: str) -> None:
        """Abort an association."""
        opened = self._open.get(link)
        if opened is not None:
            _log.info("DICOM association of %s aborted: %s", opened.peer, reason)
            self._end(opened)

    def set_reading(self, reading: bool) -> None:
        """Stop reading data sets, or go on: TCP then holds the senders back."""
        if reading:
            self._may_read.set()
        else:
            self._may_read.clear()

    def _end(self, opened: Opened) -> None:
        opened.forget()
        threading.Thread(target=opened.association.abort, name="dicom-abort", daemon=True).start()

    async def _bind(self) -> None:
        backoff = Backoff(self._limits.reconnect_min_ns, self._limits.reconnect_max_ns)
        where = f"{self.config.host}:{self.config.port}"
        while True:
            try:
                self._server = self._listen()
            except OSError as fault:
                if self._events is not None:
                    self._events.on_refused(where, f"cannot listen: {fault.strerror or fault}", self._now())
                await asyncio.sleep(backoff.wait_ns() / S_NS)
            else:
                serve = functools.partial(self._server.serve_forever, poll_interval=0.5)
                threading.Thread(target=serve, name="dicom-listen", daemon=True).start()
                _log.info("listening for DICOM on %s as %s", where, self.config.ae_title)
                return

    def _listen(self) -> RecorderServer:
        limits, contexts, handlers = self._limits, [build_context(Verification)], self._life()
        if self._commitments is not None:
            contexts.append(self._commitments.context)
            handlers += self._commitments.handlers
        ae = AE(self.config.ae_title)
        ae.maximum_associations = limits.dicom_associations
        ae.maximum_pdu_size = limits.dicom_pdu_bytes
        ae.network_timeout = limits.dicom_idle_ns / S_NS
        ae.acse_timeout = limits.dicom_request_ns / S_NS
        ae.dimse_timeout = limits.dicom_answer_ns / S_NS
        ae.require_called_aet = True
        return RecorderServer(
            ae, (self.config.host, self.config.port), self.config.ae_title, contexts,
            [
                (evt.EVT_REQUESTED, self._on_requested), (evt.EVT_REJECTED, self._on_rejected), *handlers,
            ],
            admit=self._admits, tls=self._tls, refused=self._tell_refused, new_dimse=self._new_dimse,
            handshake_s=limits.dicom_request_ns / S_NS, connections=limits.dicom_connections,
        )  # fmt: skip

    def _life(self) -> list[EventHandlerType]:
        """What tells of an association's beginning and end."""
        return [
            (evt.EVT_ESTABLISHED, self._on_established), (evt.EVT_RELEASED, self._on_end, ["released"]),
            (evt.EVT_ABORTED, self._on_end, ["aborted"]),
            (evt.EVT_CONN_CLOSE, self._on_end, ["the connection closed"]),
        ]  # fmt: skip

    def _new_dimse(self, association: Association) -> StreamingDimse:
        return StreamingDimse(association, self._begin, self._store, self._limits.dicom_message_bytes)

    # ---- Associations, for storage commitment

    def of(self, association: Association) -> Opened | None:
        """On any thread; None once it ended."""
        return self._of.get(association)

    def known(self) -> Collection[Opened]:
        """Those that the driver knows, the newest last; on the loop."""
        return self._open.values()

    def release(self, opened: Opened) -> None:
        """End it in good order, without waiting for that."""
        threading.Thread(target=opened.association.release, name="dicom-release", daemon=True).start()

    # ---- on the library's threads

    def on_loop(self, call: Any, *arguments: object) -> None:
        """Call this on the loop; on any thread."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(call, *arguments)

    def _admits(self, host: str) -> bool:
        if self.config.admits_address(host):
            return True
        self._tell_refused(host, "the address is not on the allow-list")
        return False

    def _tell_refused(self, host: str, reason: str) -> None:
        self.on_loop(self._refused, host, reason)

    def _on_requested(self, event: evt.Event) -> None:
        requestor = event.assoc.requestor
        asked = requestor.primitive
        title = asked.calling_ae_title if asked is not None else ""
        if not self.config.admits(title, str(requestor.address)):
            self._tell_refused(str(requestor.address), f"AE title {title} is not on the allow-list for it")
            event.assoc.acse.send_reject(0x01, 0x01, 0x03)  # permanent, by the user: calling AE title not recognised
            event.assoc.is_rejected = True
            event.assoc.kill()

    def _on_rejected(self, event: evt.Event) -> None:
        requestor = event.assoc.requestor
        called = requestor.primitive.called_ae_title if requestor.primitive is not None else ""
        most = self._limits.dicom_associations
        why = f"called {called}" if called != self.config.ae_title else f"{most} associations are open"
        self._tell_refused(str(requestor.address), why)

    def _on_established(self, event: evt.Event) -> None:
        other = event.assoc.requestor if event.assoc.is_acceptor else event.assoc.acceptor
        peer = f"{other.ae_title}@{other.address}:{other.port}"
        opened = Opened(event.assoc, peer, LinkId(next(self._links)))
        self._of[event.assoc] = opened
        self.on_loop(self._up, opened)
        if isinstance(event.assoc.dimse, StreamingDimse):
            event.assoc.dimse.established()

    def _on_end(self, event: evt.Event, how: str) -> None:
        dimse, wire = event.assoc.dimse, event.assoc.dul.socket
        faults = [each.fault for each in (wire, dimse) if isinstance(each, BoundedSocket | StreamingDimse)]
        machine = event.assoc.dul.state_machine
        has_released = isinstance(machine, SteadyMachine) and machine.has_released
        reason = next(filter(None, faults), "released" if has_released else how)
        if isinstance(dimse, StreamingDimse):
            dimse.abandon(reason)  # while it is still known whose it was
        opened = self._of.pop(event.assoc, None)
        if opened is not None:
            self.on_loop(self._down, opened, reason)

    def _begin(self, association: Association, command: StoreCommand) -> DataSet:
        limits = self._limits
        keep = limits.dicom_waveform_bytes if command.sop_class.startswith(WAVEFORMS) else 0
        tell = functools.partial(self._tell_abandoned, association)
        return DataSet(command, self._sink, max(keep, limits.dicom_head_bytes), self._wait_for_room, tell)

    def _wait_for_room(self) -> None:
        """The ledger's queues are full: TCP holds the sender back meanwhile."""
        self._may_read.wait(self._limits.ack_timeout_ns / S_NS)

    def _tell_abandoned(self, association: Association, data_set: DataSet, reason: str) -> None:
        opened = self._of.get(association)
        if opened is not None:
            meta = {**data_set.command.meta(), "reason": reason, "bytes": str(data_set.length)}
            if data_set.fault is not None:
                meta["status"] = f"{_STATUS_OF.get(data_set.fault.id, CANNOT_UNDERSTAND):04X}"
            self.on_loop(self.deliver, opened, Message("C-STORE-ABANDONED", meta))

    def _store(self, association: Association, data_set: IncomingDataSet | None) -> int | None:
        """Blocks until the answer is true; None when neither success nor failure became true in time."""
        opened = self._of.get(association)
        if opened is None or not isinstance(data_set, DataSet):
            return CANNOT_UNDERSTAND
        try:
            received = data_set.finish()
        except OrledgerError as fault:
            data_set.fault = fault
            data_set.abandon(fault.text)
            return _STATUS_OF.get(fault.id, CANNOT_UNDERSTAND)
        number, answer = str(next(self._requests)), Future[bytes]()
        self.on_loop(self._deliver_object, opened, number, data_set, received, answer)
        try:
            _, _, status, *rest = answer.result(self._limits.dicom_answer_ns / S_NS).decode().split(" ")
        except (NoAnswer, CancelledError):
            return None
        if rest:
            self._sink.discard(received.object.sha256)
        return int(status, 16)

    # ---- back on the loop

    def _refused(self, peer: str, reason: str) -> None:
        if self._events is not None:
            self._events.on_refused(peer, reason, self._now())

    def _up(self, opened: Opened) -> None:
        if self._events is not None:
            self._open[opened.link] = opened
            self._events.on_up(opened.link, opened.peer, self._now())
            if self._commitments is not None:
                self._commitments.up(opened)

    def _down(self, opened: Opened, reason: str) -> None:
        opened.forget()
        if self._commitments is not None:
            self._commitments.begin(opened)
        if self._open.pop(opened.link, None) is not None and self._events is not None:
            self._events.on_down(opened.link, reason, self._now())

    def deliver(self, opened: Opened, message: Message) -> None:
        """To the driver, as long as it knows the association; on the loop."""
        if self._events is not None and opened.link in self._open:
            self._events.on_message(opened.link, message, self._now())

    def _deliver_object(
        self, opened: Opened, number: str, data_set: DataSet, received: Received, answer: Future[bytes]
    ) -> None:
        if self._events is None or opened.link not in self._open:
            answer.set_result(f"C-STORE-RSP {number} {OUT_OF_RESOURCES:X} discard".encode())
            return
        opened.waiting[number] = answer
        at: Now = self._now()
        meta = {
            **data_set.command.meta(), **received.identifiers, "ae_title": opened.title,
            "data_set_sha256": received.data_set_sha256.hex(), "data_set_bytes": str(received.data_set_bytes),
        }  # fmt: skip
        stored = Object(
            at_ns=at.utc_ns, sha256=received.object.sha256, size=received.object.plain_bytes, media_type=MEDIA_TYPE,
            name=f"{data_set.command.sop_instance}.dcm", meta=meta,
        )  # fmt: skip
        self._events.on_message(opened.link, Message("C-STORE", {"id": number}, received.body, stored), at)
