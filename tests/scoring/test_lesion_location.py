"""Places are the patient's, not the picture's."""

from __future__ import annotations

import numpy as np
import pytest

from coronet.scoring.lesions import places_in_heart

HEART = np.zeros((40, 50, 30), dtype=bool)
HEART[10:30, 20:44, 6:24] = True


@pytest.mark.parametrize(
    ("voxel", "place"),
    [
        ((11, 42, 22), "left side, front, upper third"),
        ((29, 21, 6), "right side, back, lower third"),
        ((20, 32, 15), "midline, mid-depth, middle third"),
    ],
)
def test_a_lesion_is_placed_by_thirds_of_the_heart(voxel, place):
    assert places_in_heart([voxel], HEART) == (place,)


@pytest.mark.parametrize(
    ("voxel", "place"),
    [((0, 0, 0), "left side, back, lower third"), ((39, 49, 29), "right side, front, upper third")],
)
def test_a_lesion_beside_the_heart_takes_the_nearest_third(voxel, place):
    assert places_in_heart([voxel], HEART) == (place,)


def test_no_lesions_have_no_places():
    assert places_in_heart([], HEART) == ()
