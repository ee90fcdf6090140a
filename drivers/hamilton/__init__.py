"""Hamilton ventilators on their serial block or polling protocol."""

from drivers.hamilton.config import HamiltonConfig
from drivers.hamilton.driver import Hamilton

__all__ = ["Hamilton", "HamiltonConfig"]
