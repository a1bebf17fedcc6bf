"""The registered model ``coronet``: a heart and a calcium network that score a scan together."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from coronet.config import MODELS
from coronet.files import read_json
from coronet.registry import aliases, promotion_log, versions
from coronet.registry.model_card import pair_card
from coronet.registry.packaging import VersionFiles, build_pair_folder
from coronet.registry.versions import CHALLENGER, CHAMPION, LOST, PAIR, Version
from coronet.tracking import mlflow_client, runs
from coronet.tracking.run_contents import PAIR as KIND
from coronet.tracking.run_contents import pair_fingerprint

if TYPE_CHECKING:
    from mlflow import MlflowClient

_EXAMPLE = "scans/chest.nii.gz"


def refresh(client: MlflowClient, project: Path) -> None:
    """Let ``coronet@champion`` and ``coronet@challenger`` be what ``heart`` and ``calcium`` say.

    The champion is made of both champions. The challenger is made of the challengers, or of the champion
    where a model has no challenger; there is none where neither has one. A pair without both has no alias.

    Args:
        client: of the ledger, held.
        project: the folder of ``mlruns``.
    """
    named = {model: versions.aliases(client, model) for model in MODELS}
    wanted = {
        CHAMPION: {model: named[model].get(CHAMPION) for model in MODELS},
        CHALLENGER: {
            model: named[model].get(CHALLENGER, named[model].get(CHAMPION))
            if any(CHALLENGER in found for found in named.values())
            else None
            for model in MODELS
        },
    }
    for alias, numbers in wanted.items():
        if None in numbers.values():
            versions.drop_alias(client, PAIR, alias)
            continue
        parts = {model: versions.find(client, model, str(number)) for model, number in numbers.items()}
        made = _ensure(client, project, parts)
        if made is not None and versions.aliases(client, PAIR).get(alias) != made.number:
            versions.set_alias(client, PAIR, alias, made.number)


def _ensure(client: MlflowClient, project: Path, parts: Mapping[str, Version]) -> Version | None:
    key = _fingerprint(parts)
    for version in versions.versions(client, PAIR):
        if version.fingerprint == key:
            _log(project, version)
            return version
    if any(part.tags.get(LOST) == "true" for part in parts.values()):
        return None
    version = _create(client, project, parts)
    _log(project, version)
    return version


def _fingerprint(parts: Mapping[str, Version]) -> str:
    return pair_fingerprint(
        {model: (parts[model].fingerprint, parts[model].weights_sha256) for model in MODELS}
    )


def _create(client: MlflowClient, project: Path, parts: Mapping[str, Version]) -> Version:
    """Bundle two versions."""
    tags = {"fingerprint": _fingerprint(parts), **_tags(parts)}
    run_id = ensure_run(client, project, tags)
    with packed(client, parts, tags) as (folder, about):
        return versions.create_version(client, PAIR, folder, run_id=run_id, tags=tags, about=about)


@contextlib.contextmanager
def packed(
    client: MlflowClient, parts: Mapping[str, Version], tags: Mapping[str, str]
) -> Iterator[tuple[Path, str]]:
    """The folder of a pair while it is needed, and its description."""
    with tempfile.TemporaryDirectory() as staging:
        fits = {name: versions.fetch(client, part, Path(staging) / name) for name, part in parts.items()}
        cases: dict[str, int] = {}
        for fit in fits.values():
            for source, count in read_json(fit / "model.json")["cases"].items():
                cases[source] = max(count, cases.get(source, 0))
        numbers = {name: part.number for name, part in parts.items()}
        papers = VersionFiles(pair_card(numbers, tags=tags, cases=cases))
        folder = build_pair_folder(
            fits["heart"], fits["calcium"], Path(staging) / "model", papers=papers, example=_EXAMPLE
        )
        yield folder, f"heart {numbers['heart']} with calcium {numbers['calcium']}. Not a medical device."


def ensure_run(client: MlflowClient, project: Path, tags: Mapping[str, str]) -> str:
    """The run that keeps a pair's folder."""
    experiment = mlflow_client.experiment_id(client, PAIR, project / "mlruns")
    found = runs.find_runs(client, experiment, tags["fingerprint"], kind=KIND)
    if found:
        return found[0].info.run_id
    name = f"{PAIR}-{tags['fingerprint'][:8]}"
    run = client.create_run(experiment, run_name=name, tags={**tags, runs.KIND: KIND})
    client.set_terminated(run.info.run_id)
    return run.info.run_id


def _tags(parts: Mapping[str, Version]) -> dict[str, str]:
    tags = {}
    for name, part in parts.items():
        tags |= {
            f"{name}_version": str(part.number),
            f"{name}_fingerprint": part.fingerprint,
            f"{name}_sha256": part.weights_sha256,
        }
    tags["weights_sha256"] = hashlib.sha256(
        " ".join(parts[name].weights_sha256 for name in MODELS).encode()
    ).hexdigest()
    tags["dirty"] = str(any(part.tags.get("dirty") == "true" for part in parts.values())).lower()
    return tags


def _log(project: Path, version: Version) -> None:
    if not aliases.registered(promotion_log.read(project), version.model, version.number):
        promotion_log.append(
            project,
            promotion_log.Event(promotion_log.REGISTERED, version.model, version.number, dict(version.tags)),
        )
