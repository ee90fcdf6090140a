from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import BadInput, PeerFault, VerificationFailed
from ledger.limits import LIMITS
from ledger.note import KeyType, Note, NoteSignature, Verifier, parse_vkey
from ledger.signing import SigningKey

KEY = SigningKey(bytes(range(32)))
W1 = "witness.example/w1+e75f6532+BAOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"

# The example of C2SP signed-note.md, with its key.
EXAMPLE_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
EXAMPLE = (
    "This is an example message.\n\n\u2014 example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
# The example of Go's golang.org/x/mod/sumdb/note, with its key.
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_EXAMPLE = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n"
    "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)

names = st.text(
    st.characters(blacklist_categories=["Cs", "Cc", "Z"], blacklist_characters="+"), min_size=1, max_size=40
)
texts = st.text(st.characters(blacklist_categories=["Cs", "Cc"]) | st.just("\n"), max_size=80).map(lambda t: t + "\n")


def signed(text: bytes, name: str = "box/1", key: SigningKey = KEY) -> Note:
    verifier = Verifier(name, KeyType.ED25519, key.public)
    return Note(text, (NoteSignature(name, verifier.key_id, key.sign(b"", text)),))


def test_frozen_vkey() -> None:
    verifier = Verifier("witness.example/w1", KeyType.COSIGNATURE_V1, KEY.public)
    assert verifier.vkey() == W1
    assert parse_vkey(W1) == verifier


@given(names, st.sampled_from(KeyType), st.binary(min_size=32, max_size=32))
def test_vkey_round_trip(name: str, kind: KeyType, public: bytes) -> None:
    verifier = Verifier(name, kind, public)
    assert parse_vkey(verifier.vkey()) == verifier


@pytest.mark.parametrize("position", range(len(W1)))
def test_vkey_with_any_bit_flipped_is_refused(position: int) -> None:
    for bit in range(7):
        flipped = W1[:position] + chr(ord(W1[position]) ^ 1 << bit) + W1[position + 1 :]
        with pytest.raises(BadInput):
            parse_vkey(flipped)


@pytest.mark.parametrize(
    "text", ["", "+", "a+b", "a+00000000+", "a+00000000+AQ==", W1 + "\n", W1.replace("+BAO", "+BgO")]
)
def test_malformed_vkeys_are_refused(text: str) -> None:
    with pytest.raises(BadInput):
        parse_vkey(text)


@pytest.mark.parametrize("name", ["", "two words", "a+b", "a\u2003b", "tab\t", "line\n", "x" * 256])
def test_key_names_of_the_wrong_form_are_refused(name: str) -> None:
    with pytest.raises(BadInput):
        Verifier(name, KeyType.ED25519, KEY.public)


@given(texts, st.lists(st.tuples(names, st.binary(min_size=4, max_size=4), st.binary(min_size=1, max_size=80)),
                       min_size=1, max_size=5))  # fmt: skip
def test_note_round_trip(text: str, lines: list[tuple[str, bytes, bytes]]) -> None:
    note = Note(text.encode(), tuple(NoteSignature(*line) for line in lines))
    assert Note.parse(note.encode()) == note


@given(st.binary(max_size=200))
def test_arbitrary_bytes_parse_strictly_or_not_at_all(data: bytes) -> None:
    try:
        note = Note.parse(data)
    except PeerFault:
        return
    assert note.encode() == data


@pytest.mark.parametrize(("key", "example"), [(EXAMPLE_KEY, EXAMPLE), (GO_KEY, GO_EXAMPLE)])
def test_published_examples_verify(key: str, example: str) -> None:
    note = Note.parse(example.encode())
    verifier = parse_vkey(key)
    assert note.verify([verifier]) == ((verifier, note.signatures[0]),)
    assert note.encode() == example.encode()


@given(st.integers(0, 8 * len(EXAMPLE.encode()) - 1))
def test_no_flipped_bit_is_accepted(bit: int) -> None:
    data = bytearray(EXAMPLE.encode())
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises((PeerFault, VerificationFailed)):
        Note.parse(bytes(data)).verify([parse_vkey(EXAMPLE_KEY)])


def test_the_text_ends_at_the_last_empty_line() -> None:
    note = signed(b"one\n\ntwo\n")
    assert Note.parse(note.encode()).text == b"one\n\ntwo\n"


@pytest.mark.parametrize("data", ["", "\n", "text\n", "text\n\n", EXAMPLE[:-1], EXAMPLE + "\n", EXAMPLE + "more\n"])
def test_truncated_or_extended_notes_are_refused(data: str) -> None:
    with pytest.raises(PeerFault):
        Note.parse(data.encode())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"message", b"mess\x01ge"), (b"message", b"mess\xffge"), (b"Uw2Q", b"Uw Q"), (b"aQM=", b"aQN="),
        (b"aQM=", b"aQM"), (b"\xe2\x80\x94", b"--"), (b"com/foo", b"com+foo"), (b"com/foo ", b"com/foo"),
        (b"com/foo ", b"com/foo  "), (EXAMPLE.rsplit(" ", maxsplit=1)[-1].encode(), b"AAAAAA==\n"),
    ],
)  # fmt: skip
def test_malformed_notes_are_refused(old: bytes, new: bytes) -> None:
    data = EXAMPLE.encode()
    assert old in data
    with pytest.raises(PeerFault):
        Note.parse(data.replace(old, new))


def test_notes_are_bounded() -> None:
    line = NoteSignature("a", bytes(4), bytes(64))
    assert Note.parse(Note(b"t\n", (line,) * LIMITS.note_signatures).encode()).text == b"t\n"
    with pytest.raises(PeerFault, match="signatures"):
        Note.parse(Note(b"t\n", (line,) * (LIMITS.note_signatures + 1)).encode())
    with pytest.raises(PeerFault, match="bytes"):
        Note.parse(Note(b"t" * LIMITS.note_bytes + b"\n", (line,)).encode())


def test_known_signatures_count_and_unknown_ones_do_not() -> None:
    known = Verifier("box/1", KeyType.ED25519, KEY.public)
    stranger = NoteSignature("box/2", bytes(4), bytes(64))
    good = signed(b"text\n")
    note = Note(good.text, (stranger, *good.signatures, *good.signatures))
    assert note.verify([known]) == ((known, good.signatures[0]),)
    with pytest.raises(VerificationFailed, match="no known key"):
        note.verify([Verifier("box/3", KeyType.ED25519, KEY.public)])


def test_one_bad_signature_of_a_known_key_spoils_the_note() -> None:
    other = SigningKey(bytes(32))
    verifiers = [Verifier("box/1", KeyType.ED25519, KEY.public), Verifier("box/2", KeyType.ED25519, other.public)]
    bad = NoteSignature("box/2", verifiers[1].key_id, KEY.sign(b"", b"text\n"))
    with pytest.raises(VerificationFailed, match="box/2"):
        Note(b"text\n", (*signed(b"text\n").signatures, bad)).verify(verifiers)


@pytest.mark.parametrize("kind", list(KeyType))
@pytest.mark.parametrize("length", [1, 8, 63, 65, 71, 73])
def test_signatures_of_the_wrong_length_are_refused(kind: KeyType, length: int) -> None:
    verifier = Verifier("box/1", kind, KEY.public)
    assert not verifier.accepts(b"text\n", bytes(length))
