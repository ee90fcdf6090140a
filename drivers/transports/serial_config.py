"""Which serial port, and how its line is set."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ledger.errors import ConfigurationFault

_LINE = re.compile(r"([1-9]\d{1,6}) ([5-8])([NEOMS])(1|1\.5|2)")


@dataclass(frozen=True, slots=True)
class SerialLine:
    """Line settings: rate in bit/s, data bits, parity as pyserial's letter, stop bits."""

    rate_bd: int
    data_bits: int
    parity: str
    stop_bits: float

    @classmethod
    def parse(cls, text: str) -> SerialLine:
        """From ``19200 8E1``. Raises ConfigurationFault ``serial.line``."""
        match = _LINE.fullmatch(text)
        if match is None:
            raise ConfigurationFault("serial.line", f"{text!r} is no serial line", "write it like 19200 8E1")
        rate, bits, parity, stop = match.groups()
        return cls(int(rate), int(bits), parity, float(stop))


@dataclass(frozen=True, slots=True)
class SerialConfig:
    """Which port and how. ``path`` may be a by-path link: it is resolved anew at each opening."""

    path: str
    line: SerialLine
    rtscts: bool = False
