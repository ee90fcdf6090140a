"""Push intake: systems that can be programmed send JSON lines over mutual TLS, by the published schema."""

from drivers.push.config import PushConfig
from drivers.push.driver import Push

__all__ = ["Push", "PushConfig"]
