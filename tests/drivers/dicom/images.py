"""Images small enough for tests."""

from __future__ import annotations

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom.sop_class import CTImageStorage  # type: ignore[attr-defined]


def image(number: int, size: int = 1_000) -> Dataset:
    """A CT image of so many bytes of pixels."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID, made.SOPInstanceUID = CTImageStorage, f"2.25.7.{number}"
    made.StudyInstanceUID, made.SeriesInstanceUID, made.Modality = "2.25.1", "2.25.2", "CT"
    made.PatientName = "Doe^Jane"
    made.Rows = made.Columns = 1
    made.BitsAllocated = made.BitsStored = 8
    made.add_new(0x7FE00010, "OB", bytes([number % 256]) * size)
    return made
