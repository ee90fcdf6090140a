from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import config
from agent.feed_sections import SerialSection
from ledger.errors import ConfigurationFault
from ledger.limits import LIMITS

WHOLE = """
[box]
site = "st-mary"
id = "or-3"
room = "OR 3"
data_dir = "/var/lib/orledger"
[store]
reserve_gib = 4
retention_days = 30
[replication]
listen = "10.20.3.13:8883"
broker = "embedded"
[replication.address]
or-1 = "10.20.3.11:8883"
[restore]
standby_for = ["or-2"]
console_out = ["file"]
[[feed]]
name = "monitor"
driver = "ge-dri"
serial = { path = "/dev/serial/by-path/pci-0-port0", line = "19200 8E1", rtscts = true }
options = { numerics_s = 5, waves = ["ECG1", "INVP1"] }
[[feed]]
name = "gateway"
driver = "hl7"
mllp = { listen = "10.20.3.13:2575", allow = ["10.20.1.7"] }
"""


def changed(old: str, new: str) -> bytes:
    assert WHOLE.count(old) == 1
    return WHOLE.replace(old, new).encode()


def text_of(content: bytes) -> str:
    with pytest.raises(ConfigurationFault) as caught:
        config.parse(content)
    assert caught.value.next_step
    return caught.value.text


def test_a_whole_file_is_read() -> None:
    read = config.parse(WHOLE.encode())
    assert read.box.control_socket == Path("/run/orledger/control.sock")
    assert read.replication is not None
    assert read.replication.address == {"or-1": "10.20.3.11:8883"}
    monitor, gateway = read.feed
    assert monitor.serial == SerialSection(path="/dev/serial/by-path/pci-0-port0", line="19200 8E1", rtscts=True)
    assert monitor.options == {"numerics_s": 5, "waves": ["ECG1", "INVP1"]}
    assert gateway.mllp is not None
    assert gateway.mllp.allow == ("10.20.1.7",)


def test_the_shortest_file_records_alone_with_safe_defaults() -> None:
    read = config.parse(WHOLE[: WHOLE.index("[store]")].encode())
    assert (read.replication, read.feed) == (None, ())
    assert (read.store.reserve_gib, read.store.retention_days) == (4, 30)
    assert read.restore.console_out == ("file",)


_GATEWAY, _CASE = '[[feed]]\nname = "gateway"', "[case]\n"


@pytest.mark.parametrize(
    ("old", "new", "spot"),
    [
        ('site = "st-mary"\n', "", "$.box: "),
        ('site = "st-mary"', 'site = "St Mary"', "$.box.site: "),
        ('id = "or-3"', 'id = "or/3"', "$.box.id: "),
        ('room = "OR 3"', 'room = ""', "$.box.room: "),
        ('room = "OR 3"', 'room = "OR\\u0007"', "$.box.room: "),
        ('data_dir = "/var', 'data_dir = "var', "$.box.data_dir: "),
        ("reserve_gib = 4", 'reserve_gib = "4"', "$.store.reserve_gib: "),
        ("reserve_gib = 4", "reserve_gib = true", "$.store.reserve_gib: "),
        ("retention_days = 30", "retention_days = 0", "$.store.retention_days: "),
        ("retention_days = 30", "retention_dayz = 30", "$.store: "),
        ('listen = "10.20.3.13:8883"', 'listen = "10.20.3.13"', "$.replication.listen: "),
        ('listen = "10.20.3.13:8883"', 'listen = "10.20.3.300:8883"', "$.replication.listen: "),
        ('listen = "10.20.3.13:8883"', 'listen = "10.20.3.13:65536"', "$.replication.listen: "),
        ('broker = "embedded"', 'broker = "best"', "$.replication.broker: "),
        ('or-1 = "10.20.3.11:8883"', 'or-1 = "10.20.3.11:0"', "$.replication.address.or-1: "),
        ('["or-2"]', '["or-3"]', "$.restore.standby_for[0]: "),
        ('["or-2"]', '["or-2", "OR 4"]', "$.restore.standby_for[1]: "),
        ('["file"]', '["fax"]', "$.restore.console_out[0]: "),
        ('name = "monitor"', 'name = "Monitor 1"', "$.feed[0].name: "),
        ('name = "gateway"', 'name = "monitor"', "$.feed[1].name: "),
        ("rtscts = true", 'rtscts = "yes"', "$.feed[0].serial.rtscts: "),
        ('allow = ["10.20.1.7"]', "allow = [7]", "$.feed[1].mllp.allow[0]: "),
        ('mllp = { listen = "10.20.3.13:2575"', 'http = { listen = "10.20.3.13:2575"', "$.feed[1]: "),
        ('[[feed]]\nname = "gateway"', '[pages]\nlisten = "127.0.0.1:8440"\n[[feed]]\nname = "gateway"', "$: "),
        ("retention_days = 30", "retention_days = 30\nlog_retention_days = 29", "$.store.log_retention_days: "),
        ('[[feed]]\nname = "gateway"', '[page]\nlisten = "8440"\n[[feed]]\nname = "gateway"', "$.page.listen: "),
        (_GATEWAY, _CASE + 'open_on = ["A01"]\n' + _GATEWAY, "$.case.open_on[0]: "),
        (_GATEWAY, _CASE + 'close_on = ["ADT^A03", "ADT^A01"]\n' + _GATEWAY, "$.case.close_on: "),
        (_GATEWAY, _CASE + "close_after_h = -1\n" + _GATEWAY, "$.case.close_after_h: "),
        (_GATEWAY, _CASE + "close_after_h = 1.5\n" + _GATEWAY, "$.case.close_after_h: "),
        (_GATEWAY, _CASE + "opens = []\n" + _GATEWAY, "$.case: "),
    ],
)
def test_an_error_names_its_spot(old: str, new: str, spot: str) -> None:
    assert text_of(changed(old, new)).startswith(spot)


def test_an_unknown_key_is_named() -> None:
    assert "`retention_dayz`" in text_of(changed("retention_days", "retention_dayz"))


def test_two_feeds_cannot_share_a_port() -> None:
    again = WHOLE.replace('mllp = { listen = "10.20.3.13:2575", allow = ["10.20.1.7"] }', "") + (
        'serial = { path = "/dev/serial/by-path/pci-0-port0", line = "9600 8N1" }\n'
    )
    assert text_of(again.encode()).startswith("$.feed[1].serial.path: ")


def test_standing_by_needs_replication() -> None:
    begin, end = WHOLE.index("[replication]"), WHOLE.index("[restore]")
    assert text_of((WHOLE[:begin] + WHOLE[end:]).encode()).startswith("$.restore.standby_for: ")


@pytest.mark.parametrize(
    "content",
    [b"\xff", b"a = ", b"a = " + b"9" * 5_000, b"a = " + b"[" * 20_000, b"#" * (LIMITS.configuration_bytes + 1)],
    ids=["not UTF-8", "not TOML", "endless number", "deep nesting", "too large"],
)
def test_what_is_no_configuration_is_a_configuration_fault(content: bytes) -> None:
    assert len(text_of(content)) < 400


@given(st.binary(max_size=300))
def test_arbitrary_bytes_raise_nothing_else(content: bytes) -> None:
    with pytest.raises(ConfigurationFault):
        config.parse(content)


PIECES = sorted({line for line in WHOLE.splitlines() if line})


@given(
    st.lists(st.sampled_from(PIECES), max_size=12),
    st.sampled_from(['"', "=", "[", "\n", "9" * 20, "1979-05-27", "nan", "é", "\x00", "{}", "true", "..", "or-3"]),
    st.integers(0, 2_000),
)
def test_shuffled_and_damaged_files_raise_nothing_else(lines: list[str], damage: str, at: int) -> None:
    text = "\n".join(lines)
    for content in (text, WHOLE[: at % len(WHOLE)] + damage + WHOLE[at % len(WHOLE) :]):
        with contextlib.suppress(ConfigurationFault):
            assert config.parse(content.encode()).box.data_dir.startswith("/")


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("10.20.3.13:8883", ("10.20.3.13", 8883)),
        ("[::1]:8883", ("::1", 8883)),
        ("or-3.example.org:1", ("or-3.example.org", 1)),
    ],
)
def test_addresses(text: str, parsed: tuple[str, int]) -> None:
    assert config.host_port(text, "$") == parsed


@pytest.mark.parametrize(
    "text", ["", ":1", "::1:8883", "a b:1", "a:b", "1.2.3:4", "a:" + "1" * 5_000, "-a:1", "[::1:1", "a:٣"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ConfigurationFault):
        config.host_port(text, "$")


def test_a_file_s_errors_begin_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    with pytest.raises(ConfigurationFault, match=f"^{path}: No such file") as missing:
        config.read(path)
    assert "--config" in missing.value.next_step
    path.write_bytes(changed('site = "st-mary"', 'site = "St Mary"'))
    with pytest.raises(ConfigurationFault, match=rf"^{path}: \$\.box\.site: "):
        config.read(path)
    path.write_text(WHOLE)
    assert config.read(path) == config.parse(WHOLE.encode())


def test_reading_the_configuration_imports_no_driver() -> None:
    code = "import sys, agent.config; print([m for m in sys.modules if m.partition('.')[0] in ('drivers', 'serial')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
