"""A mobile C-arm: radiographs of the operation as DICOM data sets; `firmware_sim.devices.c_arm` stores them.

The picture is a round field of quantum noise whose brightness follows the dose; no anatomy is drawn. Every instance is
another one. Attributes: DICOM PS3.3 A.14 (X-ray angiographic image), explicit VR little endian.
"""

from __future__ import annotations

import hashlib
import math
import random
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from firmware_sim.hospital import JORG, Person

if TYPE_CHECKING:  # the library takes half a second to import, which no other simulated device needs
    from pydicom.dataset import Dataset

UID_ROOT = "2.25."
_LEVELS = 256


@dataclass(frozen=True, slots=True)
class Shot:
    """One image: its SOP instance UID, the data set, and the SHA-256 of its bytes on the wire."""

    instance: str
    data_set: Dataset
    sha256: str


class CArm:
    """Takes images of `side` x `side` pixels of one byte. UIDs stay unique across restarts."""

    def __init__(self, seed: int, started_unix_s: float, side: int = 1024, person: Person = JORG) -> None:
        if not 16 <= side <= 4096:
            raise ValueError("an image has 16 to 4096 pixels a side")
        self._noise = random.Random(f"c-arm {seed}")
        self._started_unix_s = started_unix_s
        self._side = side
        self._person = person
        self._prefix = f"{UID_ROOT}{int(started_unix_s * 1000)}"
        self._count = 0

    def shoot(self, now_s: float) -> Shot:
        """The next image, taken now."""
        from pynetdicom.dsutils import encode  # noqa: PLC0415 - see above

        self._count += 1
        data_set = self._data_set(datetime.fromtimestamp(self._started_unix_s + now_s, UTC))
        wire = encode(data_set, is_implicit_vr=False, is_little_endian=True)
        if wire is None:
            raise ValueError("the image cannot be encoded")
        return Shot(str(data_set.SOPInstanceUID), data_set, hashlib.sha256(wire).hexdigest())

    def _data_set(self, at: datetime) -> Dataset:
        from pydicom.dataset import Dataset, FileMetaDataset  # noqa: PLC0415
        from pydicom.uid import ExplicitVRLittleEndian, XRayAngiographicImageStorage  # noqa: PLC0415

        made, person = Dataset(), self._person
        made.file_meta = FileMetaDataset()
        made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        made.SpecificCharacterSet = "ISO_IR 192"
        made.SOPClassUID, made.SOPInstanceUID = XRayAngiographicImageStorage, f"{self._prefix}.2.{self._count}"
        made.StudyInstanceUID, made.SeriesInstanceUID = f"{self._prefix}.1", f"{self._prefix}.1.1"
        made.StudyDate = made.ContentDate = f"{at:%Y%m%d}"
        made.StudyTime = made.ContentTime = f"{at:%H%M%S.%f}"
        made.Modality, made.Manufacturer, made.ManufacturerModelName = "XA", "simulated", "mobile C-arm"
        made.PatientName, made.PatientID = f"{person.family}^{person.given}", person.number
        made.PatientBirthDate, made.PatientSex = person.born, person.sex
        made.AccessionNumber, made.StudyID = f"ACC{person.visit}", person.visit
        made.SeriesNumber, made.InstanceNumber = 1, self._count
        made.SamplesPerPixel, made.PhotometricInterpretation, made.PixelRepresentation = 1, "MONOCHROME2", 0
        made.Rows = made.Columns = self._side
        made.BitsAllocated, made.BitsStored, made.HighBit = 8, 8, 7
        made.add_new(0x7FE00010, "OB", self._pixels())
        return made

    def _pixels(self) -> bytes:
        """A round field on black; one table of brightness for each image keeps it quick."""
        side, dose = self._side, self._noise.randint(60, 120)
        levels = bytes(min(_LEVELS - 1, dose + value // 4) for value in range(_LEVELS))
        seen = self._noise.randbytes(side * side).translate(levels)
        rows = []
        for row in range(side):
            away = (row + 0.5) / side * 2 - 1
            edge = round(side / 2 * (1 - math.sqrt(1 - away * away)))
            begin = row * side
            rows.append(bytes(edge) + seen[begin + edge : begin + side - edge] + bytes(edge))
        return b"".join(rows)
