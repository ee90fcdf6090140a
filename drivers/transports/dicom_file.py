"""The beginning of a DICOM file (PS3.10): preamble and file meta information, written and read."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from io import BytesIO
from typing import Final

from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID, PYNETDICOM_IMPLEMENTATION_VERSION

from drivers.transports.dicom_dimse import StoreCommand

_PREAMBLE_BYTES: Final = 128
_PREFIX: Final = b"DICM"
_GROUP_LENGTH_BYTES: Final = 12
_META_GROUP: Final = 2
_ELEMENT: Final = struct.Struct("<HH2sH")


@dataclass(frozen=True, slots=True)
class FileHead:
    """``command`` is how the instance is stored elsewhere; the data set begins at byte ``data_set_at``."""

    command: StoreCommand
    data_set_at: int


def head_bytes(command: StoreCommand) -> bytes:
    """What a file of this instance begins with, up to its data set. By hand: the library takes a millisecond for it."""
    meta = b"\x02\x00\x01\x00OB\x00\x00\x02\x00\x00\x00\x00\x01" + b"".join([
        _element(0x0002, b"UI", command.sop_class, b"\0"),
        _element(0x0003, b"UI", command.sop_instance, b"\0"),
        _element(0x0010, b"UI", command.transfer_syntax, b"\0"),
        _element(0x0012, b"UI", PYNETDICOM_IMPLEMENTATION_UID, b"\0"),
        _element(0x0013, b"SH", PYNETDICOM_IMPLEMENTATION_VERSION, b" "),
    ])  # fmt: skip
    length = _ELEMENT.pack(_META_GROUP, 0, b"UL", 4) + len(meta).to_bytes(4, "little")
    return bytes(_PREAMBLE_BYTES) + _PREFIX + length + meta


def _element(number: int, vr: bytes, text: str, pad: bytes) -> bytes:
    value = text.encode("ascii", "replace")
    value += pad * (len(value) % 2)
    return _ELEMENT.pack(_META_GROUP, number, vr, len(value)) + value


def file_head(beginning: bytes) -> FileHead | None:
    """None for what is no DICOM file, does not say what it is, or whose meta information is longer than this."""
    at = _PREAMBLE_BYTES + len(_PREFIX)
    if beginning[_PREAMBLE_BYTES:at] != _PREFIX:
        return None
    try:
        meta = read_dataset(BytesIO(beginning[at:]), False, True, stop_when=_is_data_set)
        end = at + _GROUP_LENGTH_BYTES + int(meta.FileMetaInformationGroupLength)
        named = [meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID]
    except Exception:  # noqa: BLE001 - what a sender wrote can fail a reader in any way
        return None
    command = StoreCommand(*(str(each or "") for each in named))
    if end > len(beginning) or not all((command.sop_class, command.sop_instance, command.transfer_syntax)):
        return None
    return FileHead(command, end)


def _is_data_set(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return tag.group != _META_GROUP
