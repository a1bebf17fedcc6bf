"""What a training's run holds, gathered from its results; the same whenever it is written."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import numbers
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from coronet.files import read_json, sha256_file
from coronet.fingerprint import canonical, dvc_md5, fingerprint
from coronet.tracking.dvc_lock import DvcLock, data_hashes, read_lock
from coronet.training.learning_curves import HISTORY, read_history

TRAINING, PRETRAINING, PAIR = "training", "pretraining", "pair"
_BY_CASE = {"f1": "dice", "iou": "iou"}
"""What an evaluation of calcium has for each case, and what a run calls it."""
_PARAM_LENGTH = 6000  # what MLflow takes


@dataclasses.dataclass(frozen=True)
class RunContents:
    """The content of one run."""

    model: str  # `heart`, `calcium` or `coronet`; it names the experiment
    kind: str  # `TRAINING`, `PRETRAINING` or `PAIR`
    fingerprint: str  # finds the run
    params: Mapping[str, str]  # dotted name and value
    tags: Mapping[str, str]  # lineage; git's are not among them, since they belong to the moment
    dataset: Mapping[str, Any]  # DVC's md5 by path, and what else is known of the data
    history: tuple[tuple[str, int, float], ...] = ()  # (metric, epoch, value) of every epoch
    figures: Mapping[str, float] = dataclasses.field(default_factory=dict)  # final metrics on test patients
    # CSV files with a row a case, shown as tables, by artifact path
    tables: Mapping[str, Path] = dataclasses.field(default_factory=dict)
    files: Mapping[str, Path] = dataclasses.field(default_factory=dict)  # what is shown, by artifact path

    @property
    def digest(self) -> str:
        """Hash of all of it; a run that carries it is whole."""
        content = dataclasses.asdict(self) | {
            part: {name: sha256_file(path) for name, path in paths.items()}
            for part, paths in (("files", self.files), ("tables", self.tables))
        }
        return hashlib.sha256(json.dumps(canonical(content), sort_keys=True).encode()).hexdigest()


def training_record(
    model: str,
    fit: Path,
    *,
    tags: Mapping[str, str],
    evaluation: Path | None = None,
    pictures: Path | None = None,
) -> RunContents:
    """Gather a training from the folders of its stages; ``tags`` are of `lineage`."""
    description = read_json(fit / "model.json")
    shown = _files("fit", fit)
    figures = _figures("fit", read_json(fit / "metrics.json"))
    tables = {}
    if evaluation is not None:
        figures |= _figures("test", _named(evaluation / "metrics.json"))
        tables["evaluation/cases.json"] = evaluation / "cases.csv"
        shown |= _files("evaluation", evaluation)
    if pictures is not None:
        shown |= _files("pictures", pictures)
    return RunContents(
        model=model,
        kind=TRAINING,
        fingerprint=description["fingerprint"],
        params=text_params(description["params"]),
        tags=dict(tags),
        history=tuple(_read_history(fit / HISTORY)),
        figures=figures,
        tables=tables,
        files=shown,
        dataset=_dataset(tags, description["cases"]),
    )


def streamed_record(project: Path, model: str, fingerprint: str, params: Any) -> RunContents:
    """What is known of a training before its results: parameters and lineage."""
    tags = lineage(project, model, read_lock(project)) | {"params_sha256": params_sha256(params)}
    for late in ("dvc_lock_sha256", "weights_sha256", "fit_md5"):
        tags.pop(late, None)
    return RunContents(model, TRAINING, fingerprint, text_params(params), tags, {"hashes": {}})


def _named(metrics: Path) -> dict[str, Any]:
    """Figures of an evaluation under the names of a run.

    F1 and IoU of a calcium network are those that the gate judges, pooled over all voxels. A case's own F1
    is its Dice, whose mean is kinder, since every case counts alike however little calcium it has.
    """
    found = read_json(metrics)
    if "pooled" not in found:
        return found
    pooled, by_case = found.pop("pooled"), {f"case_{to}": found.pop(key) for key, to in _BY_CASE.items()}
    return found | pooled | by_case


def pretraining_record(
    model: str, pretrained: Path, *, tags: Mapping[str, str], lock: DvcLock
) -> RunContents:
    """Gather the training of an autoencoder; it is named by what came of it."""
    metrics = read_json(pretrained / "metrics.json")
    raw = lock.stages.get(f"pretrain@{model}", {}).get("params", {}).get("params.yaml", {})
    encoder = sha256_file(pretrained / "encoder.safetensors")
    kept = ("data_ct_md5", "data_masks_md5", "validation_sha256")
    inherited = {key: value for key, value in tags.items() if key in kept}
    return RunContents(
        model=model,
        kind=PRETRAINING,
        fingerprint=fingerprint(f"pretrain@{model}", params={}, inputs={"encoder": encoder}),
        params=text_params({key.rpartition(f".{model}.")[2]: value for key, value in raw.items()}),
        tags=inherited | {"weights_sha256": encoder},
        history=tuple(_read_history(pretrained / HISTORY)),
        figures=_figures("fit", metrics),
        files=_files("fit", pretrained),
        dataset=_dataset(tags, {"cases": len(metrics["cases"])}),
    )


def pair_fingerprint(parts: Mapping[str, tuple[str, str]]) -> str:
    """What names a pair of networks: by model, the training's fingerprint and the hash of its weights."""
    text = " ".join(f"{model} {' '.join(parts[model])}" for model in sorted(parts, reverse=True))
    return hashlib.sha256(text.encode()).hexdigest()


def scores_record(build: Path, *, tags: Mapping[str, str]) -> RunContents:
    """Gather what the heart and the calcium network in ``build`` reach together, from scan to score."""
    scores, page = build / "scores", build / "report" / "index.html"
    parts: dict[str, tuple[str, str]] = {}
    sources: dict[str, Any] = {}
    for model in ("heart", "calcium"):
        description = read_json(build / model / "fit" / "model.json")
        parts[model] = (description["fingerprint"], description["weights_sha256"])
        sources |= description["cases"]
    hashes = {key: tags[key] for key in ("data_ct_md5", "data_masks_md5") if key in tags}
    return RunContents(
        model="coronet",
        kind=PAIR,
        fingerprint=pair_fingerprint(parts),
        params={},
        tags=hashes | {f"{model}_fingerprint": part[0] for model, part in parts.items()},
        figures=_figures("score", read_json(scores / "metrics.json")),
        tables={"scores/cases.json": scores / "scores.csv"},
        files=_files("scores", scores) | ({"report/index.html": page} if page.exists() else {}),
        dataset=_dataset(tags, sources),
    )


def lineage(project: Path, model: str, lock: DvcLock) -> dict[str, str]:
    """Tags that lead from a training to its bytes: hashes of data, lock, parameters, validation, weights.

    ``dvc_lock_sha256`` is of the entries that lead to the training and ``params_sha256`` of the training's
    own parameters, so that neither moves when something else does.
    """
    folder = Path(project) / "build" / model
    tags = {f"{name.replace('/', '_')}_md5": md5 for name, md5 in data_hashes(project, lock, model).items()}
    report = Path(project) / "build" / "validation" / "report.json"
    if report.exists():
        tags["validation_sha256"] = sha256_file(report)
    fit = folder / "fit"
    if (fit / "model.json").exists():
        tags["params_sha256"] = params_sha256(read_json(fit / "model.json")["params"])
        tags["weights_sha256"] = sha256_file(fit / "weights.safetensors")
        tags["fit_md5"] = dvc_md5(fit)
        # DVC writes its lock when the stage has ended; until then the lock is that of the training before
        if lock.output(f"train@{model}", f"build/{model}/fit") == tags["fit_md5"]:
            tags["dvc_lock_sha256"] = lock.sha256(f"train@{model}")
    return {key: value for key, value in tags.items() if value}


def params_sha256(params: Any) -> str:
    """Hash of a training's resolved parameters."""
    return hashlib.sha256(json.dumps(canonical(params), sort_keys=True).encode()).hexdigest()


def text_params(params: Any) -> dict[str, str]:
    """Parameters under dotted names, as MLflow keeps them."""
    return {key: str(value)[:_PARAM_LENGTH] for key, value in flatten(canonical(params))}


def flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested mappings under dotted keys; lists stay whole."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from flatten(item, f"{prefix}{key}.")
    else:
        yield prefix.removesuffix("."), canonical(value)


def _read_history(path: Path) -> Iterator[tuple[str, int, float]]:
    """Metric, epoch and value of every epoch of a training."""
    for entry in read_history(path):
        yield from epoch_metrics(entry)


def epoch_metrics(entry: Mapping[str, Any]) -> Iterator[tuple[str, int, float]]:
    """Metric, epoch and value of one epoch."""
    for key, value in _numbers({key: value for key, value in entry.items() if key != "epoch"}):
        yield key, int(entry["epoch"]), value


def _numbers(value: Any) -> Iterator[tuple[str, float]]:
    for key, item in flatten(value):
        if isinstance(item, numbers.Real) and not isinstance(item, bool):
            yield key, float(item)


def _figures(prefix: str, metrics: Any) -> dict[str, float]:
    return {f"{prefix}/{key}": value for key, value in _numbers(metrics)}


def _files(prefix: str, folder: Path) -> dict[str, Path]:
    """Files of a folder by artifact path; weights are the registry's."""
    return {
        f"{prefix}/{path.name}": path
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name[0] != "." and path.suffix != ".safetensors"
    }


def _dataset(tags: Mapping[str, str], cases: Mapping[str, int]) -> dict[str, Any]:
    hashes = {"data/ct": tags.get("data_ct_md5", ""), "data/masks": tags.get("data_masks_md5", "")}
    return {"hashes": {path: md5 for path, md5 in hashes.items() if md5}, "cases": dict(cases)}
