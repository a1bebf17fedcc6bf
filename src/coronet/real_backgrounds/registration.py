"""A phantom's anatomy laid over the heart of a real scan: an affine map, then a smooth deformation.

Both are seen on a grid of `STEP_MM` as soft tissue, air and heart mask. Fat is what is neither, so the
grooves of the heart, the great vessels and the lungs pull the phantom into place; the mask keeps it there.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from coronet.imaging.resampling import Grid, margin_voxels, mask_box, regrid
from coronet.io.volume import AIR_HU, Volume, grid_affine, triple
from coronet.phantom.anatomy import Anatomy
from coronet.phantom.rasterize import rasterize

STEP_MM = 4.0
_MARGIN_MM = 16.0  # of the scan around the heart that is looked at
_NEAR_MM = 10.0  # farther from the heart, image differences do not count
_ATLAS_VOXELS = 60  # edge of the cube around a phantom's heart
_KNOT_MM = 28.0  # distance of the deformation's control points
_AFFINE_STEPS, _DEFORM_STEPS = 80, 100
_IMAGE, _AIR, _STRETCH, _BEND, _SIZE = 3.0, 0.5, 0.3, 0.5, 0.02
"""Weights beside the Dice of the hearts: image, its air, change of affine scale, bending, deformation."""
_INVERSE_STEPS = 30


@dataclasses.dataclass(frozen=True)
class HeartView:
    """What registration sees of a scan.

    Attributes:
        grid: axis-aligned, `STEP_MM` apart, around the heart.
        channels: (3, x, y, z) float32: share of soft tissue, of air, and of the heart mask.
    """

    grid: Grid
    channels: torch.Tensor


@dataclasses.dataclass(frozen=True)
class Registered:
    """A phantom laid over a scan.

    Attributes:
        anatomy: the phantom.
        misfit: image difference and 1 - Dice of the hearts together; smaller is better.
        dice: of both hearts.
    """

    anatomy: Anatomy
    misfit: float
    dice: float
    _grid: Grid
    _places: np.ndarray  # (x, y, z, 3) where in the phantom each voxel of the grid lies
    _matrix: np.ndarray  # affine part: place = matrix · (point - _from) + _to
    _from: np.ndarray
    _to: np.ndarray

    def to_scan(self, points_mm: np.ndarray) -> np.ndarray:
        """Points (n, 3) of the phantom's world in the scan's, both in mm."""
        from scipy.ndimage import map_coordinates

        back = np.linalg.inv(self._matrix).T
        found = (np.asarray(points_mm, np.float64) - self._to) @ back + self._from
        for _ in range(_INVERSE_STEPS):
            index = ((found - self._grid.affine[:3, 3]) / STEP_MM).T
            place = [
                map_coordinates(self._places[..., axis], index, order=1, mode="nearest") for axis in range(3)
            ]
            found = found - 0.7 * (np.stack(place, axis=1) - points_mm) @ back
        return found


def view_heart(ct: Volume, heart: np.ndarray) -> HeartView:
    """The surroundings of the heart of an axis-aligned scan, coarse."""
    spacing = np.asarray(ct.spacing_mm)
    box = mask_box(heart, margin_voxels(_MARGIN_MM, ct.spacing_mm))
    if box is None:
        raise ValueError("the heart mask is empty")
    low, high = box
    shape = np.ceil((high - low) * spacing / STEP_MM).astype(int)
    middle = ct.affine[:3, 3] + (low + high - 1) / 2 * spacing
    origin = triple(float(v) for v in middle - (shape - 1) * STEP_MM / 2)
    grid = Grid(triple(int(n) for n in shape), grid_affine((STEP_MM,) * 3, origin))
    mask = regrid(Volume(heart.astype(np.uint8), ct.affine), grid)
    return HeartView(grid, _channels(regrid(ct, grid, fill=AIR_HU), mask))


def register_phantoms(anatomies: Sequence[Anatomy], view: HeartView, *, keep: int) -> tuple[Registered, ...]:
    """Lay phantoms over a scan: all by an affine map, the ``keep`` best ones deformed as well.

    The same input gives the same result on one kind of machine with one thread.

    Returns:
        The best ones, best first.
    """
    fits = [_Fit(anatomy, view) for anatomy in anatomies]
    for fit in fits:
        fit.optimise(_AFFINE_STEPS, deform=False)
    fits.sort(key=lambda fit: fit.misfit(deform=False))
    for fit in fits[:keep]:
        fit.optimise(_DEFORM_STEPS, deform=True)
    return tuple(sorted((fit.result() for fit in fits[:keep]), key=lambda item: item.misfit))


class _Fit:
    """One phantom on its way to a scan."""

    def __init__(self, anatomy: Anatomy, view: HeartView) -> None:
        from scipy.ndimage import distance_transform_edt

        self.anatomy, self.view = anatomy, view
        count = _ATLAS_VOXELS
        origin = np.asarray(anatomy.landmarks["heart_centre"]) - STEP_MM * (count - 1) / 2
        grid = grid_affine((STEP_MM,) * 3, triple(float(value) for value in origin))
        tissue = rasterize(anatomy, grid, (count,) * 3)
        self._atlas = _channels(tissue.hu, tissue.heart)[None]
        self._origin = torch.from_numpy(origin).float()
        self._heart = view.channels[2]
        away = distance_transform_edt(self._heart.numpy() < 0.5) * STEP_MM
        weight = torch.from_numpy((away <= _NEAR_MM).astype(np.float32))
        self._weight = weight / weight.sum()
        lines = [
            torch.arange(size) * STEP_MM + float(start)
            for size, start in zip(view.grid.shape, view.grid.affine[:3, 3], strict=True)
        ]
        points = torch.stack(torch.meshgrid(*lines, indexing="ij"), dim=-1).float()
        own = torch.from_numpy(np.argwhere(tissue.heart) * STEP_MM + origin).float()
        inside = points[self._heart > 0.5]
        self._middle, self._goal = inside.mean(dim=0), own.mean(dim=0)
        self._points = points - self._middle
        self._start = torch.diag(own.std(dim=0) / inside.std(dim=0))
        self._matrix = self._start.clone().requires_grad_(True)
        # in cm, like the deformation, so that steps are alike
        self._shift = torch.zeros(3, requires_grad=True)
        knots = [max(3, math.ceil(size * STEP_MM / _KNOT_MM) + 1) for size in view.grid.shape]
        self._bend = torch.zeros(1, 3, *knots, requires_grad=True)

    def optimise(self, steps: int, *, deform: bool) -> None:
        """Move the phantom nearer to the scan."""
        groups = [{"params": [self._matrix], "lr": 0.008}, {"params": [self._shift], "lr": 0.03}]
        groups += [{"params": [self._bend], "lr": 0.04}] if deform else []
        optimiser = torch.optim.Adam(groups)
        for _ in range(steps):
            optimiser.zero_grad()
            image, dice, cost = self._faults(deform)
            (image - dice + cost).backward()
            optimiser.step()

    def misfit(self, *, deform: bool) -> float:
        """Image difference and 1 - Dice."""
        with torch.no_grad():
            image, dice, _ = self._faults(deform)
        return float(image - dice) + 1

    def result(self) -> Registered:
        """What was found."""
        with torch.no_grad():
            image, dice, _ = self._faults(deform=True)
            return Registered(
                self.anatomy,
                misfit=float(image - dice) + 1,
                dice=float(dice),
                _grid=self.view.grid,
                _places=self._places(deform=True).double().numpy(),
                _matrix=self._matrix.double().numpy(),
                _from=self._middle.double().numpy(),
                _to=(self._goal + self._shift * 10).double().numpy(),
            )

    def _places(self, deform: bool) -> torch.Tensor:
        """Where in the phantom each voxel of the view lies, (x, y, z, 3) in mm."""
        found = self._points @ self._matrix.T + self._shift * 10 + self._goal
        if deform:
            field = functional.interpolate(
                self._bend, size=self.view.grid.shape, mode="trilinear", align_corners=True
            )
            found = found + field[0].permute(1, 2, 3, 0) * 10
        return found

    def _faults(self, deform: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Weighted image difference, Dice of the hearts, and the cost of stretching and bending."""
        at = (self._places(deform) - self._origin) / (STEP_MM * (_ATLAS_VOXELS - 1)) * 2 - 1
        seen = functional.grid_sample(
            self._atlas, at.flip(-1)[None], mode="bilinear", padding_mode="border", align_corners=True
        )[0]
        squares = (seen[:2] - self.view.channels[:2]) ** 2 * self._weight
        dice = 2 * (seen[2] * self._heart).sum() / (seen[2].sum() + self._heart.sum())
        cost = _STRETCH * ((self._matrix - self._start) ** 2).sum()
        if deform:
            cost = cost + _SIZE * (self._bend**2).mean()
            for axis in (2, 3, 4):
                cost = cost + _BEND * (self._bend.diff(dim=axis) ** 2).mean()
        return _IMAGE * (squares[0].sum() + _AIR * squares[1].sum()), dice, cost


def _channels(hu: np.ndarray, heart: np.ndarray) -> torch.Tensor:
    """(3, x, y, z): soft tissue from fat (-70 HU) to muscle (10 HU), air from -250 to -550 HU, and heart."""
    values = torch.from_numpy(np.ascontiguousarray(hu, np.float32))
    soft, air = ((values + 70) / 80).clamp(0, 1), ((-250 - values) / 300).clamp(0, 1)
    return torch.stack([soft, air, torch.from_numpy(np.ascontiguousarray(heart, np.float32))])
