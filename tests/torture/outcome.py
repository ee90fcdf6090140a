"""What must hold after whatever was done to a site; counts what was promised and what is there."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping

from ledger.certificate import Certificate
from ledger.log import LogId
from tests.processes.hl7_sender import Sender
from tests.processes.site import LabSite, until
from tests.processes.stores import (
    assert_good,
    assert_one_history,
    assert_same,
    assert_vouched_is_held,
    chains,
    hl7_numbers,
    until_same,
    vouched,
)

_LOG = logging.getLogger(__name__)
Promise = tuple[str, dict[LogId, Certificate]]
"""A box, and what a peer had vouched for of its logs at some moment."""


def promises(site: LabSite) -> list[Promise]:
    """What every box has durably vouched for until now, read from their disks."""
    ids = list(site.boxes)
    return [(writer, vouched(site[holder], writer)) for holder in ids for writer in ids if holder != writer]


def assert_nothing_lost(
    site: LabSite, senders: Mapping[str, Sender], promised: Iterable[Promise] = (), *, well: Collection[str] = ()
) -> None:
    """Heal, converge, stop, and prove: what was acknowledged and vouched for is on every disk; nobody saw a fork.

    ``senders``: by the box they sent to; they have hung up. ``well``: alerts that are right to stay.
    """
    if well:
        for box in site.boxes.values():
            box.until_level("witnessed")
            until(f"{box.id} is well", lambda box=box: {alert for alert, _ in box.alerts()} <= set(well))  # type: ignore[misc]
    else:
        site.until_good()
    until_same(site)
    faults = {f"{box.id}: {fault}" for box in site.boxes.values() for fault in box.statistics()["peer_faults"]}
    promised = [*promised, *promises(site)]
    site.stop()
    for box in site.boxes.values():
        assert "equivocation" not in box.text(), box.text()
        assert_good(box)
    assert_same(site)
    for writer, certificates in promised:
        assert_vouched_is_held(chains(site[writer], writer), certificates)
    assert any(certificates for _, certificates in promised), "nobody ever vouched: this proved nothing"
    for writer, sender in senders.items():
        _count(site, writer, sender)
    for box in site.boxes.values():
        assert_one_history(box, [peer for peer in site.boxes.values() if peer is not box])
    assert not faults


def _count(site: LabSite, writer: str, sender: Sender) -> None:
    acknowledged = sender.acknowledged
    assert acknowledged, f"{writer} acknowledged nothing: this proved nothing"
    for box in site.boxes.values():
        raw, decoded = hl7_numbers(box, writer)
        lost = acknowledged - raw, acknowledged - decoded
        _LOG.warning(
            "%s on %s: %d sent, %d acknowledged, %d lost",
            writer, box.id, sender.sent, len(acknowledged), len(lost[0] | lost[1]),
        )  # fmt: skip
        assert not lost[0], f"{box.id} lacks raw {sorted(lost[0])[:10]} of {writer}"
        assert not lost[1], f"{box.id} lacks values {sorted(lost[1])[:10]} of {writer}"
