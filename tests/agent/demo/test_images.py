from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pynetdicom.dsutils import create_file_meta, encode

from agent.demo.full_room import IMAGING, MONITOR
from agent.demo.images import acknowledged_images, data_set_sha256, image_shown, newest_image, sender_of
from agent.demo.vitals import ABSENT
from firmware_sim.c_arm import CArm, Shot
from ledger.errors import BadInput
from tests.agent.demo.room import image


def stored(shot: Shot, folder: Path) -> Path:
    """The instance as a DICOM file."""
    head, kind = DicomBytesIO(), shot.data_set.SOPClassUID
    head.write(bytes(128) + b"DICM")
    syntax = shot.data_set.file_meta.TransferSyntaxUID
    write_file_meta_info(
        head,
        create_file_meta(sop_class_uid=kind, sop_instance_uid=shot.data_set.SOPInstanceUID, transfer_syntax=syntax),
    )
    file = folder / "image.dcm"
    file.write_bytes(head.getvalue() + (encode(shot.data_set, False, True) or b""))
    return file


def test_a_file_gives_back_the_hash_of_what_was_on_the_wire(tmp_path: Path) -> None:
    shot = CArm(1, 1_790_000_000.0, 64).shoot(1.0)
    file = stored(shot, tmp_path)
    assert data_set_sha256(file) == shot.sha256
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert data_set_sha256(file) != shot.sha256


@pytest.mark.parametrize("content", [b"", b"DICM", bytes(200), bytes(128) + b"DICM" + bytes(20)])
def test_what_is_no_dicom_file_is_told(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "image.dcm"
    file.write_bytes(content)
    with pytest.raises(BadInput, match="no DICOM file"):
        data_set_sha256(file)


def test_the_image_stored_last_is_shown_by_the_end_of_its_uid() -> None:
    state = {"objects": [image("2.25.1795708892413.2.10", "12:46:30.0"), image("2.25.1.1"), {"feed": "other"}]}
    newest = newest_image(state)
    assert newest is not None
    assert newest["name"] == "2.25.1795708892413.2.10.dcm"
    shown = [(vital.name, vital.value, vital.unit) for vital in image_shown(state)]
    assert shown == [("last image", "…8892413.2.10", ""), ("object", "abababab", "1.0 MB")]
    assert (sender_of(IMAGING, state), sender_of(MONITOR, state)) == (["XA SIM_CARM"], [])


def test_before_the_first_image_there_is_none() -> None:
    assert [vital.value for vital in image_shown({"objects": []})] == [ABSENT]
    assert sender_of(IMAGING, {"objects": []}) == []


def test_a_line_that_is_being_written_does_not_count(tmp_path: Path) -> None:
    file = tmp_path / "imaging.acknowledged"
    file.write_text("2.25.1 aa\n2.25.2 bb\n2.25.3 c")
    assert acknowledged_images(file) == {"2.25.1": "aa", "2.25.2": "bb"}
