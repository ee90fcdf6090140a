"""Nonin pulse oximeters: serial data formats #2 and #7."""

from drivers.nonin.driver import Nonin, NoninConfig

__all__ = ["Nonin", "NoninConfig"]
