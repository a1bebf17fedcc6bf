"""Why a version is what it is: from an alias or a score back to code, parameters, data and people."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coronet.config import MODELS
from coronet.config.strict_yaml import parse_yaml
from coronet.dataset.split import PARTS
from coronet.errors import InputError, LedgerError
from coronet.files import read_json, sha256_file
from coronet.fingerprint import canonical
from coronet.networks.factory import SPEC
from coronet.registry import lineage_checks, promotion_log
from coronet.registry import versions as registry
from coronet.registry.lineage import Difference, Lineage
from coronet.registry.packaging import PATCH
from coronet.registry.promotion_log import PROMOTED, REJECTED, ROLLED_BACK, UNDECIDED, LogEntry
from coronet.registry.versions import Version
from coronet.tracking import mlflow_client
from coronet.tracking.git_state import read_committed
from coronet.tracking.run_contents import flatten

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SHOWN = {
    "heart": ("dice.mean", "dice.lowest", "iou.mean"),
    "calcium": ("f1", "iou", "case_dice.mean", "lesions.sensitivity", "calcium_free.false_mm3.mean"),
}
"""Figures of the stage evaluate that are shown."""


@dataclasses.dataclass(frozen=True)
class Explanation:
    """The answer: one lineage a version, and what no version answers for."""

    target: str
    lineages: tuple[Lineage, ...]
    unknown: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """As text."""
        return [line for lineage in self.lineages for line in lineage.lines()] + list(self.unknown)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return canonical(self)


def explain_version(target: str, project: Path = Path()) -> Explanation:
    """Explain where a version or a score comes from.

    Args:
        target: ``heart@champion`` or ``heart/3``, also after ``models:/``, a ``score.json``, or its folder.

    Raises:
        InputError: there is no such version or file.
    """
    project = Path(project)
    path = Path(target)
    if path.is_dir() and (path / "score.json").exists():
        path = path / "score.json"
    entries = promotion_log.read(project)
    with mlflow_client.open_client(project / "mlruns") as client:
        if path.suffix == ".json":
            versions, unknown = _of_score(client, path)
        else:
            versions, unknown = _named(client, target), ()
        lineages = tuple(_lineage(client, project, version, entries) for version in versions)
    return Explanation(path.name if path.suffix == ".json" else target, lineages, unknown)


def _named(client: MlflowClient, target: str) -> tuple[Version, ...]:
    parsed = registry.URI.fullmatch(f"models:/{target.removeprefix('models:/')}")
    if parsed is None:
        raise InputError(
            f"{target} is not understood; write heart@champion, heart/3 or the path of a score.json."
        )
    found = registry.find(client, parsed["model"], parsed["alias"] or parsed["number"])
    if found is None:
        raise InputError(
            f"There is no version {target}; `coronet models history {parsed['model']}` "
            "shows which there were."
        )
    return (found,)


def _of_score(client: MlflowClient, path: Path) -> tuple[tuple[Version, ...], tuple[str, ...]]:
    """The versions that made the masks of a score."""
    models = read_json(path).get("models")
    if not isinstance(models, dict):
        raise InputError(f"{path.name} names no models; the score of an existing mask has none.")
    versions: list[Version] = []
    unknown: list[str] = []
    for name in MODELS:
        origin = models.get(name, {})
        weights = origin.get("weights_sha256", "")
        same = [item for item in registry.versions(client, name) if item.weights_sha256 == weights != ""]
        versions += same[-1:]
        if not same and (release := origin.get("release")):
            unknown.append(
                f"The {name} network {weights[:12]} came with Coronet {release}; "
                f"releases/{release}/{name}.md and the package say what it learned from."
            )
        elif not same:
            unknown.append(
                f"No registered version of {name} has the weights {weights[:12]} of "
                f"the training {origin.get('fingerprint', '')[:12]}; they were never registered here."
            )
    return tuple(versions), tuple(unknown)


def _lineage(client: MlflowClient, project: Path, version: Version, entries: Iterable[LogEntry]) -> Lineage:
    missing: list[str] = []
    tags, model = version.tags, version.model
    with tempfile.TemporaryDirectory(prefix="coronet-why-") as name:
        folder = Path(name)
        patch = _downloaded(client, version, PATCH, folder) if tags.get("patch_sha256") else b""
        params: Mapping[str, Any] | None = None
        split: dict[str, Any] = {}
        try:
            facts = lineage_checks.unpack(client, project, version, folder / "version")
            params = read_json(facts.fit / SPEC)["params"]
            split = _parts(facts)
        except LedgerError as error:
            missing.append(str(error))
        profile = _profile(_downloaded(client, version, "params.yaml", folder))
    if tags.get("patch_sha256") and not patch:
        missing.append("The patch of what was not committed is lost; the log keeps its hash.")
    commit = tags.get("git_commit", "")
    at_commit = read_committed(project, "params.yaml", revision=commit)
    if commit and not at_commit:
        missing.append(f"Git does not know the commit {commit[:12]}; fetch it from where it was made.")
    now = project / "params.yaml"
    aliases = registry.aliases(client, model)
    return Lineage(
        name=f"{model}/{version.number}",
        aliases=tuple(sorted(alias for alias, number in aliases.items() if number == version.number)),
        fingerprint=version.fingerprint,
        weights_sha256=version.weights_sha256,
        commit=commit,
        changed=tuple(tags.get("changed", "").split()),
        patch=patch.decode("utf-8", "replace"),
        since=_differences(params, now.read_bytes() if now.exists() else b"", profile, model),
        uncommitted=_differences(params, at_commit, profile, model),
        data={"data/ct": tags.get("data_ct_md5", ""), "data/masks": tags.get("data_masks_md5", "")},
        validation=_validation(project, tags.get("validation_sha256", "")),
        split=split,
        figures=_figures(client, version),
        moves=_moves(entries, version),
        rebuild=_rebuild(version, commit, dirty=bool(patch)),
        missing=tuple(missing),
    )


def _moves(entries: Iterable[LogEntry], version: Version) -> tuple[LogEntry, ...]:
    """Lines about the version, and those by which it ceased to be champion."""
    return tuple(
        entry
        for entry in entries
        if entry.model == version.model
        and entry.kind in (PROMOTED, ROLLED_BACK, REJECTED, UNDECIDED)
        and version.number in (entry.version, entry.details.get("from"))
    )


def _downloaded(client: MlflowClient, version: Version, part: str, folder: Path) -> bytes:
    try:
        return registry.download(client, version, part, folder).read_bytes()
    except LedgerError:
        return b""


def _parts(facts: lineage_checks.VersionFacts) -> dict[str, Any]:
    md5 = facts.lock.output("split", lineage_checks.SPLIT)
    if facts.split is None:
        return {"md5": md5}
    return {part: len(facts.split.cases(part)) for part in PARTS} | {"md5": md5}


def _profile(content: bytes) -> str:
    return str((parse_yaml(content, "params.yaml").value or {}).get("profile", "")) if content else ""


def _differences(
    params: Mapping[str, Any] | None, content: bytes, profile: str, model: str
) -> tuple[Difference, ...]:
    """Parameters of a training that a ``params.yaml`` has otherwise; compared as plain values."""
    raw = (parse_yaml(content, "params.yaml").value or {}) if content and params else {}
    default = raw.get("profiles", {}).get(profile or raw.get("profile"), {}).get(model)
    if not params or not default:
        return ()
    theirs, ours = dict(flatten(default)), dict(flatten(params))
    return tuple(
        Difference(key, ours.get(key), theirs.get(key))
        for key in sorted(ours.keys() | theirs.keys())
        if ours.get(key) != theirs.get(key)
    )


def _validation(project: Path, sha256: str) -> dict[str, Any]:
    """The report, where it is the one in ``build/``; else its hash."""
    path = project / "build" / "validation" / "report.json"
    if not path.exists() or sha256_file(path) != sha256:
        return {"sha256": sha256}
    report = read_json(path)
    found = {key: report[key] for key in ("ok", "cases", "patients") if key in report}
    return found | {"faults": len(report.get("faults", ())), "sha256": sha256}


def _figures(client: MlflowClient, version: Version) -> dict[str, float]:
    metrics = client.get_run(version.run_id).data.metrics if version.run_id else {}
    shown = [f"test/{key}" for key in _SHOWN.get(version.model, ())]
    return {key: metrics[key] for key in shown if key in metrics}


def _rebuild(version: Version, commit: str, *, dirty: bool) -> tuple[str, ...]:
    uri = f"models:/{version.model}/{version.number}/{PATCH}"
    fetched = f"MLFLOW_TRACKING_URI=sqlite:///mlruns/mlflow.db mlflow artifacts download -u {uri} -d ."
    patch = (fetched, f"git apply {PATCH}") if dirty else ()
    return (f"git checkout {commit}", *patch, "dvc pull", f"dvc repro train@{version.model}")
