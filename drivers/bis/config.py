"""The options of one BIS monitor."""

from __future__ import annotations

import msgspec


class BisConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of a ``bis`` feed.

    ``eeg``: record the EEG; without it the monitor is told not to send any. ``spectra``: have the monitor send power
    spectra too, which are only kept raw. Raises ValueError naming the option.
    """

    eeg: bool = True
    spectra: bool = False
