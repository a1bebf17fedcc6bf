"""What ``dvc.lock`` says of a training, and bytes out of DVC's cache by their hash."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from coronet.errors import StageError
from coronet.files import replacing_folder
from coronet.fingerprint import dvc_md5

logger = logging.getLogger("coronet")
LOCK = "dvc.lock"
_CONFLICT = re.compile(rb"^(<{7}|={7}|>{7})( .*)?\r?$", re.MULTILINE)
"""A line that git puts into a file that two sides have changed."""


@dataclasses.dataclass(frozen=True)
class DvcLock:
    """``dvc.lock``: every stage with the hashes of what it read and wrote."""

    stages: Mapping[str, Any]

    def output(self, stage: str, path: str) -> str:
        """DVC's md5 of what ``stage`` wrote to ``path``; empty where it is not known."""
        return self._md5(stage, "outs", path)

    def input(self, stage: str, path: str) -> str:
        """DVC's md5 of what ``stage`` read from ``path``; empty where it is not known."""
        return self._md5(stage, "deps", path)

    def _md5(self, stage: str, side: str, path: str) -> str:
        entries = self.stages.get(stage, {}).get(side, ())
        return next((str(entry.get("md5", "")) for entry in entries if entry["path"] == path), "")

    def leading_to(self, stage: str) -> dict[str, Any]:
        """``stage`` and all stages whose outputs it was made of, by name."""
        makers = {
            entry["path"]: name for name, found in self.stages.items() for entry in found.get("outs", ())
        }
        reached: dict[str, Any] = {}
        waiting = [stage] if stage in self.stages else []
        while waiting:
            name = waiting.pop()
            reached[name] = self.stages[name]
            waiting += [
                makers[entry["path"]]
                for entry in self.stages[name].get("deps", ())
                if makers.get(entry["path"]) not in (None, *reached)
            ]
        return reached

    def sha256(self, stage: str) -> str:
        """Hash of all entries that lead to ``stage``, whatever their order; empty where it is absent.

        Other stages change the file but not this hash, so it stays the same as long as the training does.
        """
        if stage not in self.stages:
            return ""
        text = json.dumps(self.leading_to(stage), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def read_lock(project: Path) -> DvcLock:
    """Read ``dvc.lock``; one without stages where there is no file.

    Raises:
        StageError: DVC did not write it so; names the line of a merge conflict.
    """
    path = Path(project) / LOCK
    content = _read_yaml(path)
    if content is None:
        return DvcLock({})
    stages = content.get("stages", {}) if isinstance(content, dict) else content
    stages = {} if stages is None else stages
    if not isinstance(stages, dict) or not all(
        isinstance(stage, dict) and _are_entries(stage.get(side, []))
        for stage in stages.values()
        for side in ("deps", "outs")
    ):
        raise _unreadable(path, "is not as DVC writes it")
    return DvcLock(stages)


def _unreadable(path: Path, what: str) -> StageError:
    advice = f"take one side by `git checkout --ours {path.name}` or `--theirs`, or undo by `git restore`."
    return StageError(f"{path} {what}; {advice}")


def _are_entries(entries: Any) -> TypeGuard[list[dict[str, Any]]]:
    return isinstance(entries, list) and all(
        isinstance(entry, dict) and isinstance(entry.get("path"), str) for entry in entries
    )


def _read_yaml(path: Path) -> Any:
    """What a file of DVC holds; None where it is absent or empty."""
    import yaml

    if not path.exists():
        return None
    content = path.read_bytes()
    if found := _CONFLICT.search(content):
        line = content.count(b"\n", 0, found.start()) + 1
        raise _unreadable(path, f"has the marks of a merge conflict in line {line}")
    try:
        return yaml.load(content.decode("utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise _unreadable(path, f"is no YAML ({reason})") from error


def data_hashes(project: Path, lock: DvcLock, model: str) -> dict[str, str]:
    """DVC's md5 of ``data/ct`` and ``data/masks`` as the model's training saw them.

    Raises:
        StageError: ``data.dvc`` is asked and is not as DVC writes it.
    """
    names = ("data/ct", "data/masks")
    hashes = {name: lock.input(f"prepare@{model}", name) for name in names}
    tracked = Path(project) / "data.dvc"
    if not all(hashes.values()) and (content := _read_yaml(tracked)) is not None:
        outs = content.get("outs") if isinstance(content, dict) else None
        if not _are_entries(outs):
            raise _unreadable(tracked, "is not as DVC writes it")
        hashes |= {out["path"]: str(out.get("md5", "")) for out in outs if out["path"] in names}
    return {name: value for name, value in hashes.items() if value}


def fetch_tree(project: Path, md5: str, to: Path) -> bool:
    """Bring a folder with DVC's ``md5`` back from its cache or remote; ``to`` is replaced as a whole.

    Returns:
        Whether it was found, whole; what hinders is logged.
    """
    cache = _cache(project, md5, _whole)
    if cache is None:
        return False
    with replacing_folder(to) as part:
        for entry in _entries(cache, md5):
            target = (part / entry["relpath"]).resolve()
            if not target.is_relative_to(part.resolve()):
                return False
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(_place(cache, entry["md5"]), target)
    return dvc_md5(to) == md5


def fetch_file(project: Path, md5: str) -> Path | None:
    """A file in DVC's cache, which its remote fills where it lacks it; None where neither holds it."""
    cache = _cache(project, md5, lambda cache, md5: _place(cache, md5).exists())
    return _place(cache, md5) if cache else None


def _cache(project: Path, md5: str, holds: Callable[[Path, str], bool]) -> Path | None:
    """DVC's cache once it holds what is wanted, out of its remote if need be; what hinders is logged."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(project)) as repo:
            cache = Path(repo.cache.local.path)
            if not holds(cache, md5):
                _pull(repo, md5)
    except (DvcException, OSError) as error:
        logger.warning("DVC's cache of %s cannot be opened: %s", project.resolve().name, error)
        return None
    return cache if holds(cache, md5) else None


def _pull(repo: Any, md5: str) -> None:
    from dvc.exceptions import DvcException
    from dvc_data.hashfile.hash_info import HashInfo

    try:
        repo.cloud.pull([HashInfo("md5", md5)])
    except (DvcException, OSError) as error:
        logger.info("DVC's remote does not give %s: %s", md5, error)


def _place(cache: Path, md5: str) -> Path:
    return cache / md5[:2] / md5[2:]


def _entries(cache: Path, md5: str) -> list[dict[str, str]]:
    return json.loads(_place(cache, md5).read_text(encoding="utf-8"))


def _whole(cache: Path, md5: str) -> bool:
    return _place(cache, md5).exists() and all(
        _place(cache, entry["md5"]).exists() for entry in _entries(cache, md5)
    )
