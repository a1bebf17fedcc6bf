"""Agreement as a picture: the scores against each other, Bland–Altman, and the confusion of groups."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from coronet.evaluation.agreement import Agreement
from coronet.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MANY = 2000  # points beyond which the SVG holds them as one picture; as shapes they would be megabytes
_INK, _BLUE, _RED, _GREY = "#1d2733", "#2b6cb0", "#b83232", "#9aa5b1"


def write_agreement(found: Agreement, folder: Path) -> tuple[Path, Path]:
    """Write the picture as ``agreement.png`` and ``agreement.svg`` and return both paths.

    Scores are drawn on an axis that is linear up to 10 and logarithmic beyond, since they span four orders of
    magnitude and many are 0. The files hold no date and no random ids: the same scores give the same bytes.
    """
    import matplotlib
    from matplotlib.figure import Figure

    paths = Path(folder) / "agreement.png", Path(folder) / "agreement.svg"
    with matplotlib.rc_context({"svg.hashsalt": "coronet", "font.size": 9}):
        figure = Figure(figsize=(15, 4.8), layout="constrained")
        for axes, draw in zip(
            figure.subplots(1, 3), (_draw_scatter, _draw_difference, _draw_confusion), strict=True
        ):
            draw(axes, found)
        for path, metadata in zip(paths, ({"Software": None}, {"Date": None}), strict=True):
            with replacing(path) as part:
                figure.savefig(part, dpi=130, metadata=metadata)
    return paths


def _draw_scatter(axes: Axes, found: Agreement) -> None:
    highest = float(max(found.reference.max(), found.predicted.max(), 10.0)) * 1.3
    axes.plot([0, highest], [0, highest], color=_GREY, linewidth=1)
    for bound in found.groups.bounds:
        axes.axvline(bound, color=_GREY, linewidth=0.5, linestyle=":")
        axes.axhline(bound, color=_GREY, linewidth=0.5, linestyle=":")
    _draw_points(axes, found.reference, found.predicted)
    for scale, limit in ((axes.set_xscale, axes.set_xlim), (axes.set_yscale, axes.set_ylim)):
        scale("symlog", linthresh=10)
        limit(-1, highest)
    statistics = found.statistics
    axes.set(
        xlabel=found.names[0],
        ylabel=found.names[1],
        title=f"Spearman {statistics.spearman:.3f} · ICC(2,1) {statistics.icc2_1:.3f} · n = {found.pairs}",
    )


def _draw_points(axes: Axes, x: np.ndarray, y: np.ndarray) -> None:
    axes.scatter(x, y, s=14, color=_BLUE, alpha=0.5, linewidths=0, rasterized=len(x) > _MANY)


def _draw_difference(axes: Axes, found: Agreement) -> None:
    mean = (found.reference + found.predicted) / 2
    _draw_points(axes, mean, found.predicted - found.reference)
    statistics = found.statistics
    low, high = statistics.limits
    axes.axhline(0, color=_GREY, linewidth=0.8)
    for value, colour, style in ((statistics.bias, _RED, "-"), (low, _RED, "--"), (high, _RED, "--")):
        axes.axhline(value, color=colour, linestyle=style, linewidth=1)
    axes.set_xscale("symlog", linthresh=10)
    axes.set_xlim(-1, max(float(mean.max()), 10.0) * 1.3)
    axes.set(
        xlabel=f"mean of {found.names[0]} and {found.names[1]}",
        ylabel=f"{found.names[1]} − {found.names[0]}",
        title=f"bias {statistics.bias:.1f}, limits {low:.1f} to {high:.1f}",
    )


def _draw_confusion(axes: Axes, found: Agreement) -> None:
    counts = found.confusion
    axes.imshow(counts / max(counts.max(), 1), cmap="Blues", vmin=0, vmax=1.4)
    for (row, column), count in np.ndenumerate(counts):
        axes.text(column, row, str(count), ha="center", va="center", color=_INK)
    places = range(len(found.groups.labels))
    axes.set_xticks(places, found.groups.labels)
    axes.set_yticks(places, found.groups.labels)
    axes.set(
        xlabel=found.names[0],
        ylabel=found.names[1],
        title=f"same group {found.statistics.concordance:.1%} · κ {found.statistics.kappa:.3f}"
        f" · linear κ {found.statistics.kappa_linear:.3f}",
    )
