"""A user's own scans and masks, brought into the cohort's layout without anything that names a patient."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from coronet.cohort.cases import check_case_id, find_case, mask_path, scan_path, write_facts
from coronet.cohort.formats import dicom
from coronet.cohort.masks import Labels, read_mask
from coronet.cohort.pseudonym import content_digest, load_key, patient_pseudonym
from coronet.cohort.reader import LOADERS, Scan, read_scan, read_series, suffix_of
from coronet.cohort.suitability import suitability
from coronet.cohort.volume import Volume, read_nifti, write_nifti
from coronet.errors import CoronetError, InputError, UnreadableScan
from coronet.files import exclusive, read_json, write_json

INDEX_NAME = ".scans.json"
ARTERIES = 4
"""Calcium labels 1 to 4 name LM, LAD, LCX and RCA; a mask with higher ones names no arteries."""


@dataclasses.dataclass(frozen=True)
class Masks:
    """Mask files that belong to one scan, and which of their labels are meant (all above zero by default)."""

    heart: Path | None = None
    calcium: Path | None = None
    heart_labels: Labels = None
    calcium_labels: Labels = None
    resample: bool = False


@dataclasses.dataclass(frozen=True)
class Added:
    """A scan that is in the cohort now.

    Attributes:
        case: its id.
        patient: pseudonym.
        new: False where it had been there before.
        masks: which masks were written now.
        warnings: what speaks against the masks that were given, in words.
        flags: of `coronet.cohort.suitability`.
        shape: voxels (x, y, z).
        spacing_mm: (x, y, z).
    """

    case: str
    patient: str
    new: bool
    masks: tuple[str, ...]
    warnings: tuple[str, ...]
    flags: tuple[str, ...]
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of each scan; ``refused`` holds the reasons, which begin with the path as it was given."""

    added: tuple[Added, ...]
    refused: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _Source:
    where: str
    read: Callable[[], Scan]


def add_scans(
    paths: Sequence[Path],
    *,
    data: Path,
    masks: Masks = Masks(),
    patient: str | None = None,
    case: str | None = None,
    series: int | str | None = None,
) -> Outcome:
    """Add scans to a data folder.

    Every scan that can be read is added, whatever becomes of the others; each is written whole or not at all.
    A scan that is in the folder already stays as it is; masks it lacks are added.

    Args:
        paths: scans, or folders of them. A folder counts with its sub-folders: each volume file and each
            DICOM series in it is a scan.
        data: the cohort's folder.
        masks: of the one scan that ``paths`` name.
        patient: who was scanned, where the files do not say it; hashed, never kept.
        case: id of the one scan that ``paths`` name, in place of one made from a keyed hash.
        series: the one DICOM series that is meant, as in `coronet.cohort.reader.read_scan`.

    Raises:
        InputError: masks or an id were given, but ``paths`` name more than one scan.
        Busy: another process adds to the folder.
    """
    if case is not None:
        check_case_id(case)
    data = Path(data)
    sources: list[_Source] = []
    refused: list[str] = []
    for path in paths:
        try:
            sources += find_scans(Path(path), series=series, refused=refused)
        except CoronetError as error:
            refused.append(str(error))
    if len(sources) > 1 and (masks.heart or masks.calcium or case):
        raise InputError(
            f"{len(sources)} scans are named, but masks and --case belong to one; add that one by itself."
        )
    added = []
    with exclusive(data / ".lock"):
        key = load_key(data)
        for source in sources:
            try:
                added.append(_add(source, data=data, key=key, masks=masks, patient=patient, case=case))
            except CoronetError as error:
                refused.append(str(error))
    return Outcome(tuple(added), tuple(refused))


def find_scans(path: Path, *, series: int | str | None = None, refused: list[str]) -> list[_Source]:
    """Scans under a path: each volume file and each DICOM series.

    Args:
        path: a file or folder.
        series: take this DICOM series alone.
        refused: takes up what looks like a scan, but is damaged.

    Raises:
        UnreadableScan: there is no scan under it.
    """
    if series is not None or not path.is_dir():
        return [_Source(str(path), lambda: read_scan(path, series=series))]
    volumes = [
        file
        for file in dicom.files_under(path)
        if suffix_of(file) in LOADERS and not file.name.lower().endswith(".seg.nrrd")
    ]
    found = dicom.find_series(path)
    sources = [_Source(str(file), lambda file=file: read_scan(file)) for file in volumes]
    several = len(found.series) > 1
    for number, item in enumerate(found.series, 1):
        where = f"{path} (series {number}: {item.summary})" if several else str(path)
        sources.append(_Source(where, lambda item=item, where=where: read_series(item, where)))
    if not sources:
        raise UnreadableScan(f"{path}: no scan in it ({dicom.describe(found)}).")
    if found.damaged and not any(item.fault for item in found.series):
        refused.append(f"{path}: {sum(found.damaged.values())} damaged files ({', '.join(found.damaged)}).")
    return sources


def _add(
    source: _Source, *, data: Path, key: bytes, masks: Masks, patient: str | None, case: str | None
) -> Added:
    scan = source.read()
    digest = content_digest(scan.volume, key)
    there = _known_case(data, digest)
    wanted, warnings = _read_masks(masks, scan)
    if there is not None:
        if case is not None and case != there:
            raise InputError(f"{source.where}: this scan is in the cohort already, as {there}.")
        return _complete(data, there, scan.volume, wanted, warnings)
    case = case or f"scan-{digest[:10]}"
    if scan_path(data, case).exists():
        raise InputError(f"{source.where}: there is another scan named {case}; choose another id.")
    identity = f"patient {patient.strip()}" if patient else scan.identity or f"scan {digest}"
    facts = dataclasses.replace(
        scan.facts,
        patient=patient_pseudonym(identity, key),
        flags=suitability(scan.volume, scan.facts, _heart(wanted)),
    )
    facts_path = scan_path(data, case).with_name(f"{case}.json")
    with _all_or_none([*(mask_path(data, case, name) for name in wanted), facts_path, scan_path(data, case)]):
        for name, mask in wanted.items():
            write_nifti(mask_path(data, case, name), scan.volume.with_array(mask))
        write_facts(data, case, facts)
        # The scan comes last: what has no scan is no case.
        write_nifti(scan_path(data, case), scan.volume)
    _remember(data, digest, case)
    return _added(
        case, facts.patient, facts.flags, scan.volume, new=True, masks=tuple(wanted), warnings=warnings
    )


def _read_masks(masks: Masks, scan: Scan) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The masks by name, and what speaks against them."""
    warnings: list[str] = []

    def read(path: Path, target: str, labels: Labels) -> np.ndarray:
        found = read_mask(
            path,
            scan.volume,
            target=target,
            identifiers=scan.identifiers,
            labels=labels,
            # A series of masks is added with the same labels; one of them may be empty in some.
            absent_allowed=True,
            resample=masks.resample,
        )
        warnings.extend(f"{target}: {text}" for text in found.warnings.values())
        return found.labels

    wanted = {}
    if masks.heart is not None:
        heart = read(masks.heart, "heart", masks.heart_labels) > 0
        if not heart.any():
            raise InputError(f"{masks.heart}: the heart's mask is empty.")
        wanted["heart"] = heart.astype(np.uint8)
    if masks.calcium is not None:
        calcium = read(masks.calcium, "calcium", masks.calcium_labels)
        if calcium.max(initial=0) > ARTERIES:
            calcium = (calcium > 0).astype(np.uint8)
        wanted["calcium"] = calcium
    return wanted, tuple(warnings)


def _heart(masks: dict[str, np.ndarray]) -> np.ndarray | None:
    return masks["heart"] > 0 if "heart" in masks else None


def _complete(
    data: Path, case: str, volume: Volume, wanted: dict[str, np.ndarray], warnings: tuple[str, ...]
) -> Added:
    """Add the masks that a case lacks; others must be what they are."""
    lacking = {}
    for name, mask in wanted.items():
        path = mask_path(data, case, name)
        if not path.exists():
            lacking[name] = mask
        elif not np.array_equal(read_nifti(path, np.uint8).array, mask):
            raise InputError(f"{case} has another {name} mask already; remove {path} first if it is wrong.")
    with _all_or_none([mask_path(data, case, name) for name in lacking]):
        for name, mask in lacking.items():
            write_nifti(mask_path(data, case, name), volume.with_array(mask))
    facts = find_case(data, case).facts
    if "heart" in lacking:
        flags = suitability(volume, facts, _heart(lacking))
        if flags != facts.flags:
            facts = dataclasses.replace(facts, flags=flags)
            write_facts(data, case, facts)
    return _added(
        case, facts.patient, facts.flags, volume, new=False, masks=tuple(lacking), warnings=warnings
    )


def _added(
    case: str,
    patient: str,
    flags: tuple[str, ...],
    volume: Volume,
    *,
    new: bool,
    masks: tuple[str, ...],
    warnings: tuple[str, ...],
) -> Added:
    spacing = tuple(round(value, 4) for value in volume.spacing_mm)
    return Added(case, patient, new, masks, warnings, flags, volume.shape, spacing)


@contextlib.contextmanager
def _all_or_none(paths: Sequence[Path]) -> Iterator[None]:
    """Remove ``paths``, none of which is there yet, where not all of them could be written."""
    try:
        yield
    except BaseException:
        for path in reversed(paths):
            path.unlink(missing_ok=True)
        raise


def _known_case(data: Path, digest: str) -> str | None:
    named = f"scan-{digest[:10]}"
    case = _index(data).get(digest, named)
    return case if scan_path(data, case).exists() else None


def _index(data: Path) -> dict[str, str]:
    path = data / INDEX_NAME
    return dict(read_json(path)) if path.exists() else {}


def _remember(data: Path, digest: str, case: str) -> None:
    write_json(data / INDEX_NAME, {**_index(data), digest: case})
