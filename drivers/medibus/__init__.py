"""Dräger MEDIBUS and MEDIBUS.X (docs/drivers/medibus.md)."""

from drivers.medibus.config import MedibusConfig
from drivers.medibus.driver import Medibus

__all__ = ["Medibus", "MedibusConfig"]
