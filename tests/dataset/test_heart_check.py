"""Heart masks that are, and that are not, the whole heart of their scan."""

from __future__ import annotations

import numpy as np
import pytest

from coronet.dataset.case_table import describe_cases
from coronet.dataset.cases import mask_path, scan_path, write_facts
from coronet.dataset.quality_flags import quality_flags
from coronet.io.scan_facts import ScanFacts
from coronet.io.volume import Volume, grid_affine, write_nifti

SHAPE, SPACING = (90, 70, 70), (3.5, 3.5, 4.0)
FACTS = ScanFacts(patient="p", source="nifti")
X, Y, Z = np.indices(SHAPE)


def ball(centre: tuple[int, int, int], radii: tuple[int, int, int]) -> np.ndarray:
    """An ellipsoid in voxels."""
    parts = zip((X, Y, Z), centre, radii, strict=True)
    return sum(((axis - middle) / radius) ** 2 for axis, middle, radius in parts) < 1


HEART = ball((45, 42, 42), (16, 13, 12))
CUP = ball((45, 42, 42), (20, 18, 16)) & ~ball((45, 42, 47), (16, 14, 18))
ALL = (slice(None), slice(None), slice(None))


@pytest.fixture(scope="module")
def chest() -> np.ndarray:
    """A body with two lungs around the heart, with noise."""
    hu = np.full(SHAPE, -1000.0)
    hu[((X - 45) / 44) ** 2 + ((Y - 35) / 33) ** 2 < 1] = 40.0
    hu[ball((20, 35, 48), (18, 24, 24)) | ball((70, 35, 48), (18, 24, 24))] = -850.0
    hu[HEART] = 45.0
    return (hu + np.random.default_rng(0).normal(0, 8, SHAPE)).round().astype(np.int16)


def padded(hu: np.ndarray, box: tuple[slice, ...]) -> np.ndarray:
    """Air, as a reader leaves padding, outside of ``box``."""
    result = np.full_like(hu, -1024)
    result[box] = hu[box]
    return result


ROWS = [
    ("a whole heart", ALL, HEART, ()),
    ("one slice above and below", (*ALL[:2], slice(30, 55)), HEART, ()),
    ("the highest slice", (*ALL[:2], slice(0, 50)), HEART, ("incomplete",)),
    ("the lowest slice", (*ALL[:2], slice(40, 70)), HEART, ("incomplete",)),
    ("exactly the lowest slice", (*ALL[:2], slice(31, 70)), HEART, ("incomplete",)),
    ("the left edge", (slice(40, 90), *ALL[1:]), HEART, ("incomplete",)),
    ("the right edge", (slice(0, 50), *ALL[1:]), HEART, ("incomplete",)),
    ("the front edge", (ALL[0], slice(0, 45), ALL[2]), HEART, ("incomplete",)),
    ("the back edge", (ALL[0], slice(40, 70), ALL[2]), HEART, ("incomplete",)),
    ("a fragment", ALL, HEART & (X < 32), ("heart_size",)),
    ("a slab of the heart", ALL, HEART & (abs(Z - 42) < 8), ("heart_size",)),
    ("the whole body", ALL, ball((45, 35, 35), (42, 31, 30)), ("heart_size",)),
    ("a lung", ALL, ball((20, 35, 48), (15, 20, 18)), ("heart_place",)),
    ("the liver", ALL, ball((40, 35, 12), (22, 16, 11)), ("heart_place",)),
    ("sheets", ALL, HEART & ((X % 3 > 0) | (abs(Y - 42) < 2)), ("heart_shape",)),
    ("a cup", ALL, CUP, ("heart_shape",)),
    ("a sausage", ALL, ball((45, 42, 42), (30, 11, 10)), ("heart_shape",)),
    ("nothing", ALL, HEART & False, ()),
]


@pytest.mark.parametrize(("name", "box", "heart", "flags"), ROWS, ids=[row[0] for row in ROWS])
def test_flags_of_a_mask(chest, name, box, heart, flags):
    ct = Volume(np.asfortranarray(chest[box]), grid_affine(SPACING, (0.0, 0.0, 0.0)))
    assert quality_flags(ct, FACTS, np.asfortranarray(heart[box])) == flags


@pytest.mark.parametrize(("name", "box", "heart", "flags"), ROWS[:9], ids=[row[0] for row in ROWS[:9]])
def test_a_scan_ends_where_its_padding_begins(chest, name, box, heart, flags):
    ct = Volume(np.asfortranarray(padded(chest, box)), grid_affine(SPACING, (0.0, 0.0, 0.0)))
    inside = np.asfortranarray(padded(heart.astype(np.int16), box) == 1)
    assert quality_flags(ct, FACTS, inside) == flags


def test_a_heart_at_the_edge_of_the_reconstructed_circle_is_cut(chest):
    circle = (X[..., 0] - 45) ** 2 + (Y[..., 0] - 42) ** 2 < 12**2
    hu = np.where(circle[..., None], chest, np.int16(-1024))
    ct = Volume(np.asfortranarray(hu), grid_affine(SPACING, (0.0, 0.0, 0.0)))
    assert quality_flags(ct, FACTS, HEART & circle[..., None]) == ("incomplete",)


@pytest.mark.parametrize(("box", "flags"), [(ALL, ""), ((*ALL[:2], slice(40, 70)), "incomplete")])
def test_the_case_table_judges_by_the_mask(chest, tmp_path, box, flags):
    """Whatever was recorded before there was a mask."""
    ct = Volume(np.asfortranarray(chest[box]), grid_affine(SPACING, (0.0, 0.0, 0.0)))
    write_nifti(scan_path(tmp_path, "scan-a"), ct)
    write_nifti(mask_path(tmp_path, "scan-a", "heart"), ct.with_array(HEART[box].astype(np.uint8)))
    recorded = ScanFacts(patient="p", source="nifti", flags=("incomplete",) if not flags else ())
    write_facts(tmp_path, "scan-a", recorded)
    row = describe_cases(tmp_path, workers=1).iloc[0]
    assert (row["flags"], bool(row["heart_cut"])) == (flags, bool(flags))


@pytest.mark.parametrize(("right", "flags"), [(-7, ()), (0, ()), (7, ("heart_side",))])
def test_a_heart_on_the_right_is_flagged(chest, right, flags):
    """As in a mirrored scan; a body in two halves alike tells no side."""
    hu, heart = np.where(HEART, np.int16(-850), chest), np.roll(HEART, right, axis=0)
    hu[(abs(X - 45) < 8) & (hu < -700) & (hu > -950)] = 40
    hu[heart] = 45
    hu[ball((45, 14, 42), (5, 5, 40))] = 300  # spine
    ct = Volume(np.asfortranarray(hu), grid_affine(SPACING, (0.0, 0.0, 0.0)))
    assert quality_flags(ct, FACTS, heart) == flags
