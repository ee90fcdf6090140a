from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.sdc.xml import MOST_DEPTH, MOST_ELEMENTS, parse
from ledger.errors import DeviceFault
from tests.drivers.sdc.scripted import envelope, mdib

LAUGHS = b"""<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY lol2 "&lol;&lol;&lol;&lol;&lol;&lol;">
<!ENTITY lol3 "&lol2;&lol2;&lol2;&lol2;&lol2;&lol2;">]><a>&lol3;</a>"""
FETCHED = b"""<?xml version="1.0"?><!DOCTYPE a SYSTEM "http://10.0.0.1/evil.dtd"><a/>"""
FILE = b"""<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>"""


@pytest.mark.parametrize("document", [LAUGHS, FETCHED, FILE, b"<!DOCTYPE a><a/>", b"<a>&undefined;</a>"])
def test_no_document_type_and_no_entity_gets_in(document: bytes) -> None:
    with pytest.raises(DeviceFault) as caught:
        parse(document)
    assert caught.value.id == "sdc.bad-xml"


def test_what_is_endless_is_refused_and_soon() -> None:
    attributes = b" ".join(b'a%d="1"' % n for n in range(100))
    started_s = time.process_time()
    for document in (
        b"<a>" * (MOST_DEPTH + 1),
        b"<a>" + b"<b/>" * (MOST_ELEMENTS + 1) + b"</a>",
        b"<a " + attributes + b"/>",
        b"<a>" * 2_000_000,
    ):
        with pytest.raises(DeviceFault):
            parse(document)
    assert time.process_time() - started_s < 60  # a hang is what is looked for, not a speed


@pytest.mark.parametrize(
    "document", [b"", b"<a>", b"<a></b>", b"\xff\xfe", b'<?xml version="1.0" encoding="no-such"?><a/>', b"<a/><b/>"]
)
def test_what_is_no_document_is_the_devices_fault(document: bytes) -> None:
    with pytest.raises(DeviceFault):
        parse(document)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_tree_or_a_fault(data: bytes) -> None:
    with contextlib.suppress(DeviceFault):
        parse(data)


@given(st.data())
def test_a_damaged_mdib_is_a_tree_or_a_fault(data: st.DataObject) -> None:
    whole = bytearray(envelope(mdib()))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(DeviceFault):
        parse(bytes(whole))


def test_a_makers_extension_is_never_taken_for_ours() -> None:
    ext = "http://standards.ieee.org/downloads/11073/11073-10207-2017/extension"
    pm = "http://standards.ieee.org/downloads/11073/11073-10207-2017/participant"
    root = parse(
        f'<p:a xmlns:p="{pm}"><e:Extension xmlns:e="{ext}"><p:b>1</p:b></e:Extension>'
        f'<p:b>2</p:b><q:b xmlns:q="urn:maker">3</q:b></p:a>'.encode()
    )
    assert [(child.tag, child.text) for child in root.children] == [("b", "2"), ("urn:maker b", "3")]
