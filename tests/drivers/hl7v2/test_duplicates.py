from __future__ import annotations

from drivers.contract import Ticket
from drivers.hl7v2.ack import Outcome
from drivers.hl7v2.duplicates import Duplicates, Seen, Verdict

_VERDICT = Verdict(Ticket(7), Outcome.ACCEPT, None)
_KEY = ("GW", "HOSPITAL", "42")


def test_the_same_again_is_known_with_its_verdict() -> None:
    known = Duplicates()
    assert known.look(_KEY, b"one") == (Seen.NEW, None)
    known.remember(_KEY, b"one", _VERDICT)
    assert known.look(_KEY, b"one") == (Seen.AGAIN, _VERDICT)


def test_the_same_id_with_other_content_is_another_message() -> None:
    known = Duplicates()
    known.remember(_KEY, b"one", _VERDICT)
    assert known.look(_KEY, b"two") == (Seen.REUSED_ID, None)


def test_other_senders_have_their_own_ids() -> None:
    known = Duplicates()
    known.remember(_KEY, b"one", _VERDICT)
    assert known.look(("GW2", "HOSPITAL", "42"), b"one") == (Seen.NEW, None)


def test_without_an_id_nothing_is_a_duplicate() -> None:
    known = Duplicates()
    known.remember(("GW", "H", " "), b"one", _VERDICT)
    assert known.look(("GW", "H", " "), b"one") == (Seen.NEW, None)


def test_forgotten_is_new() -> None:
    known = Duplicates()
    known.remember(_KEY, b"one", _VERDICT)
    known.forget(_KEY)
    known.forget(_KEY)
    assert known.look(_KEY, b"one") == (Seen.NEW, None)


def test_the_longest_unseen_is_forgotten_first() -> None:
    known = Duplicates(limit=2)
    first, second, third = (("GW", "H", str(number)) for number in range(3))
    known.remember(first, b"x", _VERDICT)
    known.remember(second, b"x", _VERDICT)
    known.look(first, b"x")
    known.remember(third, b"x", _VERDICT)
    assert [known.look(key, b"x")[0] for key in (first, second, third)] == [Seen.AGAIN, Seen.NEW, Seen.AGAIN]
