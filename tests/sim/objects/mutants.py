"""The rules about objects, each broken in turn: the simulation must notice every one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable

import pytest

from agent.object_intake import IncomingObject
from ledger.errors import PeerFault
from ledger.objects import SealedObject
from ledger.objects.assembly import Assembly
from ledger.objects.format import HEADER_BYTES
from ledger.objects.pull import Pull
from ledger.objects.vouching import ObjectVouching

Mutant = Callable[[pytest.MonkeyPatch], None]


def record_before_durable(patch: pytest.MonkeyPatch) -> None:
    """An object may be recorded once it is written, though it is not synced."""

    def hasty(self: IncomingObject) -> SealedObject:
        rest, sealed = self._sealer.end()
        self._file.write(rest)
        self._file._folder.change(self._file._name, sealed.sha256.hex())  # type: ignore[attr-defined]
        self._open = False
        self._intake.finished(sealed)
        return sealed

    patch.setattr(IncomingObject, "finish", hasty)


def held_before_durable(patch: pytest.MonkeyPatch) -> None:
    """An object is held once its last chunk came, before it is synced and has its name."""
    patch.setattr(Pull, "_finish", lambda _self: None)


def vouch_without_holding(patch: pytest.MonkeyPatch) -> None:
    """Who knows of an object vouches for it."""
    patch.setattr(ObjectVouching, "held", lambda self, name: list(self._store.objects_named(name)))
    patch.setattr(
        ObjectVouching, "check", lambda self, name: next(r.stored.sealed_bytes for r in self._store.objects_named(name))
    )


def no_hash_of_chunks(patch: pytest.MonkeyPatch) -> None:
    """A chunk is kept as it comes."""
    patch.setattr(Assembly, "check", lambda _self, _number, _sealed: None)


def no_hash_at_all(patch: pytest.MonkeyPatch) -> None:
    """Neither the chunks nor the whole are compared with what the block says."""

    def lenient(self: Assembly) -> bytes:
        try:
            return honest(self)
        except PeerFault:
            return self._index

    honest = Assembly.end
    no_hash_of_chunks(patch)
    patch.setattr(Assembly, "end", lenient)


def believe_the_part(patch: pytest.MonkeyPatch) -> None:
    """What lies here of an object from before is gone on with, unread."""
    fits = Assembly._fits

    def resume(self: Assembly, read: Callable[[int, int], bytes], held: int) -> int:
        patch.setattr(Assembly, "_fits", lambda _self, _number, _sealed: True)
        good = honest(self, lambda first, end: self.beginning if end == HEADER_BYTES else read(first, end), held)
        patch.setattr(Assembly, "_fits", fits)
        return good

    honest = Assembly.resume
    patch.setattr(Assembly, "resume", resume)


def abort_leaves_the_file(patch: pytest.MonkeyPatch) -> None:
    """What was broken off stays where it is."""

    def lazy(self: IncomingObject) -> None:
        if self._open:
            self._open = False
            self._intake.release()

    patch.setattr(IncomingObject, "abort", lazy)


def ask_for_everything_at_once(patch: pytest.MonkeyPatch) -> None:
    """All chunks of an object are asked for at once."""
    next_to_ask = Pull._next_to_ask
    patch.setattr(Pull, "_next_to_ask", lambda self, _window: next_to_ask(self, 1 << 20))


def words_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    """Nobody is asked again for his word."""
    patch.setattr(ObjectVouching, "ask", lambda _self, _peers: None)


def what_came_back_is_not_asked_for(patch: pytest.MonkeyPatch) -> None:
    """An object of our own that peers gave back after a crash: nobody is asked whether he holds it."""
    vouch = ObjectVouching.vouch

    def deaf(self: ObjectVouching, name: bytes, peers: Iterable[str]) -> bool:
        known, self._open = self._open, OrderedDict()
        try:
            return vouch(self, name, peers)
        finally:
            self._open = known

    patch.setattr(ObjectVouching, "vouch", deaf)


MUTANTS: tuple[Mutant, ...] = (
    record_before_durable,
    held_before_durable,
    vouch_without_holding,
    no_hash_of_chunks,
    no_hash_at_all,
    believe_the_part,
    abort_leaves_the_file,
    ask_for_everything_at_once,
    words_are_forgotten,
    what_came_back_is_not_asked_for,
)
