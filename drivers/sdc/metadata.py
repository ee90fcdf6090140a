"""What a device says of itself over DPWS: its make and model, and the services that it hosts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from drivers.sdc.codes import MOST_CHARACTERS
from drivers.sdc.description import MdsInfo
from drivers.sdc.soap import REPORTS, Endpoint, endpoint_of
from drivers.sdc.xml import Element
from ledger.errors import DeviceFault

MOST_SERVICES: Final = 16


@dataclass(frozen=True, slots=True)
class Hosted:
    """A hosted service: where it is, and those of its port types that send reports."""

    at: Endpoint
    gets: bool
    port_types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Metadata:
    """``epr``: the lasting name of the device; ``info``: who it is, where its MDIB does not say."""

    epr: str
    info: MdsInfo
    services: tuple[Hosted, ...]

    @property
    def get_service(self) -> Endpoint:
        """Where its MDIB is read. ``read_metadata`` has seen to it that there is one."""
        return next(service.at for service in self.services if service.gets)


def read_metadata(body: Element | None) -> Metadata:
    """Of the answer to a WS-Transfer Get. Raises DeviceFault ``sdc.no-service``."""
    sections = list(body.all("MetadataSection")) if body is not None and body.tag == "Metadata" else []
    found = {child.tag: child for section in sections for child in section.children}
    model, device = (found.get(tag, Element(tag, {})) for tag in ("ThisModel", "ThisDevice"))
    relationship = found.get("Relationship", Element("Relationship", {}))
    hosted = (_hosted(element) for element in relationship.all("Hosted"))
    services = tuple(service for _, service in zip(range(MOST_SERVICES), hosted, strict=False) if service is not None)
    if not any(service.gets for service in services):
        raise DeviceFault("sdc.no-service", "the device hosts no SDC GetService")
    info = MdsInfo(
        "",
        make=model.text_of("Manufacturer")[:MOST_CHARACTERS],
        model=" ".join(filter(None, (model.text_of("ModelName"), model.text_of("ModelNumber"))))[:MOST_CHARACTERS],
        serial=device.text_of("SerialNumber")[:MOST_CHARACTERS],
        software=device.text_of("FirmwareVersion")[:MOST_CHARACTERS],
    )
    epr = relationship.text_of("Host", "EndpointReference", "Address")[:MOST_CHARACTERS]
    return Metadata(epr, info, services)


def _hosted(element: Element) -> Hosted | None:
    at = endpoint_of(element.first("EndpointReference"))
    if at is None:
        return None
    types = {word.rpartition(":")[2] for word in element.text_of("Types").split()[:64]}
    return Hosted(at, "GetService" in types, tuple(port for port in REPORTS if port in types))
