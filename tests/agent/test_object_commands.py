from __future__ import annotations

from typing import Any

import pytest

from agent.object_commands import delivered_event
from ledger.errors import BadInput
from ledger.payload import encode_record

TOLD = {
    "box": "or-1", "to": "PACS@10.0.0.1:104", "delivered": 1_200, "bytes": 5_000, "failed": 2, "before": 3,
    "left_out": 4, "not_here": 5,
}  # fmt: skip


def test_a_delivery_says_who_handed_on_what_to_where_and_what_became_of_it() -> None:
    event = delivered_event(TOLD, "anna (uid 1000)", 7)
    assert (event.at_ns, event.code, event.source) == (7, "MDCX_OBJECTS_DELIVERED", "anna (uid 1000)")
    assert event.alarm_id == "objects to PACS@10.0.0.1:104"
    assert event.text == (
        "objects of or-1 to PACS@10.0.0.1:104: 1,200 handed on, 2 failed, 3 were there before, 4 are no DICOM,"
        " 5 are not here; 5,000 bytes"
    )
    assert encode_record(event).record == event


@pytest.mark.parametrize(
    "wrong",
    [{"to": ""}, {"to": "x" * 5_000}, {"box": None}, {"failed": -1}, {"bytes": "7"}, {"delivered": True}],
)  # fmt: skip
def test_a_delivery_that_does_not_say_all_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        delivered_event(TOLD | wrong, "anna", 7)
