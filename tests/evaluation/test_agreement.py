"""Agreement statistics against published tables, scikit-learn and SciPy."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score, recall_score

from coronet.errors import InputError
from coronet.evaluation.agreement import score_agreement
from coronet.evaluation.agreement_plots import write_agreement
from coronet.evaluation.agreement_statistics import icc, kappas
from coronet.evaluation.paired_table import read_pairs

NLST = [[59, 24, 0, 1], [32, 94, 11, 3], [4, 8, 37, 20], [0, 1, 7, 95]]
CHEST_CT = [[62, 11, 0, 0], [6, 395, 2, 0], [0, 13, 260, 1], [0, 2, 9, 152]]
INSIDE = {"paper": (0.0, 50.0, 200.0, 500.0), "aha": (0.0, 50.0, 200.0, 500.0)}


def rows_of(matrix, inside=INSIDE["paper"]) -> tuple[np.ndarray, np.ndarray]:
    """Scores whose groups have ``matrix`` as their confusion, rows predicted and columns reference."""
    cells = [(column, row) for (row, column), count in np.ndenumerate(matrix) for _ in range(count)]
    reference, predicted = np.array(inside)[np.array(cells).T]
    return reference, predicted


def test_the_nlst_table_gives_the_published_statistics():
    found = score_agreement(*rows_of(NLST), resamples=50)
    assert found.pairs == 396
    assert found.confusion.tolist() == NLST
    assert found.statistics.kappa == pytest.approx(0.6177872074014817, abs=1e-12)
    assert found.statistics.concordance == pytest.approx(0.7196969696969697, abs=1e-12)
    assert found.statistics.kappa_linear == pytest.approx(0.7549, abs=5e-5)
    assert found.statistics.kappa_quadratic == pytest.approx(0.857, abs=5e-4)


def test_the_nlst_scores_give_the_known_correlations(real_data):
    pairs = read_pairs(real_data / "tables" / "deepcac_nlst_396.csv")
    assert pairs.names == ("CAC_manual", "CAC_AI")
    found = score_agreement(pairs.reference, pairs.predicted, resamples=200)
    statistics = found.statistics
    assert statistics.kappa == pytest.approx(0.6177872074014817, abs=1e-12)
    assert statistics.icc1 == pytest.approx(0.769, abs=5e-4)
    assert statistics.icc2_1 == pytest.approx(0.771, abs=5e-4)
    assert statistics.spearman == pytest.approx(0.893, abs=5e-4)
    assert statistics.bias == pytest.approx(-136.2, abs=0.05)
    assert statistics.limits == pytest.approx((-1022.5, 750.1), abs=0.05)
    for name, (low, high) in found.intervals.items():
        if name != "limits":
            assert low < getattr(statistics, name) < high


def test_a_commercial_tools_table_gives_the_published_weighted_kappa():
    statistics = score_agreement(*rows_of(CHEST_CT), resamples=50).statistics
    assert statistics.kappa_linear == pytest.approx(0.9457, abs=5e-5)
    assert statistics.kappa == pytest.approx(0.9282, abs=5e-5)
    assert statistics.kappa_quadratic == pytest.approx(0.9633, abs=5e-5)
    assert statistics.concordance == pytest.approx(0.9518, abs=5e-5)


@pytest.mark.parametrize(
    ("counts", "cut", "expected"),
    [
        ((73, 10, 31, 80), 1, (0.7887, 0.7207, 0.8795, 0.7960)),
        ((134, 4, 23, 33), 100, (0.8608, 0.5893, 0.9710, 0.7097)),
        ((164, 4, 10, 16), 400, (0.9278, 0.6154, 0.9762, 0.6957)),
    ],
)
def test_two_by_two_counts_of_users_give_their_rates(counts, cut, expected):
    truth = np.repeat([False, False, True, True], counts)
    predicted = np.repeat([False, True, False, True], counts)
    accuracy, sensitivity, specificity, f1 = expected
    assert accuracy_score(truth, predicted) == pytest.approx(accuracy, abs=5e-5)
    assert recall_score(truth, predicted) == pytest.approx(sensitivity, abs=5e-5)
    assert recall_score(~truth, ~predicted) == pytest.approx(specificity, abs=5e-5)
    assert f1_score(truth, predicted) == pytest.approx(f1, abs=5e-5)
    # The same counts as scores on either side of the cut give the same concordance through the bins.
    below = 0.0 if cut == 1 else cut - 1.0
    bins = "five" if cut == 1 else "aha"
    scores = [np.where(side, cut + 0.5, below) for side in (truth, predicted)]
    assert score_agreement(*scores, groups=bins, resamples=5).statistics.concordance == pytest.approx(
        accuracy, abs=5e-5
    )


scores = st.lists(st.tuples(*[st.sampled_from([0.0, 0.5, 40.0, 100.0, 250.0, 300.5, 900.0])] * 2), min_size=3)


@given(scores)
@settings(deadline=None, max_examples=60)
def test_kappas_of_many_tables_equal_those_of_scikit_learn(pairs):
    one, other = np.array(pairs).T
    found = score_agreement(one, other, resamples=3)
    batched = kappas(found.confusion[None])
    names = ("kappa", "kappa_linear", "kappa_quadratic")
    for name, weights, value in zip(names, (None, "linear", "quadratic"), batched, strict=True):
        own = getattr(found.statistics, name)
        assert value[0] == pytest.approx(own, nan_ok=True)
        if not math.isnan(own):
            classes = [[found.groups.index(score) for score in side] for side in (one, other)]
            assert own == pytest.approx(cohen_kappa_score(*classes, labels=range(4), weights=weights))


def test_icc_equals_the_worked_example_of_shrout_and_fleiss():
    # Two of the four judges of their table 2; mean squares worked out by hand.
    first, second = np.array([9.0, 6, 8, 7, 10, 6]), np.array([2.0, 1, 4, 1, 5, 2])
    subjects = 2 * np.var((first + second) / 2, ddof=1)
    residual = np.var(first - second, ddof=1) / 2
    judges = 6 * np.var([first.mean(), second.mean()], ddof=1)
    within = (5 * residual + judges) / 6
    one, two = icc(first, second)
    assert one == pytest.approx((subjects - within) / (subjects + within))
    assert two == pytest.approx((subjects - residual) / (subjects + residual + 2 * (judges - residual) / 6))


def test_equal_readings_agree_wholly():
    values = np.array([0.0, 3.0, 150.0, 800.0])
    statistics = score_agreement(values, values, resamples=20).statistics
    assert (statistics.kappa, statistics.concordance, statistics.bias) == (1.0, 1.0, 0.0)
    assert (statistics.icc1, statistics.icc2_1) == pytest.approx((1.0, 1.0))
    assert (statistics.spearman, statistics.pearson) == pytest.approx((1.0, 1.0))


def test_what_is_not_defined_is_null():
    answer = score_agreement(np.zeros(5), np.zeros(5), resamples=10).to_json()
    assert answer["kappa"] is None
    assert answer["spearman"] is None
    assert answer["concordance"] == 1.0
    assert answer["undefined"]["kappa"] == 1.0
    json.dumps(answer, allow_nan=False)


def test_the_answer_has_the_promised_keys_and_the_same_seed_gives_it_again():
    rng = np.random.default_rng(1)
    reference = rng.gamma(0.5, 400, 60)
    predicted = reference * rng.uniform(0.5, 1.5, 60)
    one = score_agreement(reference, predicted, resamples=100).to_json()
    assert one == score_agreement(reference, predicted, resamples=100).to_json()
    assert {
        "kappa", "kappa_linear", "kappa_quadratic", "concordance", "icc1",
        "icc2_1", "spearman", "pearson", "bias", "limits",
    } < set(one)  # fmt: skip
    assert one["spearman"] == pytest.approx(stats.spearmanr(reference, predicted).statistic)
    assert one["bias"] == pytest.approx((predicted - reference).mean())
    assert set(one["intervals"]) == set(one) - {
        "intervals", "undefined", "confusion", "groups", "pairs", "reference", "predicted", "same_group",
    }  # fmt: skip


def test_the_pictures_are_written_and_repeat(tmp_path):
    found = score_agreement(*rows_of(NLST), resamples=20)
    png, svg = write_agreement(found, tmp_path / "one")
    again = write_agreement(found, tmp_path / "two")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert svg.read_bytes() == again[1].read_bytes()
    assert png.read_bytes() == again[0].read_bytes()


def table(folder, text: str):
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("heading", "names"),
    [
        ("reference,predicted", ("reference", "predicted")),
        ("id,truth,ours", ("truth", "ours")),
        ("id,CAC_AI,CAC_manual", ("CAC_manual", "CAC_AI")),
        ("model,b", ("b", "model")),
        ("a,b", ("b", "a")),
    ],
)
def test_columns_are_told_apart_by_their_names(tmp_path, heading, names):
    width = heading.count(",") + 1
    rows = "".join(",".join([str(row)] * width) + "\n" for row in range(4))
    assert read_pairs(table(tmp_path, f"{heading}\n{rows}")).names == names


def test_columns_can_be_named(tmp_path):
    rows = "".join(f"{case},b,1,2,3\n" for case in "xyz")
    path = table(tmp_path, f"case,site,one,two,three\n{rows}")
    pairs = read_pairs(path, reference="three", predicted="one")
    assert pairs.reference.tolist() == [3, 3, 3]
    assert pairs.predicted.tolist() == [1, 1, 1]
    with pytest.raises(InputError, match="--reference"):
        read_pairs(path)
    with pytest.raises(InputError, match='no column "four"'):
        read_pairs(path, reference="four", predicted="one")


@pytest.mark.parametrize("value", ["", "nan", "-3", "12 mg", "inf"])
def test_what_is_no_score_is_refused_with_its_line(tmp_path, value):
    path = table(tmp_path, f"a,b\n1,2\n3,{value}\n5,6\n")
    with pytest.raises(InputError, match="line 3"):
        read_pairs(path)


def test_too_few_pairs_are_refused():
    with pytest.raises(InputError, match="at least 3"):
        score_agreement(np.zeros(2), np.zeros(2))
