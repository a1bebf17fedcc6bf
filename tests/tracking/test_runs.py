"""A run, a version, its card and the gate call the same number F1."""

from __future__ import annotations

from coronet.files import read_json
from coronet.registry.model_card import model_card
from coronet.registry.registration import _headline
from coronet.tracking.run_contents import training_record


def test_f1_is_that_of_all_voxels_everywhere(bare, helpers):
    fit = helpers.write_fit(bare, "calcium", fingerprint="c" * 64)
    helpers.write_evaluation(bare, "calcium", value=0.5)
    folder = bare / "build" / "calcium" / "evaluation"
    metrics = read_json(folder / "metrics.json")
    figures = training_record("calcium", fit, tags={}, evaluation=folder).figures
    assert figures["test/f1"] == metrics["pooled"]["f1"] == 0.125
    assert figures["test/case_dice.mean"] == metrics["f1"]["mean"] == 0.5
    assert not any("f1" in key for key in figures if key not in ("test/f1", "test/lesions.f1"))
    assert _headline("calcium", metrics) == "F1 of all voxels 0.125 on 2 test cases."
    card = model_card("calcium", read_json(fit / "model.json"), metrics=metrics, tags={}, changed=())
    assert "F1 of all voxels: 0.125" in card
    assert "| Dice | 0.500" in card
