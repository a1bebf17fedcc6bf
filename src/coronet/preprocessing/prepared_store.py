"""Prepared cases on disk: one safetensors file each, and an index with their geometry.

Only patients of the train and tune parts are prepared. A test patient's scan is read by evaluation alone.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from coronet.config import InputParams, Params
from coronet.dataset.cases import Case, load_mask
from coronet.errors import InputError, StageError
from coronet.files import read_json, replacing_folder, sha256_file, write_json
from coronet.fingerprint import canonical
from coronet.imaging.resampling import Grid
from coronet.io.content_hash import content_sha256
from coronet.io.scan_facts import DEPOSITED
from coronet.io.volume import AIR_HU, read_nifti
from coronet.preprocessing.intensity import check_contrast, scale_intensity
from coronet.preprocessing.network_input import NetworkInput, calcium_input, heart_input, network_target
from coronet.process import worker_pool

if TYPE_CHECKING:
    from coronet.dataset.split import Split

logger = logging.getLogger("coronet")
INDEX = "index.json"
_LEARNING_PARTS = ("train", "tune")
TENTHS, FAR = 10, 255  # distances are kept in tenths of a mm; `FAR` is beyond all that is prepared


@dataclasses.dataclass(frozen=True)
class PreparedCase:
    """One case as training reads it."""

    id: str  # the case
    hu: np.ndarray  # int16, shape (x, y, z)
    target: np.ndarray  # uint8, same shape; 255 is certain
    # uint8, same shape: tenths of a mm outside of the heart, `FAR` outside the region; None for the heart
    distance: np.ndarray | None
    grid: Grid  # where the voxels lie

    def within(self, margin_mm: float) -> NetworkInput:
        """What the network sees of the scan when it is scored: ``margin_mm`` around the heart."""
        if self.distance is None:
            return NetworkInput(self.hu, None, self.grid)
        region = self.distance <= margin_mm * TENTHS
        return NetworkInput(np.where(region, self.hu, np.int16(AIR_HU)), region, self.grid)


def prepare_model(
    model: str,
    cases: Iterable[Case],
    split: Split,
    params: Params,
    out: Path,
    *,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Prepare the train and tune cases of a model.

    Args:
        cases: the cohort; cases of other parts are not opened.
        params: all parameters; of the model's, ``input`` and ``augment.surface_mm`` are read.

    Returns:
        ``out``.

    Raises:
        InputError: no case of a part has the masks the model needs.
    """
    spec, surface_mm = params.model(model).input, params.model(model).augment.surface_mm
    wide = dataclasses.replace(spec, margin_mm=spec.margin_mm + surface_mm)
    part_of = {case: part for part in _LEARNING_PARTS for case in split.cases(part)}
    chosen = sorted((case for case in cases if case.id in part_of), key=lambda case: case.id)
    if model == "heart":
        # several variants of one scan show the same heart, and a network may have found its mask
        chosen = [case for case in chosen if case.facts.source != DEPOSITED]
    usable = [case for case in chosen if case.heart and (model == "heart" or case.calcium)]
    skipped = sorted({case.id for case in chosen} - {case.id for case in usable})
    for case_id in skipped:
        logger.info("%s: left out of preparing %s, since a mask is absent", case_id, model)
    for part in _LEARNING_PARTS:
        if not any(part_of[case.id] == part for case in usable):
            raise InputError(f"No {part} case has the masks that the {model} model learns from; add some.")
    entries: dict[str, Any] = {}
    with replacing_folder(out) as folder, worker_pool(max(1, workers)) as pool:
        done = pool.map(functools.partial(_prepare_case, model, wide, folder), usable)
        for number, (case, entry) in enumerate(zip(usable, done, strict=True), start=1):
            entries[case.id] = {**entry, "part": part_of[case.id], "source": case.facts.source}
            for name in ("attribution", "drawn_into"):
                if value := getattr(case.facts, name):
                    entries[case.id][name] = value
            if progress:
                progress(number, len(usable))
        write_json(
            folder / INDEX,
            {"model": model, "input": canonical(wide), "cases": entries, "skipped": skipped},
        )
    return Path(out)


def _prepare_case(model: str, spec: InputParams, folder: Path, case: Case) -> dict[str, Any]:
    from safetensors.numpy import save_file

    ct = read_nifti(case.ct)
    assert case.heart is not None, case.id
    heart = load_mask(case.heart, ct)
    if model == "heart":
        prepared, mask = heart_input(ct, spec), heart
    else:
        try:
            prepared = calcium_input(ct, heart > 0, spec, measured=True)
        except InputError as error:
            raise InputError(f"{case.id}: {error}.") from error
        assert case.calcium is not None, case.id
        mask = load_mask(case.calcium, ct)
    check_contrast(scale_intensity(prepared.hu.astype(np.float32), spec.window_hu), case.id)
    arrays = {"hu": prepared.hu, "target": network_target(mask, ct, prepared.grid, model=model)}
    if prepared.distance_mm is not None and prepared.region is not None:
        tenths = np.rint(prepared.distance_mm * TENTHS).clip(0, FAR - 1)
        arrays["distance"] = np.where(prepared.region, tenths, FAR).astype(np.uint8)
    path = folder / f"{case.id}.safetensors"
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)
    return {
        "content_sha256": content_sha256(ct),
        "shape": list(prepared.grid.shape),
        "affine": [[round(float(value), 6) for value in row] for row in prepared.grid.affine],
        "sha256": sha256_file(path),
    }


def prepared_cases(folder: Path, part: str) -> tuple[str, ...]:
    """Ids of the prepared cases of ``train`` or ``tune``, sorted."""
    return tuple(sorted(case for case, entry in _index(folder)["cases"].items() if entry["part"] == part))


def prepared_sources(folder: Path, cases: Iterable[str]) -> dict[str, int]:
    """How many of ``cases`` came from which source, such as ``{"phantom": 24}``."""
    index = _index(folder)["cases"]
    sources = [index[case]["source"] for case in cases]
    return {source: sources.count(source) for source in sorted(set(sources))}


def prepared_attributions(folder: Path, cases: Iterable[str]) -> tuple[str, ...]:
    """What must be said of the scans of ``cases`` wherever a network that learned from them is shared."""
    index = _index(folder)["cases"]
    return tuple(sorted({index[case].get("attribution", "") for case in cases} - {""}))


def prepared_scans(folder: Path, cases: Iterable[str]) -> tuple[str, ...]:
    """`coronet.io.content_hash.content_sha256` of the scans of ``cases``, sorted.

    Raises:
        StageError: the cases were prepared before these hashes were kept.
    """
    index = _index(folder)["cases"]
    try:
        entries = [index[case] for case in cases]
        found = [entry["content_sha256"] for entry in entries]
        return tuple(sorted([*found, *{entry["drawn_into"] for entry in entries if "drawn_into" in entry}]))
    except KeyError as error:
        raise StageError(
            f"{folder} does not say which scans it was made of; run `dvc repro --force prepare`."
        ) from error


def load_prepared(folder: Path, cases: Iterable[str], spec: InputParams) -> tuple[PreparedCase, ...]:
    """Read prepared cases; no other file is opened.

    Args:
        folder: what `prepare_model` wrote.
        cases: ids to read.
        spec: the input the reader trains with; the cases must have been prepared for it.

    Raises:
        StageError: the folder, or a case of it, is absent or was prepared with another input.
    """
    index = _index(folder)
    prepared = index["input"]
    for key, fits in (
        ("spacing_mm", canonical(spec.spacing_mm) == prepared["spacing_mm"]),
        ("margin_mm", spec.margin_mm <= prepared["margin_mm"]),
    ):
        if not fits:
            raise StageError(f"{folder} was prepared with another input.{key}; run `dvc repro` again.")
    return tuple(_load_case(Path(folder), case, index) for case in cases)


def _index(folder: Path) -> dict[str, Any]:
    if not (Path(folder) / INDEX).exists():
        raise StageError(f"{folder} holds no prepared cases; run `dvc repro` first.")
    return read_json(Path(folder) / INDEX)


def _load_case(folder: Path, case: str, index: dict[str, Any]) -> PreparedCase:
    from safetensors.numpy import load_file

    if case not in index["cases"]:
        raise StageError(f"{case} is not among the prepared cases of {folder}; prepare it first.")
    entry = index["cases"][case]
    arrays = load_file(folder / f"{case}.safetensors")
    return PreparedCase(
        id=case,
        hu=arrays["hu"],
        target=arrays["target"],
        distance=arrays.get("distance"),
        grid=Grid(tuple(entry["shape"]), np.asarray(entry["affine"])),
    )
