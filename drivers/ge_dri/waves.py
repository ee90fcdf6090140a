"""Waveform subrecords: which waves there are, and their samples as the monitor sends them (DRI specification)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from drivers.contract import Now
from drivers.ge_dri.labels import LEADS, PRESSURES, agent_prefix, pressure_channel
from drivers.ge_dri.numerics import monitor_time
from ledger.errors import DeviceFault
from ledger.limits import S_NS
from ledger.records import Gap, Quality, Record, Wave

INVALID_SAMPLE = -32768
LIMIT_HZ = 600
"""All waves together on monitors before CARESCAPE; the monitor drops what is beyond without a word."""

_HEAD = struct.Struct("<hHH")
_CONTROL_CODES_TO = -32000
_GAP, _PACER, _LEAD_OFF = 1 << 0, 1 << 2, 1 << 3


@dataclass(frozen=True, slots=True)
class WaveKind:
    """One waveform: its number, samples per second, and value = scale * sample in ``unit``."""

    number: int
    name: str
    rate_hz: int
    unit: str
    scale: float
    code: str
    channel: str = ""


def _kinds() -> dict[int, WaveKind]:
    eeg = "MDC_EEG_ELEC_POTL_CRTX"
    pressures = enumerate((4, 5, 6, 7, 16, 17, 36, 37), start=1)
    kinds = [
        *(WaveKind(n, f"ECG{n}", 300, "uV", 1.0, "MDC_ECG_ELEC_POTL", f"ECG{n}") for n in (1, 2, 3)),
        *(WaveKind(w, f"INVP{n}", 100, "mm[Hg]", 0.01, "MDC_PRESS_BLD", f"P{n}") for n, w in pressures),
        WaveKind(8, "PLETH", 100, "%", 0.01, "MDC_PULS_OXIM_PLETH"),
        WaveKind(38, "PLETH2", 100, "%", 0.01, "MDC_PULS_OXIM_PLETH", "2"),
        WaveKind(9, "CO2", 25, "%", 0.01, "MDC_CONC_AWAY_CO2"),
        WaveKind(10, "O2", 25, "%", 0.01, "MDC_CONC_AWAY_O2"),
        WaveKind(11, "N2O", 25, "%", 0.01, "MDC_CONC_AWAY_N2O"),
        WaveKind(12, "AA", 25, "%", 0.01, "MDC_CONC_AWAY_AGENT"),
        WaveKind(13, "AWP", 25, "cm[H2O]", 0.1, "MDC_PRESS_AWAY"),
        WaveKind(14, "FLOW", 25, "L/min", 0.1, "MDC_FLOW_AWAY"),
        WaveKind(15, "RESP", 25, "Ohm", 0.01, "MDC_IMPED_TTHOR"),
        *(WaveKind(17 + n, f"EEG{n}", 100, "uV", 0.1, eeg, f"EEG{n}") for n in (1, 2, 3, 4)),
        WaveKind(23, "VOL", 25, "mL", 1.0, "MDCX_GE_VOL"),
        WaveKind(24, "TONO", 25, "mbar", 0.1, "MDCX_GE_TONO"),
        WaveKind(32, "ENT", 100, "uV", 0.1, eeg, "ENT"),
        WaveKind(35, "BIS", 300, "uV", 1.0, eeg, "BIS"),
    ]
    return {kind.number: kind for kind in kinds}


KINDS = _kinds()
"""Waves by number. ECG12 (22) has a packing of its own and the loop bits (29) are no wave: neither is read."""

BY_NAME = {kind.name: kind for kind in KINDS.values()}


@dataclass(slots=True)
class _Track:
    """Where one wave is: samples so far, and when its last block came."""

    index: int = 0
    last: Now | None = None
    suspect: bool = False


class WaveDecoder:
    """Counts each wave's samples from link up on. What was lost is estimated from the time that passed."""

    __slots__ = ("_tracks",)

    def __init__(self) -> None:
        self._tracks = {number: _Track() for number in KINDS}

    def line_fault(self) -> None:
        """Bytes were lost on the line: each wave may miss a block."""
        for track in self._tracks.values():
            track.suspect = True

    def decode(self, number: int, data: bytes, time_s: int, now: Now) -> list[Record]:
        """Records of one waveform subrecord of ``KINDS``. Raises DeviceFault ``ge-dri.bad-record``."""
        kind = KINDS[number]
        if len(data) < _HEAD.size:
            raise DeviceFault("ge-dri.bad-record", f"a {kind.name} subrecord has only {len(data)} B")
        count, status, label = _HEAD.unpack_from(data)
        samples = data[_HEAD.size : _HEAD.size + 2 * count]
        if count < 0 or len(samples) != 2 * count:
            raise DeviceFault("ge-dri.bad-record", f"{kind.name} says {count} samples in {len(data)} B")
        if count == 0:
            self._tracks[number].suspect |= bool(status & _GAP)
            return []
        at_ns = now.utc_ns - count * S_NS // kind.rate_hz
        records = self._gap(kind, count, bool(status & _GAP), at_ns, now)
        track = self._tracks[number]
        samples, quality = _without_control_codes(samples, count)
        code, channel = _name(kind, label)
        records.append(
            Wave(
                at_ns=at_ns,
                device_time=monitor_time(time_s),
                quality=quality,
                code=code,
                unit=kind.unit,
                channel=channel,
                rate=(kind.rate_hz, 1),
                index=track.index,
                width=2,
                samples=samples,
                scale=kind.scale,
                offset=0.0,
                invalid=INVALID_SAMPLE,
                # The protocol tells only that it is in this block, not where.
                marks=tuple((0, name) for bit, name in ((_PACER, "pacer"), (_LEAD_OFF, "lead_off")) if status & bit),
            )
        )
        track.index += count
        track.last, track.suspect = now, False
        return records

    def _gap(self, kind: WaveKind, count: int, told: bool, at_ns: int, now: Now) -> list[Record]:
        """Advance the index over what is missing before this block, and say so."""
        track = self._tracks[kind.number]
        if track.last is None:
            return [] if not told else [_device_gap(kind, at_ns, at_ns, None, now)]
        late = (now.mono_ns - track.last.mono_ns) * kind.rate_hz // S_NS - count
        silent = late > 2 * kind.rate_hz
        if told:
            missing = max(1, late)
        elif silent or (track.suspect and 2 * late >= count):
            missing = late
        else:
            return []
        track.index += missing
        return [_device_gap(kind, track.last.utc_ns, at_ns, missing, now)] if told else []


def _device_gap(kind: WaveKind, since_ns: int, until_ns: int, missing: int | None, now: Now) -> Gap:
    return Gap(
        at_ns=now.utc_ns,
        cause="device_gap",
        since_ns=since_ns,
        until_ns=max(since_ns, until_ns),
        lost_items=missing,
        detail=f"{kind.name}: the monitor lost samples before this block; how many is estimated from the time",
    )


def _without_control_codes(samples: bytes, count: int) -> tuple[bytes, Quality]:
    """Samples with every control code replaced by the one "no value"; if nothing else is left, UNAVAILABLE."""
    values = struct.unpack(f"<{count}h", samples)
    if min(values) > _CONTROL_CODES_TO:
        return samples, Quality.GOOD
    cleaned = [INVALID_SAMPLE if value <= _CONTROL_CODES_TO else value for value in values]
    quality = Quality.UNAVAILABLE if max(cleaned) == INVALID_SAMPLE else Quality.GOOD
    return struct.pack(f"<{count}h", *cleaned), quality


def _name(kind: WaveKind, label: int) -> tuple[str, str]:
    """MDC code and channel by the block's label."""
    if kind.name.startswith("ECG"):
        lead = LEADS.get(label & 0xF)
        return (f"{kind.code}_{lead}" if lead else kind.code), kind.channel
    if kind.name.startswith("INVP"):
        code = PRESSURES.get(label, ("", kind.code))[1] or f"MDCX_GE_{kind.name}"
        return code, pressure_channel(label, kind.channel)
    if kind.name == "AA":
        return agent_prefix(label), kind.channel
    return kind.code, kind.channel
