from __future__ import annotations

import msgspec
import pytest

from drivers.hl7v2 import routing
from drivers.hl7v2.er7 import STANDARD
from drivers.hl7v2.routing import Bed, Hl7Config
from tests.drivers.hl7v2.feeding import config

_BEDS = ({"match": "ST-MARY^OR^3", "feed": "anaesthesia"}, {"match": "ICU", "feed": "icu"})


def _sub(location: str, options: Hl7Config) -> str | None:
    return routing.sub_for(routing.location_of(location, STANDARD), options)


@pytest.mark.parametrize(
    ("location", "sub"),
    [
        ("ST-MARY^OR^3", "anaesthesia"),
        ("ST-MARY^OR^3^MAIN^^B", "anaesthesia"),
        (" ST-MARY ^OR^3", "anaesthesia"),
        ("ST-MARY^OR^33", None),
        ("ST-MARY^OR", None),
        ("ICU^12^2", "icu"),
        ("ICU2^12^2", None),
        ("", None),
        ('""', None),
        ("^^", None),
    ],
)
def test_a_bed_is_found_by_the_beginning_of_its_location(location: str, sub: str | None) -> None:
    assert _sub(location, config(beds=_BEDS)) == sub


def test_an_empty_component_fits_anything() -> None:
    options = config(beds=[{"match": "^OR^3", "feed": "a"}])
    assert _sub("X^OR^3", options) == _sub("^OR^3", options) == "a"
    assert _sub("X^OR^4", options) is None


def test_an_empty_match_takes_messages_without_location_only() -> None:
    options = config(beds=[*_BEDS, {"match": "", "feed": "pump"}])
    assert _sub("", options) == "pump"
    assert _sub("ELSEWHERE", options) is None


def test_other_beds_may_be_kept_each_for_itself() -> None:
    options = config(beds=_BEDS, other_beds="keep")
    assert _sub("A-B^C", options) == "bed-A-B^C"
    assert _sub("A^B-C", options) == "bed-A^B-C"
    assert _sub("", options) == "bed-unknown"


def test_without_beds_every_location_is_kept_apart() -> None:
    assert _sub("", Hl7Config()) == ""
    assert _sub("OR^3^1^MARY^x", Hl7Config()) == "bed-OR^3^1^MARY"


def test_two_very_long_locations_stay_two() -> None:
    one, two = (_sub("W" * 500 + end, Hl7Config()) for end in "ab")
    assert one is not None
    assert one != two
    assert len(one) < 50


def test_escaped_delimiters_in_a_location_are_text() -> None:
    options = config(beds=[{"match": "A&E", "feed": "a"}])
    assert _sub("A\\T\\E^1", options) == "a"


@pytest.mark.parametrize(
    "options",
    [
        {"beds": [{"match": "^^", "feed": "a"}]},
        {"beds": [{"feed": "a"}]},
        {"beds": [{"match": "A", "sub": "a"}]},
        {"other_beds": "drop"},
        {"undecodable": "ignore"},
        {"bed": []},
        {"application": "A\rMSA|AA|1"},
        {"facility": "F" * 300},
    ],
)
def test_wrong_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        config(**options)


def test_the_example_of_the_documentation_is_read() -> None:
    options = config(beds=[{"match": "ST-MARY^OR^3", "feed": "anaesthesia"}], other_beds="reject", undecodable="accept")
    assert options.beds == (Bed("ST-MARY^OR^3", "anaesthesia"),)
