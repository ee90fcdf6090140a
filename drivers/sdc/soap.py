"""The SOAP messages of an SDC consumer that only reads: every request it can make, and what comes back.

Source: SOAP 1.2, WS-Addressing 1.0, WS-Transfer and WS-Eventing (2004), DPWS 1.1, IEEE 11073-20702 and -20701.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from drivers.contract import Sendable
from drivers.sdc.frame import Frame, encode
from drivers.sdc.xml import Element, parse
from drivers.urls import is_url
from ledger.errors import DeviceFault

_SOAP: Final = "http://www.w3.org/2003/05/soap-envelope"
_ADDRESSING: Final = "http://www.w3.org/2005/08/addressing"
_EVENTING: Final = "http://schemas.xmlsoap.org/ws/2004/08/eventing"
_TRANSFER: Final = "http://schemas.xmlsoap.org/ws/2004/09/transfer"
_DPWS: Final = "http://docs.oasis-open.org/ws-dd/ns/dpws/2009/01"
_SDC: Final = "http://standards.ieee.org/downloads/11073/11073-20701-2018"
_MESSAGE: Final = "http://standards.ieee.org/downloads/11073/11073-10207-2017/message"

REPORTS: Final[dict[str, tuple[str, ...]]] = {
    "StateEventService": (
        "EpisodicMetricReport", "EpisodicAlertReport", "EpisodicComponentReport", "EpisodicOperationalStateReport",
        "SystemErrorReport",
    ),
    "ContextService": ("EpisodicContextReport",),
    "WaveformService": ("WaveformStream",),
    "DescriptionEventService": ("DescriptionModificationReport",),
    "SetService": ("OperationInvokedReport",),
}  # fmt: skip
"""What is subscribed to, by the port type that offers it. Of the SetService only the report of what others did."""

MOST_PARAMETERS: Final = 4
_MOST_PARAMETER_CHARACTERS: Final = 256
_PARAMETER_NAME: Final = re.compile(r"[A-Za-z0-9:/._~#?=%\-]+ [A-Za-z_][A-Za-z0-9_.\-]*")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where something is asked: an address, and what must be said there with every request (name, value)."""

    address: str
    parameters: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message that came. ``body``: the first element of the SOAP body; None if it is empty."""

    action: str
    body: Element | None


def read(data: bytes) -> Envelope:
    """A SOAP envelope. Raises DeviceFault ``sdc.bad-xml`` or ``sdc.bad-soap``."""
    root = parse(data)
    body = root.first("Body") if root.tag == "Envelope" else None
    if body is None:
        raise DeviceFault("sdc.bad-soap", "a message is no SOAP 1.2 envelope")
    return Envelope(root.text_of("Header", "Action"), body.children[0] if body.children else None)


def fault_text(envelope: Envelope) -> str:
    """A SOAP fault's code and subcode, never its free text, which may hold anything; empty for no fault."""
    fault = envelope.body
    if fault is None or fault.tag != "Fault":
        return ""
    code, subcode = fault.text_of("Code", "Value"), fault.text_of("Code", "Subcode", "Value")
    words = [word.rpartition(":")[2][:64] for word in (code, subcode) if word]
    return " ".join(words) or "fault"


def sender_fault(subcode: str, reason: str) -> bytes:
    """A SOAP 1.2 fault (Part 1, 5.4) for whoever sent what is not taken. ``subcode``: of WS-Addressing, local name."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<s12:Envelope xmlns:s12="{_SOAP}" xmlns:wsa="{_ADDRESSING}">'
        f"<s12:Header><wsa:Action>{_ADDRESSING}/fault</wsa:Action></s12:Header>"
        "<s12:Body><s12:Fault><s12:Code><s12:Value>s12:Sender</s12:Value>"
        f"<s12:Subcode><s12:Value>wsa:{subcode}</s12:Value></s12:Subcode></s12:Code>"
        f'<s12:Reason><s12:Text xml:lang="en">{escape(reason)}</s12:Text></s12:Reason>'
        "</s12:Fault></s12:Body></s12:Envelope>"
    ).encode()


def endpoint_of(element: Element | None) -> Endpoint | None:
    """A WS-Addressing endpoint reference; None if it has no address, or parameters that are no short texts."""
    address = element.text_of("Address") if element is not None else ""
    if element is None or not is_url(address):
        return None
    parameters = []
    holder = element.first("ReferenceParameters")
    for child in holder.children if holder is not None else ():
        size = len(child.tag) + len(child.text)
        if child.children or size > _MOST_PARAMETER_CHARACTERS or not _PARAMETER_NAME.fullmatch(child.tag):
            return None
        parameters.append((child.tag, child.text))
    return Endpoint(address, tuple(parameters)) if len(parameters) <= MOST_PARAMETERS else None


class Requests:
    """Makes the requests of one link. ``seed`` and the count make the message ids, so that a replay makes the same."""

    __slots__ = ("_count", "_seed")

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._count = 0

    def get_metadata(self, url: str, epr: str) -> bytes:
        """WS-Transfer Get: who the device is and which services it hosts."""
        return self._request(Endpoint(url), f"{_TRANSFER}/Get", "", to=epr or url)

    def get_mdib(self, service: Endpoint) -> bytes:
        """GetMdib: everything it can tell, and what it shows now."""
        return self._request(service, f"{_SDC}/GetService/GetMdib", f'<msg:GetMdib xmlns:msg="{_MESSAGE}"/>')

    def subscribe(self, service: Endpoint, notify: str, port_types: tuple[str, ...], expires_s: int) -> bytes:
        """Subscribe to the reports of these port types."""
        actions = " ".join(f"{_SDC}/{port}/{report}" for port in port_types for report in REPORTS[port])
        to = f"<wsa:Address>{escape(notify)}</wsa:Address>"
        body = (
            f'<wse:Subscribe xmlns:wse="{_EVENTING}"><wse:EndTo>{to}</wse:EndTo>'
            f'<wse:Delivery Mode="{_EVENTING}/DeliveryModes/Push"><wse:NotifyTo>{to}</wse:NotifyTo></wse:Delivery>'
            f'<wse:Expires>PT{expires_s}S</wse:Expires><wse:Filter Dialect="{_DPWS}/Action">{actions}</wse:Filter>'
            "</wse:Subscribe>"
        )
        return self._request(service, f"{_EVENTING}/Subscribe", body)

    def renew(self, manager: Endpoint, expires_s: int) -> bytes:
        """Renew a subscription."""
        expires = f"<wse:Expires>PT{expires_s}S</wse:Expires>"
        body = f'<wse:Renew xmlns:wse="{_EVENTING}">{expires}</wse:Renew>'
        return self._request(manager, f"{_EVENTING}/Renew", body)

    def _request(self, at: Endpoint, action: str, body: str, to: str = "") -> bytes:
        self._count += 1
        message_id = uuid.uuid5(uuid.NAMESPACE_URL, f"{self._seed}/{self._count}").urn
        parameters = "".join(_parameter(name, value) for name, value in at.parameters)
        text = (
            f'<?xml version="1.0" encoding="UTF-8"?>\n<s12:Envelope xmlns:s12="{_SOAP}" xmlns:wsa="{_ADDRESSING}">'
            f"<s12:Header><wsa:Action>{action}</wsa:Action><wsa:MessageID>{message_id}</wsa:MessageID>"
            f"<wsa:To>{escape(to or at.address)}</wsa:To>{parameters}</s12:Header>"
            f"<s12:Body>{body}</s12:Body></s12:Envelope>"
        )
        return encode(Frame("POST", text.encode(), url=at.address))


def _parameter(name: str, value: str) -> str:
    namespace, _, local = name.rpartition(" ")
    return f'<p:{local} xmlns:p="{namespace}" wsa:IsReferenceParameter="true">{escape(value)}</p:{local}>'


_E: Final = re.escape
_EXPIRES: Final = r"<wse:Expires>PT\d{1,5}S</wse:Expires>"
_TO: Final = r"<wsa:Address>[^<]{1,2048}</wsa:Address>"
_PARAMETER: Final = (
    r"""<p:[\w.\-]{1,255} xmlns:p="[^"<]{1,256}" wsa:IsReferenceParameter="true">[^<]{0,1500}</p:[\w.\-]{1,255}>"""
)
_REPORT: Final = "|".join(f"{port}/{report}" for port, names in REPORTS.items() for report in names)
_ACTION: Final = f"{_E(_SDC)}/(?:{_REPORT})"


def _sendable(action: str, body: str, meaning: str) -> Sendable:
    """A pattern for ``Requests._request`` with this action and a body that this pattern matches."""
    pattern = (
        rf'POST https?://\S+ \d+\n<\?xml version="1\.0" encoding="UTF-8"\?>\n<s12:Envelope xmlns:s12="{_E(_SOAP)}" '
        rf'xmlns:wsa="{_E(_ADDRESSING)}"><s12:Header><wsa:Action>{_E(action)}</wsa:Action>'
        rf"<wsa:MessageID>urn:uuid:[0-9a-f\-]{{36}}</wsa:MessageID><wsa:To>[^<]{{1,2048}}</wsa:To>"
        rf"(?:{_PARAMETER}){{0,{MOST_PARAMETERS}}}</s12:Header><s12:Body>{body}</s12:Body></s12:Envelope>"
    )
    return Sendable(re.compile(pattern.encode()), meaning)


_WSE: Final = f'xmlns:wse="{_E(_EVENTING)}"'
TX_ALLOWED: Final = (
    _sendable(f"{_TRANSFER}/Get", "", "ask who the device is and which services it hosts (WS-Transfer Get)"),
    _sendable(
        f"{_SDC}/GetService/GetMdib", f'<msg:GetMdib xmlns:msg="{_E(_MESSAGE)}"/>',
        "ask for all that it describes and shows (GetMdib)",
    ),
    _sendable(
        f"{_EVENTING}/Subscribe",
        rf'<wse:Subscribe {_WSE}><wse:EndTo>{_TO}</wse:EndTo>'
        rf'<wse:Delivery Mode="{_E(_EVENTING)}/DeliveryModes/Push"><wse:NotifyTo>{_TO}</wse:NotifyTo></wse:Delivery>'
        rf'{_EXPIRES}<wse:Filter Dialect="{_E(_DPWS)}/Action">{_ACTION}(?: {_ACTION})*</wse:Filter></wse:Subscribe>',
        "ask for its reports (WS-Eventing Subscribe)",
    ),
    _sendable(
        f"{_EVENTING}/Renew", rf"<wse:Renew {_WSE}>{_EXPIRES}</wse:Renew>",
        "go on being sent reports, and see whether it answers (Renew)",
    ),
)  # fmt: skip
"""All that ever leaves. No Set request, no Activate, no SetContextState has a pattern here."""
