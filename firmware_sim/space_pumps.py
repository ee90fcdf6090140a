"""B. Braun Space infusion pumps as BCC shows them: what runs in them, and what can happen to each."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from firmware_sim.patient import Numerics

PATIENT_KG = 75.0
PRE_ALARM_S = 180.0
KVO_ML_H = 1.0
OCCLUDED_PERCENT = 104


class Trouble(StrEnum):
    """What can happen to a pump."""

    OCCLUSION = "occlusion"
    STANDBY = "standby"
    AIR = "air"
    ON_BATTERY = "on-battery"


@dataclass(frozen=True, slots=True)
class Therapy:
    """What a pump gives, in ml/h; the dose in ``dose_unit`` (a BCC unit code) is that times ``dose_of_rate``.

    ``syringe_ml`` 0: a volumetric pump with ``volume_ml`` to be infused. ``pressor``: more as the pressure falls.
    ``tci``: mode, model, target and its unit of a target-controlled infusion.
    """

    drug: str
    short_name: str
    rate_ml_h: float
    syringe_ml: float = 50.0
    volume_ml: float = 0.0
    concentration: str = ""
    concentration_unit: int = 0
    dose_unit: int = 0
    dose_of_rate: float = 0.0
    pressor: bool = False
    tci: tuple[int, int, float, int] | None = None


THERAPIES = (
    Therapy("Propofol 2%", "Propofol", 18.0, concentration="20.00", concentration_unit=31, tci=(2, 2, 3.0, 32)),
    Therapy(
        "Remifentanil 50µg/ml", "Remifent", 12.0, concentration="50.00", concentration_unit=32, tci=(2, 4, 4.0, 30)
    ),
    Therapy(
        "Noradrenalin 0,1mg/ml", "Arteren\ue021", 4.5, concentration="100.00", concentration_unit=32,
        dose_unit=71, dose_of_rate=100 / 60 / PATIENT_KG, pressor=True,
    ),
    Therapy("Ringer Acetat  500ml", "Ringer", 250.0, syringe_ml=0, volume_ml=500.0),
    Therapy("Rocuronium 10mg/ml", "Rocuron", 3.0, concentration="10.00", concentration_unit=31, dose_unit=69,
            dose_of_rate=10 / PATIENT_KG),
    Therapy("Insulin 1 IE/ml", "Insulin", 2.0, concentration="1.00", concentration_unit=36, dose_unit=63,
            dose_of_rate=1.0),
    Therapy("KCl 1mmol/ml", "KCl", 5.0, concentration="1.00", concentration_unit=34, dose_unit=57, dose_of_rate=1.0),
    Therapy("NaCl 0.9%  250ml", "NaCl", 30.0, syringe_ml=0, volume_ml=250.0),
    Therapy("Dobutamin 5mg/ml", "Dobutam", 3.6, concentration="5.00", concentration_unit=31, dose_unit=71,
            dose_of_rate=5000 / 60 / PATIENT_KG),
)  # fmt: skip


@dataclass(slots=True)
class Pump:
    """One pump. Call ``advance`` before what it shows; times never go backwards."""

    serial: int
    therapy: Therapy
    left_ml: float = 40.0
    infused_ml: float = 1.4
    boluses: int = 0
    troubles: set[Trouble] = field(default_factory=set)
    rate_ml_h: float = 0.0
    running_s: float = 0.0
    _at_s: float = 0.0

    @property
    def volumetric(self) -> bool:
        """An Infusomat, not a Perfusor."""
        return self.therapy.syringe_ml == 0

    @property
    def _over(self) -> bool:
        return self.left_ml <= 0

    def advance(self, now_s: float, patient: Numerics) -> None:
        """Pump until now."""
        passed_s = max(0.0, now_s - self._at_s)
        self._at_s = now_s
        given_ml = min(max(0.0, self.left_ml), self.rate_ml_h * passed_s / 3600)
        self.infused_ml += given_ml
        self.left_ml -= given_ml
        self.running_s += passed_s if self.rate_ml_h else 0.0
        self.rate_ml_h = self._rate(patient)

    def _rate(self, patient: Numerics) -> float:
        if self.troubles & {Trouble.OCCLUSION, Trouble.STANDBY, Trouble.AIR}:
            return 0.0
        if self._over:
            return KVO_ML_H if self.volumetric and self.left_ml > -1 else 0.0
        rate = self.therapy.rate_ml_h
        if self.therapy.pressor:
            rate *= 1 + max(0.0, 75 - patient.art_mean) / 15
        return round(rate, 1)

    def shown(self) -> list[tuple[str, str]]:
        """Its parameters in the order in which it shows them."""
        therapy, rate = self.therapy, self.rate_ml_h
        remaining = f"{int(self.left_ml / rate * 60) * 60}" if rate else "65535"
        model = "686N030004" if self.volumetric else "688N030003"
        told = [("DSSTATUS", "00051"), ("GNMODEL", model), ("INRT", f"{rate:.2f}"), ("INAVRT", f"{rate:.2f}")]
        if self.volumetric:
            told.append(("INVTB", f"{therapy.volume_ml:.2f}"))
        told += [("INSOL", therapy.drug), ("INSOLSN", therapy.short_name), ("INSOLID", _library_id(therapy))]
        if not self.volumetric:
            told += [("INVOLACT", f"{max(0.0, self.left_ml):.2f}"), ("INSYR", f"{therapy.syringe_ml:.0f}")]
        told += [("INRMT", remaining), *self._dose(), ("INVI", f"{self.infused_ml:.2f}")]
        told += [("INTIME", f"{int(self.running_s // 60)}"), ("INAKKU", "240"), ("INBORT", "800.00")]
        told += [("INBOVAL", "0.0"), ("INBOCNT", str(self.boluses))]
        told += [("INSTBY", "30" if Trouble.STANDBY in self.troubles else "0")]
        told += [("INP1", "4"), ("INP2", str(self._pressure())), ("INNR", self._unique())]
        told += [("INSERNUM", str(self.serial)), ("INDTNR", "6656" if self.volumetric else "6144")]
        return told + self._tci() + self._states()

    def _dose(self) -> list[tuple[str, str]]:
        therapy = self.therapy
        if not therapy.dose_unit:
            return [("INDOCAL", "0"), ("INDCON", "0"), ("INDCONU", "23"), ("INDORT", "0"), ("INDORTU", "23")]
        dose = self.rate_ml_h * therapy.dose_of_rate
        return [
            ("INDOCAL", "1"),
            ("INDCON", therapy.concentration),
            ("INDCONU", str(therapy.concentration_unit)),
            ("INDORT", f"{dose:.3f}"),
            ("INDORTU", str(therapy.dose_unit)),
        ]

    def _tci(self) -> list[tuple[str, str]]:
        if self.therapy.tci is None:
            return []
        mode, model, target, unit = self.therapy.tci
        reached = target * min(1.0, 0.8 + self.running_s / 600)
        shown = [("TCIMOD", str(mode)), ("TCIMODEL", str(model)), ("TCIPLA", f"{reached * 1.02:.2f}")]
        return [*shown, ("TCIEFF", f"{reached:.2f}"), ("TCITAR", f"{target:.2f}"), ("TCIUT", str(unit))]

    def _states(self) -> list[tuple[str, str]]:
        near_end = bool(self.rate_ml_h) and self.left_ml / self.rate_ml_h * 3600 < PRE_ALARM_S
        kvo = self._over and self.rate_ml_h > 0
        alarms = {
            2: not self.volumetric and self._over,
            3: Trouble.OCCLUSION in self.troubles,
            7: self.volumetric and self._over,
            12: not self.volumetric and near_end and not self._over,
            15: Trouble.AIR in self.troubles,
        }
        modes = {
            1: not self.rate_ml_h and not self.troubles and not self._over,
            3: self.rate_ml_h > 0,
            5: self.rate_ml_h > 0 and not self.volumetric,
            6: Trouble.STANDBY in self.troubles,
            8: Trouble.ON_BATTERY not in self.troubles,
            10: kvo,
        }
        stopped, alarm = not self.rate_ml_h, any(alarms[place] for place in (2, 3, 7, 15))
        run_state = stopped | (not stopped) << 1 | alarm << 2 | kvo << 3 | alarms[12] << 5
        states = [(f"INM{place}", _flag(place, modes, {4, 9})) for place in range(1, 14)]
        states += [(f"INA{place}", _flag(place, alarms, {6, 10, 13})) for place in range(1, 17)]
        return [*states, ("RUNSTATE", str(run_state))]

    def _pressure(self) -> int:
        return OCCLUDED_PERCENT if Trouble.OCCLUSION in self.troubles else 35 if self.rate_ml_h else 12

    def _unique(self) -> str:
        return f"{(0x68000000 if self.volumetric else 0x60000000) | self.serial:08X}"


def _library_id(therapy: Therapy) -> str:
    return f"{33 + THERAPIES.index(therapy)}~{therapy.short_name.rstrip(chr(0xE021))}1"


def _flag(place: int, on: dict[int, bool], unused: set[int]) -> str:
    return "_NV" if place in unused else str(int(on.get(place, False)))
