from __future__ import annotations

import contextlib
import struct
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID
from pynetdicom.dimse_messages import C_STORE_RQ, C_STORE_RSP
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import create_file_meta, encode
from pynetdicom.pdu import P_DATA_TF

from drivers.transports.dicom_command import StoreRequest, store_request, store_response
from drivers.transports.dicom_dimse import StoreCommand
from drivers.transports.dicom_file import FileHead, file_head, head_bytes
from drivers.transports.dicom_sender import DicomSender, DicomTarget
from ledger.errors import DeviceFault, VerificationFailed
from ledger.limits import LIMITS

_uids = st.lists(st.integers(0, 10**9), min_size=1, max_size=5).map(lambda parts: ".".join(map(str, parts)))
COMMAND = StoreCommand("1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2.840.10008.1.2.1")


def response(message_id: int, status: int) -> bytes:
    answer = C_STORE()
    answer.MessageIDBeingRespondedTo, answer.Status = message_id, status
    answer.AffectedSOPClassUID, answer.AffectedSOPInstanceUID = COMMAND.sop_class, COMMAND.sop_instance
    message = C_STORE_RSP()
    message.primitive_to_message(answer)
    (primitive,) = message.encode_msg(1, 16_384)
    pdu = P_DATA_TF()
    pdu.from_primitive(primitive)
    return pdu.encode()


class Wire:
    """A connection that remembers what was sent and answers with what it was given."""

    def __init__(self, answer: bytes) -> None:
        self.sent = bytearray()
        self._answer = answer

    def sendall(self, data: Any) -> None:
        self.sent += data

    def recv(self, count: int) -> bytes:
        given, self._answer = self._answer[:count], self._answer[count:]
        return given

    def settimeout(self, _seconds: float) -> None: ...

    def close(self) -> None: ...


def sender(wire: Wire, fragment_bytes: int = 64) -> DicomSender:
    made = DicomSender(DicomTarget("PACS", "h", 104, "ME"), wire, lambda: 0.0, LIMITS)  # type: ignore[arg-type]
    made._accepted = {(COMMAND.sop_class, COMMAND.transfer_syntax): 1}
    made._fragment_bytes = fragment_bytes
    return made


def fragments(sent: bytes) -> list[tuple[int, bytes]]:
    """(control header, fragment) of each PDU, its lengths checked."""
    found, at = [], 0
    while at < len(sent):
        kind, length, item, context, control = struct.unpack_from(">BxIIBB", sent, at)
        assert (kind, context, item) == (4, 1, length - 4)
        found.append((control, bytes(sent[at + 12 : at + 6 + length])))
        at += 6 + length
    return found


@settings(max_examples=30)
@given(st.lists(st.binary(max_size=300), max_size=8), st.sampled_from([2, 64, 128]))
def test_any_pieces_arrive_whole_in_fragments_that_fit(pieces: list[bytes], fragment_bytes: int) -> None:
    wire = Wire(response(1, 0xB007))
    assert sender(wire, fragment_bytes).store(COMMAND, pieces).status == 0xB007
    data = [(control, fragment) for control, fragment in fragments(bytes(wire.sent)) if not control & 1]
    assert b"".join(fragment for _, fragment in data) == b"".join(pieces)
    assert [control for control, _ in data] == [0] * (len(data) - 1) + [2]
    assert all(len(fragment) == fragment_bytes for _, fragment in data[:-1])


def test_what_fails_on_the_way_never_gets_its_last_fragment() -> None:
    def broken() -> Any:
        yield bytes(64)
        raise VerificationFailed("object.unsealable", "damaged")

    wire = Wire(response(1, 0))
    with pytest.raises(VerificationFailed):
        sender(wire).store(COMMAND, broken())
    assert wire.sent[-10] == 7  # A-ABORT
    assert all(control != 2 for control, _ in fragments(bytes(wire.sent[:-10])))


@settings(max_examples=50)
@given(st.binary(max_size=60) | st.binary(max_size=40).map(lambda body: response(1, 0)[:40] + body))
def test_whatever_is_answered_ends_in_an_answer_or_a_fault(answer: bytes) -> None:
    with contextlib.suppress(DeviceFault):
        assert sender(Wire(answer)).store(COMMAND, [b"x"]).status < 1 << 16


def test_a_status_of_one_byte_is_a_fault_of_the_receivers() -> None:
    answer = response(1, 0)
    at = answer.index(struct.pack("<HHI", 0, 0x0900, 2))
    cut = bytearray(answer[:at] + struct.pack("<HHI", 0, 0x0900, 1) + answer[at + 9 :])
    struct.pack_into(">II", cut, 2, len(cut) - 6, len(cut) - 10)
    with pytest.raises(DeviceFault, match="a message that cannot be read"):
        sender(Wire(bytes(cut))).store(COMMAND, [b"x"])


def test_a_presentation_context_of_an_even_number_is_a_fault_of_the_receivers() -> None:
    context = struct.pack(">BxHBxBxBxH", 0x21, 25, 2, 0, 0x40, 17) + b"1.2.840.10008.1.2"
    application = struct.pack(">BxH", 0x10, 21) + b"1.2.840.10008.3.1.1.1"
    user = struct.pack(">BxHBxHI", 0x50, 8, 0x51, 4, 16_384)
    items = application + context + user
    answer = struct.pack(">BxIHxx16s16s32x", 2, 68 + len(items), 1, b"PACS".ljust(16), b"ME".ljust(16)) + items
    with pytest.raises(DeviceFault, match="a PDU that cannot be read"):
        sender(Wire(answer))._associate([(COMMAND.sop_class, COMMAND.transfer_syntax)])


def test_another_messages_answer_is_none() -> None:
    with pytest.raises(DeviceFault, match="no C-STORE response"):
        sender(Wire(response(7, 0))).store(COMMAND, [b"x"])


class EndlessWire(Wire):
    """A receiver that never comes to an end of what it says; a second goes by with each time it is listened to."""

    def __init__(self) -> None:
        super().__init__(b"")
        self.given = self.now_s = 0
        self._pdu = struct.pack(">BxIIBB", 4, 65_530, 65_526, 1, 0x01) + bytes(65_524)

    def recv(self, count: int) -> bytes:
        self.given += count
        self.now_s += 1
        assert self.given < 8 * LIMITS.dicom_message_bytes, "it is listened to for ever"
        if not self._answer:
            self._answer = self._pdu
        return super().recv(count)


def test_an_endless_answer_is_refused() -> None:
    with pytest.raises(DeviceFault, match="message of over"):
        sender(EndlessWire()).store(COMMAND, [b"x"])


def test_a_receiver_that_talks_on_is_released_in_time() -> None:
    wire = EndlessWire()
    made = DicomSender(DicomTarget("PACS", "h", 104, "ME"), wire, lambda: wire.now_s, LIMITS)  # type: ignore[arg-type]
    made.release()


@given(st.integers(0, 65_535), st.integers(0, 65_535), _uids, _uids)
def test_the_answer_is_the_one_the_library_would_give(
    message_id: int, status: int, sop_class: str, sop_instance: str
) -> None:
    answer = C_STORE()
    answer.MessageIDBeingRespondedTo, answer.Status = message_id, status
    answer.AffectedSOPClassUID, answer.AffectedSOPInstanceUID = sop_class, sop_instance
    message = C_STORE_RSP()
    message.primitive_to_message(answer)
    request = StoreRequest(message_id, sop_class, sop_instance, True)
    assert store_response(request, status) == encode(message.command_set, True, True)


@given(st.integers(0, 65_535), _uids, _uids, st.booleans(), st.data())
def test_a_request_is_read_as_the_library_writes_it(
    message_id: int, sop_class: str, sop_instance: str, has_data_set: bool, data: st.DataObject
) -> None:
    request = C_STORE()
    request.MessageID, request.Priority = message_id, 0x0002
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = UID(sop_class), UID(sop_instance)
    request.MoveOriginatorApplicationEntityTitle, request.MoveOriginatorMessageID = "PACS", 7
    if has_data_set:
        request.DataSet = BytesIO(b"\0")
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    encoded = encode(message.command_set, True, True)
    assert encoded is not None
    read = store_request(encoded)
    assert read == StoreRequest(message_id, sop_class, sop_instance, has_data_set)
    cut = encoded[: data.draw(st.integers(0, len(encoded) - 1))]
    assert store_request(cut) in (None, read, replace(read, sop_instance=""))


@given(st.binary(max_size=300))
def test_whatever_comes_is_a_request_or_is_left_to_the_library(command: bytes) -> None:
    found = store_request(command)
    assert found is None or found.message_id <= 65_535


@given(st.binary(max_size=400) | st.binary(max_size=100).map(lambda body: bytes(128) + b"DICM" + body))
def test_whatever_a_file_begins_with_it_is_dicom_or_not(beginning: bytes) -> None:
    head = file_head(beginning)
    assert head is None or head.data_set_at <= len(beginning)


@given(st.builds(StoreCommand, _uids, _uids, _uids))
def test_a_file_begins_as_the_library_would_have_it_and_is_read_again(command: StoreCommand) -> None:
    expected = DicomBytesIO()
    expected.write(bytes(128) + b"DICM")
    meta = create_file_meta(
        sop_class_uid=UID(command.sop_class), sop_instance_uid=UID(command.sop_instance),
        transfer_syntax=UID(command.transfer_syntax),
    )  # fmt: skip
    write_file_meta_info(expected, meta)
    head = head_bytes(command)
    assert head == expected.getvalue()
    assert file_head(head + b"data set") == FileHead(command, len(head))
