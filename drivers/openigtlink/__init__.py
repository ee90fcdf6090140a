"""OpenIGTLink 1 to 3: poses, forces and words of surgical robots, trackers and navigation systems, over TCP."""

from drivers.openigtlink.config import OpenIgtLinkConfig
from drivers.openigtlink.driver import OpenIgtLink

__all__ = ["OpenIgtLink", "OpenIgtLinkConfig"]
