"""Cohorts of phantoms with exact masks, or with simulated annotations that random forests complete.

Of simulated annotations every heart is drawn from its own lines. The first scans train the forest of calcium,
with more clicks than the others get; on those the reader clicks on a few pieces that are wrong. The masks are
as imperfect as annotations are; the exact ones become the reference that results are compared with.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from coronet.annotation import calcium
from coronet.annotation.candidates import find_candidates
from coronet.annotation.forest import Forest, Samples
from coronet.annotation.strokes import Strokes, write_strokes
from coronet.config import MODELS
from coronet.dataset.cases import binding_path, mask_path, reference_path, scan_path
from coronet.errors import InputError
from coronet.files import exclusive, read_json, sha256_file, write_bytes, write_json
from coronet.fingerprint import recipe_version
from coronet.io.volume import pack_nifti, read_nifti
from coronet.phantom import cohort
from coronet.phantom.distributions import REALISTIC_SHARE
from coronet.phantom.patients import Slot, Window, plan
from coronet.phantom.reader_sessions import (
    ReaderSession,
    corrected,
    draw_heart_in_sessions,
    fit_if_possible,
    training_samples,
    true_labels,
)
from coronet.process import worker_pool
from coronet.progress import Progress

logger = logging.getLogger("coronet")

_TRAINING_SCANS = 12  # how many scans, from the first, train the forest of calcium


def make_cohort(
    data: Path,
    *,
    masks: str = "exact",
    cases: int,
    seed: int,
    ranges: str = "realistic",
    workers: int | None = None,
    window: Window = Window(),
    mix: bool = False,
    pin: Path = Path("data.dvc"),
) -> dict[str, bool]:
    """Make a cohort of phantoms: ``ct/``, ``masks/`` and the exact ``truth/``.

    With simulated annotations ``masks/reference/`` holds the exact masks, and ``annotations/`` the strokes
    and what became of them. A case that is already whole and of the same seed, ranges and source is kept.

    Args:
        masks: ``exact``, or ``forest`` for simulated annotations.
        ranges: ``realistic``, ``wild`` or ``mixed``; see `coronet.phantom.patients.plan`.
        workers: processes; all cores by default.
        mix: whether other cases may lie in the same folder.
        pin: DVC file to compare the result with; where it is absent nothing is compared.

    Returns:
        For ``ct`` and ``masks``, where ``pin`` pins them, whether they are as pinned.

    Raises:
        InputError: there are no such masks or ranges, or the folder holds cases that are not of this cohort.
        Busy: another process writes to the cohort.
    """
    if masks not in ("exact", "forest"):
        raise InputError(f"--masks {masks}: masks are exact or forest.")
    if ranges not in REALISTIC_SHARE:
        raise InputError(f"--ranges {ranges}: ranges are realistic, wild or mixed.")
    data, workers, slots = Path(data), workers or os.cpu_count() or 1, plan(seed, cases, ranges)
    cohort.write_scans(data, slots, seed=seed, workers=workers, window=window, mix=mix)
    if masks == "forest":
        _annotate(data, slots, seed=seed, ranges=ranges, workers=workers)
    else:
        cohort.write_exact_masks(data, slots)
    return cohort.compare_with_pin(pin, {"ct": data / "ct", "masks": data / "masks"})


def _annotate(data: Path, slots: tuple[Slot, ...], *, seed: int, ranges: str, workers: int) -> None:
    """Draw the masks that are not there yet."""
    # a cohort too small for training and test scans trains with all of it
    key: dict[str, Any] = {
        "version": [recipe_version("phantom"), recipe_version("masks")],
        "seed": seed,
        "teachers": min(_TRAINING_SCANS, len(slots)),
    }
    if ranges != "realistic":
        key |= {"ranges": ranges, "wild": recipe_version("wild")}
    with exclusive(data / "annotations" / ".lock"):
        for part in [*(data / "masks").rglob(".part-*"), *(data / "annotations").rglob(".part-*")]:
            part.unlink()
        missing = [slot for slot in slots if not _is_drawn(data, slot.case_id, key)]
        if len(missing) < len(slots):
            logger.info("%d of %d phantoms have their masks already.", len(slots) - len(missing), len(slots))
        if missing:
            _draw(data, slots, missing, key, workers)


def record_path(data: Path, case_id: str) -> Path:
    """Record of a case's annotation; written last, it marks the masks as whole."""
    return Path(data) / "annotations" / case_id / "record.json"


def _is_drawn(data: Path, case_id: str, key: dict[str, Any]) -> bool:
    """Whether a case's masks are there, as this source drew them on the scan that is there."""
    path = record_path(data, case_id)
    if not path.exists():
        return False
    record = read_json(path)
    return record["key"] == key and cohort.files_match(data, record["files"])


def _draw(
    data: Path, slots: tuple[Slot, ...], missing: list[Slot], key: dict[str, Any], workers: int
) -> None:
    seed, training = key["seed"], slots[: key["teachers"]]
    with worker_pool(workers) as pool, Progress("masks", len(training) + len(missing)) as progress:
        hearts = [pool.submit(_draw_heart, data, slot, seed) for slot in training]
        table = training_samples(started.session for started in _in_order(hearts, progress.advance))
        started = {slot: job.result() for slot, job in zip(training, hearts, strict=True)}
        jobs = [pool.submit(_draw_calcium, data, slot, key, table, started.get(slot)) for slot in missing]
        for job in concurrent.futures.as_completed(jobs):
            job.result()
            progress.advance()


def _in_order(jobs: list[concurrent.futures.Future], advance: Callable[[], None]) -> Iterable[_DrawnHeart]:
    for job in jobs:
        yield job.result()
        advance()


@dataclasses.dataclass(frozen=True)
class _DrawnHeart:
    """A scan whose heart is drawn: its mask, packed; the strokes; the forest's out-of-bag score."""

    session: ReaderSession
    packed: bytes
    strokes: Strokes
    out_of_bag: float | None


def _draw_heart(data: Path, slot: Slot, seed: int) -> _DrawnHeart:
    """Draw the heart of a scan and find the bright pieces in it."""
    ct, reader_seed = read_nifti(scan_path(data, slot.case_id)), seed * 100_003 + slot.index
    exact = {model: cohort.exact_path(data, slot.case_id, model) for model in MODELS}
    truth = {model: read_nifti(path, np.uint8).array for model, path in exact.items()}
    *_, (draft, strokes) = draw_heart_in_sessions(ct, truth["heart"], case=slot.case_id, seed=reader_seed)
    found = find_candidates(ct, draft.mask)
    labels = true_labels(found, read_json(cohort.truth_path(data, slot.case_id)), truth["calcium"])
    session = ReaderSession(slot.case_id, reader_seed, found, ct.shape, ct.affine, labels)
    packed = pack_nifti(ct.with_array(draft.mask), level=cohort.PACKING)
    return _DrawnHeart(session, packed, strokes, draft.out_of_bag)


def _draw_calcium(
    data: Path, slot: Slot, key: dict[str, Any], table: Samples, started: _DrawnHeart | None
) -> None:
    """Draw the calcium of one case and write all of it; the record comes last."""
    started = started or _draw_heart(data, slot, key["seed"])
    session, forest = started.session, _forest_of(table)
    classified, clicks = corrected(session, forest)
    mask = session.grid.with_array(calcium.coronary_mask(classified, session.shape))
    masks = {"heart": started.packed, "calcium": pack_nifti(mask, level=cohort.PACKING)}
    strokes = {"heart": started.strokes, "calcium": clicks}
    out_of_bag = {"heart": started.out_of_bag, "calcium": None if forest is None else forest.out_of_bag}

    name, record = slot.case_id, record_path(data, slot.case_id)
    record.unlink(missing_ok=True)
    written = []
    for model in MODELS:
        write_bytes(mask_path(data, name, model), masks[model])
        write_bytes(reference_path(data, name, model), cohort.exact_path(data, name, model).read_bytes())
        written += [mask_path(data, name, model), reference_path(data, name, model)]
        path = record.with_name(f"{model}.json")
        path.unlink(missing_ok=True)
        if (given := strokes[model]) is not None:
            write_strokes(path, given)
            written.append(path)
    write_json(binding_path(data, name), {"scan_sha256": sha256_file(scan_path(data, name))})
    written += [binding_path(data, name), scan_path(data, name)]
    write_json(
        record,
        {
            "key": key,
            "strokes": {model: len(given.strokes) if given else 0 for model, given in strokes.items()},
            "out_of_bag": {
                model: None if share is None else round(share, 4) for model, share in out_of_bag.items()
            },
            "files": {path.relative_to(data).as_posix(): sha256_file(path) for path in written},
        },
    )


_forest_cache: dict[bytes, Forest | None] = {}


def _forest_of(table: Samples) -> Forest | None:
    """The forest of a table, grown once a process."""
    key = table.features.tobytes() + table.labels.tobytes()
    if key not in _forest_cache:
        _forest_cache.clear()
        _forest_cache[key] = fit_if_possible(table)
    return _forest_cache[key]
