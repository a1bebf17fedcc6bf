"""Scans that take a moment to draw and to learn: a ball for a heart in a cylinder for a body."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from coronet.dataset.cases import mask_path, scan_path, write_facts
from coronet.io.scan_facts import ScanFacts
from coronet.io.volume import Volume, grid_affine, write_nifti


@dataclasses.dataclass(frozen=True)
class Ball:
    """How balls are drawn; lengths in mm.

    Attributes:
        shape: of the scan, in voxels.
        spacing: of the voxels.
        shift: how far from the middle of the scan, in voxels.
        radius: (smallest, largest).
        body: half axes of the cylinder's ellipse.
        depth: of the calcium, from the ball's middle.
        spot: radius of the calcium.
    """

    shape: tuple[int, int, int] = (64, 64, 40)
    spacing: tuple[float, float, float] = (3.0, 3.0, 4.0)
    shift: float = 4.0
    radius: tuple[float, float] = (42.0, 42.0)
    body: tuple[float, float] = (90.0, 80.0)
    depth: float = 38.0
    spot: float = 5.0


def write_ball(
    data: Path, name: str, rng: np.random.Generator, *, spots: int, ball: Ball = Ball(), patient: str = ""
) -> None:
    """Write a case whose ball has ``spots`` of calcium on its surface; the patient is called as the case."""
    places = np.stack(np.meshgrid(*[np.arange(n) for n in ball.shape], indexing="ij"), axis=-1)
    centre = np.asarray(ball.shape) / 2 + rng.uniform(-ball.shift, ball.shift, 3)
    offset = (places - centre) * ball.spacing
    smallest, largest = ball.radius
    radius = rng.uniform(smallest, largest) if smallest < largest else smallest
    heart = np.linalg.norm(offset, axis=-1) < radius
    body = (offset[..., 0] / ball.body[0]) ** 2 + (offset[..., 1] / ball.body[1]) ** 2 < 1
    hu = np.where(heart, 40.0, np.where(body, -800.0, -1000.0)) + rng.normal(0, 10, ball.shape)
    calcium = np.zeros(ball.shape, bool)
    for _ in range(spots):
        way = rng.normal(size=3)
        calcium |= np.linalg.norm(offset - ball.depth * way / np.linalg.norm(way), axis=-1) < ball.spot
    hu[calcium] = 500
    affine = grid_affine(ball.spacing, (-96.0, -96.0, -80.0))
    write_nifti(scan_path(data, name), Volume(hu.astype(np.int16), affine))
    write_nifti(mask_path(data, name, "heart"), Volume(heart.astype(np.uint8), affine))
    write_nifti(mask_path(data, name, "calcium"), Volume(calcium.astype(np.uint8), affine))
    write_facts(data, name, ScanFacts(patient=patient or name, source="phantom"))
