"""The options of one monitor."""

from __future__ import annotations

import msgspec

from drivers.ge_dri.request import CLASSES, MAX_INTERVAL_S, MAX_WAVES, MIN_INTERVAL_S
from drivers.ge_dri.waves import BY_NAME, LIMIT_HZ


class GeDriConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of a ``ge-dri`` feed.

    ``numerics_s``: seconds between displayed values, 5 to 10. ``classes``: of basic, ext1, ext2, ext3. ``waves``: up
    to 8 names like ECG1, INVP1, PLETH, CO2; together at most 600 samples/s unless ``carescape``. ``carescape``: the
    monitor is a CARESCAPE Bx50: no wave limit, and it tells its alarms. Raises ValueError naming the option.
    """

    numerics_s: int = 5
    classes: tuple[str, ...] = CLASSES
    waves: tuple[str, ...] = ()
    carescape: bool = False

    def __post_init__(self) -> None:
        if not MIN_INTERVAL_S <= self.numerics_s <= MAX_INTERVAL_S:
            raise ValueError(f"numerics_s: {self.numerics_s} is not within {MIN_INTERVAL_S} to {MAX_INTERVAL_S}")
        _check_names("classes", self.classes, CLASSES)
        _check_names("waves", self.waves, tuple(BY_NAME))
        if not self.classes:
            raise ValueError("classes: at least one is needed")
        if len(self.waves) > MAX_WAVES:
            raise ValueError(f"waves: {len(self.waves)} named, one request holds {MAX_WAVES}")
        total_hz = sum(BY_NAME[name].rate_hz for name in self.waves)
        if total_hz > LIMIT_HZ and not self.carescape:
            raise ValueError(
                f"waves: {total_hz} samples/s together; a monitor before CARESCAPE sends {LIMIT_HZ} and drops the rest"
            )


def _check_names(option: str, names: tuple[str, ...], known: tuple[str, ...]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{option}: {name!r} is not one of {', '.join(known)}")
    if len(set(names)) != len(names):
        raise ValueError(f"{option}: a name is there twice")
