"""One object on its way: peers that give, refuse, spoil and are silent, in any order; and a part from before."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import NoPeer, OrledgerError, PeerFault, StoreFault
from ledger.limits import S_NS, Limits
from ledger.log import LogId
from ledger.messages import ObjectPiece
from ledger.notices import StoredObject
from ledger.objects import ObjectFolder, ObjectHeader, Sealer
from ledger.objects.exchange import Denied, Exchange
from ledger.objects.format import SEALED_CHUNK_BYTES
from ledger.objects.keeping import is_litter, is_unwanted, marks
from ledger.objects.pull import Pull, Question
from ledger.objects.turns import Turns
from ledger.ops import MarkObject, ObjectState
from ledger.sealing import DataKey

KEY = DataKey(bytes(32))
LOG = LogId("or-1", 1, bytes(16), True)
LIMITS = Limits(object_retry_min_ns=1, object_retry_max_ns=1)
PEERS = ("or-1", "or-2", "or-3")


def sealed(content: bytes) -> tuple[bytes, StoredObject]:
    sealer = Sealer(ObjectHeader(LOG, KEY.key_id, bytes(32)), KEY)
    data = sealer.begin() + b"".join(sealer.add(content))
    rest, known = sealer.end()
    return data + rest, StoredObject(known.sha256, known.sealed_bytes, known.index_hash)


DATA, STORED = sealed(os.urandom(6 * SEALED_CHUNK_BYTES + 100))


@dataclass(frozen=True)
class Row:
    stored: StoredObject
    log: LogId = LOG
    seq: int = 7
    state: ObjectState = ObjectState.WANTED


class Bench:
    def __init__(self, path: Path, stored: StoredObject = STORED) -> None:
        self.folder = ObjectFolder.open(path)
        self.turns = Turns(LIMITS)
        for peer in PEERS:
            self.turns.peer_up(peer)
        self.pull = Pull(Row(stored), self.folder, self.turns, LIMITS)
        self.waiting: list[Question] = []
        self.now_ns = 0

    def go_on(self, window: int = 3) -> list[Question]:
        """Work as long as there is any; then what is asked."""
        while (work := self.pull.work()) is not None:
            fault: OrledgerError | None = None
            try:
                work()
            except OrledgerError as failed:
                fault = failed
            self.pull.worked(fault, self.now_ns)
        self.now_ns += 2
        asked = self.pull.questions(self.now_ns, window)
        self.waiting += asked
        return asked

    def answer(self, question: Question, given: bytes | OrledgerError) -> None:
        self.waiting.remove(question)
        self.pull.answered(question, given, self.now_ns)


def right(question: Question) -> bytes:
    return DATA[question.first : question.end]


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_whatever_peers_do_it_ends_whole_or_with_a_part_that_is_good(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    bench = Bench(tmp_path_factory.mktemp("objects"))
    moods = {
        peer: data.draw(st.sampled_from(["gives", "gives", "denies", "spoils", "silent"]), label=peer) for peer in PEERS
    }
    for _ in range(60):
        bench.go_on(data.draw(st.integers(1, 4), label="window"))
        assert bench.pull.kept_back <= 5
        if bench.pull.has_ended:
            break
        question = data.draw(st.sampled_from(bench.waiting), label="answered")
        mood = moods[question.peer]
        wrong = bytes([right(question)[0] ^ 1]) + right(question)[1:]
        answers: dict[str, bytes | OrledgerError] = {
            "denies": Denied("object.denied", ""),
            "silent": NoPeer("peer.silent", "", ""),
            "spoils": wrong,
        }
        bench.answer(question, answers.get(mood, right(question)))
    if bench.pull.header is not None:
        assert bench.folder.file_of(STORED.sha256).read_bytes() == DATA
    for part in bench.folder.parts():
        held = (bench.folder.path / f"{part.sha256.hex()}.part").read_bytes()
        assert DATA.startswith(held)
    assert {peer for peer, _ in bench.pull.faults} <= {peer for peer, mood in moods.items() if mood == "spoils"}
    bench.pull.close()


def test_a_part_is_gone_on_with_and_its_torn_end_is_fetched_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    torn = DATA[: 256 + 2 * SEALED_CHUNK_BYTES] + bytes(SEALED_CHUNK_BYTES + 9)
    (tmp_path / f"{STORED.sha256.hex()}.part").write_bytes(torn)
    asked: list[Question] = []
    while not bench.pull.has_ended:
        asked += bench.go_on(1)
        for question in list(bench.waiting):
            bench.answer(question, right(question))
    assert bench.pull.header is not None
    assert [question.number for question in asked if question.number is not None] == [2, 3, 4, 5, 6]


def test_what_lies_here_already_is_proved_and_nobody_is_asked(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.folder.file_of(STORED.sha256).write_bytes(DATA)
    assert bench.go_on() == []
    assert bench.pull.has_ended
    assert bench.pull.header is not None


def test_a_name_that_is_not_its_hash_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    falsely = StoredObject(hashlib.sha256(b"other").digest(), STORED.sealed_bytes, STORED.index_hash)
    bench = Bench(tmp_path, falsely)
    while not bench.pull.has_ended:
        bench.go_on()
        for question in list(bench.waiting):
            bench.answer(question, right(question))
    assert bench.pull.header is None
    assert bench.pull.false_name is not None
    bench.pull.close()
    assert list(tmp_path.iterdir()) == []


def test_a_fault_of_our_own_disk_ends_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    with pytest.raises(StoreFault):
        bench.pull.worked(StoreFault("store.io", "", ""), 0)
    assert bench.pull.has_ended


def test_a_piece_belongs_to_its_question_alone() -> None:
    exchange = Exchange(LIMITS)
    get = exchange.ask("or-2", STORED.sha256, 0, 256, 0)
    piece = ObjectPiece(get.request_id, STORED.sha256, 0, bytes(256))
    assert exchange.belongs("or-3", piece) is None
    assert exchange.belongs("or-2", ObjectPiece(get.request_id, bytes(32), 0, bytes(256))) is None
    assert exchange.belongs("or-2", ObjectPiece(get.request_id, STORED.sha256, 1, bytes(256))) is None
    assert exchange.overdue(LIMITS.object_piece_timeout_ns - 1) == []
    assert exchange.overdue(LIMITS.object_piece_timeout_ns) == [get.request_id]
    assert exchange.belongs("or-2", piece) == get
    assert exchange.belongs("or-2", piece) is None
    assert exchange.outstanding == 0
    with pytest.raises(Denied):
        Exchange.opened("or-2", get, ObjectPiece(get.request_id, STORED.sha256, 0, b""))
    with pytest.raises(PeerFault) as short:
        Exchange.opened("or-2", get, ObjectPiece(get.request_id, STORED.sha256, 0, bytes(255)))
    assert short.value.id == "object.short-piece"


def test_what_a_peer_may_have_under_way_is_bounded() -> None:
    exchange, get = Exchange(), Exchange().ask("or-1", bytes(32), 0, SEALED_CHUNK_BYTES, 0)
    for _ in range(Limits().object_serves_of_a_peer):
        exchange.serve("or-2", get)
    with pytest.raises(PeerFault) as flood:
        exchange.serve("or-2", get)
    assert flood.value.id == "peer.flood"
    exchange.serve("or-3", get)
    exchange.served("or-2")
    exchange.serve("or-2", get)
    with pytest.raises(PeerFault) as long:
        exchange.serve("or-3", Exchange().ask("or-1", bytes(32), 0, SEALED_CHUNK_BYTES + 1, 0))
    assert long.value.id == "object.range"


def test_a_row_is_marked_for_exactly_this_object() -> None:
    other = StoredObject(STORED.sha256, STORED.sealed_bytes + 1, STORED.index_hash)
    rows = [Row(STORED), Row(other, seq=8), Row(STORED, seq=9, state=ObjectState.GONE)]
    assert list(marks(rows, STORED, ObjectState.HELD)) == [MarkObject(LOG, 7, STORED.sha256, ObjectState.HELD)]
    assert not is_unwanted(rows)
    assert is_unwanted(rows[2:])


@pytest.mark.parametrize(
    ("state", "age_s", "gone"),
    [(None, 86_400, False), (None, 86_401, True), (ObjectState.GONE, 0, True), (ObjectState.HELD, 10**6, False),
     (ObjectState.WANTED, 10**6, False)],
)  # fmt: skip
def test_a_file_that_no_block_names_is_given_a_day(state: ObjectState | None, age_s: int, gone: bool) -> None:
    assert is_litter(state, 0, age_s * S_NS) is gone
