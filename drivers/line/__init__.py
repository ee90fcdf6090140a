"""Any device that sends lines of text, configured wholly in TOML (docs/drivers/line.md)."""

from drivers.line.config import LineConfig
from drivers.line.driver import Line

__all__ = ["Line", "LineConfig"]
