"""The calcium mask that an exact annotator would draw into a simulated scan."""

from __future__ import annotations

import dataclasses

import numpy as np

from coronet.phantom.lesions import VESSEL_TRAITS
from coronet.phantom.scanner import Scanned, Trace

_THRESHOLD_HU = 130
_SUBSTANTIAL_HU = 40.0
"""A voxel belongs to a plaque where the plaque itself, blurred, adds at least this much."""
_EVIDENT_HU = 80.0
"""A plaque is visible where it adds at least this much and would pass the threshold without noise."""

_LEAST_VOXELS = 3  # smaller pieces cannot be distinguished from noise


@dataclasses.dataclass(frozen=True)
class CalciumMask:
    """What of the coronary plaques a scan shows."""

    labels: np.ndarray  # (x, y, z) uint8, 0 or the label of the vessel
    # number of mask voxels of each coronary deposit, by name; 0 where it is too faint to show
    voxels: dict[str, int]


def exact_calcium_mask(scanned: Scanned) -> CalciumMask:
    """Label the voxels at or above 130 HU that coronary plaques have raised.

    A voxel counts where a plaque's own contribution is at least `_SUBSTANTIAL_HU` and greater than that of
    anything else, and where it is connected (26 neighbours) to a voxel in which the plaque is evident, in a
    piece of at least `_LEAST_VOXELS`.
    """
    import cc3d

    hu = scanned.volume.array
    labels = np.zeros(hu.shape, np.uint8, order="F")
    traces = [trace for trace in scanned.traces if trace.deposit.kind == "coronary"]
    voxels = {trace.deposit.name: 0 for trace in traces}
    if not traces:
        return CalciumMask(labels, voxels)
    box = tuple(
        slice(min(t.box[axis].start for t in traces), max(t.box[axis].stop for t in traces))
        for axis in range(3)
    )
    shape = tuple(side.stop - side.start for side in box)
    most, clean, rival = np.zeros((3, *shape), np.float32)
    owner = np.zeros(shape, np.uint8)
    for number, trace in enumerate(traces, start=1):
        here, _ = _common(trace, box)
        more = trace.contribution > most[here]
        most[here][more] = trace.contribution[more]
        clean[here][more] = trace.clean[more]
        owner[here][more] = number
    for trace in scanned.traces:
        if trace.deposit.kind != "coronary":
            here, own = _common(trace, box)
            np.maximum(rival[here], trace.contribution[own], out=rival[here])
    bright = (hu[box] >= _THRESHOLD_HU) & (most >= _SUBSTANTIAL_HU) & (most > rival)
    evident = bright & (most >= _EVIDENT_HU) & (clean >= _THRESHOLD_HU)
    parts = cc3d.connected_components(bright, connectivity=26)
    large = np.flatnonzero(np.bincount(parts.ravel()) >= _LEAST_VOXELS)
    kept = np.isin(parts, np.intersect1d(parts[evident], large)) & bright
    counts = np.bincount(owner[kept], minlength=len(traces) + 1)
    vessel = np.asarray([0, *(VESSEL_TRAITS[trace.deposit.vessel].label for trace in traces)], np.uint8)
    labels[box] = np.where(kept, vessel[owner], np.uint8(0))
    for number, trace in enumerate(traces, start=1):
        voxels[trace.deposit.name] = int(counts[number])
    return CalciumMask(labels, voxels)


def _common(trace: Trace, box: tuple[slice, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where the part of a trace that lies in ``box`` is found in the box, and where in the trace."""
    first = [max(a.start, b.start) for a, b in zip(trace.box, box, strict=True)]
    last = [max(min(a.stop, b.stop), start) for a, b, start in zip(trace.box, box, first, strict=True)]
    in_box, in_trace = (
        tuple(slice(a - s.start, b - s.start) for a, b, s in zip(first, last, outer, strict=True))
        for outer in (box, trace.box)
    )
    return in_box, in_trace
