"""Phantom patients and their scans: who is scanned how often, and everything drawn for one case.

Every draw comes from a generator of its own, keyed by (seed, patient or block, purpose), so a case can be
made without those before it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from coronet.io.scan_facts import ScanFacts
from coronet.io.volume import Volume, triple
from coronet.phantom.acquisition_protocols import ProtocolRanges, ScanSettings, draw_settings
from coronet.phantom.confounders import draw_confounders
from coronet.phantom.deposits import Deposit, true_volume_mm3
from coronet.phantom.distributions import DISTRIBUTIONS, REALISTIC_SHARE
from coronet.phantom.exact_masks import CalciumMask, exact_calcium_mask
from coronet.phantom.lesion_sites import find_sites
from coronet.phantom.lesions import burden_of, draw_lesions, in_motion
from coronet.phantom.lung_disease import draw_lung_disease
from coronet.phantom.random_draws import between, chance, generator
from coronet.phantom.scanner import scan

_ANATOMY, _LESIONS, _CONFOUNDERS, _BURDEN, _ROUNDS, _SETTINGS, _NOISE, _MOTION, _GROWTH = range(1, 10)
_RANGES, _LUNGS = 10, 11
"""Purposes of the generators."""
_SECOND_ROUND = 1 / 8  # share of the patients who are scanned twice


@dataclasses.dataclass(frozen=True)
class Slot:
    """One case of a cohort before it is made."""

    index: int
    patient: int
    round: int  # 0, or 1 for a patient's second screening round
    ranges: str = "realistic"  # a key of `DISTRIBUTIONS`

    @property
    def case_id(self) -> str:
        """Such as ``phantom-0001``."""
        return f"{DISTRIBUTIONS[self.ranges].prefix}-{self.index + 1:04d}"

    @property
    def patient_id(self) -> str:
        """Such as ``phantom-p0001``."""
        return f"{DISTRIBUTIONS[self.ranges].prefix}-p{self.patient + 1:04d}"


@dataclasses.dataclass(frozen=True)
class Window:
    """What part of the patient is scanned; the default is a whole chest as a scanner stores it."""

    matrix: int = 512  # voxels along x and y
    field_mm: float | None = None  # field of view; drawn per scan where None
    # range in mm from which the distance of the lowest slice under the heart is drawn
    below_mm: tuple[float, float] = (35.0, 75.0)
    length_mm: tuple[float, float] = (260.0, 305.0)  # range in mm from which the scan's length is drawn


@dataclasses.dataclass(frozen=True)
class PhantomCase:
    """A case with its exact truth."""

    slot: Slot  # which case of the cohort
    facts: ScanFacts
    ct: Volume  # HU, int16
    heart: Volume  # heart mask, uint8
    calcium: Volume  # coronary calcium, uint8, labels by vessel
    truth: dict[str, Any]  # plain data for the truth file


def plan(seed: int, cases: int, ranges: str = "realistic") -> tuple[Slot, ...]:
    """The first ``cases`` cases of the cohort of ``seed``; a longer plan begins with the shorter one.

    Args:
        ranges: ``realistic``, ``wild``, or ``mixed``: each patient is drawn from the one or the other.
    """
    share = REALISTIC_SHARE[ranges]
    slots: list[Slot] = []
    patient = 0
    while len(slots) < cases:
        scans = 2 if chance(generator(seed, patient, _ROUNDS), _SECOND_ROUND) else 1
        first = len(slots)
        drawn_from = "realistic" if chance(generator(seed, patient, _RANGES), share) else "wild"
        slots.extend(Slot(first + number, patient, number, drawn_from) for number in range(scans))
        patient += 1
    return tuple(slots[:cases])


def make_case(seed: int, index: int, *, ranges: str = "realistic", window: Window = Window()) -> PhantomCase:
    """Draw the case at ``index`` (0 for the first) of the cohort of ``seed``; see `plan`."""
    return make_slot(seed, plan(seed, index + 1, ranges)[index], window=window)


def make_slot(seed: int, slot: Slot, *, window: Window = Window()) -> PhantomCase:
    """Draw one planned case; see `make_case`."""
    from coronet.phantom.anatomy import draw_anatomy
    from coronet.phantom.rasterize import rasterize

    def draw(purpose: int, *more: int) -> np.random.Generator:
        return generator(seed, slot.patient, purpose, *more)

    chosen = DISTRIBUTIONS[slot.ranges]
    block, place = divmod(slot.patient, len(chosen.plaques.block))
    burden = burden_of(generator(seed, block, _BURDEN), place, chosen.plaques)
    anatomy = draw_anatomy(draw(_ANATOMY), ranges=chosen.anatomy)
    if chosen.lung_disease:
        found = draw_lung_disease(draw(_LUNGS), anatomy.landmarks)
        anatomy = dataclasses.replace(anatomy, lung_disease=found)
    sites = find_sites(anatomy)
    growth = between(draw(_GROWTH), 1.1, 1.6) if slot.round else 1.0
    lesions = draw_lesions(draw(_LESIONS), sites.vessels, burden=burden, growth=growth, ranges=chosen.plaques)
    others = draw_confounders(
        draw(_CONFOUNDERS),
        dataclasses.replace(sites, plaques=lesions),
        diseased=burden != "none",
        kinds=chosen.confounders,
    )
    settings = _settings(draw(_SETTINGS, slot.round), sites.heart_box_mm, window, chosen.protocols)
    tissue = rasterize(anatomy, settings.affine, settings.shape)
    moving = (
        *in_motion(lesions, draw(_MOTION, slot.round), settings.beat, bow=chosen.protocols.bow),
        *others,
    )
    scanned = scan(
        tissue.hu,
        moving,
        settings,
        heart_box=_voxel_box(sites.heart_box_mm, settings),
        rng=draw(_NOISE, slot.round),
    )
    calcium = exact_calcium_mask(scanned)
    heart = scanned.volume.with_array(tissue.heart.view(np.uint8))
    facts = ScanFacts(
        patient=slot.patient_id,
        source="phantom",
        kernel=settings.kernel.name,
        slice_thickness_mm=settings.thickness_mm,
        tube_kv=120.0,
        contrast=False,
    )
    truth = {
        "seed": seed,
        "index": slot.index,
        "patient": slot.patient_id,
        "round": slot.round,
        "ranges": slot.ranges,
        "burden": burden,
        "heart_ml": round(int(np.count_nonzero(tissue.heart)) * heart.voxel_mm3 / 1000, 2),
        "settings": dataclasses.asdict(settings) | {"kernel": settings.kernel.name},
        "lesions": [lesion_facts(deposit, calcium) for deposit in lesions],
        "confounders": [deposit_facts(deposit) for deposit in others],
        "anatomy": sites.numbers,
    }
    return PhantomCase(slot, facts, scanned.volume, heart, scanned.volume.with_array(calcium.labels), truth)


def _settings(
    rng: np.random.Generator,
    heart_box_mm: tuple[np.ndarray, np.ndarray],
    window: Window,
    ranges: ProtocolRanges,
) -> ScanSettings:
    low, high = (corner.tolist() for corner in heart_box_mm)
    start = low[2] - between(rng, *window.below_mm)
    return draw_settings(
        rng,
        z_range_mm=(start, start + between(rng, *window.length_mm)),
        matrix=window.matrix,
        field_mm=window.field_mm,
        ranges=ranges,
        heart_mm=((low[0] + high[0]) / 2, (low[1] + high[1]) / 2),
    )


def _voxel_box(box_mm: tuple[np.ndarray, np.ndarray], settings: ScanSettings) -> tuple[slice, slice, slice]:
    low, high = (np.floor_divide(corner - settings.origin_mm, settings.spacing_mm) for corner in box_mm)
    first = np.clip(low, 0, np.asarray(settings.shape) - 1).astype(int).tolist()
    last = np.clip(high, np.asarray(first) + 1, settings.shape).astype(int).tolist()
    return triple(slice(a, b) for a, b in zip(first, last, strict=True))


def deposit_facts(deposit: Deposit) -> dict[str, Any]:
    """What a truth file says of a deposit."""
    low, high = deposit.box_mm()
    return {
        "id": deposit.name,
        "kind": deposit.kind,
        "shape": deposit.shape,
        "centre_mm": [round(float((a + b) / 2), 2) for a, b in zip(low, high, strict=True)],
        "volume_mm3": true_volume_mm3(deposit),
        "hu": round(float(deposit.hu.max()), 1),
    }


def lesion_facts(deposit: Deposit, mask: CalciumMask) -> dict[str, Any]:
    """What a truth file says of a coronary plaque."""
    voxels = mask.voxels.get(deposit.name, 0)
    return deposit_facts(deposit) | {"vessel": deposit.vessel, "voxels": voxels, "visible": voxels > 0}
