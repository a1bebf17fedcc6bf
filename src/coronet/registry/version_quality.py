"""The recorded quality of a version: where the registry keeps it, and how it reaches a score."""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from coronet.errors import InputError, LedgerError
from coronet.files import sha256_file, write_json
from coronet.networks.calibration import calibration_path
from coronet.networks.factory import LoadedModel, load_model
from coronet.networks.quality import QUALITY, GateVerdict, ModelQuality, gate_verdict, read_quality
from coronet.registry import promotion_log, versions
from coronet.registry.promotion_log import GATE_KINDS
from coronet.registry.versions import CALIBRATION_TAG, PACKAGE, Version

if TYPE_CHECKING:
    import torch
    from mlflow import MlflowClient

    from coronet.registry.verdict import Verdict

logger = logging.getLogger("coronet")
GATE, GATE_HEADLINE = "gate", "gate_headline"
"""Tags of a version: the gate's last answer, and the answer with the floors that were not asked."""


def load_scoring_model(
    where: str | Path, *, part: str, project: Path = Path(), device: torch.device | None = None
) -> LoadedModel:
    """Load a network to score with, and its recorded quality.

    Args:
        where: a folder, or the URI of a registered version; see `coronet.registry.versions.resolve`.
        part: ``heart`` or ``calcium``.
        project: the folder of ``mlruns``, for a URI.
        device: where the network shall lie.

    Raises:
        InputError: the URI is not understood, there is no such version, or the model is damaged.
        StageError: the folder holds no model.
        LedgerError: MLflow is away, or the bytes are lost.
    """
    folder = versions.resolve(str(where), project)
    model = load_model(folder, device=device)
    if model.quality.gate is not None:
        return model
    # A training in build/ may have been registered and evaluated: its project's log lists the weights.
    homes = (Path(project), *folder.resolve().parents[2:3])
    found = next(filter(None, (logged_verdict(home, part, model.sha256) for home in homes)), None)
    return dataclasses.replace(model, quality=dataclasses.replace(model.quality, gate=found))


def logged_verdict(project: Path, model: str, weights_sha256: str) -> GateVerdict | None:
    """The last verdict about these weights in a project's promotion log; None where there is none."""
    try:
        entries = promotion_log.read(project)
    except InputError as error:
        logger.warning("%s The gate's verdict on these networks is not known.", error)
        return None
    for entry in reversed(entries):
        verdict = entry.details.get("verdict")
        same = (entry.model, entry.details.get("weights_sha256")) == (model, weights_sha256)
        if verdict and same and entry.kind in GATE_KINDS:
            return gate_verdict(
                answer=verdict["answer"],
                reasons=verdict["reasons"],
                patients=verdict["patients"],
                not_asked=verdict.get("not_asked"),
                lowered=verdict.get("lowered"),
            )
    return None


def record_verdict(client: MlflowClient, version: Version, verdict: Verdict) -> None:
    """Write the gate's figures and verdict beside a version's weights, and the verdict as tags."""
    measured, before = verdict.challenger, _recorded(client, version)
    quality = ModelQuality(
        evaluation=(measured and measured.evaluation) or before.evaluation,
        scores=(measured and measured.scores) or before.scores,
        gate=verdict.gate_verdict,
    )
    _write(client, version, quality)
    for key, value in {GATE: verdict.answer, GATE_HEADLINE: verdict.headline}.items():
        client.set_model_version_tag(version.model, str(version.number), key, value)


def record_evaluation(client: MlflowClient, version: Version, found: ModelQuality) -> None:
    """Give a version the evaluation that was ``found`` after it was registered."""
    before = _recorded(client, version)
    quality = dataclasses.replace(
        before, evaluation=before.evaluation or found.evaluation, scores=before.scores or found.scores
    )
    if quality != before:
        _write(client, version, quality)


def record_calibration(client: MlflowClient, version: Version, fit: Path) -> None:
    """Give a version the calibration of the training in ``fit``, if it was registered without one."""
    path = calibration_path(fit, version.weights_sha256)
    if path is None or version.tags.get(CALIBRATION_TAG):
        return
    client.log_artifact(version.run_id, str(path), f"{PACKAGE}/artifacts/fit")
    client.set_model_version_tag(version.model, str(version.number), CALIBRATION_TAG, sha256_file(path))


def _recorded(client: MlflowClient, version: Version) -> ModelQuality:
    """What a version carries; nothing where it was registered without."""
    with tempfile.TemporaryDirectory(prefix="coronet-quality-") as folder:
        try:
            found = versions.download(client, version, f"artifacts/fit/{QUALITY}", Path(folder))
        except LedgerError:
            return ModelQuality()
        return read_quality(found.parent, version.model, version.weights_sha256)


def _write(client: MlflowClient, version: Version, quality: ModelQuality) -> None:
    with tempfile.TemporaryDirectory(prefix="coronet-quality-") as name:
        path = Path(name) / QUALITY
        write_json(path, quality.to_json(version.weights_sha256))
        client.log_artifact(version.run_id, str(path), f"{PACKAGE}/artifacts/fit")
