"""ISO/IEEE 11073 SDC: service-oriented medical devices."""

from drivers.sdc.config import SdcConfig
from drivers.sdc.driver import Sdc

__all__ = ["Sdc", "SdcConfig"]
