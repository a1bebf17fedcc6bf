"""Joint random transforms of image and mask.

All geometry of a sample (rotation, zoom, shift, elastic displacement, the cut of the window itself) is one
field of coordinates, and image and mask are read through it at once. A chain of single transforms would
interpolate several times, cost several times as much, and leave it to care that the mask follows the image;
here it cannot fail to.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from coronet.config import AugmentParams
from coronet.imaging.resampling import axis_weights
from coronet.io.volume import AIR_HU
from coronet.preprocessing.intensity import scale_intensity as to_window

CPU = torch.device("cpu")
_TISSUE_HU = -300.0  # metal is put where there is at least this, which is not lung
METAL_HU, _METAL_MM, _METAL_BLUR_MM, _METAL_DEPTH = (500.0, 2500.0), (2.0, 8.0), (0.6, 1.0), (1.0, 2.0)
"""What a piece of metal adds, how long it is, how far it is blurred in plane, and how much more along z."""
_ELASTIC_KNOTS = 5
"""Control points of the field along each axis of a window; turning and zooming is linear between them."""


def cut_window(
    stack: Sequence[np.ndarray],
    centre: Sequence[float],
    shape: Sequence[int],
    fills: Sequence[float],
    *,
    device: torch.device = CPU,
) -> torch.Tensor:
    """A window of several arrays, without interpolation.

    Args:
        stack: arrays of one shape (x, y, z).
        centre: index of the window's centre; half-integers for even sizes.
        shape: window (x, y, z) in voxels.

    Returns:
        float32, shape (len(stack), *shape).
    """
    first = [round(c - (n - 1) / 2) for c, n in zip(centre, shape, strict=True)]
    result = torch.empty((len(stack), *shape), dtype=torch.float32, device=device)
    source, inner = [], []
    for start, n, size in zip(first, shape, stack[0].shape, strict=True):
        low, high = max(start, 0), min(start + n, size)
        source.append(slice(low, max(low, high)))
        inner.append(slice(low - start, max(low, high) - start))
    for channel, (array, fill) in enumerate(zip(stack, fills, strict=True)):
        result[channel].fill_(fill)
        part = torch.from_numpy(np.ascontiguousarray(array[tuple(source)]))
        result[channel][tuple(inner)] = part.to(device)
    return result


def warp_volume(
    stack: Sequence[np.ndarray],
    centre: Sequence[float],
    field: torch.Tensor,
    shape: Sequence[int],
    fills: Sequence[float],
    *,
    device: torch.device = CPU,
) -> torch.Tensor:
    """Read several arrays through one field of coordinates, linearly.

    Args:
        stack: arrays of one shape (x, y, z).
        centre: index about which ``field`` is an offset.
        field: shape (3, i, j, k), offsets (x, y, z) in voxels of the arrays at control points that are spread
            evenly from the window's first to its last voxel; linear in between.
        shape: window (x, y, z) in voxels.

    Returns:
        float32, shape (len(stack), *shape).
    """
    knots = field + torch.as_tensor(centre, dtype=torch.float32).view(3, 1, 1, 1)
    low = knots.amin(dim=(1, 2, 3)).floor().int().tolist()
    high = knots.amax(dim=(1, 2, 3)).ceil().int().tolist()
    size = [max(h - lo + 1, 2) for lo, h in zip(low, high, strict=True)]
    middle = [lo + (n - 1) / 2 for lo, n in zip(low, size, strict=True)]
    block = cut_window(stack, middle, size, fills, device=device)
    places = (knots - torch.tensor(low).view(3, 1, 1, 1)).to(device)
    across, down, along = (
        _between(points, size).to(device) for points, size in zip(field.shape[1:], shape, strict=True)
    )
    return _read(block, across @ (down @ (places @ along.T)).flatten(2)).view(-1, *shape)


def _read(block: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Values (channels, …) of a block (channels, x, y, z) at places (3, …) in its voxels, linearly.

    Torch reads pictures several places at once, but volumes one by one. So the planes of the block are laid
    one below the other as one tall picture, which is read in the plane before each place and in the next.
    """
    _, planes, height, width = block.shape
    x, y, z = places
    before = x.clamp_(0, planes - 1).floor().clamp_(max=planes - 2)
    row = y.clamp_(0, height - 1).add_(before, alpha=height)
    rows = (planes - 1) * height
    # grid_sample wants the last axis first, from -1 to 1
    grid = torch.stack([z * (2.0 / (width - 1)) - 1.0, row * (2.0 / (rows - 1)) - 1.0]).movedim(0, -1)
    picture = torch.cat([block[:, :-1], block[:, 1:]]).flatten(1, 2)
    read = F.grid_sample(
        picture[None], grid[None], mode="bilinear", padding_mode="border", align_corners=True
    )[0]
    lower, upper = read.chunk(2)
    return torch.lerp(lower, upper, x - before)


def _between(points: int, size: int) -> torch.Tensor:
    """Weights (size, points) of linear interpolation from the first point to the last."""
    # a copy in torch's own, aligned memory: products round by where their numbers lie
    return torch.tensor(axis_weights(points, size, start=0.0, ratio=(points - 1) / (size - 1)))


def draw_field(
    rng: np.random.Generator,
    params: AugmentParams,
    *,
    shape: Sequence[int],
    spacing_mm: Sequence[float],
) -> torch.Tensor | None:
    """A random rotation, zoom, shift and elastic displacement as offsets from the window's centre.

    Args:
        shape: window (x, y, z) in voxels.

    Returns:
        float32 (3, *[ELASTIC_KNOTS] * 3) in voxels at the control points (see `warp_volume`), or None
        where the draw leaves the geometry as it is.
    """
    angles = _sometimes(rng, params) * rng.uniform(-1, 1, 3) * np.deg2rad(params.rotation_deg)
    zoom = np.exp(_sometimes(rng, params) * rng.uniform(*np.log(params.zoom)))
    shift = _sometimes(rng, params) * rng.uniform(-1, 1, 3) * params.shift_mm
    knots = _sometimes(rng, params) * rng.uniform(-1, 1, (*[_ELASTIC_KNOTS] * 3, 3)) * params.elastic_mm
    if not (angles.any() or shift.any() or knots.any()) and zoom == 1:
        return None
    axes = [
        np.linspace(-(n - 1) / 2, (n - 1) / 2, _ELASTIC_KNOTS) * mm
        for n, mm in zip(shape, spacing_mm, strict=True)
    ]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    places = places @ (_rotation(angles).T / zoom) + shift + knots
    return torch.from_numpy(np.moveaxis(places / spacing_mm, -1, 0).astype(np.float32))


def _sometimes(rng: np.random.Generator, params: AugmentParams) -> float:
    return float(rng.random() < params.probability)


def _rotation(angles: np.ndarray) -> np.ndarray:
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def draw_metal(rng: np.random.Generator, hu: torch.Tensor, *, spacing_mm: Sequence[float]) -> None:
    """Add a straight piece of wire or a clip to the tissue, in place, as a scanner blurs it.

    Metal inside the chest is rare, so a cohort shows too little of it to learn that it is no calcium.

    Args:
        hu: shape (x, y, z).
    """
    tissue = (hu > _TISSUE_HU).nonzero()
    if not len(tissue):
        return
    middle = tissue[rng.integers(len(tissue))].tolist()
    along = rng.standard_normal(3)
    half = along / np.linalg.norm(along) * rng.uniform(*_METAL_MM) / 2
    widths = np.array([1, 1, rng.uniform(*_METAL_DEPTH)]) * rng.uniform(*_METAL_BLUR_MM)
    # from here on in standard deviations of the blur, so that it is the same along all axes
    lines = [
        (torch.arange(n) - place) * (mm / width)
        for n, place, mm, width in zip(hu.shape, middle, spacing_mm, widths, strict=True)
    ]
    places = torch.stack(torch.meshgrid(*lines, indexing="ij"), dim=-1).to(hu.device)
    reach = torch.tensor(half / widths, dtype=torch.float32, device=hu.device)
    along_it = ((places * reach).sum(dim=-1, keepdim=True) / reach.square().sum()).clamp(-1, 1)
    hu += rng.uniform(*METAL_HU) * torch.exp(-0.5 * (places - along_it * reach).square().sum(dim=-1))


def draw_intensity(
    rng: np.random.Generator,
    hu: torch.Tensor,
    params: AugmentParams,
    *,
    spacing_mm: Sequence[float],
    window_hu: tuple[float, float],
) -> torch.Tensor:
    """Random blur and noise in HU, the window, then random gamma on the windowed image.

    Args:
        hu: shape (x, y, z).
        window_hu: see `coronet.preprocessing.intensity.scale_intensity`.

    Returns:
        Shape (x, y, z), −1 … 1.
    """
    sigma_mm = _sometimes(rng, params) * rng.uniform(0, params.blur_mm)
    noise_hu = _sometimes(rng, params) * rng.uniform(0, params.noise_hu)
    gamma = np.exp(_sometimes(rng, params) * rng.uniform(*np.log(params.gamma)))
    if sigma_mm > 0:
        hu = blur_intensity(hu, [sigma_mm / mm for mm in spacing_mm])
    if noise_hu > 0:
        noise = torch.from_numpy(rng.standard_normal(hu.shape, dtype=np.float32))
        hu = hu + noise_hu * noise.to(hu.device)
    scaled = to_window(hu, window_hu)
    return scaled if gamma == 1 else scaled.add_(1).mul_(0.5).pow_(float(gamma)).mul_(2).sub_(1)


def blur_intensity(hu: torch.Tensor, sigma: Sequence[float]) -> torch.Tensor:
    """Gaussian blur with a standard deviation in voxels per axis; outside is air."""
    result = hu - AIR_HU
    for width in sigma:
        size, reach = len(result), max(1, int(np.ceil(3 * width)))
        bell = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=hu.device) / max(width, 1e-3)) ** 2)
        index = torch.arange(size, device=hu.device)
        weights = F.pad(bell / bell.sum(), (size, size))[index[:, None] - index + (size + reach)]
        # takes the first axis away and puts it last; after three it is in its place again
        result = torch.tensordot(result, weights, dims=([0], [1]))
    return result + AIR_HU
