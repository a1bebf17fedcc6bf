"""One volume, one geometry convention.

Arrays are indexed ``(x, y, z)`` as nibabel gives them, in RAS+: the first index grows towards the patient's
right, the second towards the front, the third towards the head. ``affine @ (i, j, k, 1)`` is the position of
a voxel's centre in millimetres in the same axes. Spacing is in millimetres, in the order of the indices.
Intensities are HU, as int16 or float32; masks are uint8.

In memory x runs fastest, as in all file formats, so that reading and writing need not turn a scan around.
"""

from __future__ import annotations

import dataclasses
import gzip
import math
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from coronet.errors import UnreadableScan
from coronet.files import write_bytes

if TYPE_CHECKING:
    import nibabel

_FORMS_APART = 0.1
"""Fraction of a voxel by which the qform of a NIfTI file may differ from its sform: rounding."""
AIR_HU = -1024
"""What lies outside a scan."""
LUNG_HU = -300
"""Lung and air are below."""
CALCIUM_HU = 130
"""Calcium is at least this dense (Agatston et al., J Am Coll Cardiol 15:827, 1990)."""
HIGHEST_HU = 32767
"""Metal ends below this, also where a scanner has an extended scale."""
_CHUNK_BYTES = 2**20
_MOST_PACKED = 1032  # deflate makes nothing smaller than by this factor (zlib's technical details)


_Value = TypeVar("_Value")


def triple(values: Iterable[_Value]) -> tuple[_Value, _Value, _Value]:
    """The three values along x, y and z as a tuple."""
    x, y, z = values
    return x, y, z


@dataclasses.dataclass(frozen=True)
class Volume:
    """An image or mask with its place in the world.

    Attributes:
        array: shape (x, y, z), RAS+; HU for images, labels for masks.
        affine: 4 × 4, voxel index to millimetres, RAS+.
    """

    array: np.ndarray
    affine: np.ndarray

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxel centres along each index, in mm."""
        x, y, z = np.sqrt((np.asarray(self.affine)[:3, :3] ** 2).sum(axis=0))
        return float(x), float(y), float(z)

    @property
    def voxel_mm3(self) -> float:
        """Volume of one voxel in mm³."""
        return float(abs(np.linalg.det(np.asarray(self.affine)[:3, :3])))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along (x, y, z)."""
        return cast("tuple[int, int, int]", self.array.shape)

    def with_array(self, array: np.ndarray) -> Volume:
        """The same place with other values."""
        return Volume(array, self.affine)

    def same_grid(self, other: Volume, tolerance_mm: float = 1e-3) -> bool:
        """Whether both have the same shape and the same affine within ``tolerance_mm``."""
        return self.shape == other.shape and bool(np.allclose(self.affine, other.affine, atol=tolerance_mm))


def grid_affine(spacing_mm: tuple[float, float, float], origin_mm: tuple[float, float, float]) -> np.ndarray:
    """Affine of an axis-aligned RAS+ grid whose first voxel's centre lies at ``origin_mm``."""
    affine = np.diag([*spacing_mm, 1.0]).astype(np.float64)
    affine[:3, 3] = origin_mm
    return affine


def to_ras(array: np.ndarray, affine: np.ndarray) -> Volume:
    """Flip and permute the axes so that they are as close to RAS+ as flips and permutations allow."""
    from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

    orientation = io_orientation(affine)
    turned = np.asfortranarray(apply_orientation(array, orientation))
    return Volume(turned, affine @ inv_ornt_aff(orientation, array.shape))


def corner_indices(shape: Sequence[int]) -> np.ndarray:
    """Indices of the eight corner voxels of a grid, shape (3, 8)."""
    return np.array(np.meshgrid(*((0, size - 1) for size in shape), indexing="ij")).reshape(3, -1)


def affine_of(image: Any, path: Path) -> np.ndarray:
    """The affine of a NIfTI image, whose header may state it twice.

    Raises:
        UnreadableScan: its qform and sform put voxels in different places.
    """
    import nibabel

    affine: np.ndarray = image.affine
    qform, sform = image.get_qform(coded=True)[0], image.get_sform(coded=True)[0]
    if qform is None or sform is None:
        return affine
    corners = corner_indices(image.shape[:3])
    to_sform = np.linalg.pinv(sform) @ qform
    apart = np.abs(to_sform[:3, :3] @ corners + to_sform[:3, 3:] - corners).max()
    if not apart <= _FORMS_APART:
        axes = ["".join(map(str, nibabel.aff2axcodes(form))) for form in (qform, sform)]
        turned = "" if axes[0] == axes[1] else f" (qform says {axes[0]}, sform says {axes[1]})"
        raise UnreadableScan(
            f"{path}: its header states two places: qform and sform differ by up to {apart:.3g} "
            f"voxels{turned}. Find out which of the two is right, then set both alike: `fslorient "
            "-copysform2qform FILE` (FSL) keeps the sform, `fslorient -copyqform2sform FILE` the qform."
        )
    return affine


def read_nifti(path: Path, dtype: type | None = None) -> Volume:
    """Read a NIfTI file into RAS+.

    Args:
        path: ``.nii`` or ``.nii.gz``.
        dtype: type of the array; by default int16 where the stored values are whole and fit, else float32.

    Raises:
        UnreadableScan: the file is absent, damaged or not three-dimensional.
    """
    import nibabel

    try:
        image = nibabel.load(path)
        data = values_of(image, Path(path))
    except FileNotFoundError as error:
        raise UnreadableScan(f"{path} is absent.") from error
    except (
        nibabel.filebasedimages.ImageFileError,
        nibabel.spatialimages.HeaderDataError,
        OSError,
        EOFError,
        ValueError,
        zlib.error,
    ) as error:
        raise UnreadableScan(f"{Path(path).name} is no readable NIfTI file: {error}") from error
    while data.ndim > 3 and data.shape[-1] == 1:
        data = data[..., 0]
    if data.ndim != 3:
        raise UnreadableScan(f"{Path(path).name} has shape {data.shape}; a scan has three axes.")
    return to_ras(fit_dtype(data, dtype), affine_of(image, Path(path)))


def values_of(image: Any, path: Path) -> np.ndarray:
    """The scaled values of an image that was opened from ``path``.

    ``.nii.gz`` is inflated in one go where it can be: its header and its gzip trailer must agree on the size
    before memory is taken for it. Files of several gzip members and of 4 GiB and more do not get that far,
    nor do damaged ones: those are read to their end once, since a reader that stops after the last voxel sees
    neither a false checksum nor a lost end.

    Raises:
        OSError, EOFError, zlib.error: the file is damaged.
    """
    import nibabel

    proxy = image.dataobj
    if not isinstance(image, nibabel.Nifti1Image) or path.suffix.lower() != ".gz":
        return np.array(proxy)
    count = math.prod(proxy.shape)
    size = proxy.offset + count * proxy.dtype.itemsize
    content = _inflated(path, size)
    if content is None:
        held = 0
        with gzip.open(path) as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                held += len(chunk)
        if held < size:
            raise EOFError(f"it holds {held} bytes and its header says {size}")
        return np.array(proxy)
    stored = np.frombuffer(content, proxy.dtype, count, proxy.offset).reshape(proxy.shape, order="F")
    scaled: np.ndarray = nibabel.volumeutils.apply_read_scaling(stored, proxy.slope, proxy.inter)
    return scaled


def _inflated(path: Path, size: int) -> bytearray | None:
    """Content of a gzip file that must have ``size`` bytes, or None where only a stream will do."""
    import deflate

    packed = path.read_bytes() if path.stat().st_size <= size + _CHUNK_BYTES else b""
    if int.from_bytes(packed[-4:], "little") != size or size > len(packed) * _MOST_PACKED:
        return None
    try:
        content = deflate.gzip_decompress(packed, size)
    except (deflate.DeflateError, ValueError):
        return None
    return content if len(content) == size else None


def fit_dtype(data: np.ndarray, dtype: type | None = None) -> np.ndarray:
    """Give ``data`` the asked type, or int16 where its values are whole and fit, else float32."""
    if dtype is not None:
        fitted: np.ndarray = data.astype(dtype, copy=False)
        return fitted
    if data.dtype.kind in "iu" and data.size:
        low, high = int(data.min()), int(data.max())
        if low >= np.iinfo(np.int16).min and high <= np.iinfo(np.int16).max:
            return data.astype(np.int16, copy=False)
    if data.dtype.kind == "f" and data.size:
        whole: np.ndarray = np.rint(data)
        if np.isfinite(data).all() and np.array_equal(whole, data) and np.abs(data).max() <= 32767:
            return whole.astype(np.int16)
    return data.astype(np.float32, copy=False)


def write_nifti(path: Path, volume: Volume, *, level: int = 4) -> None:
    """Write a NIfTI file atomically; ``.nii.gz`` is what `pack_nifti` gives."""
    path = Path(path)
    write_bytes(path, pack_nifti(volume, level=level) if path.suffix == ".gz" else _image(volume).to_bytes())


def pack_nifti(volume: Volume, *, level: int = 4) -> bytes:
    """A ``.nii.gz`` with the same bytes on every processor.

    The header holds geometry and nothing else. It is packed by libdeflate at ``level`` (1-12), whose output
    does not depend on the processor; zlib builds differ between machines.
    """
    import deflate

    return bytes(deflate.gzip_compress(_image(volume).to_bytes(), level))


def _image(volume: Volume) -> nibabel.Nifti1Image:
    import nibabel

    array = volume.array.view(np.uint8) if volume.array.dtype == bool else volume.array
    image = nibabel.Nifti1Image(array, volume.affine)
    image.header.set_xyzt_units("mm")
    return image
