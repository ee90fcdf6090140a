"""Waveform objects (PS3.3 C.10.9) as waves: multiplex groups, channels, sensitivity, units; no object per sample.

The samples of a channel are every n-th of its group's and stay the integers that the device wrote; only unsigned ones
are shifted by half their range, which the wave's offset takes back.
"""

from __future__ import annotations

import math
import re
import sys
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC
from io import BytesIO
from typing import Any, Final, Literal

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian
from pydicom.valuerep import DT

from drivers.nomenclature import refid_of
from ledger.limits import LIMITS
from ledger.records import DeviceTime, Quality, Wave

WAVEFORMS: Final = "1.2.840.10008.5.1.4.1.1.9."
_MDC: Final = "MDC"
_RECORD_BYTES: Final = 64 * 1024
_TOP_BIT: Final = bytes(byte ^ 0x80 for byte in range(256))
_SIGN: Final = bytes(0xFF if byte & 0x80 else 0 for byte in range(256))
_WIDTHS: Final = {"SB": 1, "UB": 1, "SS": 2, "US": 2, "SL": 4, "UL": 4}
_UNSIGNED: Final = frozenset(("UB", "US", "UL"))
_TEXT: Final = 64


class Unreadable(ValueError):
    """This cannot be made waves; the text is for people and quotes nothing of the data set."""


@dataclass(frozen=True, slots=True)
class _Channel:
    code: str
    name: str
    unit: str
    scale: float
    offset: float


def waves(data_set: bytes, transfer_syntax: str, at_ns: int) -> list[Wave]:
    """All waves of a waveform object, in order; ``at_ns`` is when it came: when it was measured is the device's word.

    Raises ``Unreadable``.
    """
    try:
        return list(_waves(_read(data_set, UID(transfer_syntax)), UID(transfer_syntax), at_ns))
    except Unreadable:
        raise
    except Exception as fault:  # a sender's bytes can fail a reader in any way
        raise Unreadable(f"a waveform that cannot be read: {type(fault).__name__}") from fault


def _read(data_set: bytes, syntax: UID) -> Dataset:
    if syntax == DeflatedExplicitVRLittleEndian:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        data_set = inflater.decompress(data_set, LIMITS.dicom_waveform_bytes)
        if inflater.unconsumed_tail:
            raise Unreadable("a waveform that is too large for blocks")
    return read_dataset(BytesIO(data_set), syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian)


def _waves(read: Dataset, syntax: UID, at_ns: int) -> Iterator[Wave]:
    began = _device_time(read)
    left_bytes = LIMITS.dicom_waveform_bytes
    for group in read.get("WaveformSequence") or ():
        interpretation = str(group.get("WaveformSampleInterpretation", ""))
        width = _WIDTHS.get(interpretation)
        if width is None:
            raise Unreadable(f"samples of the form {interpretation[:2]!r} are kept in the object alone")
        count, channels = int(group.NumberOfWaveformSamples), int(group.NumberOfWaveformChannels)
        rate_hz = float(group.SamplingFrequency)
        data = bytes(group.WaveformData)
        defined = list(group.ChannelDefinitionSequence)
        if count < 1 or channels < 1 or len(defined) != channels or count * channels * width > len(data):
            raise Unreadable("a waveform whose counts do not fit its samples")
        left_bytes -= count * channels * max(2, width)
        if left_bytes < 0:
            raise Unreadable("a waveform that is too large for blocks")
        if not (math.isfinite(rate_hz) and rate_hz > 0):
            raise Unreadable("a waveform without a sampling frequency")
        timing = _Timing(at_ns, _later(began, group), rate_hz)
        one_by_one = _channels(data[: count * channels * width], width, channels, interpretation, syntax)
        for definition, samples in zip(defined, one_by_one, strict=True):
            channel = _channel(definition, group)
            yield from _records(channel, samples, timing, interpretation, _padding(group, interpretation, syntax))


@dataclass(frozen=True, slots=True)
class _Timing:
    at_ns: int
    began: DeviceTime | None
    rate_hz: float


def _channels(data: bytes, width: int, channels: int, interpretation: str, syntax: UID) -> Iterator[array[int]]:
    """Each channel's samples: signed, of 2 or 4 bytes, of this machine's order."""
    if width == 1:
        wide = bytearray(2 * len(data))
        wide[0::2] = data.translate(_TOP_BIT) if interpretation in _UNSIGNED else data
        wide[1::2] = bytes(wide[0::2]).translate(_SIGN)
        data, little = bytes(wide), True
    else:
        little = syntax != ExplicitVRBigEndian
        if interpretation in _UNSIGNED:
            flipped = bytearray(data)
            top = width - 1 if little else 0
            flipped[top::width] = data[top::width].translate(_TOP_BIT)
            data = bytes(flipped)
    samples = array("i" if width == _WIDTHS["SL"] else "h", data)
    if little != (sys.byteorder == "little"):
        samples.byteswap()
    for channel in range(channels):
        yield samples[channel::channels]


def _padding(group: Dataset, interpretation: str, syntax: UID) -> int | None:
    value = group.get("WaveformPaddingValue")
    if value is None or value == b"":
        return None
    width = _WIDTHS[interpretation]
    if isinstance(value, bytes):
        (*_, last) = _channels(value[:width], width, 1, interpretation, syntax)
        return last[0]
    return int(value) - (_half(interpretation) if interpretation in _UNSIGNED else 0)


def _half(interpretation: str) -> int:
    return 1 << (8 * _WIDTHS[interpretation] - 1)


def _records(
    channel: _Channel, samples: array[int], timing: _Timing, interpretation: str, invalid: int | None
) -> Iterator[Wave]:
    width: Literal[2, 4] = 4 if samples.itemsize == 4 else 2
    shift = _half(interpretation) * channel.scale if interpretation in _UNSIGNED else 0.0
    if sys.byteorder != "little":
        samples.byteswap()
    step = min(_RECORD_BYTES // width, max(1, round(timing.rate_hz)))
    rate = _rate(timing.rate_hz)
    for start in range(0, len(samples), step):
        after_ns = round(start * 1e9 / timing.rate_hz)
        yield Wave(
            at_ns=timing.at_ns, device_time=_shifted(timing.began, after_ns), quality=Quality.TIME_UNCERTAIN,
            code=channel.code, unit=channel.unit, channel=channel.name, rate=rate, index=start, width=width,
            samples=samples[start : start + step].tobytes(), scale=channel.scale, offset=channel.offset + shift,
            invalid=invalid,
        )  # fmt: skip


def _rate(rate_hz: float) -> tuple[int, int]:
    """(samples, seconds), exact for whole numbers, else to the millihertz or better."""
    if rate_hz == int(rate_hz):
        return int(rate_hz), 1
    return max(1, round(rate_hz * 1_000)), 1_000


def _channel(definition: Dataset, group: Dataset) -> _Channel:
    source = (definition.get("ChannelSourceSequence") or [Dataset()])[0]
    scheme, value = _text(source.get("CodingSchemeDesignator")), _text(source.get("CodeValue"))
    units = definition.get("ChannelSensitivityUnitsSequence") or []
    unit = _text(units[0].get("CodeValue")) if units else ""
    if units and _text(units[0].get("CodingSchemeDesignator")) != "UCUM":
        unit = ""  # no unit is certain
    scale = _number(definition.get("ChannelSensitivity"), 1.0)
    scale *= _number(definition.get("ChannelSensitivityCorrectionFactor"), 1.0)
    name = _text(definition.get("ChannelLabel")) or _text(source.get("CodeMeaning"))
    label = _text(group.get("MultiplexGroupLabel"))
    return _Channel(
        _code(scheme, value), f"{label}/{name}" if label else name, unit, scale,
        _number(definition.get("ChannelBaseline"), 0.0),
    )  # fmt: skip


def _code(scheme: str, value: str) -> str:
    """The MDC reference id where the source is coded in MDC ("2:1" or "131073"), else the scheme's own code."""
    parts = re.fullmatch(r"(\d{1,5}):(\d{1,5})|(\d{1,10})", value, re.ASCII) if scheme == _MDC else None
    if parts is not None:
        code = int(parts[3]) if parts[3] is not None else (int(parts[1]) << 16) + int(parts[2])
        return refid_of(code) or f"MDCX_DICOM_{code}"
    if value.startswith("MDC_") and scheme == _MDC:
        return value
    return f"MDCX_{scheme or 'DICOM'}_{value or 'CHANNEL'}"


def _number(value: Any, absent: float) -> float:
    number = absent if value is None or value == "" else float(value)
    if not math.isfinite(number):
        raise Unreadable("a waveform whose sensitivity is no number")
    return number


def _text(value: Any) -> str:
    return str(value if value is not None else "").strip()[:_TEXT]


def _device_time(read: Dataset) -> DeviceTime | None:
    """Acquisition DateTime; of kind utc only if it, or the data set, names its offset."""
    text = _text(read.get("AcquisitionDateTime"))
    zone = _text(read.get("TimezoneOffsetFromUTC"))
    if not re.fullmatch(r"\d{14}(\.\d{1,6})?([+-]\d{4})?", text, re.ASCII):
        return None
    has_zone = bool(re.search(r"[+-]\d{4}$", text))
    if not has_zone and re.fullmatch(r"[+-]\d{4}", zone, re.ASCII):
        text, has_zone = text + zone, True
    moment = DT(text)
    utc = moment.astimezone(UTC) if has_zone else moment.replace(tzinfo=UTC)
    value_ns = round(utc.timestamp()) * 1_000_000_000 if utc.microsecond == 0 else round(utc.timestamp() * 1e6) * 1_000
    return DeviceTime(value_ns, "utc" if has_zone else "local", 1_000_000_000 if "." not in text else 1_000_000)


def _later(began: DeviceTime | None, group: Dataset) -> DeviceTime | None:
    return _shifted(began, round(_number(group.get("MultiplexGroupTimeOffset"), 0.0) * 1e6))


def _shifted(time: DeviceTime | None, by_ns: int) -> DeviceTime | None:
    return None if time is None else DeviceTime(time.value_ns + by_ns, time.kind, time.resolution_ns)
