from __future__ import annotations

from drivers.contract import Heard
from drivers.medibus.recognise import recognise
from tests.drivers.medibus.feeding import ICC, IDENTIFY, IDENTITY, command, response


def test_frames_and_the_name_of_the_device_are_found() -> None:
    wire = b"9 70 7A\r" + command(ICC) + bytes.fromhex("D391818D83") + response(IDENTIFY + IDENTITY)
    assert recognise(wire) == Heard(2, "Dräger Evita4")


def test_other_bytes_are_not_taken_for_it() -> None:
    assert recognise(b"SN=0000093112 SPO2=098% BPM=123\r\n" * 4) is None
    assert recognise(b"\x01R!00\r") is None
