"""DICOM segmentations (SEG), binary, fractional or as a label map."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from coronet.errors import InputError, UnreadableScan
from coronet.io.dicom.headers import SEGMENTATIONS, Damaged, NotUsable, parse_header
from coronet.io.file_listing import files_under
from coronet.io.log_redaction import silence_libraries
from coronet.io.patient_identity import Identifiers, read_identifiers
from coronet.io.raw_volume import LPS_TO_RAS, RawVolume, check_grid
from coronet.io.volume import Volume

if TYPE_CHECKING:
    from pydicom import Dataset

_CONTOURS = ("1.2.840.10008.5.1.4.1.1.481.3", "RTSTRUCT")
_SURFACES = "1.2.840.10008.5.1.4.1.1.66.5"
_ROUNDED_MM = 0.051  # positions that are written with one decimal miss their place by half a tenth
_ROUNDED_SHARE = 0.05  # fraction of the slice distance by which a frame may miss the scan's slice
_SAME_SPACING = 0.02  # relative difference up to which two slice distances are one, rounded


@dataclasses.dataclass(frozen=True)
class DicomSegmentation:
    """What one SEG object holds."""

    layers: tuple[RawVolume, ...]  # label arrays with their place and the names of the segments in each
    other_series: bool  # whether it says that it was drawn on another series than the scan


def load_segmentation(path: Path, grid: Volume, scan: Identifiers) -> DicomSegmentation:
    """Read the one DICOM segmentation at or under ``path``.

    Args:
        path: a file, or a folder in which other DICOM files may lie.
        grid: the scan; its slices say how far frames lie apart where the object does not.
        scan: identifiers of the scan, empty where they are not known.

    Raises:
        InputError: it belongs to another patient, study or frame of reference than the scan.
        UnreadableScan: there is none or several, or the frames make no volume; an RT structure set is named
            as such.
    """
    import highdicom
    import pydicom

    file = _find(path)
    silence_libraries()
    try:
        dataset = pydicom.dcmread(file)
        drawn_on = read_identifiers(dataset, dataset.get("ReferencedSeriesSequence") or ())
        conflict = scan.conflict(drawn_on)
        if not conflict:
            _fit_to_slices(dataset, grid, same_series=bool(scan.series & drawn_on.series))
            layers = tuple(_layers(highdicom.seg.Segmentation.from_dataset(dataset, copy=False), path))
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, OSError) as error:
        raise UnreadableScan(
            f"{path}: the DICOM segmentation makes no volume ({type(error).__name__})."
        ) from None
    if conflict:
        raise InputError(
            f"{path}: the segmentation and the scan name another {conflict}; give the segmentation that was "
            "drawn on this scan."
        )
    return DicomSegmentation(layers, scan.other_series(drawn_on))


def _find(path: Path) -> Path:
    found, kinds = [], set()
    for file in files_under(path):
        try:
            header = parse_header(file)
        except (NotUsable, Damaged, OSError):
            continue
        kinds |= {str(header.get("SOPClassUID", "")), str(header.get("Modality", ""))}
        if str(header.get("SOPClassUID", "")) in SEGMENTATIONS:
            found.append(file)
    if len(found) == 1:
        return found[0]
    if not found and kinds.intersection(_CONTOURS):
        raise UnreadableScan(
            f"{path}: this is an RT structure set (RTSTRUCT): contours, no mask. Convert it to a mask on the "
            "scan's voxels and give that: 3D Slicer with its SlicerRT extension exports it as a DICOM SEG or "
            "label map, and `plastimatch convert --input RTSTRUCT --referenced-ct CT_FOLDER --output-prefix "
            "MASKS` writes one mask for each structure."
        )
    if not found and _SURFACES in kinds:
        raise UnreadableScan(
            f"{path}: this is a surface segmentation: meshes, no mask. Export it as a DICOM SEG or label map."
        )
    several = "; name the file of one" if found else ""
    raise UnreadableScan(
        f"{path}: {len(found)} DICOM segmentations in it; a mask is one, or NIfTI, NRRD or "
        f"MetaImage{several}."
    )


def _layers(segmentation: Any, path: Path) -> Iterator[RawVolume]:
    numbers = list(segmentation.segment_numbers)
    names = {
        number: str(segmentation.get_segment_description(number).segment_label or "").strip()
        for number in numbers
    }
    # Segments of a label map cannot overlap; others are read one by one, as they may.
    together = segmentation.segmentation_type.value == "LABELMAP"
    for group in [numbers] if together else [[number] for number in numbers]:
        volume = segmentation.get_volume(segment_numbers=group, combine_segments=True, relabel=False)
        affine = check_grid(LPS_TO_RAS @ volume.affine, path)
        yield RawVolume(np.asarray(volume.array), affine, {number: names[number] for number in group})


def _fit_to_slices(dataset: Dataset, grid: Volume, *, same_series: bool) -> None:
    """Say in ``dataset`` how far frames lie apart, and undo their rounding, if they lie on ``grid``."""
    # Segmentations hold only frames in which something is drawn. Without SpacingBetweenSlices their distance
    # would be guessed from the gaps between those.
    frames = list(dataset.get("PerFrameFunctionalGroupsSequence") or ())
    shared = list(dataset.get("SharedFunctionalGroupsSequence") or ())
    measures = _items([*shared, *frames], "PixelMeasuresSequence")
    places = _items(frames, "PlanePositionSequence")
    directions = _items([*shared, *frames], "PlaneOrientationSequence")
    if not (measures and directions) or len(places) != len(frames):
        return
    to_index = np.linalg.inv(grid.affine) @ LPS_TO_RAS
    row, column = np.asarray(directions[0].ImageOrientationPatient, float).reshape(2, 3)
    normal = to_index[:3, :3] @ np.cross(row, column)
    axis = int(np.abs(normal).argmax())
    positions = np.asarray([place.ImagePositionPatient for place in places], float)
    depths = positions @ to_index[axis, :3] + to_index[axis, 3]
    step_mm = grid.spacing_mm[axis]
    missed = np.rint(depths) - depths
    if np.abs(missed).max() > max(_ROUNDED_SHARE, _ROUNDED_MM / step_mm):
        return
    stated_mm = abs(float(measures[0].get("SpacingBetweenSlices") or 0))
    gaps = np.diff(np.unique(np.rint(depths)).astype(int))
    thickness_mm = float(measures[0].get("SliceThickness") or 0)
    if not gaps.size and (same_series or abs(thickness_mm - step_mm) <= _SAME_SPACING * step_mm):
        # A single slice has no distance to a next one; highdicom writes 1 mm there.
        stated_mm = 0.0
    if same_series:
        thickness_mm = 0.0
    if not _has_other_slices(stated_mm, thickness_mm, gaps, step_mm):
        for item in measures:
            item.SpacingBetweenSlices = step_mm
        along = (LPS_TO_RAS @ grid.affine)[:3, axis]
        for place, position, miss in zip(places, positions, missed, strict=True):
            place.ImagePositionPatient = [format(value, ".10g") for value in position + miss * along]


def _has_other_slices(stated_mm: float, thickness_mm: float, gaps: np.ndarray, step_mm: float) -> bool:
    """Whether frames that lie on the scan's slices come from a grid with other slices nevertheless."""
    # Lengths are 0 where they are absent; gaps between frames are counted in slices of the scan.
    smallest_mm = math.gcd(*map(int, gaps)) * step_mm
    if stated_mm:
        # A distance that the frames contradict is no distance of slices; some writers put the thickness here.
        slices = smallest_mm / stated_mm
        possible = not slices or (
            round(slices) >= 1 and abs(slices - round(slices)) <= _SAME_SPACING * slices
        )
        return possible and abs(stated_mm - step_mm) > _SAME_SPACING * step_mm
    return smallest_mm > 1.5 * step_mm and abs(thickness_mm - smallest_mm) <= _SAME_SPACING * smallest_mm


def _items(groups: list[Dataset], keyword: str) -> list[Dataset]:
    return [group.get(keyword)[0] for group in groups if group.get(keyword)]
