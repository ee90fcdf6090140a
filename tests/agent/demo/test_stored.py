from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.box_files import BoxFolder
from agent.demo.stored import control_ids, flip_byte
from agent.verifier import Task, verify
from ledger.errors import StoreFault
from ledger.log import LogId
from ledger.store import Store
from tests.agent.store_fixture import make_box_folder

IDS = st.lists(st.text("0123456789abcdef-", min_size=1, max_size=12), max_size=5)


def framed(control_id: str) -> bytes:
    return b"\x0bMSH|^~\\&|A|B|C|D|20260102||ORU^R01|" + control_id.encode() + b"|P|2.6\rPID|1\r\x1c\r"


@given(IDS)
def test_every_whole_message_is_found(ids: list[str]) -> None:
    assert list(control_ids(b"".join(map(framed, ids)))) == ids


@given(IDS, st.data())
def test_a_message_that_was_cut_off_does_not_count(ids: list[str], data: st.DataObject) -> None:
    stream = b"".join(map(framed, ids))
    cut = data.draw(st.integers(0, len(stream)))
    whole = sum(len(b"".join(map(framed, ids[: n + 1]))) <= cut for n in range(len(ids)))
    assert list(control_ids(stream[:cut])) == ids[:whole]
    assert list(control_ids(stream[:cut] + framed("after"))) == [*ids[:whole], "after"]


@given(st.binary(max_size=200))
def test_any_bytes_can_be_searched(stream: bytes) -> None:
    list(control_ids(stream))


def test_one_byte_is_changed_and_the_audit_names_its_block(tmp_path: Path) -> None:
    make_box_folder(tmp_path / "data")
    before = contents(tmp_path / "data")
    flip = flip_byte(tmp_path / "data", "or-1")
    after = contents(tmp_path / "data")
    changed = [key for key, record in before.items() if after[key] != record]
    assert changed == [(flip.log, flip.seq)]
    differing = [a ^ b for a, b in zip(before[changed[0]], after[changed[0]], strict=True) if a != b]
    assert differing == [flip.before ^ flip.after]
    findings = verify(Task(tmp_path / "data", "or-1", every_signature=True), lambda _done, _total: None).all_findings()
    assert [(each.log, each.seq) for each in findings if each.severity.value == "bad"] == changed


def test_a_box_of_which_nothing_is_held(tmp_path: Path) -> None:
    make_box_folder(tmp_path / "data")
    with pytest.raises(StoreFault, match="holds no block of or-9"):
        flip_byte(tmp_path / "data", "or-9")


def contents(data: Path) -> dict[tuple[LogId, int], bytes]:
    store = Store.open(BoxFolder(data).ledger, readonly=True)
    found = {
        (log, block.seq): block.signed_header + block.payload
        for log, _ in store.logs()
        for block in store.blocks(log, 0, store.length(log))
    }
    store.close()
    return found
