from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from drivers.ge_dri.frame import MAX_RECORD_BYTES, Deframer, Fault, encode
from tests.drivers.ge_dri.building import frame

RECORD = st.binary(min_size=1, max_size=200) | st.lists(st.sampled_from([0x7D, 0x7E, 0x5D, 0x5E]), min_size=1).map(
    bytes
)
# What a line may do: whole frames, flags, noise.
WIRE = st.lists(RECORD.map(encode) | st.binary(max_size=30) | st.just(b"\x7e"), max_size=12).map(b"".join)


def by_bytes(wire: bytes) -> list[bytes | Fault]:
    deframer = Deframer()
    return [item for i in range(len(wire)) for item in deframer.feed(wire[i : i + 1])]


@given(st.lists(RECORD, max_size=6))
def test_what_is_encoded_is_decoded(records: list[bytes]) -> None:
    assert Deframer().feed(b"".join(map(encode, records))) == records


@given(RECORD)
def test_encoding_is_that_of_the_specification(record: bytes) -> None:
    assert encode(record) == frame(record)


def test_the_checksum_is_escaped_too() -> None:
    assert encode(b"\x7d") == b"\x7e\x7d\x5d\x7d\x5d\x7e"
    assert encode(b"\x3f\x3f") == b"\x7e\x3f\x3f\x7d\x5e\x7e"


@given(WIRE)
def test_one_by_one_is_all_at_once(wire: bytes) -> None:
    assert by_bytes(wire) == Deframer().feed(wire)


@given(WIRE, RECORD)
def test_after_any_noise_the_next_flag_is_a_new_beginning(noise: bytes, record: bytes) -> None:
    assert Deframer().feed(noise + encode(record))[-1] == record


@given(WIRE)
def test_every_byte_is_accounted_for(wire: bytes) -> None:
    deframer = Deframer()
    items = deframer.feed(wire)
    left = deframer.abandon()
    told = sum(len(encode(item)) - 2 if isinstance(item, bytes) else item.lost_bytes for item in items)
    assert told + (left.lost_bytes if left else 0) == len(wire) - wire.count(b"\x7e")


def test_a_shared_flag_ends_one_frame_and_begins_the_next() -> None:
    assert Deframer().feed(encode(b"one")[:-1] + encode(b"two")) == [b"one", b"two"]


def test_the_tail_of_a_frame_that_began_before_we_listened_is_no_frame() -> None:
    tail = encode(b"some record")[5:]
    assert Deframer().feed(tail + encode(b"next")) == [Fault("framing", len(tail) - 1), b"next"]


def test_faults_name_their_cause() -> None:
    good = encode(b"abc")
    assert Deframer().feed(good[:2] + b"x" + good[3:]) == [Fault("checksum", 4)]
    assert Deframer().feed(b"\x7eab\x7d\x41\x7e") == [Fault("framing", 4)]
    assert Deframer().feed(b"\x7eab\x7d\x7e") == [Fault("framing", 3)]
    assert Deframer().feed(b"\x7ea\x7e") == [Fault("framing", 1)]


def test_memory_is_bounded_without_a_flag() -> None:
    deframer = Deframer()
    deframer.feed(b"\x7e")
    total = 0
    for _ in range(100):
        assert deframer.feed(b"x" * 1000) == []
        total += 1000
        assert len(deframer._buffer) <= 2 * (MAX_RECORD_BYTES + 1)
    assert deframer.feed(b"\x7e" + encode(b"ok")) == [Fault("oversize", total), b"ok"]


def test_the_largest_record_passes_even_if_all_of_it_is_escaped() -> None:
    record = b"\x7e" * MAX_RECORD_BYTES
    assert Deframer().feed(encode(record)) == [record]


def test_abandoned_bytes_are_told_once() -> None:
    deframer = Deframer()
    deframer.feed(encode(b"abc")[:-1])
    assert deframer.abandon() == Fault("framing", 4)
    assert deframer.abandon() is None
