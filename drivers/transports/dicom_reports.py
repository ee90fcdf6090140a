"""Storage commitment on the wire: what an N-ACTION asks for, what an N-EVENT-REPORT says, the association it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any, cast

from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import N_ACTION, N_EVENT_REPORT
from pynetdicom.dsutils import decode, encode
from pynetdicom.events import EventHandlerType
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext, build_context, build_role
from pynetdicom.transport import T_CONNECT, AddressInformation, AssociationSocket

from drivers.dicom.commitment import (
    INVALID_ARGUMENT,
    NO_SUCH_ACTION,
    NO_SUCH_INSTANCE,
    PUSH_MODEL,
    PUSH_MODEL_INSTANCE,
    REQUEST,
    RESOURCE_LIMITATION,
    Reference,
    Refusal,
    Report,
)
from drivers.transports.dicom_config import DicomConfig, client_tls
from drivers.transports.dicom_dimse import StreamingDimse
from drivers.transports.dicom_wire import BoundedSocket, SteadyMachine
from ledger.errors import DeviceFault
from ledger.limits import LIMITS, S_NS, Limits

_MESSAGE_IDS = 65_535


def read_request(request: N_ACTION, context: Any) -> tuple[str, tuple[Reference, ...]] | Refusal:
    """The transaction and what it references. ``context``: the presentation context it came by."""
    if str(request.RequestedSOPInstanceUID) != PUSH_MODEL_INSTANCE:
        return Refusal(NO_SUCH_INSTANCE, "not the well-known instance of storage commitment")
    if request.ActionTypeID != REQUEST:
        return Refusal(NO_SUCH_ACTION, "only action type 1 is known")
    information = request.ActionInformation
    if information is None:
        return Refusal(INVALID_ARGUMENT, "no action information")
    syntax = context.transfer_syntax
    try:
        data_set = decode(information, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)
        uid, items = str(data_set.get("TransactionUID", "")), data_set.get("ReferencedSOPSequence") or ()
        if len(items) > LIMITS.commitment_instances:
            return Refusal(RESOURCE_LIMITATION, f"more than {LIMITS.commitment_instances} instances")
        references = tuple(
            Reference(str(item.get("ReferencedSOPClassUID", "")), str(item.get("ReferencedSOPInstanceUID", "")))
            for item in items
        )
    except Exception:  # noqa: BLE001 - a peer's bytes can make the library raise anything
        return Refusal(INVALID_ARGUMENT, "the action information cannot be read")
    return uid, references


def event_information(report: Report) -> Dataset:
    """What the report says (PS3.4 table J.3-2)."""
    told = Dataset()
    told.TransactionUID = report.uid
    if report.committed:
        told.ReferencedSOPSequence = [_item(reference) for reference in report.committed]
    if report.failed:
        told.FailedSOPSequence = [_item(reference, reason) for reference, reason in report.failed]
    return told


def _item(reference: Reference, reason: int | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = reference.sop_class
    item.ReferencedSOPInstanceUID = reference.sop_instance
    if reason is not None:
        item.FailureReason = reason
    return item


def commitment_context(association: Association) -> PresentationContext | None:
    """The presentation context by which the peer can be reported to; None when none was agreed."""
    contexts: Iterable[PresentationContext] = association.accepted_contexts
    return next((each for each in contexts if str(each.abstract_syntax) == PUSH_MODEL), None)


def send_report(association: Association, report: Report, number: int, answer_s: float) -> int:
    """The status that the peer answered with. Blocks. Raises DeviceFault when it does not answer."""
    context, dimse = commitment_context(association), association.dimse
    if context is None or not isinstance(dimse, StreamingDimse):
        raise DeviceFault("dicom.context", "no presentation context for storage commitment was agreed")
    syntax = context.transfer_syntax[0]
    information = encode(event_information(report), syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)
    if information is None:
        raise DeviceFault("dicom.report", "the report cannot be encoded")
    request = N_EVENT_REPORT()
    request.MessageID = number % _MESSAGE_IDS + 1
    request.AffectedSOPClassUID = PUSH_MODEL
    request.AffectedSOPInstanceUID = PUSH_MODEL_INSTANCE
    request.EventTypeID = report.event_type
    request.EventInformation = BytesIO(information)
    return dimse.ask(request, cast(int, context.context_id), answer_s)


class _CallingSocket(BoundedSocket):
    """As a listener's, once it is connected."""

    def connect(self, primitive: T_CONNECT) -> None:
        """As in the base class."""
        super().connect(primitive)
        if self.socket is not None and self._is_connected:
            self.socket.settimeout(self.assoc.network_timeout)
            self.watch()


class _CallingAE(AE):
    """Opens associations that are as bounded as those that others open."""

    new_dimse: Callable[[Association], StreamingDimse]

    def _create_socket(self, assoc: Association, address: AddressInformation, tls_args: Any) -> AssociationSocket:
        made = super()._create_socket(assoc, address, tls_args)
        made.__class__ = _CallingSocket
        assoc.dul.state_machine.__class__ = SteadyMachine
        assoc.dimse = self.new_dimse(assoc)
        return made


class Caller:
    """Opens associations to who waits for reports: as service class provider, by role selection (PS3.7 D.3.3.4)."""

    def __init__(
        self, config: DicomConfig, new_dimse: Callable[[Association], StreamingDimse],
        handlers: list[EventHandlerType], limits: Limits,
    ) -> None:  # fmt: skip
        self._tls = client_tls(config.tls) if config.tls is not None else None
        self._handlers = handlers
        self._ae = _CallingAE(config.ae_title)
        self._ae.new_dimse = new_dimse
        self._ae.maximum_pdu_size = limits.dicom_pdu_bytes
        self._ae.connection_timeout = self._ae.acse_timeout = limits.dicom_request_ns / S_NS
        self._ae.dimse_timeout = limits.dicom_answer_ns / S_NS
        self._ae.network_timeout = limits.dicom_idle_ns / S_NS

    def call(self, ae_title: str, host: str, port: int) -> Association:
        """An established association. Blocks. Raises DeviceFault: who does not answer, or refuses, and OSError."""
        role = build_role(PUSH_MODEL, scp_role=True)
        tls = (self._tls, host) if self._tls is not None else None
        association = self._ae.associate(
            host, port, [build_context(PUSH_MODEL)], ae_title, self._ae.maximum_pdu_size,
            cast(list[SCP_SCU_RoleSelectionNegotiation], [role]), tls_args=tls, evt_handlers=self._handlers,  # type: ignore[arg-type]
        )  # fmt: skip
        if association.is_established and commitment_context(association) is not None:
            return association
        if association.is_established:
            association.release()
            raise DeviceFault("dicom.context", f"{ae_title} at {host}:{port} takes no reports on storage commitment")
        why = "refuses the association" if association.is_rejected else "does not answer"
        raise DeviceFault("dicom.report", f"{ae_title} at {host}:{port} {why}")
