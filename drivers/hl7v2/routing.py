"""Which bed a message belongs to, before any of it is kept.

A gateway sends the patients of many rooms over one connection; what is not routed to a logical device of this feed
must not come to lie under this room's patient.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from drivers.hl7v2 import er7
from drivers.hl7v2.er7 import Delimiters

_MAX_SUB = 200


class Bed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``match``: the beginning of PV1-3 as ``point of care^room^bed^facility``, always written with ``^``; an empty
    component fits anything, and an empty ``match`` fits messages without a location. ``feed``: the logical device.
    """

    match: str
    feed: str = ""

    def fits(self, location: tuple[str, ...]) -> bool:
        """Whether PV1-3, as components, belongs to this bed."""
        if not self.match:
            return not location
        wanted = [part.strip() for part in self.match.split("^")]
        given = [*location, *[""] * len(wanted)]
        return all(want in {"", have} for want, have in zip(wanted, given, strict=False))


class Hl7Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options of an ``hl7`` feed.

    ``beds``: which locations are recorded, and as what; without any, every location is recorded as a logical device
    of its own. ``other_beds``: what to do with the rest: ``reject`` answers AR, ``ignore`` AA, both keep nothing.
    ``follow_patient``: orders, updates and laboratory results of the open case's patient are recorded wherever they
    place him. ``undecodable``: how to answer a message that is kept but
    not understood. ``application`` and ``facility``: MSH-3 and MSH-4 of the answers.
    """

    beds: tuple[Bed, ...] = ()
    other_beds: Literal["reject", "ignore", "keep"] = "reject"
    follow_patient: bool = True
    undecodable: Literal["accept", "reject"] = "accept"
    application: str = "ORLEDGER"
    facility: str = ""

    def __post_init__(self) -> None:
        """Raises ValueError, which msgspec reports with the spot in the configuration."""
        for bed in self.beds:
            if bed.match and not bed.match.replace("^", "").strip():
                raise ValueError(f"beds: match {bed.match!r} would fit every location")
        for name in (self.application, self.facility):
            if len(name) > 227 or not name.isprintable():
                raise ValueError("application and facility are printable and at most 227 characters")


def location_of(raw: str, marks: Delimiters) -> tuple[str, ...]:
    """PV1-3 as components without empty ones at the end; empty if there is no location."""
    parts = er7.components(raw, marks) if raw != '""' else []
    while parts and not parts[-1]:
        parts.pop()
    return tuple(parts)


def bed_for(location: tuple[str, ...], config: Hl7Config) -> Bed | None:
    """The bed of this room that a location names; None for any other, recorded here or not."""
    return next((bed for bed in config.beds if location and bed.fits(location)), None)


def sub_for(location: tuple[str, ...], config: Hl7Config) -> str | None:
    """The logical device that records this location; None: it is not recorded here."""
    for bed in config.beds:
        if bed.fits(location):
            return bed.feed
    if config.beds and config.other_beds != "keep":
        return None
    if not location:
        return "bed-unknown" if config.beds else ""
    name = "bed-" + "^".join(location[:4])
    if len(name) <= _MAX_SUB:
        return name
    return "bed-" + hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:32]  # two long names stay two beds
