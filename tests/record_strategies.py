"""Hypothesis strategies for every record type, for all codecs that must carry them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal, get_args

from hypothesis import strategies as st

from ledger.records import (
    CaseCause,
    CaseChange,
    CasePhase,
    Clock,
    DeviceTime,
    Event,
    EventKind,
    Gap,
    GapCause,
    Identity,
    Keyframe,
    Link,
    LinkId,
    LinkState,
    Numeric,
    Object,
    PatientContext,
    Phase,
    Priority,
    Quality,
    Raw,
    Record,
    Setting,
    Silence,
    Wave,
)

texts = st.text(st.characters(codec="utf-8"), max_size=8)
instants = st.one_of(st.integers(0, 4 * 10**18), st.integers(-(1 << 100), 1 << 100))
decimals = st.one_of(
    st.builds(lambda m, e: Decimal(f"{m}E{e}"), st.integers(-(10**30), 10**30), st.integers(-7000, 7000)),
    st.sampled_from([Decimal("7.10"), Decimal("-0"), Decimal("0.00"), Decimal("-0.0E+3"), Decimal("1E+2")]),
)
device_times = st.builds(
    DeviceTime, instants, st.sampled_from(["utc", "local", "uptime"]), st.sampled_from([1, 10**6, 10**9])
)


def choices(words: object) -> st.SearchStrategy[Any]:
    return st.sampled_from(get_args(words))


def common(**own: st.SearchStrategy[Any]) -> dict[str, st.SearchStrategy[Any]]:
    shared: dict[str, st.SearchStrategy[Any]] = {
        "sub": st.sampled_from(["", "pump-4711", "bed-OR3"]),
        "at_ns": instants,
        "device_time": st.none() | device_times,
        "quality": st.builds(Quality, st.integers(0, 16_383)),
    }
    return shared | own


def value_fields() -> dict[str, st.SearchStrategy[Any]]:
    return common(code=texts, value=st.none() | decimals | texts, unit=texts, device_code=texts, channel=texts)


@st.composite
def waves(draw: st.DrawFn) -> Wave:
    width: Literal[2, 4] = draw(st.sampled_from([2, 4]))
    count = draw(st.integers(0, 20))
    return Wave(
        **{name: draw(values) for name, values in common(code=texts, unit=texts, channel=texts).items()},
        rate=draw(st.tuples(st.integers(1, 1000), st.integers(1, 10))),
        index=draw(st.integers(0, 1 << 40)),
        width=width,
        samples=draw(st.binary(min_size=count * width, max_size=count * width)),
        scale=draw(st.floats(allow_nan=False, allow_infinity=False)),
        offset=draw(st.floats(allow_nan=False, allow_infinity=False)),
        invalid=draw(st.none() | st.integers(-32768, 32767)),
        marks=tuple(draw(st.lists(st.tuples(st.integers(0, 20), texts), max_size=3))),
    )


@st.composite
def raws(draw: st.DrawFn) -> Raw:
    chunks = draw(st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=5))
    delays = sorted(draw(st.lists(st.integers(0, 10**6), min_size=len(chunks), max_size=len(chunks))))
    return Raw(
        **{name: draw(values) for name, values in common().items()},
        link=LinkId(draw(st.integers(1, 1000))),
        direction=draw(st.sampled_from(["<", ">"])),
        data=b"".join(chunks),
        pieces=tuple((delay, len(chunk)) for delay, chunk in zip(delays, chunks, strict=True)),
    )


_opt_count = st.none() | st.integers(0, 10**9)
_facts = st.dictionaries(texts, texts, max_size=3)
_floats = st.floats(allow_nan=False, allow_infinity=False)
by_type: dict[type[Record], st.SearchStrategy[Any]] = {
    Numeric: st.builds(Numeric, **value_fields()),
    Setting: st.builds(Setting, **value_fields()),
    Wave: waves(),
    Event: st.builds(
        Event,
        **common(
            kind=choices(EventKind), alarm_id=texts, phase=choices(Phase), priority=choices(Priority), code=texts,
            source=texts, latched=st.booleans(), silence=choices(Silence),
            limits=st.tuples(st.none() | decimals, st.none() | decimals),
            text=texts, device_code=texts, device_priority=texts,
        ),
    ),
    Raw: raws(),
    Gap: st.builds(
        Gap,
        **common(
            cause=choices(GapCause), since_ns=instants, until_ns=instants, lost_bytes=_opt_count,
            lost_items=_opt_count, detail=texts,
        ),
    ),
    Identity: st.builds(
        Identity,
        **common(
            make=texts, model=texts, serial=texts, software=texts, protocol=texts, udi=texts, position=texts,
        ),
    ),
    Link: st.builds(Link, **common(link=st.integers(1, 1000), state=choices(LinkState), peer=texts, reason=texts)),
    Clock: st.builds(
        Clock, **common(offset_ns=instants, error_ns=instants, drift_ppm=st.none() | _floats, samples=instants)
    ),
    Object: st.builds(
        Object,
        **common(
            sha256=st.binary(min_size=32, max_size=32), size=st.integers(0, 1 << 50), media_type=texts, name=texts,
            meta=st.dictionaries(texts, texts, max_size=3),
        ),
    ),
    Keyframe: st.builds(Keyframe, **common(state=st.binary(max_size=40))),
    PatientContext: st.builds(PatientContext, **common(trigger=texts, facts=_facts)),
    CaseChange: st.builds(
        CaseChange,
        **common(
            case_id=st.binary(min_size=16, max_size=16), phase=choices(CasePhase), cause=choices(CaseCause), by=texts,
            opened_ns=instants, reason=texts, facts=_facts,
        ),
    ),
}  # fmt: skip
records: st.SearchStrategy[Record] = st.one_of(*by_type.values())
groups: st.SearchStrategy[dict[str, list[Record]]] = st.dictionaries(texts, st.lists(records, max_size=6), max_size=4)
