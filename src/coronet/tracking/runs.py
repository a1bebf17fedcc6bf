"""One MLflow run for every training, found by its fingerprint, streamed or rebuilt from DVC's results."""

from __future__ import annotations

import dataclasses
import json
import logging
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from coronet.config import MODELS, check_project
from coronet.files import read_json
from coronet.fingerprint import dvc_md5
from coronet.tracking import mlflow_client
from coronet.tracking.dvc_lock import DvcLock, read_lock
from coronet.tracking.git_state import read_git_state
from coronet.tracking.overlay_pictures import draw_worst
from coronet.tracking.run_contents import (
    PRETRAINING,
    TRAINING,
    RunContents,
    lineage,
    pretraining_record,
    scores_record,
    training_record,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

logger = logging.getLogger("coronet")
CONTENT, KIND = "coronet.content", "coronet.kind"
_BATCH = 900  # metrics a request; MLflow takes 1000 at most
_TAG_BATCH = 90
_LEADING_PICTURES = 2  # pictures at the head of a run's page; the others are among its artifacts


@dataclasses.dataclass(frozen=True)
class Synced:
    """A training's run: ``created`` is False where the ledger had it already, whole."""

    model: str
    fingerprint: str
    run_id: str
    created: bool
    kind: str = TRAINING


def sync(project: Path = Path(), *, models: Iterable[str] = MODELS) -> tuple[Synced, ...]:
    """Write the runs that MLflow lacks of the results in ``build/`` of a project.

    Raises:
        ParamsError: ``project`` is none.
    """
    project = Path(project)
    check_project(project)
    with mlflow_client.open_client(project / "mlruns") as client:
        return sync_runs(client, project, models=models)


def sync_runs(
    client: MlflowClient, project: Path, *, models: Iterable[str], evaluated: bool = False
) -> tuple[Synced, ...]:
    """Write the runs that MLflow lacks of the results in ``build/``.

    ``evaluated`` says that the evaluation is of the training beside it, which DVC's lock does not yet show.
    """
    lock = read_lock(project)
    found: list[Synced] = []
    for model in models:
        for record in _records(project, model, lock, evaluated=evaluated):
            found.append(ensure_run(client, record, project))
    if not evaluated and _is_scored(project, lock):
        tags = lineage(project, "calcium", lock)
        found.append(ensure_run(client, scores_record(project / "build", tags=tags), project))
    return tuple(found)


def _records(project: Path, model: str, lock: DvcLock, *, evaluated: bool) -> Iterable[RunContents]:
    folder = project / "build" / model
    tags = lineage(project, model, lock)
    if (folder / "pretrained" / "encoder.safetensors").exists():
        yield pretraining_record(model, folder / "pretrained", tags=tags, lock=lock)
    if not (folder / "fit" / "model.json").exists():
        return
    fingerprint = read_json(folder / "fit" / "model.json")["fingerprint"]
    pictures = project / "mlruns" / "work" / fingerprint / "pictures"
    yield training_record(
        model,
        folder / "fit",
        tags=tags,
        evaluation=folder / "evaluation" if evaluated or _is_evaluated(folder, model, lock, tags) else None,
        pictures=draw_worst(project, model, lock, pictures, fit_md5=tags["fit_md5"]),
    )


def _is_evaluated(folder: Path, model: str, lock: DvcLock, tags: Mapping[str, str]) -> bool:
    """Whether ``evaluation`` is of the training beside it, as far as DVC's lock knows."""
    measured = lock.input(f"evaluate@{model}", f"build/{model}/fit")
    return (folder / "evaluation" / "metrics.json").exists() and measured in ("", tags["fit_md5"])


def _is_scored(project: Path, lock: DvcLock) -> bool:
    """Whether ``build/scores`` is of the two trainings that are there, as far as DVC's lock knows."""
    if not (project / "build" / "scores" / "metrics.json").exists():
        return False
    fits = {f"build/{model}/fit": project / "build" / model / "fit" for model in MODELS}
    return all(
        (fit / "model.json").exists() and lock.input("score", path) in ("", dvc_md5(fit))
        for path, fit in fits.items()
    )


def ensure_run(client: MlflowClient, record: RunContents, project: Path) -> Synced:
    """Make sure that one whole run of this record exists.

    A run that was streamed is completed; one with another curve is removed and written anew.
    """
    experiment = mlflow_client.experiment_id(client, record.model, project / "mlruns")
    runs = find_runs(client, experiment, record.fingerprint, kind=record.kind)
    whole = [run for run in runs if run.data.tags.get(CONTENT) == record.digest]
    history = set(record.history)
    usable = whole or (run for run in runs if _streamed(client, run, record) <= history)
    kept = next(iter(usable), None)
    for run in runs:
        if kept is None or run.info.run_id != kept.info.run_id:
            client.delete_run(run.info.run_id)
    run = kept or create_run(client, experiment, record, code_tags(project))
    written = not whole or not _holds_artifacts(client, run.info.run_id, record)
    if not whole:
        _complete(client, run, record)
    elif written:
        _write_artifacts(client, run.info.run_id, record)
    return Synced(record.model, record.fingerprint, run.info.run_id, created=written, kind=record.kind)


def find_runs(client: MlflowClient, experiment: str, fingerprint: str, *, kind: str = TRAINING) -> list[Run]:
    """Runs of one training; there is at most one, unless several machines wrote at once."""
    found = client.search_runs([experiment], f"tags.fingerprint = '{fingerprint}'")
    return [run for run in found if run.data.tags.get(KIND, TRAINING) == kind]


def create_run(client: MlflowClient, experiment: str, record: RunContents, code: Mapping[str, str]) -> Run:
    """Begin a run with its parameters, its tags and its dataset."""
    title = f"{record.model}-autoencoder" if record.kind == PRETRAINING else record.model
    return client.create_run(
        experiment,
        run_name=f"{title}-{record.fingerprint[:8]}",
        tags={"fingerprint": record.fingerprint, KIND: record.kind, **record.tags, **code},
    )


def write_params(client: MlflowClient, run: Run, params: Mapping[str, str]) -> None:
    """Write the parameters that the run lacks."""
    from mlflow.entities import Param

    lacking = [Param(key, value) for key, value in params.items() if key not in run.data.params]
    for start in range(0, len(lacking), _TAG_BATCH):
        client.log_batch(run.info.run_id, params=lacking[start : start + _TAG_BATCH])


def write_metrics(client: MlflowClient, run_id: str, metrics: Iterable[tuple[str, int, float, int]]) -> None:
    """Write (metric, step, value, milliseconds since 1970) in batches."""
    from mlflow.entities import Metric

    lacking = [Metric(key, value, timestamp=moment, step=step) for key, step, value, moment in metrics]
    for start in range(0, len(lacking), _BATCH):
        client.log_batch(run_id, metrics=lacking[start : start + _BATCH])


def code_tags(project: Path) -> dict[str, str]:
    """Commit of the working tree, and whether it differs from it."""
    code = read_git_state(project)
    if code.reason:
        logger.warning("the run is written without a commit: %s", code.reason)
    return {"git_commit": code.commit, "dirty": str(code.dirty).lower()}


def _streamed(client: MlflowClient, run: Run, record: RunContents) -> set[tuple[str, int, float]]:
    keys = {key for key, _, _ in record.history} & set(run.data.metrics)
    return {
        (metric.key, metric.step, metric.value)
        for key in keys
        for metric in client.get_metric_history(run.info.run_id, key)
    }


def _complete(client: MlflowClient, run: Run, record: RunContents) -> None:
    """Write what the run lacks, its mark of wholeness last."""
    from mlflow.entities import RunTag

    from coronet.tracking.dataset import dataset_input

    run_id, now = run.info.run_id, int(time.time() * 1000)
    present = _streamed(client, run, record)
    write_params(client, run, record.params)
    lacking = [(*item, item[1]) for item in record.history if item not in present]
    known = run.data.metrics
    lacking += [(key, 0, value, now) for key, value in record.figures.items() if known.get(key) != value]
    write_metrics(client, run_id, lacking)
    if not (run.inputs and run.inputs.dataset_inputs) and record.dataset["hashes"]:
        client.log_inputs(run_id, datasets=[dataset_input(record.dataset)])
    _write_artifacts(client, run_id, record)
    tags = {**record.tags, CONTENT: record.digest, "mlflow.note.content": _describe(record, run_id)}
    if record.tables:
        tables = [{"path": path, "type": "table"} for path in record.tables]
        tags["mlflow.loggedArtifacts"] = json.dumps(tables)
    client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
    if run.info.status != "FINISHED":
        client.set_terminated(run_id)


def _describe(record: RunContents, run_id: str) -> str:
    """What leads the run's page: the headline figures, then curves, in Markdown."""
    shown = [
        f"{key.removeprefix('test/')} **{value:.3f}**"
        for key in ("test/dice.mean", "test/f1", "test/iou", "score/agreement.kappa_linear", "fit/tune_dice")
        if (value := record.figures.get(key)) is not None
    ]
    lines = [" · ".join(shown)] if shown else []
    lines += [
        f"![{path}](get-artifact?path={quote(path)}&run_uuid={run_id})"
        for path in record.files
        if path.endswith(".png")
    ][:_LEADING_PICTURES]
    if any(path.startswith("pictures/") for path in record.files):
        lines.append("Pictures of the worst test cases: Artifacts, `pictures/`.")
    return "\n\n".join(lines)


def _holds_artifacts(client: MlflowClient, run_id: str, record: RunContents) -> bool:
    """Whether no file of a run is gone; a folder of artifacts can be lost while the database is kept."""
    wanted = {*record.files, *record.tables}
    folders = {path.rpartition("/")[0] for path in wanted}
    return wanted <= {item.path for folder in folders for item in client.list_artifacts(run_id, folder)}


def _write_artifacts(client: MlflowClient, run_id: str, record: RunContents) -> None:
    import pandas

    for path, source in record.files.items():
        client.log_artifact(run_id, str(source), path.rpartition("/")[0])
    for path, source in record.tables.items():
        table = pandas.read_csv(source, dtype={"case": str}, float_precision="round_trip")
        with tempfile.TemporaryDirectory() as folder:
            # not client.log_table, which would add the rows to those of an earlier evaluation
            name = Path(folder) / Path(path).name
            table.to_json(name, orient="split", index=False, double_precision=15)
            client.log_artifact(run_id, str(name), path.rpartition("/")[0])
