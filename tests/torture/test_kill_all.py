"""kill -9, any box, any moment, again and again, every room under load: nothing acknowledged or vouched for is lost."""

from __future__ import annotations

import logging
import random
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.processes.hl7_sender import Sender
from tests.processes.site import LabSite, free_port, hl7_feed, until
from tests.torture.outcome import Promise, assert_nothing_lost, promises

pytestmark = pytest.mark.soak  # a quarter of a minute each: by `make torture`

_LOG = logging.getLogger(__name__)
_BOXES = ("or-1", "or-2", "or-3")
_LONGEST_PAUSE_S = 1.0
_SOME = 20
_FEW = 6
_MANY = 200


def _kill_and_start(site: LabSite, dice: random.Random) -> list[Promise]:
    """One box, sometimes two at once, at a moment nobody chose; what had been vouched for until then."""
    victims = dice.sample(_BOXES, 2 if dice.random() < 0.2 else 1)
    time.sleep(dice.random() * _LONGEST_PAUSE_S)
    for box in victims:
        site[box].kill()
    promised = promises(site)
    for box in victims:
        site[box].start()
    return promised


@pytest.mark.parametrize(
    "kills", [_FEW, pytest.param(_MANY, marks=[pytest.mark.soak, pytest.mark.timeout(2_400)], id="many")]
)
def test_any_box_killed_at_any_moment(tmp_path: Path, kills: int) -> None:
    seed = random.randrange(1 << 32)
    _LOG.warning("seed %d", seed)
    dice = random.Random(seed)
    ports = {box: free_port() for box in _BOXES}
    promised: list[Promise] = []
    with LabSite(tmp_path, feeds={box: [hl7_feed(port)] for box, port in ports.items()}) as site, ExitStack() as room:
        site.start()
        senders = {box: room.enter_context(Sender(port, connections=2, pause_s=0.01)) for box, port in ports.items()}
        for kill in range(1, kills + 1):
            # Only the newest of what was vouched for matters: sizes never fall, which this very test proves at its end.
            before = {box: len(sender.acknowledged) for box, sender in senders.items()}
            promised = [*promised[-len(_BOXES) * 2 * 10 :], *_kill_and_start(site, dice)]
            if dice.random() < 0.5:  # else the next blow falls on boxes that are still starting
                for box, sender in senders.items():
                    until(
                        f"{box} acknowledges after {kill} kills",
                        lambda sender=sender, wanted=before[box] + _SOME: len(sender.acknowledged) > wanted,  # type: ignore[misc]
                    )
        for sender in senders.values():
            sender.stop()
        assert_nothing_lost(site, senders, promised)
