"""A strict, bounded reader of XML documents from outside: a small tree, or a DeviceFault.

No document type, so no entities of any kind, nothing fetched, nothing expanded; SOAP forbids them too (SOAP 1.2, 5).
What stands below a BICEPS ``Extension`` is left out of the tree, so that a maker's elements are never taken for ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final
from xml.parsers import expat

from ledger.errors import DeviceFault

MOST_ELEMENTS: Final = 100_000
MOST_DEPTH: Final = 64
MOST_ATTRIBUTES: Final = 64
_PARTICIPANT: Final = "http://standards.ieee.org/downloads/11073/11073-10207-2017/participant"
_OURS: Final = frozenset({
    _PARTICIPANT,
    "http://standards.ieee.org/downloads/11073/11073-10207-2017/message",
    "http://www.w3.org/2003/05/soap-envelope",
    "http://www.w3.org/2005/08/addressing",
    "http://schemas.xmlsoap.org/ws/2004/08/eventing",
    "http://schemas.xmlsoap.org/ws/2004/09/mex",
    "http://docs.oasis-open.org/ws-dd/ns/dpws/2009/01",
    "http://docs.oasis-open.org/ws-dd/ns/discovery/2009/01",
})  # fmt: skip
_TYPE: Final = "http://www.w3.org/2001/XMLSchema-instance type"
_EXTENSION: Final = "http://standards.ieee.org/downloads/11073/11073-10207-2017/extension Extension"


class Element:
    """``tag`` is a local name for the namespaces that SDC uses, else ``namespace name``; ``type`` is ``xsi:type``."""

    __slots__ = ("attributes", "children", "tag", "text")

    def __init__(self, tag: str, attributes: dict[str, str]) -> None:
        self.tag = tag
        self.attributes = attributes
        self.children: list[Element] = []
        self.text = ""

    def get(self, name: str, default: str = "") -> str:
        """An attribute's value."""
        return self.attributes.get(name, default)

    def all(self, tag: str) -> Iterator[Element]:
        """The children of this name."""
        return (child for child in self.children if child.tag == tag)

    def first(self, tag: str) -> Element | None:
        """The first child of this name."""
        for child in self.children:
            if child.tag == tag:
                return child
        return None

    def text_of(self, *path: str) -> str:
        """The text at the end of a path of first children, without blanks around it; empty if there is none."""
        found: Element | None = self
        for tag in path:
            found = found.first(tag) if found is not None else None
        return found.text.strip() if found is not None else ""

    @property
    def kind(self) -> str:
        """The local name of ``xsi:type``, or the empty text."""
        return self.attributes.get("type", "").rpartition(":")[2]


class _Builder:
    def __init__(self) -> None:
        self.root: Element | None = None
        self._open: list[Element] = []
        self._elements = 0
        self._skipping = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        self._elements += 1
        if self._elements > MOST_ELEMENTS or len(self._open) + self._skipping >= MOST_DEPTH:
            raise _fault("it has too many elements, or they are nested too deeply")
        if len(attributes) > MOST_ATTRIBUTES:
            raise _fault("an element has too many attributes")
        if self._skipping or name == _EXTENSION:
            self._skipping += 1
            return
        kind = attributes.pop(_TYPE, None)
        if kind is not None:
            attributes["type"] = kind
        element = Element(_local(name), attributes)
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.root = element
        self._open.append(element)

    def end(self, _: str) -> None:
        """An element ends."""
        if self._skipping:
            self._skipping -= 1
        else:
            self._open.pop()

    def text(self, data: str) -> None:
        """Text within the element that is open."""
        if not self._skipping and self._open:
            self._open[-1].text += data


@lru_cache(maxsize=1024)
def _local(name: str) -> str:
    namespace, _, local = name.rpartition(" ")
    return local if not namespace or namespace in _OURS else name


def parse(data: bytes) -> Element:
    """The document's root. Raises DeviceFault ``sdc.bad-xml``."""
    builder = _Builder()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.text
    parser.StartDoctypeDeclHandler = _no_doctype
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError, LookupError) as fault:  # the latter two: an encoding that does not exist
        raise _fault(f"line {parser.ErrorLineNumber}: {expat.ErrorString(parser.ErrorCode) or 'encoding'}") from fault
    if builder.root is None:
        raise _fault("it is empty")
    return builder.root


def _no_doctype(*_: object) -> None:
    raise _fault("it declares a document type")


def _fault(why: str) -> DeviceFault:
    return DeviceFault("sdc.bad-xml", f"a document cannot be read: {why}")
