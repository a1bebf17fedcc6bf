"""What `dvc metrics` and `dvc plots` show."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from coronet.errors import InputError
from coronet.imaging.mask_metrics import DECISIVE
from coronet.report.headline import headline
from coronet.training.learning_curves import read_history, write_history

ROOT = Path(__file__).resolve().parents[2]
HEART = {
    "dice": {"mean": 0.93899, "lowest": 0.9},
    "short_scan": {"dice": {"mean": None}},
    "volume_error_ml": 54.26412,
}
CALCIUM = {
    "pooled": {"f1": 0.9},
    "lesions": {"sensitivity": 0.8, "false_per_scan": 0.25},
    "calcium_free": {"false_mm3": {"mean": None}},
}
SCORES = {
    "score_error": 30.0,
    "agreement": {"bias": -1.0, "icc2_1": None, "kappa_linear": 0.7},
    "groups": {"confusion": [[3, 1], [0, 4]]},
    "calcium_free": {"share": 1.0},
}


def test_the_headline_is_small_and_says_where_nothing_was_measured():
    found = headline(HEART, CALCIUM, SCORES)
    assert sum(map(len, found.values())) <= 24
    assert found["heart"]["dice"] == 0.939
    assert found["heart"]["short_scan_dice"] is None
    assert found["score"]["same_group"] == 0.875


def test_metrics_and_plots_of_the_graph_name_what_is_written():
    graph = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    assert graph["stages"]["report"]["metrics"] == ["build/metrics.json"]
    shown = [next(iter(plot.values()))["y"] for plot in graph["plots"]]
    assert shown == [
        {f"build/{model}/fit/history.csv": column}
        for model in ("heart", "calcium")
        for column in ("loss", DECISIVE[model])
    ]


def test_a_history_reads_back_exactly(tmp_path):
    history = ({"epoch": 1, "loss": 0.1 + 0.2, "dice": 1.0, "learning_rate": 1e-9},)
    write_history(tmp_path / "history.csv", history)
    assert read_history(tmp_path / "history.csv") == history
    (tmp_path / "history.csv").write_text("epoch,loss,learning_rate\n1,0.5\n")
    with pytest.raises(InputError, match="dvc repro train"):
        read_history(tmp_path / "history.csv")
