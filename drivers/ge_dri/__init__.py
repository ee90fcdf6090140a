"""GE / Datex-Ohmeda S/5, CARESCAPE and B-series monitors on their serial computer interface (DRI)."""

from drivers.ge_dri.config import GeDriConfig
from drivers.ge_dri.driver import GeDri

__all__ = ["GeDri", "GeDriConfig"]
