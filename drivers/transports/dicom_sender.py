"""A DICOM storage user (C-STORE SCU) that holds one PDU in memory, whatever the length of the data set.

The library's own sender reads a data set from a file in clear, or holds it whole, and queues all of its PDUs. Here the
library makes and reads the messages; the data set's PDUs are cut here, from pieces that come as they are unsealed, and
go out by a plain blocking socket. The last fragment leaves only after the pieces ended without a fault: what turned out
to be damaged is never whole at the receiver.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final, Self

from pydicom.uid import UID
from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID, PYNETDICOM_IMPLEMENTATION_VERSION
from pynetdicom._globals import APPLICATION_CONTEXT_NAME
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu import (
    A_ABORT_RQ,
    A_ASSOCIATE_AC,
    A_ASSOCIATE_RJ,
    A_ASSOCIATE_RQ,
    A_RELEASE_RP,
    A_RELEASE_RQ,
    P_DATA_TF,
)
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import build_context

from drivers.transports.addresses import address_text, reason_of, tune
from drivers.transports.dicom_dimse import StoreCommand
from ledger.errors import ConfigurationFault, DeviceFault
from ledger.limits import LIMITS, S_NS, Limits

MOST_CONTEXTS: Final = 128  # PS3.8 7.1.1.13: their numbers are the odd ones of a byte
_ASSOCIATE_AC, _ASSOCIATE_RJ, _P_DATA, _RELEASE_RQ, _RELEASE_RP, _ABORT = 2, 3, 4, 5, 6, 7
_TRANSIENT: Final = 2
_BY_PROVIDER: Final = 2
_PDU_HEADER: Final = struct.Struct(">BxI")
_DATA_HEADER: Final = struct.Struct(">BxIIBB")
_PDV_HEADER_BYTES: Final = 6
_LAST, _MORE = 0x02, 0x00
_SHORTEST_PDU: Final = 128
_MOST_MESSAGE_ID: Final = 65_535


@dataclass(frozen=True, slots=True)
class SenderTls:
    """PEM files: who may sign, or is, the receiver's certificate; and ours, if it wants one."""

    receivers: Path
    certificate: Path | None = None
    key: Path | None = None
    server_name: str | None = None


@dataclass(frozen=True, slots=True)
class DicomTarget:
    """A receiver: its AE title and address, and the AE title that we call it by."""

    ae_title: str
    host: str
    port: int
    calling: str
    tls: SenderTls | None = None

    def __str__(self) -> str:
        return f"{self.ae_title}@{address_text(self.host, self.port)}"


@dataclass(frozen=True, slots=True)
class StoreReply:
    """What the receiver answered: PS3.4 table B.2-1, and its words if it had any."""

    status: int
    comment: str = ""


def client_tls(tls: SenderTls) -> ssl.SSLContext:
    """TLS 1.2 or newer; the receiver must show a certificate with its name (BCP 195). Raises ConfigurationFault."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(tls.receivers)
        if tls.certificate is not None:
            context.load_cert_chain(tls.certificate, tls.key)
    except (OSError, ssl.SSLError) as fault:
        files = ", ".join(str(each) for each in (tls.receivers, tls.certificate, tls.key) if each is not None)
        raise ConfigurationFault("dicom.tls", f"cannot use {files}: {fault}", "give PEM files") from fault
    return context


class DicomSender:
    """One association. Every method raises DeviceFault when the receiver, or the way to it, fails; then it is over."""

    def __init__(
        self, target: DicomTarget, connection: socket.socket, monotonic_s: Callable[[], float], limits: Limits
    ) -> None:
        self._target = target
        self._connection = connection
        self._monotonic_s = monotonic_s
        self._limits = limits
        self._accepted: dict[tuple[str, str], int] = {}
        self._refused: dict[tuple[str, str], str] = {}
        self._fragment_bytes = 0
        self._message_id = 0

    @classmethod
    def connect(
        cls, target: DicomTarget, contexts: Sequence[tuple[str, str]], monotonic_s: Callable[[], float],
        limits: Limits = LIMITS,
    ) -> Self:  # fmt: skip
        """Associate, proposing each (SOP class, transfer syntax) alone in a presentation context, at most 128."""
        context = None if target.tls is None else client_tls(target.tls)
        timeout_s = limits.dicom_request_ns / S_NS
        try:
            connection = socket.create_connection((target.host, target.port), timeout_s)
        except OSError as fault:
            raise DeviceFault(
                "dicom.unreachable", f"{target} cannot be reached: {reason_of(fault)}",
                "check its address and port, and that it listens",
            ) from fault  # fmt: skip
        try:
            tune(connection)
            if context is not None and target.tls is not None:
                connection = context.wrap_socket(connection, server_hostname=target.tls.server_name or target.host)
            sender = cls(target, connection, monotonic_s, limits)
            sender._associate(contexts)
        except ssl.SSLError as fault:
            connection.close()
            why = getattr(fault, "verify_message", "") or fault.reason or str(fault)
            raise DeviceFault(
                "dicom.tls", f"{target}: TLS failed: {why}",
                "check which certificate it shows, its name in it, and which ones it trusts",
            ) from fault  # fmt: skip
        except OSError as fault:
            connection.close()
            raise cls._cut(target, fault) from fault
        except BaseException:
            connection.close()
            raise
        return sender

    def refusal(self, sop_class: str, transfer_syntax: str) -> str | None:
        """Why the receiver does not take these, None if it does."""
        pair = sop_class, transfer_syntax
        return None if pair in self._accepted else self._refused.get(pair, "it was not proposed")

    def store(self, command: StoreCommand, data_set: Iterable[bytes]) -> StoreReply:
        """Send one instance and wait for the answer. What iterating raises ends the association and is raised."""
        context_id = self._accepted[command.sop_class, command.transfer_syntax]
        self._message_id = self._message_id % _MOST_MESSAGE_ID + 1
        try:
            self._send_command(context_id, command)
            self._send_data_set(context_id, data_set)
            return self._answer()
        except OSError as fault:
            raise self._ended(fault) from fault
        except BaseException:
            self.abort()
            raise

    def release(self) -> None:
        """End it in good order; how that goes changes nothing of what was answered."""
        try:
            self._connection.settimeout(self._limits.dicom_request_ns / S_NS)
            self._connection.sendall(A_RELEASE_RQ().encode())
            deadline = self._deadline(self._limits.dicom_request_ns)
            while self._read_pdu(deadline)[0] == _P_DATA:
                pass
        except (OSError, DeviceFault):
            pass
        finally:
            self._connection.close()

    def abort(self) -> None:
        """End it at once: the receiver drops what it has not got whole."""
        pdu = A_ABORT_RQ()
        pdu.source = pdu.reason_diagnostic = 0
        try:
            self._connection.settimeout(1.0)
            self._connection.sendall(pdu.encode())
        except OSError:
            pass
        finally:
            self._connection.close()

    # ---- association

    def _associate(self, contexts: Sequence[tuple[str, str]]) -> None:
        proposed = []
        for number, (sop_class, transfer_syntax) in enumerate(contexts[:MOST_CONTEXTS]):
            context = build_context(sop_class, transfer_syntax)
            context.context_id = 2 * number + 1
            proposed.append(context)
        request = A_ASSOCIATE()
        request.application_context_name = UID(APPLICATION_CONTEXT_NAME)
        request.calling_ae_title, request.called_ae_title = self._target.calling, self._target.ae_title
        request.presentation_context_definition_list = proposed
        length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
        length.maximum_length_received = self._limits.dicom_pdu_bytes
        implementation.implementation_class_uid = PYNETDICOM_IMPLEMENTATION_UID
        version = ImplementationVersionNameNotification()
        version.implementation_version_name = PYNETDICOM_IMPLEMENTATION_VERSION
        request.user_information = [length, implementation, version]
        pdu = A_ASSOCIATE_RQ()
        pdu.from_primitive(request)
        self._connection.sendall(pdu.encode())
        kind, data = self._read_pdu(self._deadline(self._limits.dicom_answer_ns))
        if kind != _ASSOCIATE_AC:
            raise self._not_associated(kind, data)
        answer = self._primitive(A_ASSOCIATE_AC(), data)
        for result in answer.presentation_context_definition_results_list:
            number = (result.context_id - 1) // 2
            if result.context_id % 2 == 0 or number >= len(proposed):
                continue
            pair = contexts[number]
            if result.result == 0 and [str(each) for each in result.transfer_syntax] == [pair[1]]:
                self._accepted[pair] = result.context_id
            else:
                self._refused[pair] = result.status if result.result else "it chose another transfer syntax"
        theirs = answer.maximum_length_received or 0
        most = min(theirs, self._limits.dicom_pdu_bytes) if theirs else self._limits.dicom_pdu_bytes
        self._fragment_bytes = (max(most, _SHORTEST_PDU) - _PDV_HEADER_BYTES) // 2 * 2

    def _not_associated(self, kind: int, data: bytes) -> DeviceFault:
        if kind == _ASSOCIATE_RJ:
            rejected = self._decoded(A_ASSOCIATE_RJ(), data)
            why = self._words(lambda: f"{rejected.result_str}: {rejected.reason_str}")
            text = f"{self._target} rejects the association of {self._target.calling}: {why}"
            if rejected.result == _TRANSIENT:
                return DeviceFault("dicom.busy", text, "try again later")
            return DeviceFault("dicom.rejected", text, "compare both AE titles and our address with its settings")
        if kind == _ABORT:
            return self._aborted(data)
        return DeviceFault("dicom.answer", f"{self._target} answered with PDU type {kind}", "is it DICOM that listens?")

    # ---- one instance

    def _send_command(self, context_id: int, command: StoreCommand) -> None:
        request = C_STORE()
        request.MessageID, request.Priority = self._message_id, 0x0002  # low: what is restored waits for live images
        request.AffectedSOPClassUID = UID(command.sop_class)
        request.AffectedSOPInstanceUID = UID(command.sop_instance)
        request.DataSet = BytesIO(b"\0")  # so that the command says that a data set follows
        message = C_STORE_RQ()
        message.primitive_to_message(request)
        message.data_set = None  # ours follows in pieces
        self._connection.settimeout(self._limits.dicom_answer_ns / S_NS)
        for primitive in message.encode_msg(context_id, self._fragment_bytes + _PDV_HEADER_BYTES):
            pdu = P_DATA_TF()
            pdu.from_primitive(primitive)
            self._connection.sendall(pdu.encode())

    def _send_data_set(self, context_id: int, data_set: Iterable[bytes]) -> None:
        head, room = _DATA_HEADER.size, self._fragment_bytes
        frame = bytearray(head + room)
        held = 0
        for piece in data_set:
            view = memoryview(piece)
            while view:
                if held == room:
                    self._send_fragment(frame, context_id, held, _MORE)
                    held = 0
                taken = min(room - held, len(view))
                frame[head + held : head + held + taken] = view[:taken]
                held += taken
                view = view[taken:]
        self._send_fragment(frame, context_id, held, _LAST)

    def _send_fragment(self, frame: bytearray, context_id: int, held: int, control: int) -> None:
        _DATA_HEADER.pack_into(frame, 0, _P_DATA, held + _PDV_HEADER_BYTES, held + 2, context_id, control)
        with memoryview(frame) as view:
            self._connection.sendall(view[: _DATA_HEADER.size + held])

    def _answer(self) -> StoreReply:
        deadline = self._deadline(self._limits.dicom_stored_ns)
        message, whole, gathered_bytes = DIMSEMessage(), False, 0
        while not whole:
            kind, data = self._read_pdu(deadline)
            gathered_bytes += len(data)
            if gathered_bytes > self._limits.dicom_message_bytes:
                raise self._malformed(f"a DICOM message of over {self._limits.dicom_message_bytes:,} bytes")
            if kind == _RELEASE_RQ:
                self._connection.sendall(A_RELEASE_RP().encode())
                raise DeviceFault("dicom.cut", f"{self._target} ended the association before it answered", _LOOK_THERE)
            if kind != _P_DATA:
                raise self._aborted(data) if kind == _ABORT else self._malformed(f"PDU type {kind}")
            primitive = self._primitive(P_DATA_TF(), data)
            try:
                whole = message.decode_msg(primitive)
            except Exception as fault:
                raise self._malformed("a message that cannot be read") from fault
        return self._reply(message)

    def _reply(self, message: DIMSEMessage) -> StoreReply:
        command = message.command_set
        try:
            status, answered = command.get("Status"), command.get("MessageIDBeingRespondedTo")
            comment = str(command.get("ErrorComment", "") or "")
        except Exception as fault:
            raise self._malformed("a message that cannot be read") from fault
        if not isinstance(status, int) or answered != self._message_id:
            raise self._malformed("no C-STORE response to what was sent")
        return StoreReply(status, comment)

    # ---- PDUs

    def _deadline(self, wait_ns: int) -> float:
        return self._monotonic_s() + wait_ns / S_NS

    def _read_pdu(self, deadline: float) -> tuple[int, bytes]:
        kind, length = _PDU_HEADER.unpack(header := self._read(_PDU_HEADER.size, deadline))
        if length > self._limits.dicom_message_bytes:
            raise self._malformed(f"a PDU of {length:,} bytes")
        return kind, header + self._read(length, deadline)

    def _read(self, count: int, deadline: float) -> bytes:
        data = b""
        while len(data) < count:
            left_s = deadline - self._monotonic_s()
            if left_s <= 0:
                raise TimeoutError
            self._connection.settimeout(left_s)
            more = self._connection.recv(count - len(data))
            if not more:
                raise ConnectionResetError(0, "it hung up")
            data += more
        return data

    def _decoded(self, pdu: Any, data: bytes) -> Any:
        try:
            pdu.decode(data)
        except Exception as fault:
            raise self._malformed("a PDU that cannot be read") from fault
        return pdu

    def _primitive(self, pdu: Any, data: bytes) -> Any:
        decoded = self._decoded(pdu, data)
        try:
            return decoded.to_primitive()
        except Exception as fault:
            raise self._malformed("a PDU that cannot be read") from fault

    # ---- what went wrong

    def _ended(self, fault: OSError) -> DeviceFault:
        """The connection broke; the receiver may have said why before it did."""
        found = self._cut(self._target, fault)
        try:
            kind, data = self._read_pdu(self._deadline(S_NS))
            found = self._aborted(data) if kind == _ABORT else found
        except (OSError, DeviceFault):
            pass
        self.abort()
        return found

    @staticmethod
    def _cut(target: DicomTarget, fault: OSError) -> DeviceFault:
        if isinstance(fault, TimeoutError):
            return DeviceFault("dicom.silent", f"{target} does not answer in time", _LOOK_THERE)
        return DeviceFault("dicom.cut", f"the connection to {target} broke: {reason_of(fault)}", _LOOK_THERE)

    def _aborted(self, data: bytes) -> DeviceFault:
        aborted = self._decoded(A_ABORT_RQ(), data)
        why = "" if aborted.source != _BY_PROVIDER else f": {aborted.reason_str}"
        return DeviceFault("dicom.cut", f"{self._target} aborted the association{why}", _LOOK_THERE)

    def _malformed(self, what: str) -> DeviceFault:
        return DeviceFault("dicom.answer", f"{self._target} sent {what}", _LOOK_THERE)

    @staticmethod
    def _words(say: Any) -> str:
        try:
            return str(say())
        except (KeyError, ValueError):
            return "for a reason that DICOM does not know"


_LOOK_THERE: Final = "look at the receiver's own log; then the same command sends what was not acknowledged"
