"""Puritan Bennett 840 and 980 ventilators on their serial ports."""

from drivers.pb840.config import Pb840Config
from drivers.pb840.driver import Pb840

__all__ = ["Pb840", "Pb840Config"]
