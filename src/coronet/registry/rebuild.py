"""The registry out of ``promotions.jsonl`` and DVC's bytes, after ``mlruns/`` is gone."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from coronet.config import MODELS
from coronet.files import read_json, sha256_file
from coronet.fingerprint import dvc_md5
from coronet.networks.factory import WEIGHTS
from coronet.networks.quality import ModelQuality, evaluation_of, read_quality
from coronet.registry import aliases, model_pair, promotion_log, versions
from coronet.registry.packaging import VersionFiles
from coronet.registry.promotion_log import LogEntry
from coronet.registry.registration import is_packed
from coronet.registry.version_quality import logged_verdict
from coronet.registry.versions import LOST, PAIR, Version
from coronet.tracking import mlflow_client, runs
from coronet.tracking.dvc_lock import fetch_tree
from coronet.tracking.git_state import read_committed
from coronet.tracking.run_contents import TRAINING, training_record
from coronet.tracking.runs import Synced

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger("coronet")
_LINEAGE = (
    *("data_ct_md5", "data_masks_md5", "dvc_lock_sha256", "validation_sha256"),
    *("params_sha256", "weights_sha256", "fit_md5"),
)
"""Tags of a version that are also its run's."""


def restore(client: MlflowClient, project: Path) -> tuple[Synced, ...]:
    """Make the versions and aliases that the promotion log tells of and the registry lacks, or their bytes.

    A version whose weights neither ``build/`` nor DVC's cache nor its remote holds is made all the same, so
    that numbers and lineage stay; it carries the tag ``bytes_lost`` until a later call finds them.

    Args:
        client: of the ledger, held.
        project: the folder of ``promotions.jsonl``.

    Returns:
        The runs that had to be written for it.
    """
    entries = promotion_log.read(project)
    written: list[Synced] = []
    for model in (*MODELS, PAIR):
        registered = [
            item for item in entries if (item.kind, item.model) == (promotion_log.REGISTERED, model)
        ]
        present = {item.number: item for item in versions.versions(client, model)}
        for entry in sorted(registered, key=lambda item: item.version):
            known = present.get(entry.version)
            if known is not None and known.tags.get(LOST) != "true":
                if versions.holds_bytes(client, known):
                    continue
                versions.mark_lost(client, known)
            if model == PAIR:
                _restore_pair(client, project, entry, known)
            else:
                written += _restore_version(client, project, entry, known)
        if model != PAIR:
            _restore_aliases(client, model, entries)
    if entries:
        model_pair.refresh(client, project)
    return tuple(written)


def _restore_aliases(client: MlflowClient, model: str, entries: Sequence[LogEntry]) -> None:
    present = versions.aliases(client, model)
    numbers = {item.number for item in versions.versions(client, model)}
    for alias, number in aliases.logged_aliases(entries, model).items():
        if alias not in present and number in numbers:
            versions.set_alias(client, model, alias, number)


def _restore_version(
    client: MlflowClient, project: Path, entry: LogEntry, known: Version | None
) -> list[Synced]:
    model, tags = entry.model, {key: str(value) for key, value in entry.details.items()}
    with tempfile.TemporaryDirectory() as folder:
        staging = Path(folder)
        fit = _bring(project, f"build/{model}/fit", tags.get("fit_md5"), staging / "fit")
        evaluation = _bring(
            project, f"build/{model}/evaluation", tags.get("evaluation_md5"), staging / "evaluation"
        )
        run_id, written = _run(client, project, entry, fit, evaluation)
        version = known or versions.claim_number(client, model, entry.version, run_id=run_id, tags=tags)
        if version is None:
            _gone(entry)
        elif fit is None:
            logger.warning(
                "%s version %d: its weights (DVC's md5 %s) are neither in build/ nor in DVC's cache or "
                "remote; its lineage is kept without them",
                *(model, entry.version, tags.get("fit_md5", "unknown")),
            )
        else:
            papers = dataclasses.replace(
                _papers(project, tags), quality=_quality(project, model, fit, evaluation)
            )
            with is_packed(model, fit, tags=tags, evaluation=evaluation, papers=papers) as (made, about):
                versions.fill(client, version, made, about=about)
        return written


def _quality(project: Path, model: str, fit: Path, evaluation: Path | None) -> ModelQuality:
    """What DVC's results and the log record of a version; scores only where it is the one in ``build/``."""
    weights = sha256_file(fit / WEIGHTS)
    present = read_quality(project / "build" / model / "fit", model, weights)
    metrics = read_json(evaluation / "metrics.json") if evaluation else {}
    measured = metrics.get("weights_sha256", {}).get(model) == weights
    return ModelQuality(
        evaluation=evaluation_of(model, metrics) if measured else present.evaluation,
        scores=present.scores,
        gate=logged_verdict(project, model, weights),
    )


def _restore_pair(client: MlflowClient, project: Path, entry: LogEntry, known: Version | None) -> None:
    tags = {key: str(value) for key, value in entry.details.items()}
    parts = {model: versions.find(client, model, tags[f"{model}_version"]) for model in MODELS}
    run_id = model_pair.ensure_run(client, project, tags)
    version = known or versions.claim_number(client, PAIR, entry.version, run_id=run_id, tags=tags)
    if version is None:
        _gone(entry)
    elif all(part is not None and part.tags.get(LOST) != "true" for part in parts.values()):
        with model_pair.packed(client, parts, tags) as (made, about):
            versions.fill(client, version, made, about=about)


def _gone(entry: LogEntry) -> None:
    logger.warning(
        "%s version %d was deleted in MLflow, which gives no number twice; it stays away",
        *(entry.model, entry.version),
    )


def _bring(project: Path, path: str, md5: str | None, to: Path) -> Path | None:
    """A folder of this md5, out of ``build/`` or out of DVC."""
    if not md5:
        return None
    if (project / path).is_dir() and dvc_md5(project / path) == md5:
        return project / path
    return to if fetch_tree(project, md5, to) else None


def _run(
    client: MlflowClient, project: Path, entry: LogEntry, fit: Path | None, evaluation: Path | None
) -> tuple[str, list[Synced]]:
    """The training's run; written from what came back where the ledger lacks it."""
    model, details = entry.model, {key: str(value) for key, value in entry.details.items()}
    fingerprint = details["fingerprint"]
    experiment = mlflow_client.experiment_id(client, model, project / "mlruns")
    found = runs.find_runs(client, experiment, fingerprint)
    if found and (runs.CONTENT in found[0].data.tags or fit is None):
        return found[0].info.run_id, []
    code = {
        "git_commit": details.get("trained_at_commit", ""),
        "git_dirty": details.get("trained_dirty", ""),
    }
    tags = {key: details[key] for key in _LINEAGE if key in details}
    if fit is not None:
        record = training_record(model, fit, tags=tags, evaluation=evaluation)
        synced = runs.ensure_run(client, record, project, code=code)
        return synced.run_id, [synced]
    tags |= {"fingerprint": fingerprint, runs.KIND: TRAINING, LOST: "true", **code}
    run = client.create_run(experiment, run_name=f"{model}-{fingerprint[:8]}", tags=tags)
    client.set_terminated(run.info.run_id)
    return run.info.run_id, [Synced(model, fingerprint, run.info.run_id, created=True)]


def _papers(project: Path, tags: Mapping[str, str]) -> VersionFiles:
    """The lock and the parameters of a version, out of the working tree or git, where they are the same."""
    return VersionFiles(
        card="",
        lock=_same(project, "dvc.lock", tags.get("git_commit", ""), tags.get("dvc_lock_file_sha256", "")),
        params=_same(project, "params.yaml", tags.get("git_commit", ""), tags.get("params_file_sha256", "")),
    )


def _same(project: Path, name: str, commit: str, sha256: str) -> bytes:
    for content in (_present(project / name), read_committed(project, name, revision=commit)):
        if hashlib.sha256(content).hexdigest() == sha256:
            return content
    return b""


def _present(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""
