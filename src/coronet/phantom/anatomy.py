"""One phantom's anatomy: everything drawn, nothing painted.

The world is RAS+ in mm. Its origin lies in the middle of the chest (x, y), at the level of the middle of the
heart (z); the lungs reach from about 150 mm above it to 120 mm below.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np

from coronet.io.volume import triple
from coronet.phantom.coronaries import draw_coronaries
from coronet.phantom.curves import Tube
from coronet.phantom.deformation import Pose, draw_pose
from coronet.phantom.heart import (
    AORTIC_VALVE,
    LONG,
    MITRAL_VALVE,
    ROOT,
    TRUNK,
    Placement,
    chambers,
    kept_inside,
    place_heart,
)
from coronet.phantom.lung_disease import HEALTHY, LungDisease
from coronet.phantom.random_draws import between
from coronet.phantom.ranges import REALISTIC, Ranges, Traits, draw_traits
from coronet.phantom.signed_distance import axis
from coronet.phantom.skeleton import draw_bones
from coronet.phantom.thorax import CAVITY_FRONT, CAVITY_Z
from coronet.phantom.vessels import CARINA, HILA, airways, great_vessels, gullet, lung_tree

TEXTURE = 24  # edge of the block of random values that textures repeat


@dataclasses.dataclass(frozen=True)
class Anatomy:
    """One phantom."""

    traits: Traits
    pose: Pose
    heart: Placement
    floor_z: float  # body height of the heart's lowest point before the diaphragm flattens it
    top_z: float  # world height of the heart mask's upper end, just below the pulmonary trunk's bifurcation
    coronaries: Mapping[str, Tube]  # LM, LAD, LCX and RCA, from the aorta outwards, points about 1 mm apart
    # tubes by tissue: ``vessels`` (the aorta first), ``airways`` (trachea and main bronchi, outer surface),
    # ``gullet``, ``lung_vessels`` (those inside the lungs), ``nodes`` (lymph nodes at the hila and under the
    # carina), ``lumps`` (nodules in the lungs), ``ribs``, ``cartilages``, ``bones`` (others but the spine)
    tubes: Mapping[str, tuple[Tube, ...]]
    texture: np.ndarray  # random values 0..1, float32 (24, 24, 24), from which textures are made
    # places (3,) in mm in the world: ``heart_centre``, ``carina``, ``hilum_left``, ``hilum_right``, ``apex``,
    # ``fork``, ``aortic_valve`` and ``mitral_valve`` with their ``_normal``; ``sternum`` (n, 3) from below;
    # ``body_half_axes`` (3,) of the chest
    landmarks: Mapping[str, np.ndarray]
    lung_disease: LungDisease = HEALTHY


def draw_anatomy(rng: np.random.Generator, *, ranges: Ranges = REALISTIC) -> Anatomy:
    """Draw a phantom.

    Args:
        ranges: how far it may differ from an average adult.
    """
    traits = draw_traits(rng, ranges)
    pose = draw_pose(rng, traits)
    heart, floor_z = _fit_heart(traits)
    tree = draw_coronaries(rng, traits)
    groups: dict[str, tuple[Tube, ...]] = {
        "vessels": great_vessels(rng, traits, heart),
        "airways": airways(rng, heart),
        "gullet": (gullet(rng, traits, heart),),
        **draw_bones(rng, traits),
    }
    left, right, carina = heart.to_body(np.asarray([HILA["left"], HILA["right"], CARINA]))
    groups["lung_vessels"] = (*lung_tree(rng, traits, right, 1.0), *lung_tree(rng, traits, left, -1.0))
    groups["nodes"] = tuple(_ball(rng, place, 16.0, (3.0, 7.0)) for place in (left, right, carina, carina))
    groups["lumps"] = tuple(
        _ball(rng, (between(rng, -110, 110), between(rng, -80, 60), between(rng, -70, 120)), 4.0, (2.0, 11.0))
        for _ in range(int(traits.lumps))
    )
    tubes = {name: _moved(pose, group) for name, group in groups.items()}
    coronaries = {}
    for name, tube in tree.items():
        line = kept_inside(heart.to_body(tube.points), tube.radii, traits, heart, floor_z)
        coronaries[name] = tube.moved(pose.to_world(line))
    marks = {
        "heart_centre": (0.0, 0.0, 0.0),
        "carina": CARINA,
        "hilum_left": HILA["left"],
        "hilum_right": HILA["right"],
        "aortic_valve": AORTIC_VALVE,
        "mitral_valve": MITRAL_VALVE,
        "apex": triple(a + 44.0 * b for a, b in zip((-23.0, 9.0, -9.0), LONG, strict=True)),
        "fork": TRUNK[-1],
    }
    places = pose.to_world(heart.to_body(np.asarray(list(marks.values()))))
    landmarks = dict(zip(marks, places, strict=True))
    ascent = triple(b - a for a, b in zip(*ROOT[:2], strict=True))
    for name, way in (("aortic_valve", ascent), ("mitral_valve", LONG)):
        ends = np.asarray([(0.0, 0.0, 0.0), axis(way)]) + marks[name]
        start, end = pose.to_world(heart.to_body(ends))
        landmarks[f"{name}_normal"] = np.asarray(axis(triple(map(float, end - start))))
    landmarks["sternum"] = tubes["bones"][0].points
    landmarks["body_half_axes"] = np.asarray(
        (150.0 * traits.width, 105.0 * traits.depth, 150.0 * traits.height)
    )
    return Anatomy(
        traits=traits,
        pose=pose,
        heart=heart,
        floor_z=floor_z,
        top_z=float(landmarks["fork"][2]) + traits.heart_top_mm * heart.scale,
        coronaries=coronaries,
        tubes=tubes,
        texture=rng.random((TEXTURE, TEXTURE, TEXTURE)).astype(np.float32),
        landmarks=landmarks,
    )


def _fit_heart(traits: Traits) -> tuple[Placement, float]:
    """Place the heart so that its own outline, however turned, lies where the traits want it."""
    level = traits.heart_rise_mm - 5.0
    front = round(float(np.interp(level, CAVITY_Z, CAVITY_FRONT)), 6)
    heart = place_heart(traits, front)
    line = np.arange(-27, 28, dtype=np.float32) * np.float32(5.0)
    x, y, z = line[None, None, :], line[None, :, None], line[:, None, None]
    at = triple(c + o for c, o in zip((x, y, z), heart.centre, strict=True))
    sac = chambers(heart.to_heart(at), traits).pericardium < 0
    fork = heart.to_body(np.asarray([TRUNK[-1]]))[0, 2] - heart.centre[2]
    sac &= z < fork
    where = np.argwhere(sac)[:, ::-1] * 5.0 - 135.0
    low, high = where.min(axis=0), where.max(axis=0)
    centre = (
        -traits.heart_left_mm - float(low[0] + high[0]) / 2,
        front - traits.heart_gap_mm - float(high[1]) - 2.5,
        traits.heart_rise_mm - float(low[2] + high[2]) / 2,
    )
    return dataclasses.replace(heart, centre=centre), centre[2] + float(low[2]) - 2.5


def _ball(
    rng: np.random.Generator, place: Iterable[float], spread: float, radii: tuple[float, float]
) -> Tube:
    middle = np.asarray([p + between(rng, -spread, spread) for p in place])
    step = np.asarray([between(rng, -2.0, 2.0) for _ in range(3)])
    radius = between(rng, *radii)
    return Tube(np.stack([middle, middle + step]), np.asarray([radius, radius * between(rng, 0.6, 1.0)]))


def _moved(pose: Pose, tubes: tuple[Tube, ...]) -> tuple[Tube, ...]:
    """Map all tubes from the body to the world in one go."""
    if not tubes:
        return ()
    ends = np.cumsum([len(tube.points) for tube in tubes])[:-1]
    parts = np.split(pose.to_world(np.concatenate([tube.points for tube in tubes])), ends)
    return tuple(tube.moved(part) for tube, part in zip(tubes, parts, strict=True))
