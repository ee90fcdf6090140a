"""WS-Discovery 1.1, ad hoc, as far as a consumer asks: Probe and Resolve out, their matches in. One datagram each.

Nothing here is authenticated: an address that was found is only where to look; TLS and the device's EPR decide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from drivers.sdc.xml import Element, parse
from drivers.urls import is_url

GROUP: Final = "239.255.255.250"
PORT: Final = 3702
LONGEST_DATAGRAM_BYTES: Final = 65_535
_DISCOVERY: Final = "http://docs.oasis-open.org/ws-dd/ns/discovery/2009/01"
_SOAP: Final = "http://www.w3.org/2003/05/soap-envelope"
_ADDRESSING: Final = "http://www.w3.org/2005/08/addressing"
_DPWS: Final = "http://docs.oasis-open.org/ws-dd/ns/dpws/2009/01"
_MDPWS: Final = "http://standards.ieee.org/downloads/11073/11073-20702-2016"
_MOST_MATCHES: Final = 64
_MOST_ADDRESSES: Final = 16


@dataclass(frozen=True, slots=True)
class Match:
    """A device that answered: its lasting name, and where it says it is."""

    epr: str
    addresses: tuple[str, ...]


def probe(message_id: str) -> bytes:
    """Which medical devices are there?"""
    types = f'<wsd:Types xmlns:dpws="{_DPWS}" xmlns:mdpws="{_MDPWS}">dpws:Device mdpws:MedicalDevice</wsd:Types>'
    return _datagram("Probe", message_id, f"<wsd:Probe>{types}</wsd:Probe>")


def resolve(message_id: str, epr: str) -> bytes:
    """Where is the device of this name?"""
    reference = f"<wsa:EndpointReference><wsa:Address>{escape(epr)}</wsa:Address></wsa:EndpointReference>"
    return _datagram("Resolve", message_id, f"<wsd:Resolve>{reference}</wsd:Resolve>")


def read_matches(data: bytes, message_id: str) -> list[Match]:
    """The devices that answer this message; none if it answers another. Raises DeviceFault ``sdc.bad-xml``."""
    root = parse(data)
    header, body = root.first("Header"), root.first("Body")
    if header is None or body is None or header.text_of("RelatesTo") != message_id:
        return []
    found = []
    for answer in body.children:
        for match in answer.children[:_MOST_MATCHES]:
            told = _match(match)
            if told is not None:
                found.append(told)
    return found


def _match(element: Element) -> Match | None:
    if element.tag not in {"ProbeMatch", "ResolveMatch"}:
        return None
    epr = element.text_of("EndpointReference", "Address")[:256]
    addresses = tuple(url for url in element.text_of("XAddrs").split()[:_MOST_ADDRESSES] if is_url(url))
    return Match(epr, addresses) if epr else None


def _datagram(name: str, message_id: str, body: str) -> bytes:
    text = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<s12:Envelope xmlns:s12="{_SOAP}" xmlns:wsa="{_ADDRESSING}" '
        f'xmlns:wsd="{_DISCOVERY}"><s12:Header><wsa:Action>{_DISCOVERY}/{name}</wsa:Action>'
        f"<wsa:MessageID>{message_id}</wsa:MessageID>"
        "<wsa:To>urn:docs-oasis-open-org:ws-dd:ns:discovery:2009:01</wsa:To></s12:Header>"
        f"<s12:Body>{body}</s12:Body></s12:Envelope>"
    )
    return text.encode()
