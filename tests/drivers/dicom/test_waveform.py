"""Waveform objects as waves: the library's own example, every form of sample, and damage."""

from __future__ import annotations

import struct
import warnings
from array import array
from pathlib import Path

import pydicom.data
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom.dsutils import split_dataset

from drivers.dicom.waveform import Unreadable, waves
from ledger.records import DeviceTime, Quality, Wave
from tests.captures.plans.dicom import ecg, encoded

EXPLICIT, BIG, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
FILE = Path(pydicom.data.__file__).parent / "test_files" / "waveform_ecg.dcm"
FORMS = {"SB": "b", "UB": "B", "SS": "h", "US": "H", "SL": "i", "UL": "I"}


def values(made: list[Wave], channel: str) -> list[float]:
    """The samples in their unit."""
    found: list[float] = []
    for wave in made:
        if wave.channel == channel:
            samples = array("h" if wave.width == 2 else "i", wave.samples)
            found += [wave.scale * sample + wave.offset for sample in samples]
    return found


def one_group(form: str, channels: int, samples: list[int], *, little: bool = True) -> Dataset:
    group = Dataset()
    group.NumberOfWaveformChannels, group.NumberOfWaveformSamples = channels, len(samples) // channels
    group.SamplingFrequency, group.WaveformSampleInterpretation = "250", form
    definitions = []
    for number in range(channels):
        definition, source = Dataset(), Dataset()
        source.CodeValue, source.CodingSchemeDesignator, source.CodeMeaning = f"c{number}", "99TEST", f"c{number}"
        definition.ChannelSourceSequence = [source]
        definition.ChannelSensitivity, definition.ChannelBaseline = "0.5", "3"
        definitions.append(definition)
    group.ChannelDefinitionSequence = definitions
    group.WaveformBitsAllocated = 8 * struct.calcsize(FORMS[form])
    data = struct.pack(f"{'<' if little else '>'}{len(samples)}{FORMS[form]}", *samples)
    group.add_new(0x54001010, "OB" if form in {"SB", "UB"} else "OW", data + bytes(len(data) % 2))
    whole = Dataset()
    whole.WaveformSequence = [group]
    return whole


def test_the_librarys_ecg_is_read_as_the_library_reads_it() -> None:
    meta, offset = split_dataset(FILE)
    made = waves(FILE.read_bytes()[offset:], str(meta.TransferSyntaxUID), 5)
    expected = dcmread(FILE)
    for index, label in enumerate(("RHYTHM", "MEDIAN BEAT")):
        group = expected.WaveformSequence[index]
        read = expected.waveform_array(index)
        for number, definition in enumerate(group.ChannelDefinitionSequence):
            name = f"{label}/{definition.ChannelSourceSequence[0].CodeMeaning}"
            assert values(made, name) == list(read[:, number])
    first = made[0]
    assert (first.code, first.unit, first.rate) == ("MDCX_SCPECG_5.6.3-9-1", "uV", (1000, 1))
    assert first.quality == Quality.TIME_UNCERTAIN
    assert first.device_time == DeviceTime(1_359_111_559_000_000_000, "local", 1_000_000_000)
    assert [wave.index for wave in made[:3]] == [0, 1_000, 2_000]


def test_mdc_codes_and_a_time_with_its_zone_are_taken() -> None:
    made = waves(ecg(2), EXPLICIT, 5)
    assert [(wave.code, wave.channel) for wave in made] == [
        ("MDC_ECG_LEAD_I", "RHYTHM/Lead I"),
        ("MDC_ECG_LEAD_II", "RHYTHM/Lead II"),
    ]
    assert made[0].device_time == DeviceTime(1_795_421_642_250_000_000, "utc", 1_000_000)


@given(st.data(), st.sampled_from(sorted(FORMS)), st.integers(1, 3), st.sampled_from([EXPLICIT, BIG, IMPLICIT]))
def test_every_form_of_sample_keeps_its_value(data: st.DataObject, form: str, channels: int, syntax: str) -> None:
    bits = 8 * struct.calcsize(FORMS[form])
    low, high = (0, (1 << bits) - 1) if form.startswith("U") else (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    count = data.draw(st.integers(1, 600))
    pattern = data.draw(st.lists(st.integers(low, high), min_size=channels, max_size=8))
    samples = (pattern * (count * channels))[: count * channels]
    little = syntax != BIG
    whole = one_group(form, channels, samples, little=little)
    made = waves(encoded(whole, implicit=syntax == IMPLICIT, little=little), syntax, 5)
    for channel in range(channels):
        assert values(made, f"c{channel}") == [sample * 0.5 + 3 for sample in samples[channel::channels]]


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        ("NumberOfWaveformChannels", 3), ("NumberOfWaveformSamples", 9), ("NumberOfWaveformSamples", 0),
        ("SamplingFrequency", "0"), ("WaveformSampleInterpretation", "MB"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_not_guessed(tag: str, value: object) -> None:
    whole = one_group("SS", 2, [1, 2, 3, 4])
    setattr(whole.WaveformSequence[0], tag, value)
    with pytest.raises(Unreadable):
        waves(encoded(whole), EXPLICIT, 5)


@given(
    st.binary(max_size=60), st.integers(0, 4_000), st.sampled_from([EXPLICIT, BIG, IMPLICIT, "1.2.840.10008.1.2.1.99"])
)
def test_nothing_but_unreadable_comes_of_damage(noise: bytes, at: int, syntax: str) -> None:
    whole = ecg(1)
    damaged = whole[: at % len(whole)] + noise + whole[at % len(whole) + len(noise) :]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            made = waves(damaged, syntax, 5)
        except Unreadable:
            return
    assert all(len(wave.samples) <= 64 * 1024 for wave in made)
