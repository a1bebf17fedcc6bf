"""A forest is its table: the same table answers alike, wherever and however it is asked."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from coronet.annotation.forest import Samples, fit_forest, join_samples, load_samples, save_samples
from coronet.errors import InputError


def table(rows: int = 1500, *, case: str = "one", seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    features = rng.integers(-500, 500, (rows, 6)).astype(np.int16)
    labels = (features[:, 0] + features[:, 1] // 2 > 40).astype(np.uint8)
    return Samples(features, labels, np.full(rows, case), tuple("abcdef"), ("heart", "background"))


def test_it_learns_and_says_how_well():
    forest, fresh = fit_forest(table()), table(seed=1)
    right = (forest.probability(fresh.features).argmax(axis=1) == fresh.labels).mean()
    assert right > 0.92
    assert abs(forest.out_of_bag - right) < 0.05


def test_labels_by_chance_are_not_learnt():
    samples = table()
    mixed = dataclasses.replace(samples, labels=np.random.default_rng(3).permutation(samples.labels))
    assert 0.4 < fit_forest(mixed).out_of_bag < 0.6


def test_the_number_of_workers_changes_nothing():
    forest = fit_forest(table())
    many = np.tile(table(seed=2).features, (60, 1))
    np.testing.assert_array_equal(forest.probability(many, workers=1), forest.probability(many, workers=5))


def test_a_stored_table_grows_the_same_forest_and_holds_no_pickle(tmp_path):
    samples = table()
    save_samples(tmp_path / "a.npz", samples)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as stored:
        assert all(stored[name].dtype != object for name in stored.files)
    again = load_samples(tmp_path / "a.npz")
    fresh = table(seed=4).features
    np.testing.assert_array_equal(
        fit_forest(samples).probability(fresh), fit_forest(again).probability(fresh)
    )
    assert again.feature_names == samples.feature_names


def test_probabilities_add_up_and_absent_classes_get_none():
    samples = dataclasses.replace(table(), label_names=("heart", "background", "other"))
    answer = fit_forest(samples).probability(samples.features)
    np.testing.assert_allclose(answer.sum(axis=1), 1, atol=1e-4)
    assert not answer[:, 2].any()


def test_one_kind_alone_is_refused():
    samples = table()
    with pytest.raises(InputError, match="have only the label heart"):
        fit_forest(dataclasses.replace(samples, labels=np.zeros_like(samples.labels)))


def test_tables_of_other_features_are_not_joined():
    other = dataclasses.replace(table(), feature_names=tuple("abcdeg"))
    with pytest.raises(InputError, match="different features"):
        join_samples([table(), other])
    assert len(join_samples([table(), table(case="two")]).labels) == 3000


@pytest.mark.parametrize("content", [b"", b"no table", b"PK\x03\x04 cut"])
def test_a_damaged_table_is_named(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InputError, match="no table of samples"):
        load_samples(tmp_path / "a.npz")
    with pytest.raises(InputError, match="annotate draw"):
        load_samples(tmp_path / "absent.npz")
