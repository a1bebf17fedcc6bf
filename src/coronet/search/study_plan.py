"""What a study is of: model, data, folds, space and code. Read once, it decides what a trial trains."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coronet import config
from coronet.config import ModelParams, Params
from coronet.dataset.split import read_split
from coronet.errors import SearchError
from coronet.files import sha256_file
from coronet.fingerprint import canonical, fingerprint, recipe_version
from coronet.preprocessing.prepared_store import INDEX, load_prepared, prepared_cases
from coronet.search import space
from coronet.search.folds import Fold, inner_folds
from coronet.validation.leakage import check_parts

_WHAT_TO_DO = {
    "profile": "choose that profile in params.yaml",
    "data": "the prepared cases are others",
    "folds": "the training patients or search.folds are others",
    "space": "the limits in params.yaml are others",
    "parameters": "the model's parameters are others",
    "code": "the recipe of the training is another",
}
"""Each thing a study is bound to, and what it means that it differs."""


@dataclasses.dataclass(frozen=True)
class StudyPlan:
    """Everything that decides what a trial gives, and where it works."""

    model: str  # `heart` or `calcium`
    project: Path  # the folder of `params.yaml`
    params: Params  # all parameters
    template: ModelParams  # the model's parameters with a trial's budget
    folds: tuple[Fold, ...]  # to train in
    bound: Mapping[str, str]  # hashes of what the study is of, by the names of `_WHAT_TO_DO`

    @property
    def prepared(self) -> Path:
        """Folder of the prepared cases."""
        return self.project / "build" / self.model / "prepared"

    @property
    def work(self) -> Path:
        """Folder of all checkpoints."""
        return self.project / "mlruns" / "work"

    @property
    def fingerprint(self) -> str:
        """sha256 over all of ``bound``."""
        return _digest({"model": self.model, **self.bound})

    @property
    def study(self) -> str:
        """The name of a study where none is given."""
        return f"{self.model}-{self.fingerprint[:8]}"

    def training(self, params: ModelParams) -> str:
        """Fingerprint of a trial's training with ``params``; it names the folder of its checkpoints."""
        return self._key("search", {"model": params, "folds": [fold.split for fold in self.folds]})

    def pretraining(self, params: ModelParams, fold: Fold) -> tuple[str, Params]:
        """Fingerprint of the autoencoder for a trial in a fold, and the parameters to train it with.

        Only the network is the trial's own, so that all trials with the same one share the autoencoder.
        """
        chosen = dataclasses.replace(self.template, network=params.network)
        key = self._key("search-pretrain", {"model": chosen, "fold": fold.split})
        change: dict[str, Any] = {self.model: chosen}
        return key, dataclasses.replace(self.params, **change)

    def _key(self, stage: str, params: Mapping[str, Any]) -> str:
        return fingerprint(
            f"{stage}@{self.model}",
            params={"seed": self.params.seed, **params},
            inputs={"prepared": self.bound["data"]},
            recipe="pretrain" if stage == "search-pretrain" else "train",
        )


def make_study_plan(model: str, project: Path) -> StudyPlan:
    """Read what a search of ``model`` is about.

    Raises:
        ParamsError: parameters that are not understood, or a space that cannot be trained.
        SearchError: too few training patients.
        StageError: there are no prepared cases yet, or they were prepared with another input.
        GateFailed: a patient is in two parts of the split.
    """
    project = Path(project)
    params = config.load_params(project / "params.yaml")
    chosen, limits = params.model(model), params.search
    template = space.template(chosen, limits)
    space.check_space(limits, template)
    prepared = project / "build" / model / "prepared"
    load_prepared(prepared, (), template.input)
    usable = prepared_cases(prepared, "train")
    split = read_split(project / "build" / "split.json")
    folds = inner_folds(split, usable, limits)
    check_parts(split, (case for fold in folds for case in (*fold.train, *fold.held_out)))
    drawn = ("encoders", "activations", "dice", "focal_gamma", "learning_rate")
    bound = {
        "profile": params.profile,
        "data": sha256_file(prepared / INDEX),
        "folds": _digest([fold.split for fold in folds]),
        "space": _digest({name: getattr(limits, name) for name in drawn}),
        "parameters": _digest({"seed": params.seed, "model": template}),
        "code": f"pretrain {recipe_version('pretrain')}, train {recipe_version('train')}",
    }
    return StudyPlan(model, project, params, template, folds, bound)


def check_bound(
    plan: StudyPlan, name: str, bound: Mapping[str, str], *, ignore: tuple[str, ...] = ()
) -> None:
    """Refuse a study of something else than ``plan``.

    Raises:
        SearchError: names what differs.
    """
    for key in ("model", *_WHAT_TO_DO):
        here = plan.model if key == "model" else plan.bound[key]
        if key in ignore or bound.get(key) == here:
            continue
        words = f"it is of {bound.get(key)!r}" if key in ("model", "profile") else _WHAT_TO_DO[key]
        raise SearchError(
            f'The study "{name}" is of another {key}: {words}. '
            f'Without --study the search goes to "{plan.study}"; or bring back what the study was made with.'
        )


def _digest(value: Any) -> str:
    text = json.dumps(canonical(value), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
