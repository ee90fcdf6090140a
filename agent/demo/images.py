"""The newest image and the open case of a room in words, and whether a copy of an image is what its modality sent."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from agent.demo.full_room import IMAGING
from agent.demo.vitals import ABSENT, Vital
from ledger.errors import BadInput

_SHORT_ID: Final = 8
_UID_END: Final = 12
_MEGABYTE: Final = 1e6
# DICOM PS3.10 7.1: a preamble, "DICM", then the file meta group, which begins with its own length (0002,0000) UL.
_PREFIX_END: Final = 132
_GROUP_LENGTH: Final = b"\x02\x00\x00\x00UL\x04\x00"


def newest_image(state: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The object entry of the image that was stored last; None before the first."""
    images = (each for each in state["objects"] if each["feed"] == IMAGING)
    return max(images, key=lambda each: str(each["at"]), default=None)


def image_shown(state: Mapping[str, Any]) -> list[Vital]:
    """The last image by the end of its SOP instance UID, and the object that holds it."""
    image = newest_image(state)
    if image is None:
        return [Vital("last image", ABSENT, "", "")]
    instance, at = str(image["meta"].get("sop_instance", image["name"])), str(image["at"])
    short = instance if len(instance) <= _UID_END else f"…{instance[-_UID_END:]}"
    size = f"{int(image['size']) / _MEGABYTE:.1f} MB"
    return [Vital("last image", short, "", at), Vital("object", image["sha256"][:_SHORT_ID], size, at)]


def sender_of(feed: str, state: Mapping[str, Any]) -> list[str]:
    """What the modality says it is, which identifies itself in its images alone; of another feed nothing."""
    image = newest_image(state) if feed == IMAGING else None
    return [] if image is None else [f"{image['meta'].get('modality', '')} {image['meta'].get('ae_title', '')}".strip()]


def case_shown(state: Mapping[str, Any]) -> list[Vital]:
    """The open case by the beginning of its id: never whose it is."""
    case = state["case"]
    return [Vital("case", ABSENT, "", "") if case is None else Vital("case", short_id(case["id"]), "", case["opened"])]


def short_id(case_id: str) -> str:
    """Enough of a case's id to name it."""
    return case_id[:_SHORT_ID]


def data_set_sha256(file: Path) -> str:
    """SHA-256 of the data set in a DICOM file: what was on the wire. Raises BadInput ``demo.no-dicom``, OSError."""
    with file.open("rb") as content:
        head = content.read(_PREFIX_END + len(_GROUP_LENGTH) + 4)
        if head[_PREFIX_END - 4 : _PREFIX_END] != b"DICM" or head[_PREFIX_END:-4] != _GROUP_LENGTH:
            raise BadInput("demo.no-dicom", f"{file.name} is no DICOM file")
        content.seek(len(head) + int.from_bytes(head[-4:], "little"))
        return hashlib.file_digest(content, "sha256").hexdigest()


def acknowledged_images(file: Path) -> dict[str, str]:
    """SHA-256 of the data set by SOP instance UID, of every image that was acknowledged. Raises OSError."""
    whole = file.read_text().split("\n")[:-1]  # it may be writing its last line
    return dict(line.split(" ", 1) for line in whole)
