"""From probabilities to masks, and from a scan to probabilities on its own grid."""

from __future__ import annotations

import csv
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from coronet.dataset.cases import mask_path, scan_path
from coronet.errors import InputError, StageError
from coronet.evaluation.segmentation import evaluate_model
from coronet.imaging.mask_metrics import dice
from coronet.inference.predict import calcium_above_threshold, largest_heart, predict_calcium, predict_heart
from coronet.io.volume import Volume, grid_affine, read_nifti
from coronet.networks.factory import LoadedModel, ModelSpec
from coronet.preprocessing.intensity import scale_intensity
from coronet.training.fit import fit_model


class Brightness(nn.Module):
    """Answers yes where the input is above a HU: a network whose right answer is known."""

    def __init__(self, hu: float, window_hu: tuple[float, float]) -> None:
        super().__init__()
        self.level = float(scale_intensity(np.float32(hu), window_hu))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return (image - self.level) * 50


def oracle(params, model: str, hu: float) -> LoadedModel:
    chosen = params.model(model)
    module = Brightness(hu, chosen.input.window_hu).eval()
    return LoadedModel(module, ModelSpec(model, chosen, "", {}), "", torch.device("cpu"))


@pytest.mark.parametrize("shape", [(64, 64, 40), (90, 70, 80)])
def test_a_heart_comes_back_on_the_scans_own_grid(params, shape):
    spacing = (2.9, 3.1, 3.7)
    places = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    heart = np.linalg.norm((places - np.asarray(shape) / 2 - 3) * spacing, axis=-1) < 45
    ct = Volume(np.where(heart, 40, -160).astype(np.int16), grid_affine(spacing, (-80.0, -90.0, 5.0)))
    probability = predict_heart(ct, oracle(params, "heart", -60))
    assert probability.shape == shape
    assert probability.dtype == np.float32
    assert dice(heart, largest_heart(probability, ct, 0.5)) > 0.95


def test_calcium_is_looked_for_near_the_heart_alone(params):
    hu = np.full((60, 60, 40), 40, np.int16)
    heart = np.zeros(hu.shape, bool)
    heart[25:35, 25:35, 15:25] = True
    hu[29:31, 29:31, 19:21] = 400
    hu[5:8, 5:8, 19:21] = 400
    ct = Volume(hu, grid_affine((3.0, 3.0, 4.0), (0.0, 0.0, 0.0)))
    probability = predict_calcium(ct, heart, oracle(params, "calcium", 150))
    mask = calcium_above_threshold(probability, ct, 0.5)
    assert mask[29:31, 29:31, 19:21].all()
    assert mask.sum() == 8
    assert probability[6, 6, 20] == 0


def test_what_cannot_be_predicted_is_refused(params):
    blank = Volume(np.full((40, 40, 30), -1024, np.int16), grid_affine((3.0, 3.0, 4.0), (0.0, 0.0, 0.0)))
    with pytest.raises(InputError, match="same value"):
        predict_heart(blank, oracle(params, "heart", 0))
    with pytest.raises(InputError, match="heart mask is empty"):
        predict_calcium(blank, np.zeros(blank.shape, bool), oracle(params, "calcium", 0))


def test_the_heart_is_one_part_without_holes():
    probability = np.zeros((20, 20, 20), np.float32)
    probability[4:14, 4:14, 4:14] = 0.9
    probability[8, 8, 8] = 0.1
    probability[17:19, 17:19, 17:19] = 0.99
    mask = largest_heart(probability, Volume(probability, np.eye(4)), 0.5)
    assert mask.sum() == 1000
    assert mask[8, 8, 8]
    assert not largest_heart(np.zeros((4, 4, 4)), Volume(np.zeros((4, 4, 4)), np.eye(4)), 0.5).any()


def test_a_hole_open_to_the_outside_is_none():
    probability = np.zeros((12, 12, 12), np.float32)
    probability[2:10, 2:10, 2:10] = 1
    probability[5, 5, :6] = 0
    assert largest_heart(probability, Volume(probability, np.eye(4)), 0.5).sum() == 512 - 4


def test_calcium_grows_over_bright_voxels_and_stops_where_the_network_says_no():
    hu = np.full((12, 5, 5), 40, np.int16)
    hu[2:10, 2, 2] = 300
    probability = np.zeros(hu.shape, np.float32)
    probability[2:6, 2, 2] = 0.9
    probability[6:8, 2, 2] = 0.2
    probability[8:10, 2, 2] = 0.05
    probability[:, 3, 2] = 0.9
    mask = calcium_above_threshold(probability, Volume(hu, np.eye(4)), 0.5)
    assert np.flatnonzero(mask[:, 2, 2]).tolist() == [2, 3, 4, 5, 6, 7]
    assert mask.sum() == 6


def test_scraps_of_a_bright_thing_that_the_network_doubts_are_no_calcium():
    hu = np.full((24, 5, 5), 40, np.int16)
    hu[2:22, 2, 2] = 300
    probability = np.full(hu.shape, 0.01, np.float32)
    probability[2:8, 2, 2] = 0.9
    assert not calcium_above_threshold(probability, Volume(hu, np.eye(4)), 0.5).any()
    probability[2:12, 2, 2] = 0.9
    assert calcium_above_threshold(probability, Volume(hu, np.eye(4)), 0.5).sum() == 10


def test_a_large_plaque_that_touches_a_plate_counts_without_it():
    hu = np.full((60, 20, 20), 40, np.int16)
    hu[2:10, 4:12, 4:12] = 900  # the plaque, 512 voxels
    hu[10:58, 4:12, 4:12] = 500  # the plate
    probability = np.full(hu.shape, 0.01, np.float32)
    probability[2:10] = 0.9
    ct = Volume(hu, np.diag([0.5, 0.5, 0.5, 1.0]))
    mask = calcium_above_threshold(probability, ct, 0.5)
    assert mask[2:10, 4:12, 4:12].all()
    assert mask.sum() == 512
    probability[2:10] = 0.55
    assert not calcium_above_threshold(probability, ct, 0.5).any()
    probability[2:10] = np.where(np.arange(8)[:, None, None] < 3, 0.9, 0.2)
    assert not calcium_above_threshold(probability, ct, 0.5).any()


def test_findings_of_two_voxels_are_noise():
    hu = np.full((8, 5, 5), 40, np.int16)
    hu[2:4, 2, 2] = 300
    probability = np.full(hu.shape, 0.9, np.float32)
    assert not calcium_above_threshold(probability, Volume(hu, np.eye(4)), 0.5).any()
    hu[4, 2, 2] = 300
    assert calcium_above_threshold(probability, Volume(hu, np.eye(4)), 0.5).sum() == 3


def test_voxels_that_never_reach_the_threshold_are_no_calcium():
    hu = np.full((6, 6, 6), 300, np.int16)
    mask = calcium_above_threshold(np.full(hu.shape, 0.4, np.float32), Volume(hu, np.eye(4)), 0.5)
    assert not mask.any()


@pytest.fixture(scope="module")
def fits(prepared, params, tmp_path_factory):
    out = tmp_path_factory.mktemp("fits")
    for model in ("heart", "calcium"):
        fit_model(
            model,
            prepared[model],
            params.model(model),
            train_cases=("a", "b", "c"),
            tune_cases=("d",),
            seed=1,
            out=out / model,
            work=out / f"{model}-work",
        )
    return out


def test_evaluation_counts_every_case_on_its_own_grid(data, split, fits, tmp_path):
    metrics = evaluate_model("heart", data, split, fits / "heart", tmp_path / "heart")
    assert metrics["cases"] == 2
    assert metrics["dice"]["mean"] >= metrics["iou"]["mean"]
    assert metrics["short_scan"]["dice"]["cases"] + metrics["short_scan"]["dice"]["empty"] == 2
    rows = list(csv.DictReader((tmp_path / "heart" / "cases.csv").open()))
    assert [row["case"] for row in rows] == ["e", "f"]
    truth = read_nifti(mask_path(data, "e", "heart"))
    assert float(rows[0]["true_mm3"]) == pytest.approx(truth.array.sum() * truth.voxel_mm3, abs=0.01)


def test_calcium_is_judged_by_voxel_by_lesion_and_on_calcium_free_cases(data, split, fits, tmp_path):
    metrics = evaluate_model("calcium", data, split, fits / "calcium", tmp_path / "calcium")
    assert metrics["heart"] == "true"
    assert metrics["calcium_free"]["cases"] == 1
    assert metrics["f1"]["cases"] + metrics["f1"]["empty"] == 2
    assert metrics["lesions"]["true"] >= 1
    if metrics["pooled"]["f1"]:
        assert metrics["pooled"]["f1"] >= metrics["pooled"]["iou"]


def test_a_case_without_its_mask_is_said_to_be_skipped(data, split, fits, tmp_path):
    data = shutil.copytree(data, tmp_path / "data")
    mask_path(data, "e", "heart").unlink()
    metrics = evaluate_model("heart", data, split, fits / "heart", tmp_path / "out")
    assert metrics["skipped"] == ["e"]
    mask_path(data, "f", "heart").unlink()
    with pytest.raises(InputError, match="No test case"):
        evaluate_model("heart", data, split, fits / "heart", tmp_path / "other")
    with pytest.raises(StageError, match="holds no model"):
        evaluate_model("heart", data, split, tmp_path, tmp_path / "other")
    assert scan_path(data, "e").exists()
