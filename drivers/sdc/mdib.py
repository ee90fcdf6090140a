"""An MDIB and the reports of its changes, decoded into records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from drivers.clock_offset import ClockOffset, ClockStep
from drivers.contract import Now
from drivers.sdc.alerts import Alerts
from drivers.sdc.components import COMPONENTS, OPERATING, Components, operation_invoked, system_error
from drivers.sdc.config import SdcConfig
from drivers.sdc.contexts import CONTEXTS, MOST_STATES, Contexts
from drivers.sdc.description import Description, Descriptor, MdsInfo, read_description
from drivers.sdc.metrics import Jump, Waves, distribution, numeric
from drivers.sdc.xml import Element
from drivers.shown_values import ShownValues
from ledger.errors import DeviceFault
from ledger.limits import MS_NS
from ledger.records import Clock, Gap, Identity, Quality, Record

_NUMERICS: Final = frozenset({"NumericMetric", "StringMetric", "EnumStringMetric"})
_STATES_OF: Final = {
    "EpisodicMetricReport": "MetricState", "PeriodicMetricReport": "MetricState",
    "EpisodicAlertReport": "AlertState", "PeriodicAlertReport": "AlertState",
    "EpisodicComponentReport": "ComponentState", "PeriodicComponentReport": "ComponentState",
    "EpisodicContextReport": "ContextState", "PeriodicContextReport": "ContextState",
    "EpisodicOperationalStateReport": "OperationState", "PeriodicOperationalStateReport": "OperationState",
}  # fmt: skip
STATE_REPORTS: Final = frozenset({"WaveformStream", *_STATES_OF})
_UNREAD_REMEMBERED: Final = 32
_MOST_UNKNOWN: Final = 256
_LONGEST_VERSION: Final = 18


@dataclass(frozen=True, slots=True)
class VersionGroup:
    """MdibVersionGroup: which MDIB, and which version of it."""

    sequence: str
    instance: str
    version: int

    def continues(self, other: VersionGroup) -> bool:
        """Whether the other is a version of the same MDIB."""
        return (self.sequence, self.instance) == (other.sequence, other.instance)


def version_group(element: Element) -> VersionGroup:
    """Of a report or an MDIB. Raises DeviceFault ``sdc.bad-mdib``."""
    version = element.get("MdibVersion", "0")
    if not (version.isascii() and version.isdecimal() and len(version) <= _LONGEST_VERSION):
        raise DeviceFault("sdc.bad-mdib", "an MDIB version is no number")
    return VersionGroup(element.get("SequenceId")[:256], element.get("InstanceId", "0")[:32], int(version))


@dataclass(slots=True)
class Outcome:
    """What came of a report. ``faults``: what could not be read; ``unknown``: the description lacks a handle."""

    records: list[Record] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    unknown: bool = False
    clock_step_ns: int = 0
    waves: int = 0


class Mdib:
    """One device's MDIB. Bounded by its description, which is bounded by the size of a message."""

    def __init__(self, config: SdcConfig) -> None:
        self.description = Description()
        self._config = config
        self._modes: dict[str, Quality] = {}
        self._versions: dict[str, int] = {}
        self._shown = ShownValues()
        self._waves = Waves()
        self._alerts = Alerts()
        self._contexts = Contexts(config.context)
        self._components = Components()
        self._clock = ClockOffset(MS_NS)
        self._identities: dict[str, MdsInfo] = {}
        self._unread: set[str] = set()
        self._unknown: set[str] = set()
        self._hopeless: set[str] = set()
        self._untold = False

    def link_up(self) -> None:
        """A new connection: everything that is shown is told again, and waves count from the beginning."""
        self._versions.clear()
        self._waves = Waves()
        self._clock = ClockOffset(MS_NS)
        self._identities.clear()
        self._unread.clear()
        self._hopeless.clear()

    def renumbered(self) -> None:
        """The MDIB began anew: its states' versions too."""
        self._versions.clear()

    def tell_again(self) -> None:
        """Another case: when the MDIB is read next, all of it is told though it did not change."""
        self._untold = True
        self._contexts.tell_again()
        self._components.tell_again()

    def silent(self, now: Now) -> list[Record]:
        """The device is lost: what it measured holds no more, and whether its alarms go on nobody can tell."""
        return [*self._shown.silent(now), *self._components.silent(now), *self._alerts.silent(now)]

    def describe(self, mdib: Element, fallback: MdsInfo, now: Now) -> Outcome:
        """The descriptive part of a whole MDIB, and who the device is. Raises DeviceFault ``sdc.bad-mdib``."""
        description = read_description(mdib.first("MdDescription"))
        self.description = description
        known = description.descriptors
        self._waves.keep(known)
        self._alerts.describe(description)
        self._hopeless = {handle for handle in (*self._hopeless, *self._unknown) if handle not in known}
        self._unknown.clear()
        outcome = Outcome()
        outcome.records += self._shown.withdraw(now.utc_ns, lambda handle: handle not in known)
        for state in _states_of(mdib):
            self._mode(state)
        outcome.records += self._identify(fallback, now)
        return outcome

    def states(self, mdib: Element, now: Now, *, everything: bool) -> Outcome:
        """The states of a whole MDIB that are newer than what is known; ``everything``: active alarms once more.

        Waves are not taken from it: what it holds of them is the last report's, which comes, or came, as a report.
        """
        outcome = Outcome()
        untold, self._untold = self._untold, False
        everything = everything or untold
        for state in _states_of(mdib):
            version = self._versions.get(_key(state))
            is_new = untold or version is None or version != _version(state)
            if is_new and state.kind != "RealTimeSampleArrayMetricState":
                self._state(state, outcome, now)
        outcome.records += self._alerts.settle(self.description, self._modes, now, everything=everything)
        return outcome

    def report(self, body: Element, now: Now) -> Outcome:
        """A report of changes. What cannot be read of it is told in ``faults``."""
        outcome = Outcome()
        try:
            if body.tag == "OperationInvokedReport":
                outcome.records += operation_invoked(body, self._whole_mode(), now)
            elif body.tag == "SystemErrorReport":
                outcome.records += system_error(body, self._whole_mode(), now)
            else:
                states = list(_states(body))
                for state in states:
                    self._mode(state)
                for state in states:
                    self._state(state, outcome, now)
                outcome.records += self._alerts.settle(self.description, self._modes, now)
        except DeviceFault as fault:
            outcome.faults.append(fault.text)
        return outcome

    # States ---------------------------------------------------------------------------------------------------

    def _mode(self, state: Element) -> None:
        if state.kind == "MdsState":
            self._modes[state.get("DescriptorHandle")] = OPERATING.get(state.get("OperatingMode"), Quality.UNCHECKED)
            if len(self._modes) > len(self.description.systems) + 1:
                self._modes = {mds: mode for mds, mode in self._modes.items() if mds in self.description.systems}

    def _whole_mode(self) -> Quality:
        """What holds for a report that names no medical device system."""
        mode = Quality.GOOD
        for found in self._modes.values():
            mode |= found
        return mode

    def _state(self, state: Element, outcome: Outcome, now: Now) -> None:
        descriptor = self.description.descriptors.get(state.get("DescriptorHandle"))
        if descriptor is None:
            self._lacking(state.get("DescriptorHandle"), outcome)
            return
        version, key = _version(state), _key(state)
        if version is not None:
            if version < self._versions.get(key, 0):
                return  # overtaken by a newer report of the same state
            self._remember(key, version)
        try:
            self._decode(descriptor, state, outcome, now)
        except DeviceFault as fault:
            outcome.faults.append(f"{fault.text} ({descriptor.kind})")

    def _lacking(self, handle: str, outcome: Outcome) -> None:
        """The description lacks this handle: it is to be read again, but once for each."""
        if handle in self._hopeless or handle in self._unknown or len(self._hopeless) >= _MOST_UNKNOWN:
            return
        outcome.unknown = True
        if len(self._unknown) < _MOST_UNKNOWN:
            self._unknown.add(handle)

    def _remember(self, key: str, version: int) -> None:
        self._versions[key] = version
        most = len(self.description.descriptors) + MOST_STATES
        while len(self._versions) > most:
            del self._versions[next(iter(self._versions))]

    def _decode(self, descriptor: Descriptor, state: Element, outcome: Outcome, now: Now) -> None:
        description, kind = self.description, descriptor.kind
        mode = self._modes.get(descriptor.mds, Quality.GOOD)
        if kind in _NUMERICS:
            outcome.records += self._shown.show(descriptor.handle, numeric(descriptor, state, description, mode, now))
        elif kind == "DistributionSampleArrayMetric":
            told = distribution(descriptor, state, description, mode, now)
            outcome.records += self._shown.show(descriptor.handle, told)
        elif kind == "RealTimeSampleArrayMetric":
            self._wave(descriptor, state, mode, outcome, now)
        elif self._alerts.take(descriptor, state):
            pass
        elif kind in CONTEXTS:
            outcome.records += self._contexts.take(descriptor, state, description, mode, now)
        elif kind in COMPONENTS:
            outcome.records += self._components.take(descriptor, state, description, mode, now)
        elif not kind.endswith("Operation"):
            outcome.records += self._not_read(kind, now)

    def _wave(self, descriptor: Descriptor, state: Element, mode: Quality, outcome: Outcome, now: Now) -> None:
        if not self._config.waves:
            return
        wave, jump = self._waves.wave(descriptor, state, self.description, mode, now)
        if wave is None:
            return
        if jump is not None:
            outcome.records.append(_missing_samples(descriptor, jump, wave.at_ns, now))
        outcome.records.append(wave)
        outcome.waves += 1
        if wave.device_time is not None:
            seconds, samples = wave.rate[1], len(wave.samples) // wave.width
            end_ns = wave.device_time.value_ns + samples * seconds * 1_000_000_000 // wave.rate[0]
            observed = self._clock.observe(end_ns, now)
            if isinstance(observed, ClockStep):
                outcome.clock_step_ns = observed.step_ns
            elif isinstance(observed, Clock):
                outcome.records.append(observed)

    def _not_read(self, kind: str, now: Now) -> Iterator[Record]:
        """Say once per connection that something is sent which is not decoded; it is kept raw."""
        if kind in self._unread or len(self._unread) >= _UNREAD_REMEMBERED:
            return
        self._unread.add(kind)
        yield Gap(
            at_ns=now.utc_ns,
            cause="undecodable",
            since_ns=now.utc_ns,
            until_ns=now.utc_ns,
            detail=f"states of {kind[:64]} are not decoded on this connection, only kept raw",
        )

    def _identify(self, fallback: MdsInfo, now: Now) -> Iterator[Identity]:
        description = self.description
        for mds, told in description.systems.items():
            if self._identities.get(mds) == told:
                continue
            self._identities[mds] = told
            yield Identity(
                sub=description.sub_of(mds),
                at_ns=now.utc_ns,
                quality=self._modes.get(mds, Quality.GOOD),
                make=told.make or fallback.make,
                model=told.model or fallback.model,
                serial=told.serial or fallback.serial,
                software=told.software or fallback.software,
                protocol="ISO/IEEE 11073 SDC (11073-10207:2017)",
                udi=told.udi,
                position=mds if len(description.systems) > 1 else "",
            )


def _states_of(mdib: Element) -> list[Element]:
    holder = mdib.first("MdState")
    return list(holder.all("State")) if holder is not None else []


def _states(body: Element) -> Iterator[Element]:
    if body.tag == "WaveformStream":
        yield from body.all("State")
        return
    tag = _STATES_OF.get(body.tag)
    if tag is None:
        raise DeviceFault("sdc.bad-report", "a report is of a kind that was not asked for")
    for part in body.all("ReportPart"):
        yield from part.all(tag)


def _key(state: Element) -> str:
    """What a state's versions count for: a descriptor, or one of the states of a context."""
    return (state.get("Handle") or state.get("DescriptorHandle"))[:256]


def _version(state: Element) -> int | None:
    text = state.get("StateVersion")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _LONGEST_VERSION else None


def _missing_samples(descriptor: Descriptor, jump: Jump, until_ns: int, now: Now) -> Gap:
    return Gap(
        at_ns=now.utc_ns,
        cause="sequence",
        since_ns=until_ns - jump.lost_ns,
        until_ns=until_ns,
        lost_items=jump.samples,
        detail=f"samples of the wave {descriptor.handle[:64]} never came",
    )
