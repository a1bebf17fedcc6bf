"""The one transform of HU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from coronet.errors import InputError
from coronet.preprocessing.intensity import check_contrast, scale_intensity

WINDOW = (-200.0, 600.0)


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_the_window_becomes_minus_one_to_one_and_the_rest_is_clipped(kind):
    hu = kind(np.array([-3024.0, -200.0, 200.0, 600.0, 3071.0], np.float32))
    assert np.allclose(np.asarray(scale_intensity(hu, WINDOW)), [-1, -1, 0, 1, 1])


def test_an_image_without_contrast_is_refused_by_name():
    with pytest.raises(InputError, match="case_7"):
        check_contrast(scale_intensity(np.full((4, 4, 4), -1024.0), WINDOW), "case_7")
    check_contrast(scale_intensity(np.array([-1000.0, 40.0, 60.0]), WINDOW), "case_7")
