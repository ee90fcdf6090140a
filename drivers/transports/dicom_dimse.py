"""DICOM messages of one association: C-STORE is served as it comes, the rest is left to the library.

C-STORE is served here from its first byte to its answer, on the thread that reads the association: through the library
each instance would cost two more hand-overs between threads and several milliseconds of processor time. What is reached
into: ``DIMSEServiceProvider.receive_primitive`` and ``send_msg``, its ``message`` and ``msg_queue``, the DUL's queues
and ``_read_pdu_data``, ``Association._accepted_cx`` and ``_sent_release``, ``sop_class._STORAGE_CLASSES``.
"""

from __future__ import annotations

import logging
import queue
import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as NoAnswer
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast

from pydicom import config
from pynetdicom import _config
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.sop_class import _NON_PATIENT_OBJECT_CLASSES, _STORAGE_CLASSES

from drivers.transports.dicom_command import StoreRequest, store_request, store_response
from ledger.errors import DeviceFault

_log = logging.getLogger(__name__)

_config.LOG_HANDLER_LEVEL = "none"  # what it would log names patients' studies
_config.UNRESTRICTED_STORAGE_SERVICE = True  # every storage class, private ones too, in every transfer syntax
_STORAGE_CLASSES.update(_NON_PATIENT_OBJECT_CLASSES)  # colour palettes, implant templates…: stored like the others
config.settings.reading_validation_mode = config.IGNORE  # its warnings quote what a sender wrote
warnings.filterwarnings("ignore", module="pydicom")
logging.getLogger("pydicom").setLevel(logging.CRITICAL)

_MOST_REQUESTS: Final = 8
_IDLE_S: Final = 0.25
_ESTABLISHED_S: Final = 10.0
_PDV_HEADER_BYTES: Final = 6
_PDV_HEADER: Final = struct.Struct(">IB")
_P_DATA_PDU: Final = struct.Struct(">BxIIBB")
_P_DATA: Final = 4
_COMMAND, _LAST = 0x01, 0x02
_MOST_UID_CHARACTERS: Final = 65_534  # the length of a UI has two bytes (PS3.5 7.1.2)


class IncomingDataSet(Protocol):
    """Takes the data set of one C-STORE as it comes, on the thread that reads the association."""

    def write(self, fragment: bytes | memoryview) -> None:
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
Store = Callable[[Association, IncomingDataSet | None], int | None]
"""What a C-STORE is answered with, once it is true; None when nothing is. Without a data set when none came."""


@dataclass(frozen=True, slots=True)
class _Storing:
    """A C-STORE whose data set comes."""

    request: StoreRequest
    context_id: int
    incoming: IncomingDataSet


def values_of(pdu: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The presentation data values of a P-DATA-TF PDU (PS3.8 9.3.5): context, and fragment with its control header.

    Raises DeviceFault.
    """
    at = 0
    while at < len(pdu):
        if at + _PDV_HEADER_BYTES > len(pdu):
            raise DeviceFault("dicom.fragment", "a presentation data value without its control header")
        length, context_id = _PDV_HEADER.unpack_from(pdu, at)
        end = at + _PDV_HEADER.size - 1 + length
        if length < 2 or end > len(pdu):
            raise DeviceFault("dicom.fragment", f"a presentation data value of {length} bytes")
        yield context_id, pdu[at + _PDV_HEADER.size : end]
        at = end


class StreamingDimse(DIMSEServiceProvider):
    """Hands data sets of C-STORE on as they come; every other message is bounded by ``message_bytes``.

    The library lets nothing else happen on an association while it waits for an answer to a request of its own, and
    aborts it when the peer asks for something meanwhile. ``ask`` waits beside all that.
    """

    def __init__(
        self, association: Association, open_data_set: OpenDataSet, store: Store, message_bytes: int
    ) -> None:  # fmt: skip
        super().__init__(association)
        self._open_data_set = open_data_set
        self._store = store
        self._message_bytes = message_bytes
        self._gathered_bytes = 0
        self._command = bytearray()
        self._storing: _Storing | None = None
        self._opened: list[IncomingDataSet] = []
        self._ended = False
        self._established = threading.Event()
        self._sending = threading.Lock()  # fragments of two messages must not alternate
        self._asked: dict[int, Future[int]] = {}
        self.fault = ""

    def established(self) -> None:
        """Whoever stores knows the association from now on. The peer may send as soon as it was accepted."""
        self._established.set()

    # ---- what is sent

    def send_msg(self, primitive: Any, context_id: int) -> None:
        """As in the base class, but one message at a time: more than one thread may have something to say."""
        with self._sending:
            super().send_msg(primitive, context_id)

    def _answer(self, context_id: int, command: bytes) -> None:
        """On the thread that reads, which is the one that writes: at once, unless other messages wait to leave."""
        if self.assoc._sent_release:  # noqa: SLF001 - as the library does: nothing follows a release
            return
        most = max(1, self.maximum_pdu_size - _PDV_HEADER_BYTES) if self.maximum_pdu_size else len(command)
        with self._sending:
            for at in range(0, len(command), most):
                piece = command[at : at + most]
                control = _COMMAND | (_LAST if at + most >= len(command) else 0)
                if not self.dul.to_provider_queue.empty():
                    one = P_DATA()
                    one.presentation_data_value_list = [[context_id, bytes([control]) + piece]]  # type: ignore[list-item]
                    self.dul.send_pdu(one)
                elif self.dul.socket is not None:
                    length = len(piece) + _PDV_HEADER_BYTES
                    self.dul.socket.send(_P_DATA_PDU.pack(_P_DATA, length, length - 4, context_id, control) + piece)

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

    # ---- what comes

    def receive_primitive(self, primitive: P_DATA) -> None:
        """More of a message, from the library."""
        self.take((context_id, memoryview(each)) for context_id, each in primitive.presentation_data_value_list)

    def take(self, values: Iterator[tuple[int, memoryview]]) -> None:
        """More of a message. One that cannot be borne ends the association by A-ABORT, as an invalid PDU would."""
        if self._ended:
            return
        try:
            for context_id, fragment in values:
                self._receive(context_id, fragment)
        except DeviceFault as fault:
            self.fault, self._ended = fault.text, True
            self.dul.event_queue.put("Evt19")

    def _receive(self, context_id: int, fragment: memoryview) -> None:
        if not fragment:
            raise DeviceFault("dicom.fragment", "a presentation data value without its control header")
        control = fragment[0]
        if self._storing is not None:
            self._receive_data_set(self._storing, control, fragment[1:])
            return
        self._gathered_bytes += len(fragment)
        if self._gathered_bytes > self._message_bytes:
            raise DeviceFault("dicom.message", f"a DICOM message of over {self._message_bytes:,} bytes")
        if self.message is not None or not control & _COMMAND:
            self._leave_to_library(context_id, bytes(fragment))
            return
        self._command += fragment[1:]
        if control & _LAST:
            command, self._command = bytes(self._command), bytearray()
            request = store_request(command)
            if request is None:
                self._leave_to_library(context_id, bytes([control]) + command)
            else:
                self._gathered_bytes = 0
                self._begin(context_id, request)

    def _begin(self, context_id: int, request: StoreRequest) -> None:
        self._established.wait(_ESTABLISHED_S)
        context = self.assoc._accepted_cx.get(context_id)  # noqa: SLF001 - named above
        if context is None:
            raise DeviceFault("dicom.context", f"a C-STORE under presentation context {context_id}, not accepted")
        if not request.sop_class or not request.sop_instance:
            raise DeviceFault("dicom.command", "a C-STORE that names no SOP class or no instance")
        if max(len(request.sop_class), len(request.sop_instance)) > _MOST_UID_CHARACTERS:
            raise DeviceFault("dicom.command", "a C-STORE with a UID that no DICOM file can begin with")
        if not request.has_data_set:
            self._serve(request, context_id, None)
            return
        command = StoreCommand(request.sop_class, request.sop_instance, str(context.transfer_syntax[0]))
        incoming = self._open_data_set(self.assoc, command)
        self._opened = [each for each in self._opened if not each.is_over] + [incoming]
        self._storing = _Storing(request, context_id, incoming)
        if self._ended:  # by another thread, which did not know of it yet
            incoming.abandon("the association ended")

    def _receive_data_set(self, storing: _Storing, control: int, fragment: memoryview) -> None:
        if control & _COMMAND:
            raise DeviceFault("dicom.fragment", "a command in the middle of a data set")
        storing.incoming.write(fragment)
        if control & _LAST:
            self._storing = None
            self._serve(storing.request, storing.context_id, storing.incoming)

    def _serve(self, request: StoreRequest, context_id: int, incoming: IncomingDataSet | None) -> None:
        """Blocks until the answer is true; meanwhile nothing is read, and TCP holds the sender back."""
        try:
            status = self._store(self.assoc, incoming)
        finally:
            if incoming is not None:
                incoming.abandon("the request was not served")
        if status is None:  # neither success nor failure is true: the sender will ask again
            raise DeviceFault("dicom.unanswered", "an instance did not become durable in time")
        self._answer(context_id, store_response(request, status))

    def _leave_to_library(self, context_id: int, fragment: bytes) -> None:
        one = P_DATA()
        one.presentation_data_value_list = [[context_id, fragment]]  # type: ignore[list-item] # pairs, says the library
        try:
            super().receive_primitive(one)
        except Exception as fault:
            raise DeviceFault("dicom.command", f"a command that cannot be read: {type(fault).__name__}") from fault
        if self.message is None:  # whole, and handed on
            self._gathered_bytes = 0
            if self.msg_queue.qsize() > _MOST_REQUESTS:
                raise DeviceFault("dicom.requests", f"more than {_MOST_REQUESTS} requests at once")

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
        self._established.set()
        for each in self._opened:
            each.abandon(reason)
        for answer in list(self._asked.values()):
            answer.cancel()
