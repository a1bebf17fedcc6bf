"""The score stage on four made patients, with networks whose answer is known."""

from __future__ import annotations

import json

import numpy as np
import pytest

from coronet.dataset.split import Member, Split
from coronet.errors import InputError
from coronet.evaluation.case_scores import CaseScore, read_case_scores, worst_first
from coronet.evaluation.cohort import score_cohort
from coronet.evaluation.segmentation import evaluate_model
from coronet.io.volume import read_nifti
from coronet.networks.factory import load_model
from coronet.scoring.risk_groups import PRESETS
from made_chests import write_calibration
from recipe_results import check_recipe


@pytest.fixture(scope="module")
def scored(make_cohort, save_fit, params, tmp_path_factory):
    """Folder of the stage's results, its rows, and what it reported of its progress."""
    folder = tmp_path_factory.mktemp("scored")
    split = make_cohort(folder / "data")
    reported = []
    rows = score_cohort(
        folder / "data",
        split,
        heart_fit=save_fit(folder / "heart", "heart"),
        calcium_fit=save_fit(folder / "calcium", "calcium"),
        out=folder / "scores",
        params=params,
        progress=lambda done, total: reported.append((done, total)),
    )
    return folder, rows, reported


def row_of(rows, case) -> CaseScore:
    return next(row for row in rows if row.case == case)


def test_only_test_patients_with_a_reference_are_scored(scored):
    folder, rows, reported = scored
    assert [row.case for row in rows] == ["false", "free", "right"]
    assert json.loads((folder / "scores" / "metrics.json").read_text())["skipped"] == ["bare"]
    assert reported == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_each_scored_scan_tells_how_long_it_took(scored, params, tmp_path):
    folder, _, _ = scored
    seconds = []
    score_cohort(
        folder / "data",
        Split(
            seed=0, members=tuple(Member(name, name, "test", "none") for name in ("bare", "free", "right"))
        ),
        heart_fit=folder / "heart",
        calcium_fit=folder / "calcium",
        out=tmp_path / "scores",
        params=params,
        on_seconds=seconds.append,
    )
    assert len(seconds) == 2
    assert min(seconds) > 0


def test_scores_stand_beside_the_score_of_the_mask(scored):
    _, rows, _ = scored
    right, false, free = (row_of(rows, name) for name in ("right", "false", "free"))
    assert right.predicted_agatston == right.reference_agatston > 100
    assert (right.lesions, right.lesions_found, right.lesions_false) == (2, 2, 0)
    assert right.calcium_dice == 1.0
    assert false.predicted_agatston > false.reference_agatston
    assert (false.lesions, false.lesions_found, false.lesions_false) == (1, 1, 1)
    assert (free.predicted_agatston, free.reference_agatston, free.calcium_dice) == (0, 0, None)
    assert 0.8 < right.heart_dice < 0.95


def test_the_table_reads_back_as_it_was_written(scored):
    folder, rows, _ = scored
    assert read_case_scores(folder / "scores" / "scores.csv") == rows


def test_a_table_of_another_kind_is_refused(tmp_path):
    (tmp_path / "scores.csv").write_text("case,agatston\na,1\n")
    with pytest.raises(InputError, match="dvc repro score"):
        read_case_scores(tmp_path / "scores.csv")


def test_the_figures_of_the_closing_table(scored):
    folder, _, _ = scored
    metrics = json.loads((folder / "scores" / "metrics.json").read_text())
    assert metrics["cases"] == 3
    assert metrics["calcium_free"] == {"cases": 1, "scored_zero": 1, "share": 1.0}
    assert metrics["lesions"]["true"] == 3
    assert metrics["lesions"]["sensitivity"] == 1.0
    assert metrics["lesions"]["false_per_scan"] == pytest.approx(1 / 3)
    assert metrics["calcium_dice"]["cases"] == 2
    assert metrics["calcium_dice"]["empty"] == 1
    assert metrics["calcium_voxels"]["iou"] < metrics["calcium_voxels"]["f1"] < 1
    assert set(metrics["agreement"]) >= {"kappa_linear", "icc2_1", "spearman", "bias", "limits", "intervals"}
    assert np.sum(metrics["groups"]["confusion"]) == 3
    assert metrics["groups"]["names"] == list(PRESETS["paper"].labels)


def test_intervals_are_measured_where_the_network_is_calibrated(scored, save_fit, params, tmp_path):
    folder, rows, _ = scored
    assert json.loads((folder / "scores" / "metrics.json").read_text())["certainty"] is None
    assert {(row.low, row.high, row.likely_groups) for row in rows} == {(None, None, "")}
    fit = save_fit(tmp_path / "calcium", "calcium")
    write_calibration(fit, load_model(fit).sha256)
    split = Split(seed=0, members=tuple(Member(n, n, "test", "none") for n in ("false", "free", "right")))
    told = score_cohort(
        folder / "data",
        split,
        heart_fit=folder / "heart",
        calcium_fit=fit,
        out=tmp_path / "scores",
        params=params,
    )
    right, free = row_of(told, "right"), row_of(told, "free")
    assert (right.low, right.high) == pytest.approx((right.reference_agatston,) * 2, rel=1e-3)
    assert (free.low, free.high, free.likely_groups) == (0, 0, "0")
    certainty = json.loads((tmp_path / "scores" / "metrics.json").read_text())["certainty"]
    assert certainty["groups"] == {"held": 2, "sure": 3, "sure_and_right": 2}
    assert certainty["interval"]["cases"] == 3
    assert certainty["calibrated"]["candidates"] == 4
    assert certainty["calibrated"]["brier"] == pytest.approx(0.25)


def test_rows_of_the_confusion_are_the_reference(scored):
    folder, rows, _ = scored
    groups = json.loads((folder / "scores" / "metrics.json").read_text())["groups"]
    false = row_of(rows, "false")
    assert false.reference_group != false.predicted_group
    place = groups["names"].index(false.reference_group), groups["names"].index(false.predicted_group)
    assert groups["confusion"][place[0]][place[1]] == 1
    assert groups["confusion"][place[1]][place[0]] == 0


def test_masks_lie_on_the_scans_own_grid(scored):
    folder, _, _ = scored
    ct = read_nifti(folder / "data" / "ct" / "right.nii.gz")
    for model in ("heart", "calcium"):
        assert read_nifti(folder / "scores" / "masks" / f"right_{model}.nii.gz").same_grid(ct)
    assert not list((folder / "scores" / "masks").glob("bare*"))


def test_the_same_inputs_give_the_same_bytes(scored, params):
    folder, _, _ = scored
    split = Split(seed=0, members=tuple(Member(n, n, "test", "none") for n in ("false", "free", "right")))
    for out in ("once", "twice"):
        score_cohort(
            folder / "data",
            split,
            heart_fit=folder / "heart",
            calcium_fit=folder / "calcium",
            out=folder / out,
            params=params,
        )
    for file in (folder / "once").rglob("*.*"):
        assert file.read_bytes() == (folder / "twice" / file.relative_to(folder / "once")).read_bytes()


def test_a_heart_that_is_not_found_counts_as_zero(scored, save_fit, params, tmp_path):
    folder, _, _ = scored
    rows = score_cohort(
        folder / "data",
        Split(seed=0, members=(Member("right", "p", "test", "none"),)),
        heart_fit=save_fit(tmp_path / "heart", "heart", logit=-9.0),
        calcium_fit=folder / "calcium",
        out=tmp_path / "scores",
        params=params,
    )
    assert rows[0].predicted_agatston == 0
    assert rows[0].reference_agatston > 0
    assert rows[0].heart_dice == 0
    metrics = json.loads((tmp_path / "scores" / "metrics.json").read_text())
    assert metrics["agreement"]["kappa_linear"] is None
    assert metrics["agreement"]["bias"] == -rows[0].reference_agatston


def test_a_cohort_without_calcium_masks_is_refused_and_leaves_nothing(scored, params, tmp_path):
    folder, _, _ = scored
    with pytest.raises(InputError, match="No test case has a calcium mask"):
        score_cohort(
            folder / "data",
            Split(seed=0, members=(Member("bare", "p", "test", "none"),)),
            heart_fit=folder / "heart",
            calcium_fit=folder / "calcium",
            out=tmp_path / "scores",
            params=params,
        )
    assert not list(tmp_path.iterdir())


def test_worst_cases_come_first():
    def row(case: str, predicted: float, reference: float) -> CaseScore:
        groups = PRESETS["paper"]
        names = [groups.labels[groups.index(score)] for score in (predicted, reference)]
        return CaseScore(
            case, "phantom", predicted, reference, 0, 0, *names, 0.9, None, 0, 0, 0, None, None, "", "given"
        )

    rows = [row("near", 900, 1000), row("missed", 0, 40), row("exact", 50, 50), row("far", 0, 500)]
    assert [item.case for item in worst_first(rows, PRESETS["paper"].labels)] == [
        "far",
        "missed",
        "near",
        "exact",
    ]


def test_hearts_of_the_evaluation_are_used_again_for_the_same_weights_alone(
    scored, save_fit, params, tmp_path, monkeypatch
):
    folder, rows, _ = scored
    split = Split(seed=0, members=(Member("right", "p", "test", "none"),))
    evaluate_model("heart", folder / "data", split, folder / "heart", tmp_path / "evaluation")

    def score(heart, out):
        more = {"calcium_fit": folder / "calcium", "params": params, "earlier": tmp_path / "evaluation"}
        return score_cohort(folder / "data", split, heart_fit=heart, out=tmp_path / out, **more)

    other = save_fit(tmp_path / "heart", "heart", logit=-9.0)
    assert score(other, "other")[0].heart_dice == 0
    monkeypatch.setattr("coronet.scoring.predicted_masks.predict_heart_with_distance", None)
    assert score(folder / "heart", "same") == (row_of(rows, "right"),)


def test_recipes_of_evaluate_and_score(scored, tmp_path):
    folder, rows, _ = scored
    split = Split(seed=0, members=(Member("right", "p", "test", "none"),))
    metrics = evaluate_model("heart", folder / "data", split, folder / "heart", tmp_path / "evaluation")
    check_recipe("evaluate", [metrics["dice"]["mean"], metrics["short_scan"]["dice"]["mean"]])
    check_recipe("score", [row.predicted_agatston for row in rows])
