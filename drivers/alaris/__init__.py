"""BD (CareFusion, Alaris) Asena syringe pumps on RS-232, read only."""

from drivers.alaris.driver import AlarisAsena, AlarisAsenaConfig

__all__ = ["AlarisAsena", "AlarisAsenaConfig"]
