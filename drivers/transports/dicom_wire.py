"""Where the DICOM library is bent to a recorder's needs: nothing unbounded, no plaintext file, no pause of the process.

pynetdicom keeps a data set in memory or, received in pieces, in a plain temporary file; it reads PDUs of any length
its peer names; it collects garbage of the whole process every half minute; and one caller's TLS handshake holds up
all the others. This module replaces those four things, and ends an association that confuses the library. What it
reaches into is named here and in ``dicom_dimse``:
``RequestHandler._create_association``, ``AE._create_socket``, ``AssociationSocket.connect`` (``dicom_reports``),
``AssociationSocket.recv`` and ``ready``, the DUL's queues, ``_read_pdu_data`` and ``_run_loop_delay``,
``StateMachine.do_action`` and ``socketserver``'s hooks.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import queue
import select
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from typing import Any, Final, Self, cast

from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.events import EventHandlerType
from pynetdicom.fsm import StateMachine
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from drivers.transports.dicom_dimse import StreamingDimse, values_of
from ledger.limits import LIMITS

_log = logging.getLogger(__name__)
_IDLE_S: Final = 0.25
_MOST_WAKES: Final = 4_096
_ESTABLISHED: Final = "Sta6"
_CLOSING: Final = "Sta13"
_RELEASE_ANSWERED: Final = "Evt14"
_CLOSED: Final = "Evt17"
_PDU_HEADER: Final = struct.Struct(">BxI")
_P_DATA: Final = 4


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
    unread = b""
    """What was read and is to be read again."""
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
        if self.unread:
            again, self.unread = bytearray(self.unread), b""
            return again
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


class ReadingDul(DULServiceProvider):
    """Takes the data of an open association straight to its messages: without an object and an event for each PDU."""

    def _read_pdu_data(self) -> None:
        connection, dimse = self.socket, self.assoc.dimse
        if (
            not isinstance(connection, BoundedSocket) or not isinstance(dimse, StreamingDimse)
            or self.state_machine.current_state != _ESTABLISHED
        ):  # fmt: skip
            super()._read_pdu_data()
            return
        try:
            header = bytes(connection.recv(_PDU_HEADER.size))
            if len(header) < _PDU_HEADER.size or header[0] != _P_DATA:
                connection.unread = header
                if header:
                    super()._read_pdu_data()
                else:
                    self.event_queue.put(_CLOSED)
                return
            _, length = _PDU_HEADER.unpack(header)
            body = connection.recv(length)
            if len(body) < length:
                self.event_queue.put(_CLOSED)
            else:
                dimse.take(values_of(memoryview(body)))
        except OSError:
            self.event_queue.put(_CLOSED)
        except Exception as fault:  # noqa: BLE001 - as in the state machine: nothing may leave the association open
            _log.error("a DICOM association failed: %s", type(fault).__name__)  # its text could be a patient's
            connection.close()


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
            request.settimeout(self.ae.network_timeout)  # a peer gone in the middle of a PDU holds no place for ever
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
        association.dul.__class__ = ReadingDul
        association.dul.state_machine.__class__ = SteadyMachine
        association.dimse = cast(RecorderServer, self.server).new_dimse(association)
        cast(BoundedSocket, association.dul.socket).watch()
        return association
