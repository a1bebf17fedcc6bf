"""What one scan and its masks hold, measured without a model: the numbers behind a row of the case table."""

from __future__ import annotations

import dataclasses

import numpy as np

from coronet.dataset.heart_check import cut_sides
from coronet.dataset.mask_pieces import MaskPieces, away_mm, body_mm3, box_around, list_doubtful
from coronet.io.content_hash import content_sha256
from coronet.io.volume import AIR_HU, CALCIUM_HU, LUNG_HU, Volume

_SOFT_TISSUE_HU = (-300, 300)
_LUNG_HU = (-960.0, -600.0)
_AIR_WIDTH_HU = 25.0
HEART_LABELS = (0, 1)
CALCIUM_LABELS = (0, 1, 2, 3, 4)


@dataclasses.dataclass(frozen=True)
class ImageMeasures:
    """Geometry, intensities and content of a scan."""

    nx: int  # voxels along x
    ny: int
    nz: int
    spacing_x_mm: float  # distance of voxel centres along x
    spacing_y_mm: float
    spacing_z_mm: float
    width_mm: float  # extent along x
    depth_mm: float  # along y
    height_mm: float  # along z
    oblique_deg: float  # largest angle between an array axis and its anatomical axis
    hu_min: float  # over finite voxels; 0 where there are none
    hu_max: float  # the same
    # 2nd percentile, padding (at most -1024 HU) left out; None where lung is darkest, for lack of air outside
    air_hu: float | None
    soft_tissue_hu: float | None  # median of what lies between -300 and 300 HU; None where nothing does
    hu_deviation: float  # standard deviation
    distinct: int  # number of distinct values among every second voxel of each axis
    not_finite: int  # number of NaN and infinite voxels
    padding_share: float  # share of voxels at or below -1024 HU
    content: str  # `content_sha256`; equal for the same voxels, however they are packed


@dataclasses.dataclass(frozen=True)
class HeartMeasures:
    """A heart mask against its scan; every field but the first is None where it is unknown."""

    has_heart: bool  # there is a mask
    heart_grid: bool | None = None  # it has the shape and affine of the scan
    heart_integer: bool | None = None  # its values are whole numbers
    heart_labels: str | None = None  # the labels in it, such as `0 1`
    heart_ml: float | None = None  # volume of what is not background
    heart_hu: float | None = None  # median inside
    # share of it below -300 HU; large where the mask belongs to another volume
    heart_air_share: float | None = None
    heart_pieces_share: float | None = None  # share of it outside its largest piece
    heart_cut: bool | None = None  # it touches the border of what the scan shows, see `cut_sides`


@dataclasses.dataclass(frozen=True)
class CalciumMeasures:
    """A calcium mask against its scan; every field but the first is None where it is unknown."""

    has_calcium: bool  # there is a mask; it may be empty
    calcium_grid: bool | None = None  # it has the shape and affine of the scan
    calcium_integer: bool | None = None  # its values are whole numbers
    calcium_labels: str | None = None  # the labels in it, such as `0 1 2`
    calcium_mm3: float | None = None  # volume of it that is at least 130 HU
    lesions: int | None = None  # number of 26-connected pieces
    faint_lesions: int | None = None  # pieces without a voxel of at least 130 HU
    calcium_dense_share: float | None = None  # share of its voxels of at least 130 HU; None where it is empty
    calcium_far_mm: float | None = None  # largest distance of a piece from the heart; 0 where all touch it
    # those that do not touch the heart mask, are part of a large bright body or hold nothing bright, as
    # `coronet.dataset.mask_pieces.read_pieces` reads them
    doubtful_pieces: str | None = None


def measure_image(volume: Volume) -> ImageMeasures:
    """Measure a scan in HU; percentiles and deviation come from every second voxel of each axis."""
    array = volume.array
    finite = np.isfinite(array).all() if array.dtype.kind == "f" else True
    not_finite = 0 if finite else int(array.size - np.isfinite(array).sum())
    sample = array[::2, ::2, ::2] if min(array.shape) >= 64 else array
    sample = sample[np.isfinite(sample)] if not finite else sample.ravel()
    whole = array if finite else array[np.isfinite(array)]
    body = sample[sample > AIR_HU]
    soft = sample[(sample > _SOFT_TISSUE_HU[0]) & (sample < _SOFT_TISSUE_HU[1])]
    spacing = volume.spacing_mm
    nx, ny, nz = volume.shape
    width, depth, height = (size * step for size, step in zip(volume.shape, spacing, strict=True))
    return ImageMeasures(
        nx=nx,
        ny=ny,
        nz=nz,
        spacing_x_mm=round(spacing[0], 4),
        spacing_y_mm=round(spacing[1], 4),
        spacing_z_mm=round(spacing[2], 4),
        width_mm=round(width, 1),
        depth_mm=round(depth, 1),
        height_mm=round(height, 1),
        oblique_deg=_oblique_deg(volume.affine),
        hu_min=round(float(whole.min()), 3) if whole.size else 0.0,
        hu_max=round(float(whole.max()), 3) if whole.size else 0.0,
        air_hu=_air_hu(body if body.size else whole),
        soft_tissue_hu=round(float(np.median(soft)), 3) if soft.size else None,
        hu_deviation=round(float(sample.std(dtype=np.float64)), 3) if sample.size else 0.0,
        distinct=_distinct(sample),
        not_finite=not_finite,
        padding_share=round(1 - body.size / sample.size, 4) if sample.size else 0.0,
        content=content_sha256(volume),
    )


def measure_heart(mask: Volume | None, image: Volume) -> HeartMeasures:
    """Measure a heart mask; what needs voxels of both stays None where their shapes differ."""
    if mask is None:
        return HeartMeasures(has_heart=False)
    inside = mask.array > 0
    box = box_around(inside)
    part = inside[box]
    measured = HeartMeasures(
        has_heart=True,
        heart_grid=mask.same_grid(image),
        heart_integer=_is_whole(mask.array),
        heart_labels=_labels(mask.array, box),
        heart_ml=round(float(part.sum()) * mask.voxel_mm3 / 1000, 3),
    )
    if mask.shape != image.shape or not part.any():
        return measured
    values = image.array[box][part]
    return dataclasses.replace(
        measured,
        heart_hu=round(float(np.nanmedian(values)), 3),
        heart_air_share=round(float((values < LUNG_HU).mean()), 4),
        heart_pieces_share=_pieces_share(part),
        heart_cut=bool(cut_sides(inside, image, box=box)),
    )


def measure_calcium(mask: Volume | None, image: Volume, heart: Volume | None) -> CalciumMeasures:
    """Measure a calcium mask; what needs voxels of image or heart stays None where their shapes differ."""
    if mask is None:
        return CalciumMeasures(has_calcium=False)
    pieces = MaskPieces.of(mask.array > 0, mask.affine)
    measured = CalciumMeasures(
        has_calcium=True,
        calcium_grid=mask.same_grid(image),
        calcium_integer=_is_whole(mask.array),
        calcium_labels=_labels(mask.array, pieces.box),
        lesions=pieces.count,
    )
    if mask.shape != image.shape:
        return measured
    values = image.array[tuple(pieces.index.T)]
    dense = values >= CALCIUM_HU
    bodies = body_mm3(pieces, image.array, least_hu=CALCIUM_HU)
    away = away_mm(pieces, heart.array > 0) if heart and heart.shape == mask.shape else None
    return dataclasses.replace(
        measured,
        calcium_mm3=round(float(dense.sum()) * mask.voxel_mm3, 3),
        faint_lesions=int(pieces.count - np.unique(pieces.owner[dense]).size),
        calcium_dense_share=round(float(dense.mean()), 4) if values.size else None,
        calcium_far_mm=None if away is None else round(float(away.max(initial=0)), 2),
        doubtful_pieces=list_doubtful(pieces, np.zeros(pieces.count) if away is None else away, bodies),
    )


def _air_hu(values: np.ndarray) -> float | None:
    """2nd percentile of HU, shape (n,); None where it lies in lung.

    Air outside of a body is a peak: most of what is that dark lies at its own HU. Lung has values of all
    kinds, the more frequent the brighter, so that its 2nd percentile is nowhere near a peak.
    """
    if not values.size:
        return 0.0
    low = float(np.percentile(values, 2))
    darkest = np.count_nonzero(values <= low + _AIR_WIDTH_HU)
    brighter = np.count_nonzero(values <= low + 3 * _AIR_WIDTH_HU) - darkest
    return None if _LUNG_HU[0] < low < _LUNG_HU[1] and brighter > darkest else round(low, 3)


def _distinct(sample: np.ndarray) -> int:
    if sample.dtype.kind in "iu" and sample.size:
        low = int(sample.min())
        return int(np.count_nonzero(np.bincount(sample.astype(np.int64) - low)))
    return int(np.unique(sample).size)


def _oblique_deg(affine: np.ndarray) -> float:
    axes = np.asarray(affine, np.float64)[:3, :3]
    cosines = np.abs(np.diag(axes)) / np.maximum(np.linalg.norm(axes, axis=0), 1e-9)
    return round(float(np.degrees(np.arccos(np.clip(cosines, 0, 1))).max()), 2)


def _is_whole(array: np.ndarray) -> bool:
    return array.dtype.kind in "iub" or bool(
        np.isfinite(array).all() and np.array_equal(array, np.rint(array))
    )


def _labels(array: np.ndarray, box: tuple[slice, ...]) -> str:
    """The labels in ``array``, at most nine of them, as text; ``box`` holds all that are above 0."""
    values = {float(value) for value in np.unique(array[box])}
    if array[box].size < array.size:
        values |= {0.0, float(array.min())}
    names = [f"{value:g}" for value in sorted(values)[:9]]
    return " ".join([*names, "…"] if len(values) > 9 else names)


def _pieces_share(part: np.ndarray) -> float:
    import cc3d

    sizes = cc3d.statistics(cc3d.connected_components(part, connectivity=26))["voxel_counts"][1:]
    return round(1 - float(sizes.max()) / float(sizes.sum()), 4)
