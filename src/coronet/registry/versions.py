"""Registered models in MLflow: versions, aliases, and their files. Search trials are never registered."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from coronet.errors import InputError, LedgerError
from coronet.files import replacing_folder, sha256_file, write_bytes
from coronet.networks.calibration import CALIBRATION
from coronet.networks.quality import QUALITY
from coronet.tracking import mlflow_client

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
PACKAGE = "model"
"""Where a version's folder lies among its run's artifacts."""
CALIBRATION_TAG = "calibration_sha256"
"""Tag of a version: sha256 of its ``calibration.json``; without the tag the version has none."""
URI = re.compile(r"models:/(?P<model>[\w-]+)(?:@(?P<alias>[\w-]+)|/(?P<number>\d+))")
_ABOUT = {
    "heart": "Segments the heart on chest CT. Research only; not a medical device.",
    "calcium": "Segments coronary calcium in and beside the heart. Research only; not a medical device.",
}


@dataclasses.dataclass(frozen=True)
class Version:
    """A registered version."""

    model: str  # `heart` or `calcium`
    number: int  # from 1
    fingerprint: str  # of the training
    run_id: str  # the training's run in MLflow
    weights_sha256: str
    tags: Mapping[str, str]  # lineage


def versions(client: MlflowClient, model: str) -> tuple[Version, ...]:
    """All versions, by number."""
    found = client.search_model_versions(f"name = '{model}'", max_results=1000)
    return tuple(sorted((_to_version(item) for item in found), key=lambda item: item.number))


def find(client: MlflowClient, model: str, which: str) -> Version | None:
    """The version that an alias such as ``champion`` or a number names, or None."""
    number = which if which.isdigit() else aliases(client, model).get(which)
    if number is None:
        return None
    return next((item for item in versions(client, model) if item.number == int(number)), None)


def aliases(client: MlflowClient, model: str) -> dict[str, int]:
    """Version number by alias."""
    if not client.search_registered_models(f"name = '{model}'"):
        return {}
    # what search gives carries no aliases
    return {name: int(number) for name, number in client.get_registered_model(model).aliases.items()}


def _to_version(found: ModelVersion) -> Version:
    """MLflow's entity as ours."""
    tags = dict(found.tags)
    return Version(
        model=found.name,
        number=int(found.version),
        fingerprint=tags.get("fingerprint", ""),
        run_id=found.run_id or "",
        weights_sha256=tags.get("weights_sha256", ""),
        tags=tags,
    )


def create_version(
    client: MlflowClient, model: str, folder: Path, *, run_id: str, tags: Mapping[str, str], about: str
) -> Version:
    """Upload a folder of `coronet.registry.packaging` to a run, then make a version of it."""
    if not client.search_registered_models(f"name = '{model}'"):
        client.create_registered_model(model, description=_ABOUT[model])
    client.log_artifacts(run_id, str(folder), PACKAGE)
    source = f"{client.get_run(run_id).info.artifact_uri}/{PACKAGE}"
    made = client.create_model_version(model, source, run_id=run_id, tags=dict(tags), description=about)
    return _to_version(client.get_model_version(model, made.version))


def download(client: MlflowClient, version: Version, part: str, to: Path) -> Path:
    """Download a file or folder of a version, such as ``golden.json``, into the folder ``to``.

    Raises:
        LedgerError: it is not there, or cannot be read.
    """
    import mlflow.artifacts

    source = client.get_model_version_download_uri(version.model, str(version.number))
    try:
        place = mlflow.artifacts.download_artifacts(
            artifact_uri=f"{source}/{part}", dst_path=str(to), tracking_uri=client.tracking_uri
        )
    except Exception as error:  # each kind of store raises its own
        raise LedgerError(
            f"{version.model} version {version.number} has no {part} where MLflow looks for it "
            f"({type(error).__name__}). Bring back mlruns/artifacts from its backup; "
            f"`coronet models why {version.model}/{version.number}` shows how to train it again."
        ) from error
    return Path(place)


def fetch(client: MlflowClient, version: Version, to: Path) -> Path:
    """Download the weights of a version, and compare them with the hash that was registered.

    Returns:
        ``to``, replaced by ``weights.safetensors``, ``model.json`` and, if there are, ``quality.json``,
        ``calibration.json`` and ``model-card.md``.

    Raises:
        LedgerError: the files are gone, or are not those that were registered.
    """
    from coronet.networks.factory import WEIGHTS
    from coronet.registry.packaging import CARD, copy_model

    with tempfile.TemporaryDirectory() as staging:
        found = download(client, version, "artifacts/fit", Path(staging))
        if sha256_file(found / WEIGHTS) != version.weights_sha256:
            raise LedgerError(
                f"The weights of {version.model} version {version.number} are not those that were "
                "registered; bring back its folder under mlruns/artifacts from a backup."
            )
        if not _is_calibration(found / CALIBRATION, version):
            raise LedgerError(
                f"The calibration of {version.model} version {version.number} is not the one that was "
                "registered; bring back its folder under mlruns/artifacts from a backup."
            )
        with replacing_folder(to) as folder:
            copy_model(found, folder)
            with contextlib.suppress(LedgerError):
                (folder / CARD).write_bytes(download(client, version, CARD, Path(staging)).read_bytes())
    return to


def _is_calibration(path: Path, version: Version) -> bool:
    """Whether a file is the version's calibration: absent where it has none."""
    return (sha256_file(path) if path.exists() else "") == version.tags.get(CALIBRATION_TAG, "")


def resolve(uri: str, project: Path = Path()) -> Path:
    """A local folder for `coronet.networks.factory.load_model`.

    Args:
        uri: ``models:/calcium@champion``, ``models:/calcium/3``, or a folder, which is given back.
        project: the folder of ``mlruns``.

    Raises:
        InputError: the URI is not understood, or there is no such version.
        LedgerError: MLflow cannot be reached, or the files are gone.
    """
    from coronet.networks.factory import WEIGHTS

    if not uri.startswith("models:"):
        return Path(uri)
    parsed = URI.fullmatch(uri)
    if parsed is None:
        raise InputError(f"{uri} is not understood; write models:/heart@champion or models:/heart/1.")
    project, model = Path(project), parsed["model"]
    with mlflow_client.open_client(project / "mlruns") as client:
        version = find(client, model, parsed["alias"] or parsed["number"])
        if version is None:
            present = [*aliases(client, model), *(str(item.number) for item in versions(client, model))]
            raise InputError(
                f"{uri}: there is no such version ({', '.join(present) or 'none at all'}); "
                "`coronet models register` makes one."
            )
        place = project / "mlruns" / "work" / "models" / version.weights_sha256
        known = (place / WEIGHTS).exists() and sha256_file(place / WEIGHTS) == version.weights_sha256
        if not known or not _is_calibration(place / CALIBRATION, version):
            return fetch(client, version, place)
        # the gate may have evaluated the version since its weights were downloaded
        with tempfile.TemporaryDirectory() as staging, contextlib.suppress(LedgerError):
            found = download(client, version, f"artifacts/fit/{QUALITY}", Path(staging))
            write_bytes(place / QUALITY, found.read_bytes())
    return place
