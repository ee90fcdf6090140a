"""BIS monitors (A-2000, VISTA, VIEW) on their legacy binary protocol."""

from drivers.bis.config import BisConfig
from drivers.bis.driver import Bis

__all__ = ["Bis", "BisConfig"]
