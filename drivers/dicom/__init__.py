"""DICOM storage: images and other instances as objects, waveforms as waves."""

from drivers.dicom.driver import Dicom, DicomOptions

__all__ = ["Dicom", "DicomOptions"]
