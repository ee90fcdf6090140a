"""Terumo CDI 500 and 550 in-line blood gas monitors."""

from drivers.cdi500.driver import Cdi500, Cdi500Config

__all__ = ["Cdi500", "Cdi500Config"]
