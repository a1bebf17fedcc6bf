"""Registered models: versions, aliases, and their bytes. Versions of trials do not exist."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from coronet.config import MODELS
from coronet.errors import InputError, LedgerError
from coronet.files import replacing_folder, sha256_file, write_bytes
from coronet.networks.quality import QUALITY
from coronet.tracking import mlflow_client

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
PAIR = "coronet"
"""The model made of a heart and a calcium network."""
PACKAGE = "model"
"""Where a version's folder lies among its run's artifacts."""
LOST = "bytes_lost"
"""Tag of a version that was rebuilt from the promotion log while its weights are nowhere."""
URI = re.compile(r"models:/(?P<model>[\w-]+)(?:@(?P<alias>[\w-]+)|/(?P<number>\d+))")
_ABOUT = {
    "heart": "Segments the heart on chest CT. Research only; not a medical device.",
    "calcium": "Segments coronary calcium in and beside the heart. Research only; not a medical device.",
    PAIR: "Scores a chest CT: heart, calcium in it, Agatston score. Research only; not a medical device.",
}


@dataclasses.dataclass(frozen=True)
class Version:
    """A registered version.

    Attributes:
        model: ``heart``, ``calcium`` or ``coronet``.
        number: from 1.
        fingerprint: of the training; of a pair, of both.
        run_id: the training's run in MLflow.
        weights_sha256: of the weights' bytes; of a pair, of both hashes.
        tags: lineage.
    """

    model: str
    number: int
    fingerprint: str
    run_id: str
    weights_sha256: str
    tags: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class RegisteredVersions:
    """``created`` is False where the training had a version already."""

    version: Version
    created: bool


def create_registered_version(
    model: str, project: Path = Path(), *, allow_dirty: bool = False
) -> RegisteredVersions:
    """Make a version of the training in ``build/``, and the alias challenger; see `registration.register`."""
    from coronet.registry import registration

    return registration.register_version(model, project, allow_dirty=allow_dirty)


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
    found = client.search_registered_models(f"name = '{model}'")
    # what search gives carries no aliases
    return (
        {name: int(number) for name, number in client.get_registered_model(model).aliases.items()}
        if found
        else {}
    )


def set_alias(client: MlflowClient, model: str, alias: str, number: int) -> None:
    """Let an alias name a version; it names no other then."""
    client.set_registered_model_alias(model, alias, str(number))


def drop_alias(client: MlflowClient, model: str, alias: str) -> None:
    """Remove an alias; nothing happens where there is none."""
    if alias in aliases(client, model):
        client.delete_registered_model_alias(model, alias)


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


def _ensure_model(client: MlflowClient, model: str) -> None:
    """Make the registered model, unless it is there."""
    if not client.search_registered_models(f"name = '{model}'"):
        client.create_registered_model(model, description=_ABOUT[model])


def create_version(
    client: MlflowClient, model: str, folder: Path, *, run_id: str, tags: Mapping[str, str], about: str
) -> Version:
    """Upload a folder and make a version of it, in this order.

    Args:
        client: of the ledger, held.
        model: the registered model.
        folder: as `coronet.registry.packaging` makes it.
        run_id: the run that keeps the folder.
        tags: of the version.
        about: its description.
    """
    _ensure_model(client, model)
    client.log_artifacts(run_id, str(folder), PACKAGE)
    source = f"{client.get_run(run_id).info.artifact_uri}/{PACKAGE}"
    made = client.create_model_version(model, source, run_id=run_id, tags=dict(tags), description=about)
    return _to_version(client.get_model_version(model, made.version))


def claim_number(
    client: MlflowClient, model: str, number: int, *, run_id: str, tags: Mapping[str, str]
) -> Version | None:
    """Make the version of a given number, without bytes, to be filled by `fill`.

    MLflow only counts up: numbers on the way are made and deleted again. None where it is beyond ``number``.
    """
    _ensure_model(client, model)
    source = f"{client.get_run(run_id).info.artifact_uri}/{PACKAGE}"
    lost = {**tags, LOST: "true"}
    while True:
        made = client.create_model_version(
            model, source, run_id=run_id, tags=lost, description="The weights are lost; the lineage is kept."
        )
        if int(made.version) == number:
            return _to_version(client.get_model_version(model, made.version))
        client.delete_model_version(model, made.version)
        if int(made.version) > number:
            return None


def fill(client: MlflowClient, version: Version, folder: Path, *, about: str) -> None:
    """Give a version that `claim_number` made its bytes."""
    client.log_artifacts(version.run_id, str(folder), PACKAGE)
    client.update_model_version(version.model, str(version.number), description=about)
    client.delete_model_version_tag(version.model, str(version.number), LOST)


def holds_bytes(client: MlflowClient, version: Version) -> bool:
    """Whether the files that loading a version needs lie where MLflow looks for them."""
    from coronet.networks.factory import SPEC, WEIGHTS
    from coronet.registry.reference_output import GOLDEN

    parts, whole = (MODELS, {"MLmodel"}) if version.model == PAIR else (("fit",), {"MLmodel", GOLDEN})
    wanted = {PACKAGE: whole} | {f"{PACKAGE}/artifacts/{part}": {WEIGHTS, SPEC} for part in parts}
    return all(
        names <= {item.path.rpartition("/")[2] for item in client.list_artifacts(version.run_id, folder)}
        for folder, names in wanted.items()
    )


def mark_lost(client: MlflowClient, version: Version) -> None:
    """Tag a version whose bytes are gone, until `fill` brings them back."""
    client.set_model_version_tag(version.model, str(version.number), LOST, "true")


def download(client: MlflowClient, version: Version, part: str, to: Path) -> Path:
    """Bring a file or folder of a version's folder.

    Args:
        client: of the ledger.
        version: whose.
        part: path inside the folder, such as ``golden.json``.
        to: folder that takes it.

    Raises:
        LedgerError: the version's bytes are lost or cannot be read.
    """
    import mlflow.artifacts

    hint = "`coronet tracking sync` brings back what DVC still holds; `coronet models why "
    f"{version.model}@…` tells how."
    if version.tags.get(LOST) == "true":
        raise LedgerError(f"{version.model} version {version.number} has lost its weights. {hint}")
    source = client.get_model_version_download_uri(version.model, str(version.number))
    try:
        place = mlflow.artifacts.download_artifacts(
            artifact_uri=f"{source}/{part}", dst_path=str(to), tracking_uri=client.tracking_uri
        )
    except Exception as error:  # each kind of store raises its own
        raise LedgerError(
            f"{version.model} version {version.number} has no {part} where MLflow looks for it "
            f"({type(error).__name__}). {hint}"
        ) from error
    return Path(place)


def fetch(client: MlflowClient, version: Version, to: Path) -> Path:
    """Bring the weights of a ``heart`` or ``calcium`` version.

    Args:
        client: of the ledger.
        version: which.
        to: the folder to make; replaced as a whole.

    Returns:
        ``to``, with ``weights.safetensors``, ``model.json`` and, where the version has it, ``quality.json``.

    Raises:
        LedgerError: the bytes are lost, or are not those that were registered.
    """
    return _fetch_part(client, version, "fit", to, version.weights_sha256)


def _fetch_part(client: MlflowClient, version: Version, part: str, to: Path, sha256: str) -> Path:
    import tempfile

    from coronet.networks.factory import WEIGHTS
    from coronet.registry.packaging import copy_model

    with tempfile.TemporaryDirectory() as staging:
        found = download(client, version, f"artifacts/{part}", Path(staging))
        if sha256_file(found / WEIGHTS) != sha256:
            raise LedgerError(
                f"The weights of {version.model} version {version.number} are not those that were "
                "registered; delete its folder under mlruns/artifacts and run `coronet tracking sync`."
            )
        with replacing_folder(to) as folder:
            copy_model(found, folder)
    return to


def resolve(uri: str, project: Path = Path(), *, part: str = "") -> Path:
    """A local folder for `coronet.networks.factory.load_model`.

    Args:
        uri: ``models:/calcium@champion``, ``models:/calcium/3``, or a folder, which is given back.
        project: the folder of ``mlruns``.
        part: ``heart`` or ``calcium``, for a URI of ``coronet``.

    Raises:
        InputError: the URI is not understood, or there is no such version.
        LedgerError: MLflow is away, or the bytes are lost.
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
            known = ", ".join(
                [*aliases(client, model), *(str(item.number) for item in versions(client, model))]
            )
            raise InputError(
                f"{uri}: there is no such version ({known or 'none at all'}); "
                "`coronet models register` makes one."
            )
        sha256 = version.tags[f"{part}_sha256"] if model == PAIR else version.weights_sha256
        place = project / "mlruns" / "work" / "models" / sha256
        if not (place / WEIGHTS).exists() or sha256_file(place / WEIGHTS) != sha256:
            _fetch_part(client, version, part if model == PAIR else "fit", place, sha256)
        else:
            _renew_quality(client, version, part if model == PAIR else "fit", place)
    return place


def _renew_quality(client: MlflowClient, version: Version, part: str, place: Path) -> None:
    """Bring ``quality.json`` again: the gate may have judged since the weights were brought."""
    import tempfile

    with tempfile.TemporaryDirectory() as staging:
        try:
            found = download(client, version, f"artifacts/{part}/{QUALITY}", Path(staging))
        except LedgerError:
            return
        write_bytes(place / QUALITY, found.read_bytes())
