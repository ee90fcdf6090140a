from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.hl7v2 import charset, er7


def _message(name: str, text: str, codec: str) -> bytes:
    return f"MSH|^~\\&|{'|' * 15}{name}|\rNTE|1||{text}\r".encode(codec)


@pytest.mark.parametrize(
    ("name", "text", "codec"),
    [
        ("ASCII", "Puls", "ascii"),
        ("", "Puls", "ascii"),
        ("8859/1", "Dräger", "latin-1"),
        ("8859/2", "Říčany", "iso8859-2"),
        ("8859/5", "пульс", "iso8859-5"),
        ("8859/7", "σφυγμός", "iso8859-7"),
        ("8859/8", "דופק", "iso8859-8"),
        ("8859/9", "k\u0131ş\u0131n", "iso8859-9"),
        ("8859/15", "5 €", "iso8859-15"),
        ("UNICODE UTF-8", "脈拍 ♥", "utf-8"),
        ("unicode utf-8", "Größe", "utf-8"),
        ("GB 18030-2000", "脉搏", "gb18030"),
        ("KS X 1001", "맥박", "euc_kr"),
        ("BIG-5", "脈搏", "big5"),
        ("UNICODE", "Größe", "utf-8"),
        ("ISO IR192", "Größe", "utf-8"),
        ("ISO-8859-1", "Dräger", "latin-1"),
        ("WINDOWS-1252", "5 €", "cp1252"),
        ("8859/1", "5 € „Dräger“", "cp1252"),
        ("8859/1~8859/2", "\x81ä", "latin-1"),  # nothing in Windows-1252
        ("GBK", "脉搏", "gbk"),
        ("WINDOWS-1251", "пульс", "cp1251"),
        ("JIS X 0202", "脈拍", "iso2022_jp"),
        ("~ISO IR87", "脈拍", "iso2022_jp"),
        ("ASCII~ISO IR87", "脈拍", "iso2022_jp"),
    ],
)
def test_declared_character_sets_are_read(name: str, text: str, codec: str) -> None:
    decoded = charset.decode(_message(name, text, codec))
    assert er7.parse(decoded.text).segments[1].get(3) == text
    assert decoded.faithful


@pytest.mark.parametrize("declared", ["", "ASCII"])
def test_utf_8_sent_without_saying_so_is_read(declared: str) -> None:
    decoded = charset.decode(_message(declared, "Größe", "utf-8"))
    assert "Größe" in decoded.text
    assert decoded.faithful


def test_latin_1_sent_as_utf_8_is_kept_byte_for_byte_and_called_unfaithful() -> None:
    body = _message("UNICODE UTF-8", "Größe", "latin-1")
    decoded = charset.decode(body)
    assert decoded.text.encode(decoded.codec) == body
    assert not decoded.faithful


def test_an_unknown_character_set_is_faithful_only_in_ascii() -> None:
    assert charset.decode(_message("CNS 11643-1992", "pulse", "ascii")).faithful
    assert not charset.decode(_message("CNS 11643-1992", "脈", "utf-8")).faithful


def test_a_two_byte_character_that_holds_a_delimiter_does_not_split_the_field() -> None:
    text = "まボ"  # in ISO-2022-JP their second bytes are delimiters
    body = _message("~ISO IR87", text, "iso2022_jp")
    assert any(byte in b"|^~\\&" for byte in text.encode("iso2022_jp")[3:-3])
    assert er7.parse(charset.decode(body).text).segments[1].get(3) == text


@given(st.binary(max_size=200))
def test_any_bytes_decode_to_something(body: bytes) -> None:
    decoded = charset.decode(body)
    assert decoded.faithful or not body.isascii()


@pytest.mark.parametrize("head", [b"", b"MSH", b"MSH|^~\\&|A", b"PID|1", b"MSH|^~\\&" + b"|" * 15])
def test_a_header_without_character_set_declares_none(head: bytes) -> None:
    assert charset.declared(head) == []
