"""From the trainings of a project to the networks that come with the package: one folder a model."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coronet.config import MODELS
from coronet.errors import InputError, StageError
from coronet.files import read_json, replacing_folder, sha256_file, write_json, write_text
from coronet.networks.calibration import CALIBRATION
from coronet.networks.factory import SPEC, WEIGHTS, LoadedModel
from coronet.networks.quality import QUALITY
from coronet.registry.model_card import model_card
from coronet.registry.packaging import copy_model
from coronet.registry.version_quality import load_scoring_model
from coronet.tracking.dvc_lock import read_lock

BUNDLED_CARD = "MODEL_CARD.md"
LARGEST_MB = 10.0
"""Of a model's weights, in 10^6 bytes: the package is downloaded whole."""


def bundle_models(project: Path, out: Path, *, release: str) -> dict[str, str]:
    """Copy the trainings in ``build/`` of a project to where the package keeps its networks.

    Each folder gets weights, specification, measured quality with the gate's verdict, calibration, and a
    model card. What was there is replaced, both models or none.

    Args:
        project: folder of ``build/`` and, if there is one, ``promotions.jsonl``.
        out: gets a folder a model.
        release: the version of Coronet that they come with.

    Returns:
        sha256 of the weights by model.

    Raises:
        StageError: a network is not trained, or calibrated with another heart network.
        InputError: a file is damaged, or weights are larger than `LARGEST_MB`.
    """
    project, out = Path(project), Path(out)
    found = {
        model: load_scoring_model(project / "build" / model / "fit", part=model, project=project)
        for model in MODELS
    }
    _check(found, project)
    with tempfile.TemporaryDirectory() as staging:
        for model, loaded in found.items():
            _fill(Path(staging) / model, project, loaded, release)
        for model in found:
            with replacing_folder(out / model) as folder:
                for item in sorted((Path(staging) / model).iterdir()):
                    (folder / item.name).write_bytes(item.read_bytes())
    return {model: loaded.sha256 for model, loaded in found.items()}


def _check(found: Mapping[str, LoadedModel], project: Path) -> None:
    for model, loaded in found.items():
        weights = project / "build" / model / "fit" / WEIGHTS
        if loaded.spec.model != model:
            raise StageError(f"{weights} belongs to a {loaded.spec.model} network.")
        if (size := weights.stat().st_size / 1e6) > LARGEST_MB:
            raise InputError(
                f"{weights} has {size:.1f} MB, and the package takes at most {LARGEST_MB:g} MB a model; "
                "train with fewer network.channels."
            )
    calibration = found["calcium"].calibration
    if calibration is not None and calibration.heart_sha256 != found["heart"].sha256:
        raise StageError(
            f"The calibration of {project / 'build' / 'calcium' / 'fit'} was made with another heart "
            "network; `dvc repro calibrate` makes it anew."
        )


def _fill(folder: Path, project: Path, loaded: LoadedModel, release: str) -> None:
    model = loaded.spec.model
    copy_model(project / "build" / model / "fit", folder)
    description = read_json(folder / SPEC) | {"release": release}
    write_json(folder / SPEC, description)
    write_json(folder / QUALITY, loaded.quality.to_json(loaded.sha256))
    gate = loaded.quality.gate
    lock = read_lock(project)
    calibration = folder / CALIBRATION
    tags = {
        "release": release,
        "weights_sha256": loaded.sha256,
        "calibration_sha256": sha256_file(calibration) if calibration.exists() else "",
        "fingerprint": loaded.spec.fingerprint,
        "data_sha256": loaded.spec.data_sha256,
        "data_ct_md5": lock.input("describe", "data/ct"),
        "data_masks_md5": lock.input("describe", "data/masks"),
        "gate": gate.answer if gate else "not evaluated",
    }
    card = model_card(
        model,
        description,
        metrics=measured_metrics(project, loaded),
        tags={key: value for key, value in tags.items() if value},
    )
    write_text(folder / BUNDLED_CARD, card)


def measured_metrics(project: Path, loaded: LoadedModel) -> dict[str, Any] | None:
    """``metrics.json`` of these very weights in a project's ``build/``; None where there is none."""
    path = project / "build" / loaded.spec.model / "evaluation" / "metrics.json"
    if not path.exists():
        return None
    found: dict[str, Any] = read_json(path)
    same = found.get("weights_sha256", {}).get(loaded.spec.model) == loaded.sha256
    return found if same else None
