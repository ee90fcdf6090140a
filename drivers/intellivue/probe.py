"""Whether bytes heard on a line are this protocol."""

from __future__ import annotations

from drivers.contract import Heard, Now
from drivers.intellivue.frame import Deframer
from drivers.intellivue.objects import Attribute
from drivers.intellivue.rose import Operation, parse, parse_event
from drivers.intellivue.session import Kind, is_whole, kind_of
from drivers.intellivue.system import SystemDecoder
from ledger.errors import DeviceFault


def recognise(data: bytes) -> Heard | None:
    """Whole messages, framed or one bare datagram; the monitor's name if it presents itself among them."""
    messages = [data] if is_whole(data) else [item for item in Deframer().feed(data) if isinstance(item, bytes)]
    messages = [message for message in messages if kind_of(message) is not None]
    if not messages:
        return None
    return Heard(len(messages), next((name for name in map(_device, messages) if name), ""))


def _device(message: bytes) -> str:
    try:
        if kind_of(message) is not Kind.DATA or (remote := parse(message)).operation != Operation.INVOKE:
            return ""
        event = parse_event(remote.body)
        told = dict(event.attributes) if event is not None else {}
        who = SystemDecoder().identify({k: v for k, v in told.items() if k != Attribute.BED_LABEL}, Now(0, 0))
    except DeviceFault:
        return ""
    return f"{who.make} {who.model}".strip() if who is not None else ""
