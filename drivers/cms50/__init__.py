"""Contec CMS50 finger oximeters: the protocols of firmware before 7 and of 7."""

from drivers.cms50.driver import Cms50, Cms50Config

__all__ = ["Cms50", "Cms50Config"]
