"""Philips IntelliVue patient monitors on their Data Export interface: MIB/RS232 and LAN."""

from drivers.intellivue.config import IntelliVueConfig
from drivers.intellivue.driver import IntelliVue

__all__ = ["IntelliVue", "IntelliVueConfig"]
