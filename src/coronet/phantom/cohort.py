"""A cohort of phantoms on disk: made in parallel, each case whole or not at all, resumable."""

from __future__ import annotations

import concurrent.futures
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from coronet.dataset.cases import binding_path, mask_path, reference_path, scan_files, scan_path, write_facts
from coronet.errors import InputError
from coronet.files import exclusive, read_json, sha256_file, write_bytes, write_json
from coronet.fingerprint import dvc_md5, recipe_version
from coronet.io.volume import write_nifti
from coronet.phantom.distributions import DISTRIBUTIONS
from coronet.phantom.patients import PhantomCase, Slot, Window, make_slot
from coronet.process import worker_pool
from coronet.progress import Progress

log = logging.getLogger("coronet")

PACKING = 1  # level of compression: noise hardly packs better at a higher one


def truth_path(data: Path, case_id: str) -> Path:
    """Where a phantom's truth lies."""
    return Path(data) / "truth" / f"{case_id}.json"


def exact_path(data: Path, case_id: str, model: str) -> Path:
    """Where a phantom's exact mask lies."""
    return Path(data) / "truth" / f"{case_id}_{model}.nii.gz"


def write_scans(
    data: Path, slots: Sequence[Slot], *, seed: int, workers: int, window: Window, mix: bool
) -> None:
    """Write the scans of phantoms, ``ct/``, and their exact ``truth/``; ``masks/`` is left to others.

    A case that is already whole and of the same seed, ranges and generator is kept.

    Args:
        mix: whether other cases may lie in the same folder.

    Raises:
        InputError: the folder holds cases that are not of this cohort.
        Busy: another process writes to the cohort.
    """
    with exclusive(data / "truth" / ".lock"):
        _refuse_others(data, slots, mix=mix)
        _sweep(data)
        missing = [slot for slot in slots if not is_whole(data, slot, seed=seed)]
        if len(missing) < len(slots):
            log.info("%d of %d phantoms are there already.", len(slots) - len(missing), len(slots))
        _make(data, missing, seed=seed, workers=workers, window=window)


def compare_with_pin(pin: Path, folders: Mapping[str, Path]) -> dict[str, bool]:
    """Compare folders with the hashes that a ``.dvc`` file pins, and log what differs.

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
    same = {}
    for name, folder in folders.items():
        if (md5 := pinned.get(Path(folder).resolve())) is None:
            continue
        same[name] = dvc_md5(folder) == md5
        if same[name]:
            log.info("%s holds the bytes that %s pins.", folder, pin)
        else:
            log.warning(
                "%s differs from what %s pins; figures measured on the pinned cohort need not hold for it. "
                "`dvc add` pins the present one.",
                folder,
                pin,
            )
    return same


def generator_version(slot: Slot) -> int:
    """Version of the generator that draws a case: each distribution has its own."""
    return recipe_version(DISTRIBUTIONS[slot.ranges].recipe)


def is_whole(data: Path, slot: Slot, *, seed: int) -> bool:
    """Whether a case lies in ``data`` with scan and truth as the present generator writes them."""
    path = truth_path(data, slot.case_id)
    if not path.exists():
        return False
    truth = read_json(path)
    found = truth.get("seed"), truth.get("index"), truth.get("ranges", "realistic"), truth.get("generator")
    if found != (seed, slot.index, slot.ranges, generator_version(slot)):
        return False
    return files_match(data, truth["files"])


def files_match(data: Path, digests: Mapping[str, str]) -> bool:
    """Whether files, by their paths in ``data``, are there with these sha256."""
    return all(
        (data / name).exists() and sha256_file(data / name) == digest for name, digest in digests.items()
    )


def _write_case(data: Path, case: PhantomCase) -> None:
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
    write_json(
        truth_path(data, name), case.truth | {"generator": generator_version(case.slot), "files": files}
    )


def write_exact_masks(data: Path, slots: Sequence[Slot]) -> None:
    """Let ``masks/`` hold the exact masks, which need no better ones beside them."""
    with exclusive(data / "truth" / ".lock"):
        for name in (slot.case_id for slot in slots):
            binding_path(data, name).unlink(missing_ok=True)
            for model in ("heart", "calcium"):
                reference_path(data, name, model).unlink(missing_ok=True)
                source, target = exact_path(data, name, model), mask_path(data, name, model)
                if not target.exists() or sha256_file(target) != sha256_file(source):
                    write_bytes(target, source.read_bytes())


def _make_and_write(data: Path, slot: Slot, seed: int, window: Window) -> None:
    _write_case(data, make_slot(seed, slot, window=window))


def _make(data: Path, slots: list[Slot], *, seed: int, workers: int, window: Window) -> None:
    if not slots:
        return
    with worker_pool(min(workers, len(slots))) as pool, Progress("phantoms", len(slots)) as progress:
        jobs = [pool.submit(_make_and_write, data, slot, seed, window) for slot in slots]
        for job in concurrent.futures.as_completed(jobs):
            job.result()
            progress.advance()


def _refuse_others(data: Path, slots: Sequence[Slot], *, mix: bool) -> None:
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
