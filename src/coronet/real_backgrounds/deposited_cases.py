"""Cases made of a background: courses of the arteries found once, plaques drawn anew for each variant.

All draws derive from (seed, content of the scan, number of the variant).
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from coronet.errors import UnsuitableScan
from coronet.io.scan_facts import DEPOSITED, ScanFacts
from coronet.io.volume import Volume
from coronet.phantom.anatomy import draw_anatomy
from coronet.phantom.distributions import DISTRIBUTIONS
from coronet.phantom.exact_masks import exact_calcium_mask
from coronet.phantom.lesions import draw_lesions, in_motion
from coronet.phantom.patients import lesion_facts
from coronet.phantom.random_draws import between, chance, generator
from coronet.real_backgrounds.backgrounds import Background
from coronet.real_backgrounds.courses import Course, find_courses, map_grooves
from coronet.real_backgrounds.plaques import add_plaques
from coronet.real_backgrounds.point_spread import PointSpread, estimate_point_spread
from coronet.real_backgrounds.registration import register_phantoms, view_heart

_ANATOMY, _CHOICE, _LESIONS, _MOTION = range(1, 5)
"""Purposes of the generators."""
_ANATOMIES = 4  # phantoms that are laid over a heart
_KEPT = 2  # of them, the best ones, whose courses are used
_LEAST_DICE = 0.8  # of phantom and heart mask; 0.87 and more on whole hearts
_WILD = 0.5  # share of the mixed cases whose plaques are wild
_POINTS_APART = 3  # every which point of a course is noted in the truth


@dataclasses.dataclass(frozen=True)
class ArteryCourses:
    """One set of courses for a scan, by name of the artery, and how well its phantom fitted."""

    courses: dict[str, Course]
    dice: float
    misfit: float


@dataclasses.dataclass(frozen=True)
class StudiedBackground:
    """A background and what was found in it.

    Attributes:
        background: the scan.
        trees: sets of courses, best first.
        spread: its point spread.
    """

    background: Background
    trees: tuple[ArteryCourses, ...]
    spread: PointSpread


@dataclasses.dataclass(frozen=True)
class DepositedCase:
    """A case with its exact truth.

    Attributes:
        case_id: name of the background and number of the variant, such as ``a0001-d02``.
        facts: of the scan.
        ct: HU, int16.
        heart: mask, uint8.
        calcium: mask, uint8, labels by vessel.
        truth: plain data for the truth file.
    """

    case_id: str
    facts: ScanFacts
    ct: Volume
    heart: Volume
    calcium: Volume
    truth: dict[str, Any]


def case_id(name: str, variant: int) -> str:
    """Id of a variant (0 for the first) of a background."""
    return f"{name}-d{variant + 1:02d}"


def _draws(seed: int, background: Background, *purpose: int) -> np.random.Generator:
    content = background.content_sha256
    return generator(seed, int(content[:12], 16), int(content[12:24], 16), *purpose)


def study_background(background: Background, seed: int) -> StudiedBackground:
    """Find the courses of the arteries and the point spread of a scan.

    Raises:
        UnsuitableScan: no phantom's heart fits the mask.
    """
    with _one_thread():
        return _study(background, seed)


def _study(background: Background, seed: int) -> StudiedBackground:
    ct, heart = background.ct, background.heart
    view = view_heart(ct, heart)
    anatomies = [draw_anatomy(_draws(seed, background, _ANATOMY, number)) for number in range(_ANATOMIES)]
    fitted = register_phantoms(anatomies, view, keep=_KEPT)
    if fitted[0].dice < _LEAST_DICE:
        raise UnsuitableScan(
            f"{background.file.scan}: no drawn heart can be laid over its heart mask (Dice "
            f"{fitted[0].dice:.2f}, at least {_LEAST_DICE:g} is needed); look at {background.file.heart}."
        )
    grooves = map_grooves(ct, heart)
    trees = tuple(
        ArteryCourses(find_courses(item, grooves), round(item.dice, 4), round(item.misfit, 4))
        for item in fitted
    )
    spread = estimate_point_spread(
        ct, heart, thickness_mm=background.thickness_mm, kernel=background.file.facts.kernel
    )
    return StudiedBackground(background, trees, spread)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch sum in one order, however many cores there are."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def make_variant(
    studied: StudiedBackground, variant: int, *, seed: int, burdens: Sequence[str], ranges: str = "realistic"
) -> DepositedCase:
    """Draw the plaques of one variant.

    Args:
        variant: counted from 0.
        burdens: groups of patients as `coronet.phantom.lesions.draw_lesions` knows them, dealt out in turn;
            ``none`` leaves the scan as it is.
        ranges: of the plaques: ``realistic``, ``wild``, or ``mixed``, which draws for each variant.
    """
    background = studied.background
    ct = background.ct

    def draw(purpose: int) -> np.random.Generator:
        return _draws(seed, background, purpose, variant)

    # scans begin at different places of the list, so that few variants of many scans hold all burdens
    burden = burdens[(variant + int(background.content_sha256[24:30], 16)) % len(burdens)]
    choice = draw(_CHOICE)
    tree = studied.trees[int(choice.integers(len(studied.trees)))]
    wild = ranges == "wild" or (ranges == "mixed" and (burden == "extreme" or chance(choice, _WILD)))
    drawn_from = "wild" if wild else "realistic"
    chosen = DISTRIBUTIONS[drawn_from]
    beat = round(between(choice, 0.0, chosen.protocols.beat), 4)
    vessels = {name: course.tube for name, course in tree.courses.items()}
    lesions = draw_lesions(draw(_LESIONS), vessels, burden=burden, ranges=chosen.plaques)
    moving = in_motion(lesions, draw(_MOTION), beat, bow=chosen.protocols.bow)
    scanned = add_plaques(ct, moving, studied.spread, thickness_mm=background.thickness_mm)
    calcium = exact_calcium_mask(scanned)
    file, facts = background.file, background.file.facts
    found = []
    for deposit in lesions:
        entry = lesion_facts(deposit, calcium)
        centre = background.to_world(np.asarray([entry["centre_mm"]]))[0]
        found.append(entry | {"centre_mm": [round(float(value), 2) for value in centre]})

    def placed(array: np.ndarray) -> Volume:
        return Volume(array, background.affine)

    heart = placed(np.asfortranarray(background.heart).view(np.uint8))
    return DepositedCase(
        case_id=case_id(file.name, variant),
        facts=ScanFacts(
            patient=file.patient,
            source=DEPOSITED,
            kernel=facts.kernel,
            slice_thickness_mm=background.thickness_mm,
            tube_kv=facts.tube_kv,
            contrast=False,
            attribution=f"{facts.attribution} ({facts.licence})",
            drawn_into=background.content_sha256,
        ),
        ct=placed(scanned.volume.array),
        heart=heart,
        calcium=placed(calcium.labels),
        truth={
            "seed": seed,
            "variant": variant,
            "patient": file.patient,
            "background": {
                "name": file.name,
                "content_sha256": background.content_sha256,
                **{key: getattr(facts, key) for key in ("source", "licence", "attribution", "read_by")},
            },
            "burden": burden,
            "ranges": drawn_from,
            "heart_ml": round(int(np.count_nonzero(background.heart)) * heart.voxel_mm3 / 1000, 2),
            "point_spread": dataclasses.asdict(studied.spread),
            "slice_thickness_mm": background.thickness_mm,
            "beat": beat,
            "registration": {"dice": tree.dice, "misfit": tree.misfit},
            "courses": {name: _course_facts(background, course) for name, course in tree.courses.items()},
            "lesions": found,
            "confounders": [],
        },
    )


def _course_facts(background: Background, course: Course) -> dict[str, Any]:
    points = background.to_world(course.tube.points[::_POINTS_APART])
    return {
        "length_mm": round(course.tube.length_mm, 1),
        "fat_share": course.fat_share,
        "moved_mm": course.moved_mm,
        "points_mm": [[round(float(value), 2) for value in point] for point in points],
    }
