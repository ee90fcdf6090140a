from __future__ import annotations

from dataclasses import replace

import pytest

from agent.demo.feeds import TITLES, clock_time, feed_rows, gap_over, oldest_shown, pumps, robot, shown_of, unheard
from agent.demo.full_room import HOSPITAL, IMAGING, PUMPS, ROBOT, VENTILATOR, Plug, RoomDevice
from agent.demo.vitals import ABSENT
from agent.demo.watch import Reading
from tests.agent.demo.room import feed, image, room_reading, room_state, value


def test_each_feed_is_a_row() -> None:
    ventilator, rack = (dict(zip(TITLES, row, strict=True)) for row in feed_rows(room_reading()))
    assert ventilator == {
        "FEED": "ventilator",
        "DEVICE": "Dräger Evita4",
        "IS": "down",
        "HEARD": "0.2 s ago",
        "LAST VALUES": "RR –  MV –  Ppeak –  PEEP 5  FiO₂ –",
        "GAPS": "1: 12:46:22–12:46:25 link_down",
    }
    assert (rack["DEVICE"], rack["LAST VALUES"], rack["GAPS"]) == ("B. Braun ComDevice + 2", "– 4.5 mL/h", "none")


def test_a_box_that_does_not_answer_has_no_rows() -> None:
    assert feed_rows(Reading("or-2", None, {})) == []


def test_a_pump_goes_by_its_drug_or_else_its_place() -> None:
    shown = [(pump.name, pump.value, pump.unit) for pump in pumps(room_state())]
    assert shown == [("pump-1", ABSENT, "mL/h"), ("Propofol", "4.5", "mL/h running")]


@pytest.mark.parametrize(
    ("lost_at", "back_at", "covered"),
    [("12:46:22.3", "12:46:25.5", True), ("12:46:22.2", "12:46:25.0", False), ("12:46:23.0", "12:46:25.6", False)],
)
def test_a_gap_counts_only_if_it_holds_the_whole_time(lost_at: str, back_at: str, covered: bool) -> None:
    instants = (f"2026-01-02T{at}00000000Z" for at in (lost_at, back_at))
    assert (gap_over(room_state(), VENTILATOR, *instants) is not None) is covered
    assert gap_over(room_state(), PUMPS, "2026-01-02T12:46:23Z", "2026-01-02T12:46:24Z") is None


def test_what_is_shown_is_as_old_as_its_oldest_value() -> None:
    assert clock_time(oldest_shown(room_state(), PUMPS)) == "12:46:30.1"


def test_a_room_is_heard_once_every_device_wave_and_value_is_there() -> None:
    rack = RoomDevice(PUMPS, "", "", Plug.SERIAL, (), devices=3)
    status = {"feeds": [feed(PUMPS, "", 3, "ok", 0)]}
    state = room_state()
    assert unheard([rack], status, state) == [PUMPS]  # a pump without its rate
    state["values"] = [value | {"value": "1"} for value in state["values"]]
    assert unheard([rack], status, state) == []
    assert unheard([replace(rack, devices=4)], status, state) == [PUMPS]
    assert unheard([replace(rack, waves=1)], status, state) == [PUMPS]
    assert unheard([rack], {"feeds": [feed(PUMPS, "", 3, "silent", 0)]}, state) == [PUMPS]


def test_of_a_robot_the_place_and_the_forces_are_shown() -> None:
    def told(code: str, channel: str, text: str | None) -> dict[str, object]:
        return {"feed": ROBOT, "code": code, "channel": channel, "text_value": text, "at": "2026-01-02T12:46:30Z"}

    values = [
        told("MDCX_OPENIGTLINK_TRANSFORM", "ToolTip", "1 0 0 12.5; 0 1 0 -3; 0 0 1 140.256"),
        told("MDCX_OPENIGTLINK_SENSOR", "ToolForce", "0.1 0.2 1.504"),
        told("MDCX_OPENIGTLINK_SENSOR", "ToolTorque", None),
    ]
    shown = [(vital.name, vital.value, vital.unit) for vital in robot({"values": values})]
    assert shown == [("tool at", "12.50 -3.00 140.26", "mm"), ("force", "0.10 0.20 1.50", "N"), ("torque", "–", "N.m")]


def test_a_room_is_not_whole_before_its_case_and_its_first_image() -> None:
    around = [RoomDevice(feed, "", "", Plug.MLLP, (), devices=0) for feed in (IMAGING, HOSPITAL)]
    status = {"feeds": [feed(IMAGING, "", 0, "ok", 0), feed(HOSPITAL, "", 0, "ok", 0)]}
    laboratory = [value(HOSPITAL, "MDCX_LOINC_718_7", "12.1"), value(HOSPITAL, "MDCX_LOINC_2823_3", "4.10")]
    state = {**room_state(), "values": laboratory, "objects": [], "case": None}
    assert unheard(around, status, state) == [IMAGING, HOSPITAL]
    state["objects"] = [image("2.25.1.1")]
    state["case"] = {"id": "5c0f1234" + "0" * 24, "opened": "2026-01-02T12:40:00.0Z"}
    assert unheard(around, status, state) == []
    shown = [(vital.name, vital.value, vital.unit) for vital in shown_of(HOSPITAL, state)]
    assert shown == [("case", "5c0f1234", ""), ("Hb", "12.1", "g/dL"), ("K", "4.1", "mmol/L")]
