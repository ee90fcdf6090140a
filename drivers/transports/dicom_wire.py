"""Where the DICOM library is bent to a recorder's needs: nothing unbounded, no plaintext file, no pause of the process.

pynetdicom keeps a data set in memory or, received in pieces, in a plain temporary file; it reads PDUs of any length
its peer names; it collects garbage of the whole process every half minute; and one caller's TLS handshake holds up
all the others. This module replaces those four things, and ends an association that confuses the library. What it
reaches into is named here, once:
``DIMSEServiceProvider.receive_primitive`` and ``send_msg``, its ``message`` and ``msg_queue``,
``DIMSEMessage._data_set_file`` (what pynetdicom itself writes to when it receives in pieces),
``RequestHandler._create_association``, ``AE._create_socket``, ``AssociationSocket.connect`` (``dicom_reports``),
``AssociationSocket.recv`` and ``ready``, the DUL's queues and ``_run_loop_delay``, ``StateMachine.do_action`` and
``socketserver``'s hooks.
"""

from __future__ import annotations

import contextlib
import errno
import queue
import select
import socket
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as NoAnswer
from dataclasses import dataclass
from typing import Any, Final, Protocol, Self, cast

from pydicom import config
from pynetdicom import AE, _config
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE, N_EVENT_REPORT
from pynetdicom.events import EventHandlerType
from pynetdicom.fsm import StateMachine
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from drivers.transports.dicom_response import store_response
from ledger.errors import DeviceFault
from ledger.limits import LIMITS

_config.LOG_HANDLER_LEVEL = "none"  # what it would log names patients' studies
_config.UNRESTRICTED_STORAGE_SERVICE = True  # every storage class, private ones too, in every transfer syntax

config.settings.reading_validation_mode = config.IGNORE  # its warnings quote what a sender wrote
_MOST_REQUESTS: Final = 8
_IDLE_S: Final = 0.25
_MOST_WAKES: Final = 4_096
_CLOSING: Final = "Sta13"
_RELEASE_ANSWERED: Final = "Evt14"
_PDV_HEADER_BYTES: Final = 6
_MOST_UID_CHARACTERS: Final = 65_534  # the length of a UI has two bytes (PS3.5 7.1.2)


class IncomingDataSet(Protocol):
    """Takes the data set of one C-STORE as it comes, on the thread that reads the association."""

    def write(self, fragment: bytes) -> None:
        """The next bytes of the data set. A failing disk is no reason to raise: the sender is told at the end."""

    def abandon(self, reason: str) -> None:
        """It will not become an object. Harmless once the data set was taken over; on any thread."""

    @property
    def is_over(self) -> bool:
        """Whether it was taken over or abandoned."""


@dataclass(frozen=True, slots=True)
class StoreCommand:
    """What a C-STORE request says of the data set that follows."""

    sop_class: str
    sop_instance: str
    transfer_syntax: str

    def meta(self) -> dict[str, str]:
        """As names and texts, for records."""
        return {
            "sop_class": self.sop_class, "sop_instance": self.sop_instance, "transfer_syntax": self.transfer_syntax,
        }  # fmt: skip


OpenDataSet = Callable[[Association, StoreCommand], IncomingDataSet]


class _Piecewise:
    """The file that pynetdicom believes to write a data set to."""

    name = ""  # what the library unlinks in the end: no file has this name

    def __init__(self, incoming: IncomingDataSet) -> None:
        self.incoming = incoming
        self.file = self

    def write(self, fragment: bytes) -> int:
        self.incoming.write(fragment)
        return len(fragment)

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """The library has answered: whatever was not taken over by then is not wanted."""
        self.incoming.abandon("the request was not served")


class StreamingDimse(DIMSEServiceProvider):
    """Hands data sets of C-STORE on as they come; every other message is bounded by ``message_bytes``.

    The library lets nothing else happen on an association while it waits for an answer to a request of its own, and
    aborts it when the peer asks for something meanwhile. ``ask`` waits beside all that.
    """

    def __init__(self, association: Association, open_data_set: OpenDataSet, message_bytes: int) -> None:
        super().__init__(association)
        self._open_data_set = open_data_set
        self._message_bytes = message_bytes
        self._gathered_bytes = 0
        self._incoming: IncomingDataSet | None = None
        self._opened: list[IncomingDataSet] = []
        self._ended = False
        self._sending = threading.Lock()  # fragments of two messages must not alternate
        self._asked: dict[int, Future[int]] = {}
        self.fault = ""

    def send_msg(self, primitive: Any, context_id: int) -> None:
        """As in the base class, but one message at a time: more than one thread may have something to say."""
        command = store_response(primitive) if isinstance(primitive, C_STORE) else None
        with self._sending:
            if command is None or 0 < self.maximum_pdu_size < len(command) + _PDV_HEADER_BYTES:
                super().send_msg(primitive, context_id)
                return
            answer = P_DATA()
            answer.presentation_data_value_list = [[context_id, b"\x03" + command]]  # type: ignore[list-item] # as below
            self.dul.send_pdu(answer)

    def ask(self, request: N_EVENT_REPORT, context_id: int, answer_s: float) -> int:
        """The status with which the peer answers. Blocks. Raises DeviceFault when it does not answer."""
        number = cast(int, request.MessageID)
        answer = self._asked[number] = Future[int]()
        try:
            if self._ended:
                raise DeviceFault("dicom.report", "the association ended")
            self.send_msg(request, context_id)
            return answer.result(answer_s)
        except NoAnswer:
            raise DeviceFault("dicom.report", f"no answer to a report within {answer_s:g} s") from None
        except CancelledError:
            raise DeviceFault("dicom.report", "the association ended before a report was answered") from None
        finally:
            self._asked.pop(number, None)

    def receive_primitive(self, primitive: P_DATA) -> None:
        """More of a message. One that cannot be borne ends the association by A-ABORT, as an invalid PDU would."""
        if self._ended:
            return
        try:
            for context_id, fragment in primitive.presentation_data_value_list:
                self._receive(context_id, fragment)
        except DeviceFault as fault:
            self.fault, self._ended = fault.text, True
            self.dul.event_queue.put("Evt19")

    def _receive(self, context_id: int, fragment: bytes) -> None:
        self._gathered_bytes += 0 if self._incoming is not None else len(fragment)
        if self._gathered_bytes > self._message_bytes:
            raise DeviceFault("dicom.message", f"a DICOM message of over {self._message_bytes:,} bytes")
        if not fragment:
            raise DeviceFault("dicom.fragment", "a presentation data value without its control header")
        one = P_DATA()
        one.presentation_data_value_list = [[context_id, fragment]]  # type: ignore[list-item] # pairs, says the library
        try:
            super().receive_primitive(one)
        except Exception as fault:
            raise DeviceFault("dicom.command", f"a command that cannot be read: {type(fault).__name__}") from fault
        self._follow(context_id)

    def _follow(self, context_id: int) -> None:
        message = self.message
        if message is None:  # whole, and handed on
            self._gathered_bytes, self._incoming = 0, None
            if self.msg_queue.qsize() > _MOST_REQUESTS:
                raise DeviceFault("dicom.requests", f"more than {_MOST_REQUESTS} requests at once")
        elif isinstance(message, C_STORE_RQ) and self._incoming is None:
            context = self.assoc._accepted_cx.get(context_id)  # noqa: SLF001 - named above
            command = message.command_set
            if context is None:
                raise DeviceFault("dicom.context", f"a C-STORE under presentation context {context_id}, not accepted")
            sop_class, sop_instance = command.get("AffectedSOPClassUID"), command.get("AffectedSOPInstanceUID")
            if not sop_class or not sop_instance:
                raise DeviceFault("dicom.command", "a C-STORE that names no SOP class or no instance")
            if max(len(str(sop_class)), len(str(sop_instance))) > _MOST_UID_CHARACTERS:
                raise DeviceFault("dicom.command", "a C-STORE with a UID that no DICOM file can begin with")
            store = StoreCommand(str(sop_class), str(sop_instance), str(context.transfer_syntax[0]))
            self._incoming = self._open_data_set(self.assoc, store)
            self._opened = [each for each in self._opened if not each.is_over] + [self._incoming]
            message._data_set_file = cast(Any, _Piecewise(self._incoming))  # noqa: SLF001 - named above

    def get_msg(self, block: bool = False) -> Any:
        """The next message; where the library would ask again and again, a short wait for it."""
        if block or not self.dul.to_user_queue.empty():
            return self._or_answer(super().get_msg(block))
        try:
            return self._or_answer(self.msg_queue.get(timeout=_IDLE_S))
        except queue.Empty:
            return None, None

    def _or_answer(self, item: Any) -> Any:
        """An answer is for who asked, not for the library."""
        _, message = item
        if not isinstance(message, N_EVENT_REPORT) or not message.is_valid_response:
            return item
        answer = self._asked.pop(cast(int, message.MessageIDBeingRespondedTo), None)
        if answer is not None and not answer.done():
            answer.set_result(cast(int, message.Status))
        return None, None

    def abandon(self, reason: str) -> None:
        """The association is gone: what was coming will not come whole, and what waits will not be served."""
        self._ended = True
        for each in self._opened:
            each.abandon(reason)
        for answer in list(self._asked.values()):
            answer.cancel()


def data_set_of(request: Any) -> IncomingDataSet | None:
    """What was opened for the C-STORE request that a handler serves; None when it had no data set."""
    piecewise = getattr(request, "_dataset_file", None)
    return piecewise.incoming if isinstance(piecewise, _Piecewise) else None


class WakingQueue(queue.Queue[Any]):
    """Wakes the thread that waits for the connection when there is something else to do for it."""

    wake: Callable[[], object]

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """As in the base class."""
        super().put(item, block, timeout)
        with contextlib.suppress(OSError):  # full, so it wakes already, or the association is over
            self.wake()

    @classmethod
    def adopt(cls, other: queue.Queue[Any], wake: Callable[[], object]) -> None:
        """Make a queue of the library's one of these."""
        other.__class__ = cls
        cast(Self, other).wake = wake


class BoundedSocket(AssociationSocket):
    """Refuses a PDU longer than was negotiated before it takes memory, reads in larger pieces, and waits for bytes
    instead of asking for them a thousand times a second.
    """

    pdu_bytes = LIMITS.dicom_pdu_bytes
    fault = ""
    woken: socket.socket

    def watch(self) -> None:
        """Wait in ``ready`` from now on, until there are bytes or one of the library's queues has something."""
        dul = self.assoc.dul
        self.woken, wake = socket.socketpair()
        self.woken.setblocking(False)
        wake.setblocking(False)
        for each in (dul.event_queue, dul.to_provider_queue):
            WakingQueue.adopt(each, lambda: wake.send(b"w"))
        messages = self.assoc.dimse.msg_queue
        WakingQueue.adopt(dul.to_user_queue, lambda: messages.put((None, None)))  # which means no message
        dul._run_loop_delay = 0  # noqa: SLF001 - named above

    @property
    def ready(self) -> bool:
        """Whether there are bytes to read; waits a while for them when there is nothing else to do."""
        if super().ready:
            return True
        dul, peer = self.assoc.dul, self.socket
        idle = dul.event_queue.empty() and dul.to_provider_queue.empty()
        if peer is None or not self._is_connected or not idle or dul.state_machine.current_state == _CLOSING:
            return False
        with contextlib.suppress(OSError, ValueError):  # closed meanwhile: the next look tells
            select.select([peer, self.woken], [], [], _IDLE_S)
            while self.woken.recv(_MOST_WAKES):
                pass
        return super().ready

    def recv(self, nr_bytes: int) -> bytearray:
        """So many bytes, fewer if the peer hangs up. Raises OSError, on which the library ends the connection."""
        if nr_bytes > self.pdu_bytes:
            self.fault = f"a PDU of {nr_bytes:,} bytes where at most {self.pdu_bytes:,} were agreed"
            raise OSError(errno.EMSGSIZE, self.fault)
        received = bytearray(nr_bytes)
        view, at = memoryview(received), 0
        peer = cast(socket.socket, self.socket)
        while at < nr_bytes:
            got = peer.recv_into(view[at:])
            if not got:
                break
            at += got
        view.release()
        del received[at:]
        return received


class SteadyMachine(StateMachine):
    """Whatever the library cannot take ends the association; else its thread would end and leave it open.

    ``has_released``: its release was answered. The library tells of that on another thread, perhaps only after the
    connection closed.
    """

    has_released = False

    def do_action(self, event: str) -> None:
        """Take one event."""
        try:
            super().do_action(event)
            self.has_released = self.has_released or event == _RELEASE_ANSWERED
        except Exception:  # noqa: BLE001 - a peer's bytes can make the library raise anything
            if self.dul.socket is not None:
                self.dul.socket.close()


class RecorderServer(ThreadedAssociationServer):
    """Listens for associations. Callers are admitted by address before TLS, and TLS holds up nobody else."""

    def __init__(  # noqa: PLR0913 - what a listener is made of
        self,
        ae: AE,
        address: tuple[str, int],
        ae_title: str,
        contexts: list[PresentationContext],
        handlers: list[EventHandlerType],
        *,
        admit: Callable[[str], bool],
        tls: ssl.SSLContext | None,
        refused: Callable[[str, str], None],
        new_dimse: Callable[[Association], StreamingDimse],
        handshake_s: float,
        connections: int,
    ) -> None:
        self._admit = admit
        self._tls = tls
        self._refused = refused
        self._connections = connections
        self._beginning = threading.Semaphore(connections)
        self._handshake_s = handshake_s
        self.new_dimse = new_dimse
        super().__init__(ae, address, ae_title, contexts, None, handlers, _Handler)
        self.daemon_threads = True
        ae._servers.append(self)  # noqa: SLF001 - where the library's own start_server puts it and shutdown() seeks it

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether this address may connect at all, and one more may (``socketserver``'s hook).

        The library counts associations only once they ask for one; each connection has threads before that.
        """
        host = str(client_address[0])
        if not self._admit(host):
            return False
        if len(self.active_associations) < self._connections and self._beginning.acquire(blocking=False):
            return True
        self._refused(host, f"{self._connections} connections are open")
        return False

    def finish_request(self, request: Any, client_address: Any) -> None:
        """On the caller's own thread: TLS first, then the association."""
        try:
            self._begin(request, client_address)
        finally:
            self._beginning.release()

    def _begin(self, request: Any, client_address: Any) -> None:
        if self._tls is None:
            super().finish_request(request, client_address)
            return
        request.settimeout(self._handshake_s)
        try:
            wrapped = self._tls.wrap_socket(request, server_side=True)
        except OSError as fault:
            self._refused(str(client_address[0]), str(getattr(fault, "reason", None) or fault))
            request.close()
            return
        wrapped.settimeout(self.ae.network_timeout)
        super().finish_request(wrapped, client_address)

    def service_actions(self) -> None:
        """Nothing: the library would collect garbage of the whole process here, in the middle of a tick."""


class _Handler(RequestHandler):
    """One caller."""

    def _create_association(self) -> Association:
        association = super()._create_association()
        cast(AssociationSocket, association.dul.socket).__class__ = BoundedSocket  # a second one would count twice
        association.dul.state_machine.__class__ = SteadyMachine
        association.dimse = cast(RecorderServer, self.server).new_dimse(association)
        cast(BoundedSocket, association.dul.socket).watch()
        return association
