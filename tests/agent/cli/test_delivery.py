from __future__ import annotations

from pathlib import Path

import pytest

from agent.cli.delivery import DeliveryOptions, delivery_document, delivery_lines, exit_code
from agent.object_delivery import Delivery, Handed
from agent.outgoing import Chosen
from ledger.errors import DeviceFault, OperatorFault
from ledger.records import Object

RECORD = Object(
    at_ns=0, sha256=bytes(32), size=10, media_type="application/dicom", name="", meta={"sop_instance": "1.2"}
)
FAILED = Handed(bytes(32), RECORD, 0xA700, tries=3, fault=DeviceFault("dicom.refused", "full", "free space"))


def test_every_warning_and_failure_is_told_with_its_next_step() -> None:
    delivery = Delivery(
        "PACS@h:1",
        [Handed(bytes(32), RECORD, 0xB000, "coerced"), Handed(bytes(32), RECORD, 0)],
        [FAILED],
        recorded_in=7,
    )
    chosen = Chosen(closed=[b"\1" * 32], absent=[b"\2" * 32])
    told = "\n".join(delivery_lines([delivery], chosen))
    for part in (
        "2 objects (0 bytes) handed on to PACS@h:1, 1 with a warning (recorded in block 7)",
        "WARNING B000 for 1.2: coerced",
        "FAILED 1.2 (tried 3 times): full. Next: free space", "1 NOT HANDED ON to PACS@h:1",
        "key of object 0101010101010101 is not held here", "object 0202020202020202 is not here",
    ):  # fmt: skip
        assert part in told
    document = delivery_document(delivery)
    assert document["delivered"] == 2
    assert [each["status"] for each in document["warnings"]] == ["B000"]  # type: ignore[attr-defined]
    assert [each["status"] for each in document["failed"]] == ["A700"]  # type: ignore[attr-defined]
    assert exit_code([delivery], chosen) == 65
    assert exit_code([], chosen) == 69
    assert exit_code([], Chosen()) == 0


def test_thousands_of_failures_do_not_hide_what_they_are() -> None:
    lines = delivery_lines([Delivery("PACS@h:1", failed=[FAILED] * 1_000)], Chosen())
    assert len(lines) == 23
    assert lines[-2] == "and 980 more; all of them with --json"


@pytest.mark.parametrize(
    "options",
    [
        {"ae_key": Path("k"), "objects_to_ae": "A@h:1"}, {"ae_server_name": "n", "objects_to_ae": "A@h:1"},
        {"again": True}, {"calling_ae": "ME", "objects_to": Path("d")},
    ],
)  # fmt: skip
def test_options_that_make_no_sense_together_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(OperatorFault):
        DeliveryOptions(**options).check()  # type: ignore[arg-type]
