"""The storage provider's transport, with the library's own sender at the other end."""

from __future__ import annotations

import hashlib
import itertools
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.filebase import DicomFileLike
from pydicom.filewriter import write_dataset
from pydicom.uid import UID, AllTransferSyntaxes, ExplicitVRLittleEndian
from pynetdicom import AE, _config
from pynetdicom.acse import ACSE
from pynetdicom.dsutils import encode
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    _NON_PATIENT_OBJECT_CLASSES,
    _STORAGE_CLASSES,
    ColorPaletteStorage,
    CTImageStorage,
    Verification,
)

from drivers.transports.dicom_data_set import DataSet
from drivers.transports.dicom_dimse import StoreCommand, StreamingDimse
from drivers.transports.dicom_listener import DicomListener
from ledger.limits import LIMITS, MS_NS
from ledger.records import Gap
from tests.drivers.dicom import wire_fuzz
from tests.drivers.dicom.images import image
from tests.drivers.dicom.provider import Provider


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Provider]:
    with Provider(tmp_path) as made:
        yield made


def sender(port: int, title: str = "CT1", called: str = "ORLEDGER"):  # type: ignore[no-untyped-def]
    ae = AE(title)
    ae.acse_timeout = ae.dimse_timeout = 20
    ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    ae.add_requested_context(Verification)
    return ae.associate("127.0.0.1", port, ae_title=called)


def test_an_instance_is_stored_bit_exact_named_and_answered(provider: Provider) -> None:
    association = sender(provider.port)
    assert association.is_established
    assert association.send_c_echo().Status == 0
    sent = image(1, 300_000)
    assert association.send_c_store(sent).Status == 0
    association.release()
    provider.until(lambda: provider.told.downs == ["released"])
    (stored,) = provider.objects
    content = provider.content(stored.sha256)
    assert len(content) == stored.size
    expected = BytesIO()
    writer = DicomFileLike(expected)
    writer.is_little_endian, writer.is_implicit_VR = True, False
    write_dataset(writer, sent)
    data_set = expected.getvalue()
    assert content.endswith(data_set)
    assert stored.meta["data_set_sha256"] == hashlib.sha256(data_set).hexdigest()
    assert stored.meta["study"] == "2.25.1"
    assert stored.meta["series"] == "2.25.2"
    assert stored.meta["modality"] == "CT"
    assert stored.meta["ae_title"] == "CT1"
    read = dcmread(BytesIO(content))
    assert read.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert read.file_meta.MediaStorageSOPInstanceUID == "2.25.7.1"
    assert not any(b"Doe^Jane" in path.read_bytes() for path in provider.files())


def test_who_released_is_told_so_even_when_its_connection_closed_first(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, release = threading.Event(), ACSE.send_release

    def slowly(acse: ACSE, is_response: bool = False) -> None:
        release(acse, is_response)
        if is_response:  # the library's own thread, before it tells of the release
            provider.until(lambda: bool(provider.told.downs))
            closed.set()

    monkeypatch.setattr(ACSE, "send_release", slowly)
    sender(provider.port).release()
    assert closed.wait(60)
    assert provider.told.downs == ["released"]


def test_every_storage_class_is_taken_in_every_transfer_syntax(provider: Provider) -> None:
    private = ["1.3.6.1.4.1.99999.5.1", "1.2.840.113543.6.6.1.3.10002"]
    classes = [*_STORAGE_CLASSES.values(), *_NON_PATIENT_OBJECT_CLASSES.values(), *private]
    syntaxes = itertools.cycle([*AllTransferSyntaxes, "1.2.840.113619.5.2", "1.3.6.1.4.1.99999.6"])
    asked = [(UID(sop_class), UID(syntax)) for sop_class, syntax in zip(dict.fromkeys(classes), syntaxes, strict=False)]
    for first in range(0, len(asked), 128):
        ae = AE("CT1")
        for sop_class, syntax in asked[first : first + 128]:
            ae.add_requested_context(sop_class, syntax)
        association = ae.associate("127.0.0.1", provider.port, ae_title="ORLEDGER")
        assert association.is_established
        taken = {(each.abstract_syntax, each.transfer_syntax[0]) for each in association.accepted_contexts}
        assert taken == set(asked[first : first + 128])
        association.release()


def test_a_colour_palette_is_stored_and_what_says_to_be_something_else_is_kept_with_a_warning(
    provider: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)
    palette, other = image(1), image(2)
    palette.SOPClassUID = ColorPaletteStorage
    other.file_meta.MediaStorageSOPClassUID = CTImageStorage
    other.file_meta.MediaStorageSOPInstanceUID = UID("2.25.77")
    other.preamble = bytes(128)
    path = tmp_path / "other.dcm"
    dcmwrite(path, other)
    ae = AE("CT1")
    ae.add_requested_context(ColorPaletteStorage, ExplicitVRLittleEndian)
    ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    association = ae.associate("127.0.0.1", provider.port, ae_title="ORLEDGER")
    assert association.send_c_store(palette).Status == 0
    assert association.send_c_store(path).Status == 0xB007
    association.release()
    assert [each.meta["sop_instance"] for each in provider.objects] == [palette.SOPInstanceUID, "2.25.77"]


def test_an_instance_that_comes_before_all_here_know_of_the_association_is_stored(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    come, opens = threading.Event(), DicomListener._begin

    def begin(listener: DicomListener, *arguments: Any) -> DataSet:
        assert arguments[0] in listener._of
        return opens(listener, *arguments)

    accept = ACSE.send_accept

    def accepted(acse: ACSE) -> None:
        accept(acse)
        come.wait(60)  # what the library does next comes late

    monkeypatch.setattr(ACSE, "send_accept", accepted)
    monkeypatch.setattr(DicomListener, "_begin", begin)
    receive = StreamingDimse._begin

    def coming(dimse: StreamingDimse, *arguments: Any) -> None:
        come.set()
        receive(dimse, *arguments)

    monkeypatch.setattr(StreamingDimse, "_begin", coming)
    association = sender(provider.port)
    assert association.send_c_store(image(1)).Status == 0
    association.release()


def test_the_same_again_is_kept_once(provider: Provider) -> None:
    association = sender(provider.port)
    assert [association.send_c_store(image(1)).Status for _ in range(3)] == [0, 0, 0]
    association.release()
    assert len(provider.objects) == 1
    provider.until(lambda: len(provider.files()) == 1)


@pytest.mark.parametrize(("title", "called"), [("CT2", "ORLEDGER"), ("CT1", "OTHER")])
def test_who_is_not_known_or_calls_somebody_else_is_rejected(provider: Provider, title: str, called: str) -> None:
    assert sender(provider.port, title, called).is_rejected
    provider.until(lambda: len(provider.told.refused) == 1)
    assert (title if title != "CT1" else called) in provider.told.refused[0]


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    with Provider(tmp_path, keep_free_bytes=1 << 62) as provider:
        association = sender(provider.port)
        assert association.send_c_store(image(1)).Status == 0xA700
        assert association.send_c_echo().Status == 0
        association.release()
        provider.until(
            lambda: [each.cause for each in provider.told.records if isinstance(each, Gap)] == ["store_refused"]
        )
        assert provider.objects == []
        assert provider.files() == []


def test_an_abandoned_instance_is_told_before_anybody_goes_on(provider: Provider) -> None:
    order: list[str] = []

    def tell(_data_set: DataSet, _reason: str) -> None:
        another.start()
        another.join(0.1)  # it waits
        order.append("told")

    def end_too() -> None:
        data_set.abandon("the connection closed")
        order.append("forgotten")

    another = threading.Thread(target=end_too)
    data_set = DataSet(
        StoreCommand(CTImageStorage, "1.2.3", "1.2.840.10008.1.2"), provider.intake, 0, lambda: None, tell
    )
    data_set.abandon("aborted")
    another.join()
    assert order == ["told", "forgotten"]


def test_a_name_that_no_file_can_begin_with_claims_nothing(tmp_path: Path) -> None:
    with Provider(tmp_path, limits=replace(LIMITS, object_writers=1)) as provider:
        association = sender(provider.port)
        command = Dataset()
        command.AffectedSOPClassUID = CTImageStorage
        command.AffectedSOPInstanceUID = "1." + "2" * 70_000
        command.CommandField, command.MessageID, command.Priority, command.CommandDataSetType = 1, 1, 0, 0
        encoded = encode(command, True, True)
        assert encoded is not None
        for at in range(0, len(encoded), 8_000):
            one = P_DATA()
            control = b"\x03" if at + 8_000 >= len(encoded) else b"\x01"
            one.presentation_data_value_list = [[1, control + encoded[at : at + 8_000]]]  # type: ignore[list-item]
            association.dul.send_pdu(one)
        provider.until(lambda: len(provider.told.downs) == 1)
        assert "a UID that no DICOM file" in provider.told.downs[0]
        association = sender(provider.port)
        assert association.send_c_store(image(1, 1_000)).Status == 0
        association.release()


def test_without_an_answer_there_is_neither_success_nor_failure(tmp_path: Path) -> None:
    with Provider(tmp_path, limits=replace(LIMITS, dicom_answer_ns=300 * MS_NS)) as provider:
        provider.told.durable = False
        association = sender(provider.port)
        assert "Status" not in association.send_c_store(image(1))
        provider.until(lambda: len(provider.told.downs) == 1)


def test_a_cut_in_the_middle_leaves_nothing_but_a_gap(provider: Provider) -> None:
    server = provider.listener._server
    assert server is not None
    assert server.socket is not None
    server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)  # what the system holds is not all of it
    association = sender(provider.port)
    line = association.dul.socket.socket
    assert line is not None
    line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)

    def hang_up() -> None:
        provider.until(lambda: len(provider.files()) == 1)
        line.shutdown(socket.SHUT_RDWR)

    cut = threading.Thread(target=hang_up)
    provider.listener.set_reading(False)
    cut.start()
    association.send_c_store(image(1, 4 << 20))
    cut.join()
    provider.listener.set_reading(True)
    provider.until(lambda: len(provider.gaps) == 1)
    assert provider.gaps[0].lost_items == 1
    provider.until(lambda: provider.files() == [])
    assert provider.objects == []
    again = sender(provider.port)
    assert again.send_c_store(image(1)).Status == 0
    again.release()


@pytest.mark.parametrize(
    "wrong",
    [
        struct.pack(">BBI", 4, 0, 0xFFFFFFFF),
        struct.pack(">BBI", 1, 0, 0x7FFFFFFF),
        struct.pack(">BBI", 0xEE, 0, 4) + b"abcd",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=["long-data", "long-request", "unknown", "http", "tls"],
)
def test_garbage_ends_its_connection_and_nothing_else(provider: Provider, wrong: bytes) -> None:
    with socket.create_connection(("127.0.0.1", provider.port)) as line:
        line.sendall(wrong)
        line.shutdown(socket.SHUT_WR)
        line.settimeout(60)
        while line.recv(4_096):
            pass
    association = sender(provider.port)
    assert association.send_c_echo().Status == 0
    association.release()


def test_a_command_without_end_is_ended(provider: Provider) -> None:
    association = sender(provider.port)
    context_id = association.accepted_contexts[0].context_id
    piece = bytes(16_000)
    value = struct.pack(">IBB", len(piece) + 2, context_id, 0x01) + piece
    pdu = struct.pack(">BBI", 4, 0, len(value)) + value
    line = association.dul.socket.socket
    for _ in range(2 * LIMITS.dicom_message_bytes // len(piece)):
        try:
            line.sendall(pdu)
        except OSError:
            break
    provider.until(lambda: len(provider.told.downs) == 1)
    assert "a DICOM message of over" in provider.told.downs[0]


def test_a_sender_that_falls_silent_inside_a_pdu_does_not_keep_its_place(tmp_path: Path) -> None:
    limits = replace(LIMITS, dicom_connections=1, dicom_idle_ns=500 * MS_NS, dicom_request_ns=500 * MS_NS)
    with Provider(tmp_path, limits=limits) as provider, socket.create_connection(("127.0.0.1", provider.port)) as line:
        line.sendall(struct.pack(">BBI", 1, 0, 1_000) + b"its cable was pulled")
        provider.until(lambda: sender(provider.port).is_established)


def test_damaged_conversations_harm_nobody_else(tmp_path: Path) -> None:
    """``python -m tests.drivers.dicom.wire_fuzz`` runs more."""
    ends, _ = wire_fuzz.run(60, "suite", tmp_path)
    assert len(ends) > 1


def test_callers_who_ask_for_nothing_cost_a_bounded_number_of_threads(tmp_path: Path) -> None:
    with Provider(tmp_path, limits=replace(LIMITS, dicom_connections=3, dicom_request_ns=2_000 * MS_NS)) as provider:
        silent = [socket.create_connection(("127.0.0.1", provider.port)) for _ in range(6)]
        provider.until(lambda: any("3 connections are open" in told for told in provider.told.refused))
        for connection in silent:
            connection.close()

        def one_more_is_served() -> bool:
            association = sender(provider.port)
            served = bool(association.is_established)
            association.release() if served else association.abort()
            return served

        provider.until(one_more_is_served)
