"""A release of networks: into the package, and its record into ``releases/<version>/``."""

from __future__ import annotations

import shutil
from pathlib import Path

from coronet.config import MODELS
from coronet.errors import StageError
from coronet.files import read_json, replacing_folder, write_text
from coronet.networks.bundled import FOLDER
from coronet.networks.factory import SPEC, load_model
from coronet.networks.quality import ModelQuality
from coronet.registry.bundle import BUNDLED_CARD, bundle_models
from coronet.tracking.git_state import read_git_state

RUN_LOG = "run.log"
_INPUTS = ("params.yaml", "data.dvc", "dvc.lock", "promotions.jsonl", RUN_LOG)
_FIGURES = (
    "metrics.json",
    "calcium/calibration.json",
    "scores/metrics.json",
    "scores/scores.csv",
    *(
        f"{model}/{name}"
        for model in MODELS
        for name in ("fit/history.csv", "fit/curves.png", "evaluation/metrics.json", "evaluation/cases.csv")
    ),
)


def publish(project: Path, checkout: Path, *, version: str, recipe: Path) -> Path:
    """Put the trainings in ``build/`` of a project into the package, and write the record of the release.

    Args:
        project: folder of ``build/``; it is only read.
        checkout: gets ``src/coronet/weights`` and ``releases/<version>``, which is written anew.
        version: of Coronet that the networks come with.
        recipe: is copied into the record.

    Returns:
        The folder of the record.

    Raises:
        StageError: a network is not trained, or a figure is of other weights.
        InputError: weights are damaged or too large.
    """
    build, weights = project / "build", checkout / "src" / "coronet" / FOLDER
    _check_figures(build)
    bundle_models(project, weights, release=version)
    record = checkout / "releases" / version
    with replacing_folder(record) as folder:
        shutil.copyfile(recipe, folder / "recipe.yaml")
        for name in _INPUTS:
            if (project / name).exists():
                shutil.copyfile(project / name, folder / name)
        timings = project / "mlruns" / "timings.jsonl"
        if timings.exists():
            shutil.copyfile(timings, folder / timings.name)
        for name in _FIGURES:
            if (build / name).exists():
                place = folder / "figures" / name.replace("fit/", "").replace("evaluation/", "")
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(build / name, place)
        for model in MODELS:
            shutil.copyfile(weights / model / BUNDLED_CARD, folder / f"{model}.md")
        write_text(folder / "README.md", _readme(project, weights, version))
    return record


def _check_figures(build: Path) -> None:
    """Refuse figures of other weights than those in ``fit``."""
    for name in (*(f"{model}/evaluation/metrics.json" for model in MODELS), "scores/metrics.json"):
        if not (build / name).exists():
            continue
        for model, sha256 in read_json(build / name).get("weights_sha256", {}).items():
            if read_json(build / model / "fit" / SPEC)["weights_sha256"] != sha256:
                raise StageError(
                    f"{build / name} was measured with another {model} network; run `dvc repro`."
                )


def _readme(project: Path, weights: Path, version: str) -> str:
    code, sentences = read_git_state(project), []
    for model in MODELS:
        loaded = load_model(weights / model)
        cases = ", ".join(f"{count} × {source}" for source, count in sorted(loaded.spec.cases.items()))
        sentences.append(
            f"The {model} network (sha256 `{loaded.sha256}`) learned from {cases or 'cases not recorded'}. "
            f"{_verdict(loaded.quality)}"
        )
    commit = f"commit `{code.commit}`" if code.commit else "code without a commit"
    lines = [
        f"# Networks of Coronet {version}",
        "",
        f"These networks come with Coronet {version}; `make release` makes them again from `recipe.yaml`. "
        f"Their project is at {commit}. {' '.join(sentences)} `params.yaml`, `data.dvc` and `dvc.lock` are "
        f"what they were trained with, `timings.jsonl` and `{RUN_LOG}`, where they are, show the run, "
        "`promotions.jsonl`, where it is, holds the gate's verdicts with all figures, `heart.md` and "
        "`calcium.md` are the model cards, and `figures/` has training curves, evaluation on test scans, and "
        "calibration. They are no medical device.",
        "",
    ]
    return "\n".join(lines)


def _verdict(quality: ModelQuality) -> str:
    gate = quality.gate
    if gate is None:
        return "The gate has not evaluated it."
    return f"Gate, {gate.patients} test patients: {gate.answer}. {' '.join(gate.reasons)}"
