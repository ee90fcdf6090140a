"""Oridion (Medtronic) Capnostream capnographs: the data transfer protocol on RS-232."""

from drivers.capnostream.driver import Capnostream, CapnostreamConfig

__all__ = ["Capnostream", "CapnostreamConfig"]
