"""Deposited cases on disk, beside the other cases: each whole or not at all, kept where it is right."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from coronet.config import DepositParams
from coronet.dataset.cases import (
    binding_path,
    find_case,
    mask_path,
    reference_path,
    scan_files,
    scan_path,
    write_facts,
)
from coronet.errors import InputError
from coronet.files import exclusive, read_json, sha256_file, write_json
from coronet.fingerprint import canonical, recipe_version
from coronet.io.scan_facts import DEPOSITED
from coronet.io.volume import write_nifti
from coronet.phantom.cohort import PACKING, files_match, truth_path
from coronet.process import worker_pool
from coronet.progress import Progress
from coronet.real_backgrounds.backgrounds import BackgroundFile, find_backgrounds, read_background
from coronet.real_backgrounds.deposited_cases import (
    DepositedCase,
    case_id,
    make_variant,
    study_background,
)

log = logging.getLogger("coronet")


@dataclasses.dataclass(frozen=True)
class DepositedCohort:
    """What was made.

    Attributes:
        backgrounds: how many scans it was drawn into.
        cases: ids of all deposited cases, sorted.
        made: how many of them are new.
        removed: ids of deposited cases that were there and are not of this cohort.
    """

    backgrounds: int
    cases: tuple[str, ...]
    made: int
    removed: tuple[str, ...]


def write_deposited_cohort(
    folders: Sequence[Path], data: Path, params: DepositParams, *, workers: int | None = None
) -> DepositedCohort:
    """Draw calcium into the backgrounds of folders and lay the cases beside the others of ``data``.

    Cases that are already whole and of the same scan, mask, parameters and generator are kept; other
    deposited cases are removed, so that the same backgrounds and parameters always leave the same ones.

    Args:
        folders: of backgrounds, see `coronet.real_backgrounds.backgrounds`.
        data: gets ``ct/``, ``masks/`` and ``truth/``.
        params: ``deposits`` of params.yaml.

    Raises:
        InputError: a background does not say what it must, or two have the same name.
        UnsuitableScan: calcium cannot be drawn into a scan.
        Busy: another process writes to the cohort.
    """
    data = Path(data)
    files = [file for folder in folders for file in find_backgrounds(Path(folder))]
    names = [file.name for file in files]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"two backgrounds are called {twice[0]}; rename one of them.")
    ids = {case_id(name, variant) for name in names for variant in range(params.variants)}
    with exclusive(data / "truth" / ".lock"):
        _refuse_foreign(data, ids)
        keys = {file.name: _key(file, params) for file in files}
        missing = [
            file
            for file in files
            if not all(
                _is_whole(data, case_id(file.name, n), keys[file.name]) for n in range(params.variants)
            )
        ]
        _make(data, missing, keys, params, workers or os.cpu_count() or 1)
        removed = _remove_others(data, ids)
    return DepositedCohort(len(files), tuple(sorted(ids)), len(missing) * params.variants, removed)


def _key(file: BackgroundFile, params: DepositParams) -> dict[str, Any]:
    """What a background's cases depend on, but for the number of variants."""
    return {
        "recipe": [recipe_version(name) for name in ("deposit", "phantom", "wild")],
        "seed": params.seed,
        "burdens": list(params.burdens),
        "ranges": params.ranges,
        "facts": canonical(file.facts),
        "scan": _digests(file.scan),
        "heart": _digests(file.heart),
    }


def _digests(path: Path) -> dict[str, str]:
    """sha256 of a file, or of all files of a folder, by name; empty where it is absent."""
    if path.is_dir():
        found = sorted(item for item in path.rglob("*") if item.is_file())
        return {item.relative_to(path).as_posix(): sha256_file(item) for item in found}
    return {path.name: sha256_file(path)} if path.exists() else {}


def _is_whole(data: Path, name: str, key: dict[str, Any]) -> bool:
    path = truth_path(data, name)
    if not path.exists():
        return False
    truth = read_json(path)
    return truth.get("key") == key and files_match(data, truth["files"])


def _make(
    data: Path,
    files: Sequence[BackgroundFile],
    keys: dict[str, dict[str, Any]],
    params: DepositParams,
    workers: int,
) -> None:
    if not files:
        return
    with worker_pool(min(workers, len(files))) as pool, Progress("backgrounds", len(files)) as progress:
        jobs = [pool.submit(_make_all, data, file, keys[file.name], params) for file in files]
        for job in concurrent.futures.as_completed(jobs):
            job.result()
            progress.advance()


def _make_all(data: Path, file: BackgroundFile, key: dict[str, Any], params: DepositParams) -> None:
    """Write all variants of one background."""
    studied = study_background(read_background(file), params.seed)
    for variant in range(params.variants):
        case = make_variant(studied, variant, seed=params.seed, burdens=params.burdens, ranges=params.ranges)
        _write_case(data, case, key)


def _write_case(data: Path, case: DepositedCase, key: dict[str, Any]) -> None:
    """Write a case; its truth file, written last, says that it is whole."""
    name = case.case_id
    truth_path(data, name).unlink(missing_ok=True)
    binding_path(data, name).unlink(missing_ok=True)
    scan = scan_path(data, name)
    write_nifti(scan, case.ct, level=PACKING)
    write_facts(data, name, case.facts)
    written = [scan, scan.with_name(f"{name}.json")]
    for model, mask in (("heart", case.heart), ("calcium", case.calcium)):
        reference_path(data, name, model).unlink(missing_ok=True)
        path = mask_path(data, name, model)
        write_nifti(path, mask, level=PACKING)
        written.append(path)
    digests = {path.relative_to(data).as_posix(): sha256_file(path) for path in written}
    write_json(truth_path(data, name), case.truth | {"key": key, "files": digests})


def _refuse_foreign(data: Path, ids: set[str]) -> None:
    """Refuse to overwrite a case that is none of ours."""
    for path in scan_files(data):
        name = path.name.removesuffix(".nii.gz")
        if name in ids and find_case(data, name).facts.source != DEPOSITED:
            raise InputError(
                f"{data} holds a case {name} that is no deposited one; rename the background in its way."
            )


def _remove_others(data: Path, ids: set[str]) -> tuple[str, ...]:
    """Remove deposited cases that are not of this cohort."""
    removed = []
    for path in scan_files(data):
        name = path.name.removesuffix(".nii.gz")
        if name in ids or find_case(data, name).facts.source != DEPOSITED:
            continue
        masks = (mask_path(data, name, model) for model in ("heart", "calcium"))
        for item in (truth_path(data, name), path, path.with_name(f"{name}.json"), *masks):
            item.unlink(missing_ok=True)
        removed.append(name)
    if removed:
        log.info("%s: removed %s, which are not of these backgrounds.", data, ", ".join(removed))
    return tuple(removed)
