"""From an anatomy to HU on any grid: noise-free tissue with soft edges, and the heart's exact mask."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from coronet.io.volume import triple
from coronet.phantom.anatomy import TEXTURE, Anatomy
from coronet.phantom.curves import Tube
from coronet.phantom.grid_field import GridField, GridShape, box_of
from coronet.phantom.organ_distances import organ_distances, pericardium
from coronet.phantom.signed_distance import Coordinates
from coronet.phantom.tubes import PlacedTubes
from coronet.phantom.vessels import AIRWAY_WALL_MM

_AIR_HU = -1000.0
_CHUNK_VOXELS = 400_000
_CORTEX_MM = 1.3
_FINE_MM = 2.0  # grids of a smaller spacing get finer organ distances
_SHEATH_MM = 2.0  # fat around a coronary artery's wall
_RAGGED_MM = np.float32(25.0)  # how far the edge of a consolidation falls back at most
_SLACK_MM = 0.05  # more than rounding can move a surface


@dataclasses.dataclass(frozen=True)
class Tissue:
    """A painted phantom."""

    hu: np.ndarray  # float32 (x, y, z), without noise; edges are as wide as a voxel
    # bool (x, y, z): all inside the pericardium up to the fork of the pulmonary trunk, as readers draw it
    heart: np.ndarray


@dataclasses.dataclass
class _Slab:
    """A few slices while they are painted: their place in the grid, positions (x), (y), (z), HU (z, y, x)."""

    slices: slice
    lines: Coordinates
    hu: np.ndarray
    edge_mm: float

    def lay(self, field: GridField, hu: float | np.ndarray, deeper_mm: float = 0.0) -> None:
        """Paint the inside of a field, ``deeper_mm`` below its surface."""
        found = field.on_part(self.lines)
        if found is not None:
            sides, distance = found
            distance += deeper_mm
            self.blend(sides, distance, hu[sides] if isinstance(hu, np.ndarray) else hu)

    def blend(
        self,
        sides: tuple[slice, slice, slice],
        distance: np.ndarray,
        hu: float | np.ndarray,
        within: np.ndarray | None = None,
    ) -> None:
        """Mix HU in by the share of each voxel that lies inside, and ``within`` (0..1) lets through.

        ``distance`` is used up.
        """
        share = self.share(distance)
        if within is not None:
            share *= within[sides]
        part = self.hu[sides]
        part += (hu - part) * share

    def share(self, distance: np.ndarray) -> np.ndarray:
        """Share of each voxel that lies inside, from the distance of its centre; in place."""
        distance *= np.float32(-1.0 / self.edge_mm)
        distance += np.float32(0.5)
        return np.clip(distance, 0.0, 1.0, out=distance)

    def inside(self, field: GridField) -> np.ndarray:
        """Share of each voxel that lies inside a field, 0 beyond its lattice."""
        share = np.zeros_like(self.hu)
        found = field.on_part(self.lines)
        if found is not None:
            sides, distance = found
            share[sides] = self.share(distance)
        return share

    def rods(self, rods: PlacedTubes, hu: float, within: np.ndarray | None = None) -> None:
        """Paint rods, as `blend` does."""
        found = rods.between(self.slices.start, self.slices.stop)
        if found is not None:
            self.blend(*found, hu, within)


def _grid_of(affine: np.ndarray, shape: tuple[int, int, int]) -> tuple[Coordinates, list[float]]:
    """Positions (x), (y), (z) of a grid's voxels and their spacing, in mm."""
    affine = np.asarray(affine, np.float64)
    step = [float(affine[i, i]) for i in range(3)]
    if min(step) <= 0 or np.any(affine[:3, :3] != np.diag(step)):
        raise ValueError("phantoms are painted on axis-aligned RAS+ grids with positive spacing.")
    lines = triple(np.arange(n) * s + float(o) for n, s, o in zip(shape, step, affine[:3, 3], strict=True))
    return lines, step


def rasterize(anatomy: Anatomy, affine: np.ndarray, shape: tuple[int, int, int]) -> Tissue:
    """Paint a phantom on a grid.

    Args:
        affine: 4 × 4, voxel index to mm; the axes must be those of RAS+ with positive spacing.

    Raises:
        ValueError: the grid is turned or flipped.
    """
    lines, step = _grid_of(affine, shape)
    edge = sum(step) / 3
    fields = organ_distances(anatomy, box_of(lines), fine=min(step) < _FINE_MM)
    painter = _Painter(anatomy, fields, lines, edge)
    hu = np.empty(shape[::-1], np.float32)
    heart = np.empty(shape[::-1], bool)
    deep = max(1, _CHUNK_VOXELS // (shape[0] * shape[1]))
    for start in range(0, shape[2], deep):
        part = slice(start, min(start + deep, shape[2]))
        slab = _Slab(part, (lines[0], lines[1], lines[2][part]), hu[part], edge)
        heart[part] = painter.paint(slab)
    return Tissue(hu.transpose(2, 1, 0), heart.transpose(2, 1, 0))


def exact_heart_mask(anatomy: Anatomy, affine: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """The heart's mask as `rasterize` gives it, without painting anything else."""
    lines, step = _grid_of(affine, shape)
    slab = _Slab(slice(0, shape[2]), lines, np.empty(shape[::-1], np.float32), sum(step) / 3)
    share = slab.inside(pericardium(anatomy, box_of(lines), fine=min(step) < _FINE_MM))
    return _below_fork(share, anatomy, slab).transpose(2, 1, 0)


def _below_fork(share: np.ndarray, anatomy: Anatomy, slab: _Slab) -> np.ndarray:
    """The heart's mask out of the share of each voxel that lies in the sac."""
    return (share > 0.5) & (slab.lines[2] < anatomy.top_z)[:, None, None]


class _Painter:
    """Paints one slab after another, from the outside inwards."""

    def __init__(
        self, anatomy: Anatomy, fields: Mapping[str, GridField], lines: Coordinates, edge_mm: float
    ) -> None:
        self.anatomy, self.fields = anatomy, fields

        def laid(tubes: tuple[Tube, ...]) -> PlacedTubes:
            # Half an edge outside the surface nothing is painted any more.
            return PlacedTubes(tubes, lines, margin_mm=edge_mm / 2 + _SLACK_MM)

        tubes = dict(anatomy.tubes)
        disease = anatomy.lung_disease
        tubes |= {name: getattr(disease, name) for name in ("bullae", "consolidated", "tumours")}
        tubes["lumen"] = tuple(tube.narrowed(AIRWAY_WALL_MM) for tube in tubes["airways"])
        tubes["cortex"] = (*tubes.pop("ribs"), *tubes.pop("bones"))
        tubes["marrow"] = tuple(tube.narrowed(_CORTEX_MM) for tube in tubes["cortex"])
        tubes["arteries"] = tuple(map(_coarser, anatomy.coronaries.values()))
        tubes["sheaths"] = tuple(tube.narrowed(-_SHEATH_MM) for tube in tubes["arteries"])
        self.tubes = {name: laid(group) for name, group in tubes.items() if name != "vessels"}
        self.grain = _texture(anatomy.texture, lines, 9.0)

    def paint(self, slab: _Slab) -> np.ndarray:
        """Fill the slab's HU and return its part of the heart's mask."""
        traits, fields = self.anatomy.traits, self.fields
        slab.hu[...] = _AIR_HU
        grain = self.grain.on(slab.lines)
        slab.lay(fields["skin"], 20.0)
        slab.lay(fields["skin"], traits.fat_hu, 1.8)
        lean = np.minimum(np.maximum((grain - 0.66) * 7.0, 0.0), 0.8) * (traits.fat_hu - traits.muscle_hu)
        slab.lay(fields["flesh"], lean + np.float32(traits.muscle_hu))
        slab.lay(fields["armpit"], traits.fat_hu)
        slab.lay(fields["cavity"], traits.fat_hu)
        self._belly(slab)
        self._lungs(slab, grain)
        slab.rods(self.tubes["nodes"], traits.blood_hu - 4.0)
        heart = self._heart(slab)
        self._pipes(slab)
        self._bones(slab)
        slab.rods(self.tubes["sheaths"], traits.fat_hu + 12.0, heart)
        slab.rods(self.tubes["arteries"], traits.blood_hu)
        return _below_fork(heart, self.anatomy, slab)

    def _belly(self, slab: _Slab) -> None:
        traits, fields = self.anatomy.traits, self.fields
        slab.lay(fields["belly"], traits.muscle_hu)
        slab.lay(fields["belly"], traits.fat_hu, 2.5)
        slab.lay(fields["liver"], traits.liver_hu)
        slab.lay(fields["spleen"], traits.spleen_hu)
        slab.lay(fields["stomach"], traits.muscle_hu)
        found = fields["stomach"].on_part(slab.lines)
        if found is not None:
            sides, distance = found
            y = slab.lines[1][sides[1]]
            gas_from = 14.0 + (1.0 - 2.0 * traits.stomach_gas) * 50.0 * traits.stomach
            gas = (y > gas_from)[None, :, None] & np.ones(distance.shape, bool)
            content = np.where(gas, np.float32(-960.0), np.float32(traits.muscle_hu - 22.0))
            slab.blend(sides, distance + np.float32(3.5), content)

    def _lungs(self, slab: _Slab, grain: np.ndarray) -> None:
        traits, fields = self.anatomy.traits, self.fields
        inside = slab.inside(fields["lungs"])
        slope = (slab.lines[1] * -0.35).astype(np.float32)[None, :, None]
        air = (grain - 0.5) * 60.0 + slope + np.float32(traits.lung_hu)
        slab.hu += (air - slab.hu) * inside
        slab.rods(self.tubes["lung_vessels"], traits.blood_hu - 5.0, inside)
        slab.rods(self.tubes["lumps"], 20.0, inside)
        self._lung_disease(slab, grain, inside)
        slab.lay(fields["effusion"], 12.0)

    def _lung_disease(self, slab: _Slab, grain: np.ndarray, inside: np.ndarray) -> None:
        disease = self.anatomy.lung_disease
        slab.rods(self.tubes["bullae"], -990.0, inside)
        found = self.tubes["consolidated"].between(slab.slices.start, slab.slices.stop)
        if found is not None:
            sides, distance = found
            distance += grain[sides] * _RAGGED_MM
            slab.blend(
                sides, distance, (grain[sides] - 0.5) * 120.0 + np.float32(disease.consolidated_hu), inside
            )
        slab.rods(self.tubes["tumours"], disease.tumour_hu, inside)

    def _heart(self, slab: _Slab) -> np.ndarray:
        """Paint sac, fat, chambers and walls; return the share of each voxel inside the sac."""
        traits, fields = self.anatomy.traits, self.fields
        sac = np.zeros_like(slab.hu)
        found = fields["pericardium"].on_part(slab.lines)
        if found is not None:
            sides, distance = found
            slab.blend(sides, distance - np.float32(0.5), 0.0)
            slab.blend(sides, distance + np.float32(0.6), traits.fat_hu + 8.0)
            sac[sides] = slab.share(distance)
        slab.lay(fields["vessels"], traits.blood_hu)
        slab.lay(fields["blood"], traits.blood_hu + 1.0)
        slab.lay(fields["ventricle"], traits.blood_hu + traits.myocardium_lead_hu)
        slab.lay(fields["ventricle_cavity"], traits.blood_hu)
        return sac

    def _pipes(self, slab: _Slab) -> None:
        traits = self.anatomy.traits
        slab.rods(self.tubes["gullet"], traits.muscle_hu - 18.0)
        slab.rods(self.tubes["airways"], traits.muscle_hu - 10.0)
        slab.rods(self.tubes["lumen"], -985.0)

    def _bones(self, slab: _Slab) -> None:
        traits, fields = self.anatomy.traits, self.fields
        slab.rods(self.tubes["cartilages"], traits.muscle_hu + 45.0)
        slab.rods(self.tubes["cortex"], traits.cortex_hu)
        slab.rods(self.tubes["marrow"], traits.marrow_hu)
        slab.lay(fields["column"], traits.muscle_hu + 25.0)
        slab.lay(fields["bone"], traits.cortex_hu)
        slab.lay(fields["bone"], traits.marrow_hu, _CORTEX_MM)
        slab.lay(fields["canal"], 25.0)


def _coarser(tube: Tube) -> Tube:
    """The same tube with every third of its points."""
    index = np.unique(np.append(np.arange(0, len(tube.points), 3), len(tube.points) - 1))
    return Tube(tube.points[index], tube.radii[index])


def _texture(values: np.ndarray, lines: Coordinates, pitch_mm: float) -> GridField:
    """Random values over a grid, repeated as often as needed."""
    lattice = GridShape.over(box_of(lines), pitch_mm)
    index = [(np.arange(lattice.size[axis]) + lattice.first[axis]) % TEXTURE for axis in range(3)]
    return GridField(lattice, values[np.ix_(index[2], index[1], index[0])])
