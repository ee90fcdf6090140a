from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from drivers import mllp
from drivers.hl7v2 import er7, oru
from drivers.hl7v2.ack import Sender
from drivers.hl7v2.oru import Envelope, RestoredValue
from ledger.limits import S_NS
from ledger.records import Gap, Numeric, Quality
from tests.drivers.hl7v2.feeding import UTC_NS, up

_ENVELOPE = Envelope(Sender("ORLEDGER", "ST-MARY"), Sender("CONSOLE", "OR-3"), "ST-MARY^OR^3", "r-7", UTC_NS)
_AT_NS = UTC_NS - 240 * S_NS
_VALUES = (
    RestoredValue("monitor", "MDC_ECG_CARD_BEAT_RATE", Decimal(72), "{beat}/min", _AT_NS),
    RestoredValue("monitor", "MDC_PRESS_BLD_NONINV_SYS", Decimal("118.0"), "mm[Hg]", _AT_NS, Quality.EARLY),
    RestoredValue("vent", "MDCX_MEDIBUS_MODE", "IPPV & more", "", _AT_NS),
    RestoredValue("vent", "MDC_CONC_AWAY_O2_INSP", None, "%", _AT_NS),
)


def _read_back(values: tuple[RestoredValue, ...]) -> list[Numeric]:
    fed = up().give(mllp.frame(oru.restored_oru(values, _ENVELOPE).encode()))
    assert fed.of(Gap) == []
    assert fed.codes == ["CA"]
    return fed.of(Numeric)


def test_every_value_says_that_it_is_not_live() -> None:
    message = er7.parse(oru.restored_oru(_VALUES, _ENVELOPE))
    rows = list(message.segments)
    values = [row for row in rows if row.name == "OBX" and row.get(4).rsplit(".", 1)[-1] != "0"]
    assert len(values) == len(_VALUES)
    for row in values:
        note = rows[rows.index(row) + 1]
        assert (note.name, note.get(3)) == ("NTE", oru.NOT_LIVE)
        assert row.get(8).startswith("QUES")
        assert row.get(11) in {"R", "X"}
        assert row.get(14) == "20231114220920.123+0000"
    header = rows.index(next(row for row in rows if row.name == "OBR"))
    assert rows[header + 1].get(3) == oru.NOT_LIVE


def test_it_names_a_place_and_no_patient() -> None:
    message = er7.parse(oru.restored_oru(_VALUES, _ENVELOPE))
    by_name = {row.name: row for row in message.segments}
    assert by_name["PV1"].get(3) == "ST-MARY^OR^3"
    assert [field for field in by_name["PID"].fields[1:] if field] == []
    assert [by_name["MSH"].get(field) for field in (3, 4, 5, 6, 9, 10, 15)] == [
        "ORLEDGER",
        "ST-MARY",
        "CONSOLE",
        "OR-3",
        "ORU^R01^ORU_R01",
        "r-7",
        "AL",
    ]


def test_a_pcd_01_receiver_reads_the_values() -> None:
    found = _read_back(_VALUES)
    assert [(row.code, str(row.value), row.unit) for row in found] == [
        ("MDC_ECG_CARD_BEAT_RATE", "72", "{beat}/min"),
        ("MDC_PRESS_BLD_NONINV_SYS", "118.0", "mm[Hg]"),
        ("MDCX_MEDIBUS_MODE", "IPPV & more", ""),
        ("MDC_CONC_AWAY_O2_INSP", "None", ""),
    ]
    assert all(row.quality & Quality.QUESTIONABLE for row in found)
    assert all(row.quality & Quality.STALE for row in found if row.value is not None)
    assert found[1].quality & Quality.EARLY
    assert {row.device_time.value_ns for row in found if row.device_time} == {_AT_NS}


def test_the_code_number_stands_beside_the_reference_id() -> None:
    text = oru.restored_oru(_VALUES, _ENVELOPE)
    assert "|147842^MDC_ECG_CARD_BEAT_RATE^MDC|1.1.1.1|72|" in text
    assert "|0^MDCX_MEDIBUS_MODE^MDC|1.2.1.1|" in text


def test_two_values_of_one_code_are_told_apart_by_their_channels() -> None:
    rows = tuple(
        RestoredValue("monitor", "MDC_TEMP", Decimal(value), "Cel", _AT_NS, channel=channel)
        for value, channel in (("36.5", "T1"), ("33.1", "T2"))
    )
    assert [(row.channel.rsplit("_", 1)[-1], str(row.value)) for row in _read_back(rows)] == [
        ("T1", "36.5"),
        ("T2", "33.1"),
    ]


def test_invalid_values_are_not_offered_as_results() -> None:
    value = RestoredValue("m", "MDC_PULS_OXIM_SAT_O2", Decimal(99), "%", _AT_NS, Quality.INVALID | Quality.TEST)
    text = oru.restored_oru([value], _ENVELOPE)
    assert "|QUES~INV~TEST|||X|" in text


_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
_ROWS = st.builds(
    RestoredValue,
    feed=_TEXT,
    code=st.sampled_from(["MDC_PULS_OXIM_SAT_O2", "MDCX_X_1"]),
    value=st.one_of(
        st.decimals(-1_000, 1_000, places=3),
        _TEXT.filter(lambda text: text.strip() == text and text != '""'),
    ),
    unit=st.sampled_from(["", "%", "mm[Hg]"]),
    at_ns=st.integers(0, 4 * 10**18).map(lambda at_ns: at_ns // 1_000_000 * 1_000_000),
)


@given(st.lists(_ROWS, max_size=6).map(tuple))
def test_values_come_back_whatever_they_hold(values: tuple[RestoredValue, ...]) -> None:
    found = _read_back(values)
    feeds = list(dict.fromkeys(row.feed for row in values))
    expected = sorted(values, key=lambda row: feeds.index(row.feed))
    assert [(row.code, row.value) for row in found] == [(row.code, row.value) for row in expected]
