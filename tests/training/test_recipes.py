"""Small results against stored figures: a recipe version must be raised when they change."""

from __future__ import annotations

import pytest

from coronet.dataset.case_table import describe_cases
from coronet.files import read_json
from coronet.preprocessing.prepared_store import load_prepared
from coronet.training.fit import fit_model
from coronet.training.learning_curves import read_history
from coronet.training.pretrain import pretrain_model
from recipe_results import check_recipe


@pytest.fixture(scope="module")
def encoder(prepared, params, split, tmp_path_factory):
    folder = tmp_path_factory.mktemp("autoencoder")
    return pretrain_model("heart", prepared["heart"], split, params, folder / "out", work=folder / "work")


def test_describe(data):
    check_recipe("describe", describe_cases(data, workers=1).select_dtypes("number").mean().dropna())


def test_prepare(prepared, params):
    figures = []
    for model in ("heart", "calcium"):
        (case,) = load_prepared(prepared[model], ["a"], params.model(model).input)
        figures += [*case.grid.shape, case.hu.astype(float).mean(), case.target.astype(float).mean()]
    check_recipe("prepare", figures)


def test_pretrain(encoder):
    check_recipe("pretrain", [read_json(encoder.with_name("metrics.json"))["squared_error"]])


def test_train(prepared, params, encoder, tmp_path):
    result = fit_model(
        "heart",
        prepared["heart"],
        params.heart,
        train_cases=("a", "b", "c"),
        tune_cases=("d",),
        seed=1,
        out=tmp_path / "fit",
        work=tmp_path / "work",
        pretrained=encoder,
    )
    history = read_history(result.folder / "history.csv")
    check_recipe("train", [entry["loss"] for entry in history])
