"""Is a version what it says it is: weights, training, data and split, hashed again."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coronet.dataset.split import Split, read_split
from coronet.errors import CoronetError, LedgerError
from coronet.files import read_json, sha256_file
from coronet.fingerprint import dvc_md5
from coronet.networks.factory import SPEC, WEIGHTS
from coronet.registry import versions
from coronet.registry.promotion_log import LogEntry, find_registration
from coronet.registry.reference_output import GOLDEN, difference
from coronet.registry.verdict import Check
from coronet.registry.versions import Version
from coronet.tracking.dvc_lock import LOCK, DvcLock, fetch_file, read_lock
from coronet.tracking.run_contents import params_sha256

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger("coronet")
SPLIT = "build/split.json"
_DATA = ("data/ct", "data/masks")


@dataclasses.dataclass(frozen=True)
class VersionFacts:
    """What a version brings with it."""

    version: Version
    fit: Path  # folder of `weights.safetensors` and `model.json`
    lock: DvcLock  # DVC's lock of its training
    golden: Mapping[str, Any]  # the answer on the golden volume when it was registered
    split: Split | None  # who trained, tuned and tested it; None where DVC no longer holds it

    @property
    def name(self) -> str:
        """Such as ``heart/3``."""
        return f"{self.version.model}/{self.version.number}"


def unpack(client: MlflowClient, project: Path, version: Version, to: Path) -> VersionFacts:
    """Bring what a version carries into the folder ``to``.

    Raises:
        LedgerError: its bytes are lost, or are not those that were registered.
    """
    to.mkdir(parents=True, exist_ok=True)
    fit = versions.fetch(client, version, to / "fit")
    golden = read_json(versions.download(client, version, GOLDEN, to))
    lock = _lock(client, project, version, to)
    return VersionFacts(version, fit, lock, golden, _split(project, lock))


def check_weights(facts: VersionFacts, entries: Iterable[LogEntry], *, own: bool = True) -> tuple[Check, ...]:
    """Whether the weights are those of the log, of their training, and still answer as they did.

    Of the champion or the companion (not ``own``) a failed check is no fault of the candidate, but unknown.
    """
    version = facts.version
    line = find_registration(entries, version.model, version.number)
    logged = line.details.get("weights_sha256", "") if line else "no line"
    found = sha256_file(facts.fit / WEIGHTS)
    description = read_json(facts.fit / SPEC)
    trained = (description["fingerprint"], params_sha256(description["params"]))
    wanted = (version.fingerprint, version.tags.get("params_sha256", ""))
    checks = (
        _same(f"{facts.name}: weights in the log", logged, found),
        _same(f"{facts.name}: weights of the version", version.weights_sha256, found),
        _same(f"{facts.name}: training and its parameters", " ".join(wanted), " ".join(trained)),
        _golden(facts),
        _learned_split(facts),
    )
    if own:
        return checks
    return tuple(dataclasses.replace(check, ok=check.ok or None) for check in checks)


def check_origin(facts: VersionFacts, project: Path) -> tuple[Check, ...]:
    """Whether the data, the validation and the split are those that the version was made of."""
    model, tags, lock = facts.version.model, facts.version.tags, facts.lock
    checks = [
        _same(
            f"{facts.name}: dvc.lock of the training",
            tags.get("dvc_lock_sha256", ""),
            lock.sha256(f"train@{model}"),
        ),
        _same(
            f"{facts.name}: result of the training",
            lock.output(f"train@{model}", f"build/{model}/fit"),
            tags.get("fit_md5", ""),
        ),
    ]
    for path in _DATA:
        wanted = lock.input(f"prepare@{model}", path)
        checks.append(_same(f"{facts.name}: {path}", wanted, dvc_md5(project / path)))
    return (*checks, _validation(facts, project))


def _same(name: str, wanted: str, found: str) -> Check:
    ok = bool(wanted) and wanted == found
    return Check(name, ok, _short(found) or "nothing", _short(wanted) or "a recorded hash")


def _short(text: str) -> str:
    return " ".join(word[:12] for word in text.split())


def _golden(facts: VersionFacts) -> Check:
    name = f"{facts.name}: answer on the golden volume"
    wanted = f"within {facts.golden.get('tolerance')} of the registered one"
    try:
        off = difference(facts.fit, facts.golden)
    except CoronetError as error:
        # the folder is a temporary one
        return Check(name, False, str(error).replace(str(facts.fit), facts.name), wanted)
    return Check(name, off <= facts.golden["tolerance"], f"off by {off:.2g}", wanted)


def _learned_split(facts: VersionFacts) -> Check:
    """Data were prepared and the network was trained by one split."""
    lock, model = facts.lock, facts.version.model
    made = lock.output("split", SPLIT)
    used = {lock.input(f"{stage}@{model}", SPLIT) for stage in ("prepare", "train")}
    return Check(
        f"{facts.name}: split of the training",
        bool(made) and used == {made},
        _short(" ".join(sorted(used))) or "nothing",
        _short(made) or "a recorded hash",
    )


def _validation(facts: VersionFacts, project: Path) -> Check:
    """The report must have passed, be the one recorded, and be of the table of the very data."""
    lock, model = facts.lock, facts.version.model
    name = f"{facts.name}: data validation"
    path = project / "build" / "validation" / "report.json"
    if not path.exists():
        return Check(name, False, "no build/validation/report.json", "`dvc repro validate`")
    wrong = [
        what
        for what, holds in {
            "it failed": read_json(path)["ok"] is True,
            "it is not the report of the training": sha256_file(path)
            == facts.version.tags.get("validation_sha256"),
            "its table is of other data": all(
                lock.input("describe", data) == lock.input(f"prepare@{model}", data) != "" for data in _DATA
            ),
            "it is of another table": lock.input("validate", "build/cases.csv")
            == lock.output("describe", "build/cases.csv")
            != "",
            "the split is of another report": lock.input("split", "build/validation")
            == lock.output("validate", "build/validation")
            != "",
        }.items()
        if not holds
    ]
    return Check(name, not wrong, "; ".join(wrong) or "passed", "passed for this data")


def _lock(client: MlflowClient, project: Path, version: Version, to: Path) -> DvcLock:
    """The lock that the version carries, else the project's if it is of the same training."""
    try:
        versions.download(client, version, LOCK, to)
    except LedgerError:
        present = read_lock(project)
        same = present.sha256(f"train@{version.model}") == version.tags.get("dvc_lock_sha256")
        return present if same else DvcLock({})
    return read_lock(to)


def _split(project: Path, lock: DvcLock) -> Split | None:
    """The split by its hash: that of ``build/``, or the one that DVC's cache or remote holds."""
    wanted = lock.output("split", SPLIT)
    if not wanted:
        return None
    if dvc_md5(project / SPLIT) == wanted:
        return read_split(project / SPLIT)
    path = fetch_file(project, wanted)
    if path is None:
        logger.warning("DVC does not hold %s of the md5 %s", SPLIT, wanted)
        return None
    return read_split(path)
