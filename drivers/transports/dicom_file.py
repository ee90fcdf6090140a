"""The beginning of a DICOM file (PS3.10): what the file meta information says, and where the data set begins."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import Final

from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag

from drivers.transports.dicom_wire import StoreCommand

_PREAMBLE_BYTES: Final = 128
_PREFIX: Final = b"DICM"
_GROUP_LENGTH_BYTES: Final = 12
_META_GROUP: Final = 2


@dataclass(frozen=True, slots=True)
class FileHead:
    """``command`` is how the instance is stored elsewhere; the data set begins at byte ``data_set_at``."""

    command: StoreCommand
    data_set_at: int


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
