"""A random forest over voxels or candidates, kept as the table it learns from.

Features are whole numbers and probabilities are sums of whole numbers, so that the same table gives the same
forest and the same probabilities on every processor and with any number of threads. A stored forest is its
table: it is fitted again when it is loaded, in about a second, and no pickle exists.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from coronet.errors import InputError
from coronet.files import replacing
from coronet.process import own_cores

_TREES = 60
_LEAF = 3
SEED = 0  # of forests and of the rows that they learn from
_ONE = 1 << 16  # a leaf's share of a class is kept in 65,536ths
_ROWS = 65_536
_TEXTS = ("cases", "feature_names", "label_names")
_OTHER_FEATURES = (
    "The annotated scans were drawn with different features; draw the older ones again "
    "(`coronet annotate draw --alone --replace`)."
)


@dataclasses.dataclass(frozen=True)
class Samples:
    """What a forest learns from."""

    features: np.ndarray  # int16 (n, f)
    labels: np.ndarray  # uint8 (n,), indices into ``label_names``
    cases: np.ndarray  # (n,) strings, the case each row comes from
    feature_names: tuple[str, ...]  # f names
    label_names: tuple[str, ...]  # the classes, such as ``LABELS["heart"]``

    def __post_init__(self) -> None:
        rows, columns = self.features.shape
        if not rows == len(self.labels) == len(self.cases) or columns != len(self.feature_names):
            raise ValueError("Samples: features, labels, cases and names do not fit together.")


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a forest is grown: ``trees`` with at least ``leaf`` samples a leaf."""

    trees: int = _TREES
    leaf: int = _LEAF
    seed: int = SEED


@dataclasses.dataclass(frozen=True)
class Forest:
    """A fitted forest."""

    # one (tree, leaf table) a tree; a leaf table is int32 (nodes, classes) in 65,536ths
    trees: tuple[tuple[Any, np.ndarray], ...] = dataclasses.field(repr=False)
    # share of the training rows that the trees which were not fitted to them get right, classes weighted
    # alike. Neighbouring voxels of one stroke are alike, so it is optimistic.
    out_of_bag: float
    settings: Settings
    feature_names: tuple[str, ...]
    label_names: tuple[str, ...]
    importances: np.ndarray = dataclasses.field(repr=False)  # float (f,), mean decrease of impurity

    def probability(self, features: np.ndarray, *, workers: int | None = None) -> np.ndarray:
        """Probability of each class: float32 (n, classes); the same for any number of workers."""
        out = np.zeros((len(features), len(self.label_names)), np.float32)

        def predict(start: int) -> None:
            block = np.ascontiguousarray(features[start : start + _ROWS], dtype=np.float32)
            total = np.zeros((len(block), len(self.label_names)), np.int32)
            for tree, leaves in self.trees:
                total += leaves[tree.apply(block)]
            out[start : start + _ROWS] = total.astype(np.float32) / np.float32(_ONE * len(self.trees))

        with ThreadPoolExecutor(workers or own_cores()) as pool:
            list(pool.map(predict, range(0, len(features), _ROWS)))
        return out


def fit_forest(samples: Samples, *, trees: int = _TREES, leaf: int = _LEAF) -> Forest:
    """Grow a forest.

    Classes weigh alike, however many rows each has. The result depends on the table and the settings alone.

    Raises:
        InputError: fewer than two classes have rows.
    """
    from sklearn.ensemble import RandomForestClassifier

    present = np.unique(samples.labels)
    if len(present) < 2:
        named = ", ".join(samples.label_names[label] for label in present.tolist()) or "none"
        raise InputError(
            f"The strokes have only the label {named}; a forest needs strokes of at least two kinds out of "
            f"{', '.join(samples.label_names)}."
        )
    model = RandomForestClassifier(
        n_estimators=trees,
        min_samples_leaf=leaf,
        class_weight="balanced",
        bootstrap=True,
        oob_score=_balanced_accuracy,
        random_state=SEED,
        n_jobs=own_cores(),
    )
    import warnings

    with warnings.catch_warnings():
        # Rows that every tree was fitted to carry no vote; few trees on few rows have some.
        warnings.simplefilter("ignore", UserWarning)
        model.fit(samples.features.astype(np.float32), samples.labels)
    columns = model.classes_.astype(np.intp)
    grown = []
    for tree in model.estimators_:
        values = tree.tree_.value[:, 0, :]
        leaves = np.zeros((len(values), len(samples.label_names)), np.int32)
        leaves[:, columns] = np.rint(values / values.sum(axis=1, keepdims=True) * _ONE)
        grown.append((tree.tree_, leaves))
    return Forest(
        trees=tuple(grown),
        out_of_bag=float(model.oob_score_),
        settings=Settings(trees, leaf),
        feature_names=samples.feature_names,
        label_names=samples.label_names,
        importances=np.asarray(model.feature_importances_),
    )


def _balanced_accuracy(truth: np.ndarray, predicted: np.ndarray) -> float:
    from sklearn.metrics import balanced_accuracy_score

    return float(balanced_accuracy_score(truth, predicted))


def check_features(samples: Samples, names: tuple[str, ...]) -> None:
    """Check that a table holds the features that a scan is described with now.

    Raises:
        InputError: it holds others.
    """
    if samples.feature_names != names:
        raise InputError(_OTHER_FEATURES)


def join_samples(tables: Sequence[Samples]) -> Samples:
    """One table out of several.

    Raises:
        InputError: their features or labels differ.
    """
    first = tables[0]
    for table in tables[1:]:
        if table.feature_names != first.feature_names or table.label_names != first.label_names:
            raise InputError(_OTHER_FEATURES)
    return Samples(
        np.concatenate([table.features for table in tables]),
        np.concatenate([table.labels for table in tables]),
        np.concatenate([table.cases for table in tables]),
        first.feature_names,
        first.label_names,
    )


def draw_samples(samples: Samples, most: int) -> Samples:
    """``most`` rows of a table drawn by chance, in their order; all of a table that has no more."""
    if len(samples.labels) <= most:
        return samples
    rows = np.sort(np.random.default_rng([SEED, 2]).permutation(len(samples.labels))[:most])
    return dataclasses.replace(
        samples, features=samples.features[rows], labels=samples.labels[rows], cases=samples.cases[rows]
    )


def save_samples(path: Path, samples: Samples) -> None:
    """Write a table as ``.npz`` without pickle."""
    with replacing(path) as part, part.open("wb") as stream:
        columns = {field.name: getattr(samples, field.name) for field in dataclasses.fields(Samples)}
        texts: dict[str, Any] = {name: np.asarray(columns.pop(name), np.str_) for name in _TEXTS}
        np.savez_compressed(stream, **columns, **texts)


def load_samples(path: Path) -> Samples:
    """Read what `save_samples` wrote.

    Raises:
        InputError: the file is absent or no such table.
    """
    import zipfile

    try:
        with np.load(path, allow_pickle=False) as stored:
            return Samples(
                stored["features"],
                stored["labels"],
                stored["cases"],
                tuple(str(name) for name in stored["feature_names"]),
                tuple(str(name) for name in stored["label_names"]),
            )
    except FileNotFoundError as error:
        raise InputError(f"{path} is absent; `coronet annotate draw` with strokes writes it.") from error
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is no table of samples ({type(error).__name__}).") from error
