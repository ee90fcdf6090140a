"""Objects: what is too large for a block, sealed chunk by chunk and kept beside the log (docs/objects.md)."""

from ledger.objects.folder import NewFile, ObjectFile, ObjectFolder
from ledger.objects.format import Layout, ObjectHeader, sealed_length
from ledger.objects.sealer import SealedObject, Sealer, open_content, prove, read_header

__all__ = [
    "Layout", "NewFile", "ObjectFile", "ObjectFolder", "ObjectHeader", "SealedObject", "Sealer", "open_content",
    "prove", "read_header", "sealed_length",
]  # fmt: skip
