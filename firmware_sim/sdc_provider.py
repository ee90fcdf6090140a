"""A simulated anaesthesia workstation that speaks ISO/IEEE 11073 SDC: the provider role of the library sdc11073.

The library does the protocol (DPWS, WS-Discovery, WS-Eventing, BICEPS); here it is given an MDIB and the patient's
values. It is imported only when a workstation is made: it needs the extra `simulators`.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from array import array
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from firmware_sim.alarms import active_alarms
from firmware_sim.clock import SimClock
from firmware_sim.patient import Patient
from firmware_sim.sdc_mdib import (
    BATTERY,
    CONDITIONS,
    LOCATION_CONTEXT,
    OPERATOR_CONTEXT,
    PATIENT_CONTEXT,
    PEEP_SETTING,
    VENT_MODE,
    WORKFLOW_CONTEXT,
    AlertCondition,
    WaveMetric,
    mdib_xml,
    numerics,
    signal_handles,
    waves,
)

if TYPE_CHECKING:
    from sdc11073.provider import SdcProvider

WAVES_EVERY_S: Final = 0.1
NUMERICS_EVERY_TURNS: Final = 10
_INVALID: Final = frozenset({"Inv", "Na"})


@dataclass(frozen=True, slots=True)
class SdcConfig:
    """Which workstation it is. `epr`: its lasting identity; without `discovery` it tells nobody that it is there.

    `tls`: a folder with `userkey.pem`, `usercert.pem` and `cacert.pem`; without it, plain HTTP.
    """

    adapter: str = "127.0.0.1"
    epr: uuid.UUID = field(default_factory=uuid.uuid4)
    serial: str = "SIM-0001"
    discovery: bool = True
    tls: Path | None = None
    subscription_s: int = 15


class _Unannounced:
    """In place of WS-Discovery, for a workstation that must be known by its address."""

    def __init__(self, address: str) -> None:
        self.active_address = address

    def publish_service(self, epr: str, types: list[Any], scopes: Any, x_addrs: list[str]) -> None:
        """Tell nobody."""

    def clear_service(self, epr: str) -> None:
        """Nothing to take back."""

    def stop(self) -> None:
        """Nothing runs."""


class SdcWorkstation:
    """The workstation. `requests` counts every SOAP action that was asked of it, by its last word."""

    def __init__(self, patient: Patient, clock: SimClock, config: SdcConfig) -> None:
        """Raise ModuleNotFoundError if the library is not installed."""
        from sdc11073.definitions_sdc import SdcV1Definitions  # noqa: PLC0415 - the library takes a second to load
        from sdc11073.mdib import ProviderMdib  # noqa: PLC0415

        logging.getLogger("sdc").setLevel(logging.CRITICAL)
        self.config = config
        self.requests: Counter[str] = Counter()
        self._patient = patient
        self._clock = clock
        self._types: Any = SdcV1Definitions.data_model.pm_types
        self._mdib: Any = ProviderMdib.from_string(mdib_xml(config.serial), SdcV1Definitions)
        self._provider: SdcProvider | None = None
        self._discovery: Any = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._validity: dict[str, str] = {}
        self._mode: dict[str, str] = {}
        self._present: dict[str, bool] = {}
        self._forced: dict[str, bool] = {}
        self._waves_until_s = 0.0

    @property
    def address(self) -> str:
        """Where it answers."""
        return str(self._provider.get_xaddrs()[0]) if self._provider is not None else ""

    def start(self) -> None:
        """Begin to answer and to report."""
        from sdc11073.certloader import mk_ssl_contexts_from_folder  # noqa: PLC0415
        from sdc11073.provider import SdcProvider  # noqa: PLC0415
        from sdc11073.wsdiscovery import WSDiscovery  # noqa: PLC0415
        from sdc11073.xml_types.dpws_types import ThisDeviceType, ThisModelType  # noqa: PLC0415

        config = self.config
        contexts = mk_ssl_contexts_from_folder(config.tls) if config.tls else None
        if config.discovery:
            self._discovery = WSDiscovery(config.adapter)
            self._discovery.start()
        else:
            self._discovery = _Unannounced(config.adapter)
        model = ThisModelType("Simulated Medical", None, "SDC workstation", "SW-1")
        device = ThisDeviceType("OR 1 workstation", "2.1.0", config.serial)
        provider = self._provider = SdcProvider(
            self._discovery, model, device, self._mdib, config.epr, ssl_context_container=contexts,
            max_subscription_duration=config.subscription_s,
        )  # fmt: skip
        self._count_requests(provider.msg_reader)
        self._fill()
        provider.start_all(start_rtsample_loop=False)
        provider.publish()  # type: ignore[no-untyped-call]
        self._waves_until_s = self._clock.now_s()
        self._thread = threading.Thread(target=self._run, name="workstation", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Say farewell and end."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._provider is not None:
            self._provider.stop_all()
        if self._discovery is not None:
            self._discovery.stop()

    # Commands -------------------------------------------------------------------------------------------------

    def command(self, line: str) -> str:
        """Do what a line of words says and answer with a line. Raise ValueError if it makes no sense."""
        name, *words = line.split()
        commands: Mapping[str, Callable[..., None]] = {
            "validity": self._set_validity, "mode": self._set_mode, "alarm": self._force_alarm, "jump": self._jump,
            "sequence": self._new_sequence, "select": self._select, "rename": self._rename, "patient": self._admit,
        }  # fmt: skip
        if name == "requests":
            return json.dumps(dict(sorted(self.requests.items())))
        if name not in commands:
            raise ValueError(f"there is no command {name!r}; there are: requests, {', '.join(sorted(commands))}")
        try:
            commands[name](*words)
        except (TypeError, KeyError) as e:
            raise ValueError(f"cannot do {line!r}: {e}") from e
        return "ok"

    def _set_validity(self, handle: str, validity: str) -> None:
        """`validity spo2 Qst`: MeasurementValidity of all values of a metric from now on."""
        self._validity[handle] = self._types.MeasurementValidity(validity).value

    def _set_mode(self, handle: str, mode: str) -> None:
        """`mode spo2 Test`: GenerationMode."""
        self._mode[handle] = self._types.GenerationMode(mode).value

    def _force_alarm(self, handle: str, what: str) -> None:
        """`alarm ac.lead-off on|off|latch|ack|pause`: a condition and its signals."""
        known = {condition.handle: condition for condition in CONDITIONS}[handle]
        presence = {"on": "On", "off": "Off", "latch": "Latch", "ack": "Ack", "pause": "On"}[what]
        self._forced[handle] = what in {"on", "ack", "pause"}
        self._show(known, present=self._forced[handle], signal=presence, paused=what == "pause")

    def _jump(self, by: str) -> None:
        """`jump 5`: so many versions of the MDIB were never told of."""
        with self._mdib.mdib_lock:
            self._mdib.mdib_version += int(by)

    def _new_sequence(self) -> None:
        """`sequence`: the MDIB begins anew, as after a restart inside the device."""
        with self._mdib.mdib_lock:
            self._mdib.sequence_id = uuid.uuid4().urn
            self._mdib.mdib_version = 0

    def _select(self, mode: str) -> None:
        """`select PCV`: the ventilation mode."""
        with self._mdib.metric_state_transaction() as transaction:
            self._value(transaction.get_state(VENT_MODE), VENT_MODE, mode)

    def _rename(self, handle: str, code: str) -> None:
        """`rename co2.absorber 4799`: the description of a metric changes."""
        with self._mdib.descriptor_transaction() as transaction:
            transaction.get_descriptor(handle).Type.Code = code

    def _admit(self, given: str, family: str) -> None:
        """`patient Erika Mustermann`: another patient."""
        with self._mdib.context_state_transaction() as transaction:
            transaction.disassociate_all(PATIENT_CONTEXT)
            self._patient_state(transaction, given, family)

    # What it shows --------------------------------------------------------------------------------------------

    def _count_requests(self, reader: Any) -> None:
        read = reader.read_received_message

        def counted(*arguments: Any, **named: Any) -> Any:
            message = read(*arguments, **named)
            self.requests[str(message.action).rpartition("/")[2]] += 1
            return message

        reader.read_received_message = counted

    def _fill(self) -> None:
        """What is there from the beginning."""
        types = self._types
        with self._mdib.metric_state_transaction() as transaction:
            self._value(transaction.get_state(PEEP_SETTING), PEEP_SETTING, Decimal(5))
            self._value(transaction.get_state(VENT_MODE), VENT_MODE, "VCV")
        with self._mdib.alert_state_transaction() as transaction:
            for condition in CONDITIONS:
                state = transaction.get_state(condition.handle)
                state.ActivationState = types.AlertActivation.ON
                if condition.limits is not None:
                    low, high = condition.limits
                    state.Limits = types.Range(lower=Decimal(str(low)), upper=Decimal(str(high)))
                    state.MonitoredAlertLimits = types.AlertConditionMonitoredLimits.ALL_ON
            transaction.get_state("as").ActivationState = types.AlertActivation.ON
        with self._mdib.component_state_transaction() as transaction:
            battery = transaction.get_state(BATTERY)
            battery.ChargeStatus = battery.ChargeStatusEnum.FULL
        with self._mdib.context_state_transaction() as transaction:
            self._patient_state(transaction, "Max", "Mustermann")
            location = transaction.mk_context_state(LOCATION_CONTEXT, set_associated=True)
            location.LocationDetail = types.LocationDetail(poc="OR", room="1", facility="SIM")
            location.Identification.append(types.InstanceIdentifier("sdc.ctxt.loc.detail", extension_string="SIM/OR/1"))
            operator = transaction.mk_context_state(OPERATOR_CONTEXT, set_associated=True)
            operator.OperatorDetails = types.BaseDemographics()
            operator.OperatorDetails.Familyname = "Anders"
            operator.Identification.append(types.InstanceIdentifier("urn:oid:1.2.3.5", extension_string="STAFF-9"))
            workflow = transaction.mk_context_state(WORKFLOW_CONTEXT, set_associated=True)
            workflow.Identification.append(types.InstanceIdentifier("urn:oid:1.2.3", extension_string="ORDER-1"))

    def _patient_state(self, transaction: Any, given: str, family: str) -> None:
        types = self._types
        state = transaction.mk_context_state(PATIENT_CONTEXT, set_associated=True)
        state.Identification.append(types.InstanceIdentifier("urn:oid:1.2.3.4", extension_string="PID-77"))
        core = state.CoreData = types.PatientDemographicsCoreData()
        core.Givenname, core.Familyname = given, family
        core.Sex = types.Sex.MALE
        core.PatientType = types.PatientType.ADULT
        core.Weight = types.Measurement(Decimal(80), types.CodedValue("263875"))

    def _run(self) -> None:
        turn = 0
        while not self._stop.wait(max(0.0, self._waves_until_s + WAVES_EVERY_S - self._clock.now_s())):
            self._send_waves()
            if turn % NUMERICS_EVERY_TURNS == 0:
                self._send_numerics()
                self._send_alarms()
            turn += 1

    def _send_waves(self) -> None:
        since_s = self._waves_until_s
        self._waves_until_s += WAVES_EVERY_S
        at_unix_s = self._clock.started_unix_s + since_s
        with self._mdib.rt_sample_state_transaction() as transaction:
            for wave in waves():
                state = transaction.get_state(wave.handle)
                self._quality(state, wave.handle)
                state.MetricValue.DeterminationTime = at_unix_s
                state.MetricValue.Samples = self._samples(wave, since_s)

    def _samples(self, wave: WaveMetric, since_s: float) -> list[Decimal]:
        count = round(WAVES_EVERY_S * wave.rate_hz)
        samples: array[float] = self._patient.wave(wave.kind, since_s, count, wave.rate_hz)
        return [Decimal(f"{sample:.{wave.digits}f}") for sample in samples]

    def _send_numerics(self) -> None:
        shown = self._patient.at(self._clock.now_s())
        with self._mdib.metric_state_transaction() as transaction:
            for metric in numerics():
                value = metric.shown(shown)
                rounded = None if value is None else Decimal(f"{value:.{metric.digits}f}")
                self._value(transaction.get_state(metric.handle), metric.handle, rounded)

    def _value(self, state: Any, handle: str, value: Decimal | str | None) -> None:
        self._quality(state, handle)
        hidden = value is None or self._validity.get(handle) in _INVALID
        state.MetricValue.Value = None if hidden else value
        state.MetricValue.DeterminationTime = time.time()
        if value is None:
            state.MetricValue.MetricQuality.Validity = self._types.MeasurementValidity.NA

    def _quality(self, state: Any, handle: str) -> None:
        if state.MetricValue is None:
            state.mk_metric_value()
        quality = state.MetricValue.MetricQuality
        quality.Validity = self._types.MeasurementValidity(self._validity.get(handle, "Vld"))
        quality.Mode = self._types.GenerationMode(self._mode.get(handle, "Real"))

    def _send_alarms(self) -> None:
        active = {
            (alarm.source, alarm.event[0]) for alarm in active_alarms(self._patient.smoothed(self._clock.now_s()))
        }
        for condition in CONDITIONS:
            if not condition.source or condition.handle in self._forced:
                continue
            present = (condition.source, condition.code) in active
            if present is not self._present.get(condition.handle, False):
                self._show(condition, present=present, signal="On" if present else "Off")

    def _show(self, condition: AlertCondition, *, present: bool, signal: str, paused: bool = False) -> None:
        self._present[condition.handle] = present
        with self._mdib.alert_state_transaction() as transaction:
            state = transaction.get_state(condition.handle)
            state.Presence = present
            state.DeterminationTime = time.time()
            visible, audible = (transaction.get_state(handle) for handle in signal_handles(condition.handle))
            visible.Presence = audible.Presence = self._types.AlertSignalPresence(signal)
            visible.ActivationState = self._types.AlertActivation.ON
            audible.ActivationState = self._types.AlertActivation.PAUSED if paused else self._types.AlertActivation.ON
