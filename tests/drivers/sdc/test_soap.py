from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.sdc import Sdc
from drivers.sdc.discovery import probe, resolve
from drivers.sdc.frame import Frame, encode, read_request
from drivers.sdc.soap import MOST_PARAMETERS, REPORTS, TX_ALLOWED, Endpoint, Requests, endpoint_of, fault_text, read
from drivers.sdc.xml import parse
from tests.drivers.sdc.scripted import EPR, NOTIFY, URL, envelope

AT = Endpoint(f"{URL}/All", (("http://local.com Id", "a<b>&\"'"),))
MAIN = "http://standards.ieee.org/downloads/11073/11073-20701-2018"


def every_request() -> list[bytes]:
    make = Requests("seed")
    return [
        make.get_metadata(URL, EPR),
        make.get_metadata(URL, ""),
        make.get_mdib(AT),
        make.subscribe(AT, NOTIFY, tuple(REPORTS), 60),
        make.renew(AT, 60),
    ]


@pytest.mark.parametrize("request_", every_request(), ids=range(5))
def test_each_request_is_declared_once(request_: bytes) -> None:
    assert len([sendable for sendable in TX_ALLOWED if sendable.pattern.fullmatch(request_)]) == 1
    assert Sdc.spec.may_send(request_)


SETS = (
    "SetService/SetValue", "SetService/SetString", "SetService/Activate", "SetService/SetAlertState",
    "SetService/SetMetricState", "SetService/SetComponentState", "ContextService/SetContextState",
)  # fmt: skip


@pytest.mark.parametrize("action", SETS)
def test_nothing_that_operates_the_device_can_leave(action: str) -> None:
    name = action.rpartition("/")[2]
    for whole in every_request():
        url, body = read_request(whole)
        asked = re.search(rb"<wsa:Action>(.*?)</wsa:Action>", body)
        assert asked is not None
        told = f"{MAIN}/{action}".encode()
        set_body = f"<msg:{name}><msg:OperationHandleRef>op</msg:OperationHandleRef></msg:{name}>".encode()
        changed = body.replace(asked[1], told)
        inside = re.sub(rb"<s12:Body>.*</s12:Body>", b"<s12:Body>" + set_body + b"</s12:Body>", body)
        added = body.replace(b"</s12:Body>", set_body + b"</s12:Body>")
        header = body.replace(b"</wsa:To>", b"</wsa:To><wsa:Action>" + told + b"</wsa:Action>")
        for forged in (changed, inside, added, header):
            assert forged != body
            assert not Sdc.spec.may_send(encode(Frame("POST", forged, url=url)))


@given(st.text(max_size=40), st.text(max_size=40), st.sampled_from(["http://local.com Id", "urn:x n"]))
def test_what_a_device_makes_us_repeat_stays_a_parameter(address: str, value: str, name: str) -> None:
    holder = (
        f"<a:ReferenceParameters><p:{name.split()[1]} xmlns:p='{name.split(maxsplit=1)[0]}'/></a:ReferenceParameters>"
    )
    wrap = f"<wse:SubscriptionManager><a:Address>{URL}</a:Address>{holder}</wse:SubscriptionManager>"
    manager = read(envelope(wrap)).body
    assert manager is not None
    manager.children[1].children[0].text = value
    manager.children[0].text = f"{URL}/{address}"
    endpoint = endpoint_of(manager)
    if endpoint is None:
        return
    renew = Requests("seed").renew(endpoint, 30)
    if not any(ord(character) < 32 or character in "\ufffe\uffff" for character in value):
        _, body = read_request(renew)
        assert read(body).action.endswith("/Renew")
        assert [child.tag for child in parse(body).children[1].children] == ["Renew"]
    assert Sdc.spec.may_send(renew)


def test_an_endpoint_with_parameters_that_are_no_short_texts_is_refused() -> None:
    def manager(inside: str) -> Any:
        address = f"<a:Address>{URL}</a:Address><a:ReferenceParameters>{inside}</a:ReferenceParameters>"
        return read(envelope(f"<wse:SubscriptionManager>{address}</wse:SubscriptionManager>")).body

    one = '<p:Id xmlns:p="http://local.com">{}</p:Id>'
    assert endpoint_of(manager(one.format(1))) == Endpoint(URL, (("http://local.com Id", "1"),))
    assert endpoint_of(manager(one.format("x" * 300))) is None
    assert endpoint_of(manager(one.format("<p:in xmlns:p='urn:x'/>"))) is None
    assert endpoint_of(manager(one.format(1) * (MOST_PARAMETERS + 1))) is None
    assert endpoint_of(manager("<Id>1</Id>")) is None
    assert endpoint_of(None) is None


def test_message_ids_are_those_of_a_replay() -> None:
    first, again = Requests("seed"), Requests("seed")
    assert first.get_mdib(AT) == again.get_mdib(AT)
    assert first.get_mdib(AT) != first.get_mdib(AT)


def test_a_fault_is_told_by_its_codes_alone() -> None:
    code = "<s:Code><s:Value>s:Sender</s:Value><s:Subcode><s:Value>wse:Full</s:Value></s:Subcode></s:Code>"
    body = f"<s:Fault>{code}<s:Reason><s:Text>Erika Mustermann</s:Text></s:Reason></s:Fault>"
    assert fault_text(read(envelope(body))) == "Sender Full"
    assert fault_text(read(envelope("<s:Fault/>"))) == "fault"
    assert fault_text(read(envelope("<a:Other/>"))) == ""


def test_the_requests_keep_to_the_schemas() -> None:
    """By the schemas of DPWS, WS-Addressing, WS-Eventing and BICEPS as the library ships them."""
    sdc11073 = pytest.importorskip("sdc11073")
    etree: Any = pytest.importorskip("lxml.etree")
    from sdc11073.definitions_sdc import SdcV1Definitions
    from sdc11073.schema_resolver import mk_schema_validator

    assert Path(sdc11073.__file__).is_file()
    helper = SdcV1Definitions.data_model.ns_helper
    schema = mk_schema_validator([entry.value for entry in helper.prefix_enum], helper)
    bodies = [read_request(request)[1] for request in every_request()]
    for body in (*bodies, probe("urn:uuid:1"), resolve("urn:uuid:1", EPR)):
        tree = etree.fromstring(body)
        schema.assertValid(tree)
        for inside in tree[1]:
            schema.assertValid(inside)
