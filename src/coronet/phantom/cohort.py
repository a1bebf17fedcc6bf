"""A cohort of phantoms on disk: made in parallel, each case whole or not at all, resumable."""

from __future__ import annotations

import concurrent.futures
import logging
import os
from collections.abc import Mapping
from pathlib import Path

import yaml

from coronet.dataset.cases import binding_path, mask_path, reference_path, scan_files, scan_path, write_facts
from coronet.errors import InputError
from coronet.files import exclusive, read_json, sha256_file, write_bytes, write_json
from coronet.fingerprint import dvc_md5, recipe_version
from coronet.io.volume import write_nifti
from coronet.phantom.patients import PhantomCase, Slot, Window, make_slot, plan
from coronet.process import worker_pool
from coronet.progress import Progress

log = logging.getLogger("coronet")

PACKING = 1
"""Level of compression: noise hardly packs better at a higher one."""


def truth_path(data: Path, case_id: str) -> Path:
    """Where a phantom's truth lies."""
    return Path(data) / "truth" / f"{case_id}.json"


def exact_path(data: Path, case_id: str, model: str) -> Path:
    """Where a phantom's exact mask lies."""
    return Path(data) / "truth" / f"{case_id}_{model}.nii.gz"


def write_cohort(
    data: Path,
    *,
    cases: int,
    seed: int,
    workers: int | None = None,
    window: Window = Window(),
    mix: bool = False,
    pin: Path = Path("data.dvc"),
    exact: bool = True,
) -> dict[str, bool]:
    """Make a cohort of phantoms: ``ct/``, ``masks/`` and the exact ``truth/``.

    A case that is already whole and of the same seed and generator is kept.

    Args:
        mix: whether other cases may lie in the same folder.
        pin: DVC file to compare the result with; where it is absent nothing is compared.
        exact: whether ``masks/`` gets the exact masks; without it ``masks/`` is left to others
            (`coronet.phantom.annotated_cohort`) and nothing is compared.

    Returns:
        For ``ct`` and ``masks``, where ``pin`` pins them, whether they are as pinned.

    Raises:
        InputError: the folder holds cases that are not of this cohort.
        Busy: another process writes to the cohort.
    """
    data = Path(data)
    slots = plan(seed, cases)
    with exclusive(data / "truth" / ".lock"):
        _refuse_others(data, slots, mix=mix)
        _sweep(data)
        version = recipe_version("phantom")
        missing = [slot for slot in slots if not is_whole(data, slot, seed=seed, version=version)]
        if len(missing) < len(slots):
            log.info("%d of %d phantoms are there already.", len(slots) - len(missing), len(slots))
        _make(
            data, missing, seed=seed, version=version, workers=workers or os.cpu_count() or 1, window=window
        )
        if exact:
            _lay_exact(data, slots)
    return check_pin(data, pin) if exact else {}


def check_pin(data: Path, pin: Path) -> dict[str, bool]:
    """Check whether ``ct`` and ``masks`` are what a DVC file pins; see `write_cohort`."""
    same = compare_with_pin(pin, {"ct": data / "ct", "masks": data / "masks"})
    for name, equal in same.items():
        if equal:
            log.info("%s/%s holds the bytes that %s pins.", data, name, pin)
        else:
            log.warning(
                "%s/%s differs from what %s pins; figures measured on the pinned cohort need not hold "
                "for it. `dvc add` pins the present one.",
                data,
                name,
                pin,
            )
    return same


def compare_with_pin(pin: Path, folders: Mapping[str, Path]) -> dict[str, bool]:
    """Compare folders with the hashes that a ``.dvc`` file pins.

    Args:
        pin: the ``.dvc`` file; where it is absent nothing is compared.
        folders: name of each folder and where it lies.

    Returns:
        For each folder that ``pin`` pins, whether it holds the pinned bytes.

    Raises:
        InputError: the file is no DVC file.
    """
    pin = Path(pin)
    if not pin.exists():
        return {}
    try:
        raw = yaml.safe_load(pin.read_text(encoding="utf-8"))
        pinned = {(pin.parent / out["path"]).resolve(): out["md5"] for out in raw["outs"] if "md5" in out}
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{pin} is no file of DVC: {error!r}") from error
    return {
        name: dvc_md5(folder) == pinned[Path(folder).resolve()]
        for name, folder in folders.items()
        if Path(folder).resolve() in pinned
    }


def is_whole(data: Path, slot: Slot, *, seed: int, version: int) -> bool:
    """Whether a case lies in ``data`` with scan and truth as the generator of this version wrote them."""
    path = truth_path(data, slot.case_id)
    if not path.exists():
        return False
    truth = read_json(path)
    if (truth.get("seed"), truth.get("index"), truth.get("generator")) != (seed, slot.index, version):
        return False
    return files_match(data, truth["files"])


def files_match(data: Path, digests: Mapping[str, str]) -> bool:
    """Whether files, by their paths in ``data``, are there with these sha256."""
    return all(
        (data / name).exists() and sha256_file(data / name) == digest for name, digest in digests.items()
    )


def _write_case(data: Path, case: PhantomCase, *, version: int) -> None:
    """Write a case without ``masks/``; its truth file, written last, says that it is whole."""
    name = case.slot.case_id
    truth_path(data, name).unlink(missing_ok=True)
    scan = scan_path(data, name)
    write_nifti(scan, case.ct, level=PACKING)
    write_facts(data, name, case.facts)
    written = [scan, scan.with_name(f"{name}.json")]
    for model, mask in (("heart", case.heart), ("calcium", case.calcium)):
        path = exact_path(data, name, model)
        write_nifti(path, mask, level=PACKING)
        written.append(path)
    files = {path.relative_to(data).as_posix(): sha256_file(path) for path in written}
    write_json(truth_path(data, name), case.truth | {"generator": version, "files": files})


def _lay_exact(data: Path, slots: tuple[Slot, ...]) -> None:
    """Let ``masks/`` hold the exact masks, which need no better ones beside them."""
    for slot in slots:
        name = slot.case_id
        binding_path(data, name).unlink(missing_ok=True)
        for model in ("heart", "calcium"):
            reference_path(data, name, model).unlink(missing_ok=True)
            source, target = exact_path(data, name, model), mask_path(data, name, model)
            if not target.exists() or sha256_file(target) != sha256_file(source):
                write_bytes(target, source.read_bytes())


def _make_and_write(data: Path, slot: Slot, seed: int, version: int, window: Window) -> None:
    _write_case(data, make_slot(seed, slot, window=window), version=version)


def _make(data: Path, slots: list[Slot], *, seed: int, version: int, workers: int, window: Window) -> None:
    if not slots:
        return
    with worker_pool(min(workers, len(slots))) as pool, Progress("phantoms", len(slots)) as progress:
        jobs = [pool.submit(_make_and_write, data, slot, seed, version, window) for slot in slots]
        for job in concurrent.futures.as_completed(jobs):
            job.result()
            progress.advance()


def _refuse_others(data: Path, slots: tuple[Slot, ...], *, mix: bool) -> None:
    own = {slot.case_id for slot in slots}
    names = [path.name.removesuffix(".nii.gz") for path in scan_files(data)]
    others = [name for name in names if name not in own]
    if others and not mix:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise InputError(
            f"{data} holds {others[0]}{more}, not of this cohort; move it away, choose another --data, "
            "or say --mix to keep both together."
        )


def _sweep(data: Path) -> None:
    """Remove what a killed run left half-written; the lock is held, so no process writes them now."""
    for folder in ("ct", "masks", "truth"):
        for part in (data / folder).glob(".part-*"):
            part.unlink()
