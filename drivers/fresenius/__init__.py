"""Fresenius Orchestra bases and Agilia pumps on their ASCII protocol, read only."""

from drivers.fresenius.driver import Fresenius, FreseniusConfig

__all__ = ["Fresenius", "FreseniusConfig"]
